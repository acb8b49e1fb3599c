// Ten minutes of a bad network: nothing lost, nothing twice, memory flat.
//
//   node --expose-gc e2e/soak.mjs [SECONDS]      draws docs/client/soak.svg after a run of ten minutes or more
//
// A message every 20 ms through a proxy that delays, cuts, goes silent, and answers with garbage.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { WebSocket } from 'ws';
import { SecureWebSocket } from '../dist/index.js';
import { plot } from '../scripts/plot.mjs';
import { Proxy, Server, TOKEN, UNLIMITED, until } from './support.mjs';

const seconds = Number(process.argv[2] ?? 600);
const SEND_EVERY_MS = 20;
const MEGABYTE = 1_048_576;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

const server = await Server.start({ ...UNLIMITED, WSGUARD_CSRF__ROTATE_EVERY: '1m' });
const proxy = await Proxy.to(server.port);
const counts = { sent: 0, acknowledged: 0, echoes: 0, cuts: 0, silences: 0, garbage: 0, refusals: 0, delays: 0, resumed: 0, rotations: 0 };
const failures = [];
let lines = 0;
/** The last of what the client said about itself, for when something goes wrong. */
const story = [];

const socket = new SecureWebSocket({
  url: proxy.url,
  authToken: TOKEN,
  WebSocket,
  reconnect: { minDelayMs: 50, maxDelayMs: 1_000, stableAfterMs: 500 },
  health: { intervalMs: 500, timeoutMs: 400 },
  connectTimeoutMs: 1_000,
  ackTimeoutMs: 60_000,
  debug: (line) => {
    lines += 1;
    story.push(line.slice(0, 220));
    if (story.length > 200) story.shift();
    if (line.includes('<- {"type":"csrf"')) counts.rotations += 1;
  },
  onMessage: ({ payload }) => {
    // The next one, each time: one that is lost or comes twice is noticed at once.
    if (payload.n !== counts.echoes) failures.push(`echo ${payload.n} in place of ${counts.echoes}`);
    counts.echoes = payload.n + 1;
  },
  onOpen: ({ resumed }) => {
    if (resumed) counts.resumed += 1;
    else if (lines > 20) failures.push('a session was lost');
  },
  onClose: ({ willReconnect, error }) => {
    if (!willReconnect && error) failures.push(`closed for good: ${error.code}`);
  },
});

const text = 'x'.repeat(200);
const sending = setInterval(() => {
  if (socket.pending > 900) return;
  const n = counts.sent++;
  socket.send({ type: 'echo', payload: { n, text } }).then(
    () => (counts.acknowledged += 1),
    (error) => failures.push(`message ${n}: ${error.code}`),
  );
}, SEND_EVERY_MS);

/** One trouble after another, for as long as each lasts. */
const troubles = [
  () => (counts.cuts++, proxy.cut()),
  () => (counts.silences++, proxy.hold(), 600 + Math.random() * 600),
  () => (counts.garbage++, proxy.babble()),
  () => (counts.refusals++, proxy.refuse(), proxy.cut(), 300),
  () => (counts.delays++, (proxy.delayMs = 100), 1_500),
  () => (counts.silences++, proxy.mute(), 600),
];
const started = Date.now();
const samples = [];
const elapsed = () => (Date.now() - started) / 1_000;
const sampling = setInterval(() => {
  collect();
  const resident = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))[1]) * 1_024;
  samples.push({ at: elapsed(), heap: process.memoryUsage().heapUsed, resident });
}, 2_000);

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
for (let n = 0; elapsed() < seconds; n += 1) {
  await sleep(500 + Math.random() * 1_000);
  await sleep(troubles[n % troubles.length]() ?? 0);
  proxy.delayMs = 0;
  proxy.restore();
  if (failures.length > 0) break;
}
clearInterval(sending);
clearInterval(sampling);
try {
  if (failures.length === 0) await until('everything arrived', () => failures.length > 0 || (counts.acknowledged === counts.sent && counts.echoes === counts.sent));
} catch (error) {
  failures.push(error.message);
}
socket.close();
await proxy[Symbol.asyncDispose]();
await server[Symbol.asyncDispose]();

console.log(JSON.stringify({ seconds: Math.round(elapsed()), ...counts }));
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const third = Math.floor(samples.length / 3);
const middle = median(samples.slice(third, 2 * third).map(({ heap }) => heap));
const last = median(samples.slice(-third).map(({ heap }) => heap));
console.log(`heap of the client's process: ${(middle / MEGABYTE).toFixed(1)} MB in the middle, ${(last / MEGABYTE).toFixed(1)} MB at the end`);
if (failures.length > 0) console.log(story.join('\n'));
assert.deepEqual(failures.slice(0, 20), []);
assert.equal(counts.acknowledged, counts.sent);
assert.ok(last < middle * 1.1 + MEGABYTE, 'memory grows');
if (seconds >= 600) {
  const directory = new URL('../../../docs/client/', import.meta.url);
  mkdirSync(directory, { recursive: true });
  writeFileSync(
    new URL('soak.svg', directory),
    plot({
      title: `${Math.round(seconds / 60)} minutes of a bad network: ${counts.sent.toLocaleString('en')} messages, ${counts.resumed.toLocaleString('en')} resumes, none lost or twice`,
      x: 'seconds',
      y: 'MB of memory',
      xMax: seconds,
      yMax: Math.ceil((Math.max(...samples.flatMap(({ heap, resident }) => [heap, resident])) / MEGABYTE) * 1.3),
      series: [
        { name: "heap of the client's process, after collection", points: samples.map(({ at, heap }) => [at, heap / MEGABYTE]) },
        { name: 'resident memory of the server (debug build)', points: samples.map(({ at, resident }) => [at, resident / MEGABYTE]) },
      ],
    }),
  );
}
process.exit(0);
