// Simulates 10,000 clients whose server goes away, and draws how they come back: docs/client/herd.svg.
import { mkdirSync, writeFileSync } from 'node:fs';
import { simulate } from '../test/herd.mjs';
import { plot } from './plot.mjs';

const CLIENTS = 10_000;
const directory = new URL('../../../docs/client/', import.meta.url);

const crash = await simulate({ clients: CLIENTS, how: 'crash', downMs: 5_000, perSecond: 2_000 });
const drain = await simulate({ clients: CLIENTS, how: 'drain', downMs: 1, perSecond: 4_000 });
const together = await simulate({ clients: CLIENTS, how: 'crash', downMs: 5_000, perSecond: 2_000, random: () => 0.999, forMs: 60_000 });

const points = ({ attempts }) => attempts.map((count, at) => [at / 10, count]);
const peak = ({ attempts }) => Math.max(...attempts);
mkdirSync(directory, { recursive: true });
writeFileSync(
  new URL('herd.svg', directory),
  plot({
    title: '10,000 clients come back',
    x: 'seconds after the server went away',
    y: 'attempts to connect in a tenth of a second',
    xMax: 20,
    yMax: 3_000,
    series: [
      { name: `crash, 5 s down, 2,000 handshakes a second (peak ${peak(crash).toLocaleString('en')})`, points: points(crash) },
      { name: `the same without jitter (peak ${peak(together).toLocaleString('en')}, cut off)`, points: points(together) },
      { name: `drain (peak ${peak(drain).toLocaleString('en')})`, points: points(drain) },
    ],
  }),
);
for (const [name, run] of Object.entries({ crash, drain, together })) {
  console.log(`${name}: at most ${peak(run)} in a tenth of a second, all back after ${run.backAt / 1000} s`);
}
