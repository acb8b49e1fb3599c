// How the socket fits into what surrounds it: events, signals, iteration, pages, platforms without a WebSocket.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { SecureWebSocket } from '../dist/node.js';
import { iterate } from '../dist/iterate.js';
import { thisPage } from '../dist/page.js';
import { codeOf, FakePage, openRig, rig, settle } from './support.mjs';

const run = promisify(execFile);

test('events: those of a WebSocket, with what belongs to them', async () => {
  const it = rig();
  const seen = [];
  for (const type of ['open', 'message', 'close', 'error', 'statechange', 'rtt']) {
    it.socket.addEventListener(type, (event) => {
      assert.ok(event instanceof Event);
      assert.equal(event.target, it.socket);
      const { welcome, data, code, reason, error, snapshot } = event;
      seen.push([type, welcome?.subject ?? data ?? code ?? error?.code ?? snapshot?.state, reason]);
    });
  }
  assert.equal(it.socket.readyState, 0);
  await settle();
  it.peer.welcome();
  assert.equal(it.socket.readyState, 1);
  const message = { type: 'n', payload: 1 };
  it.peer.raw(JSON.stringify(message));
  it.peer.raw('?');
  it.peer.drop(1012, 'restart');
  assert.equal(it.socket.readyState, 0);
  it.socket.close(4000, 'bye');
  assert.equal(it.socket.readyState, 3);
  assert.deepEqual(seen, [
    ['statechange', 'open', undefined],
    ['open', 'ann', undefined],
    ['message', message, undefined],
    ['error', 'protocol', undefined],
    ['statechange', 'reconnecting', undefined],
    ['close', 1012, 'restart'],
    ['statechange', 'closed', undefined],
    ['close', 4000, 'bye'],
  ]);
});

test('snapshot: the same object until something changes', async () => {
  const it = await openRig();
  const { snapshot } = it.socket;
  it.peer.frame('n', 1);
  it.socket.send({ type: 'n' });
  assert.equal(it.socket.snapshot, snapshot);
  it.peer.drop();
  assert.notEqual(it.socket.snapshot, snapshot);
});

test('pending counts what waits for its acknowledgement', async () => {
  const it = await openRig();
  it.socket.send({ type: 'n' });
  it.socket.send({ type: 'n' });
  assert.equal(it.socket.pending, 2);
  it.peer.frame('ack', {}, { id: 1 });
  assert.equal(it.socket.pending, 1);
});

test('signal: aborting closes, whether before, during or after the connection', async () => {
  for (const when of ['before', 'during', 'after']) {
    const abort = new AbortController();
    if (when === 'before') abort.abort('early');
    const it = rig({ signal: abort.signal });
    await settle();
    if (when === 'after') it.peer.welcome();
    abort.abort('enough');
    assert.equal(it.socket.state, 'closed', when);
    assert.equal(it.connections.length, when === 'before' ? 0 : 1);
    assert.equal(it.socket.snapshot.error.cause, when === 'before' ? 'early' : 'enough');
    assert.equal(await codeOf(it.socket.send({ type: 'n' })), 'closed');
    assert.equal(it.clock.pending, 0);
  }
});

test('send with a signal: its reason, and no listener is left behind', async () => {
  const it = await openRig();
  const abort = new AbortController();
  let listeners = 0;
  for (const [name, change] of [['addEventListener', 1], ['removeEventListener', -1]]) {
    const original = abort.signal[name].bind(abort.signal);
    abort.signal[name] = (...args) => {
      listeners += change;
      original(...args);
    };
  }
  const { signal } = abort;
  const handled = it.socket.send({ type: 'n' }, { signal });
  it.peer.frame('ack', {}, { id: 1 });
  await handled;
  await settle();
  assert.equal(listeners, 0);
  const taken = it.socket.send({ type: 'n' }, { signal });
  abort.abort(new Error('changed my mind'));
  await assert.rejects(taken, /changed my mind/);
  await assert.rejects(it.socket.send({ type: 'n' }, { signal }), /changed my mind/);
  assert.equal(it.peer.sent.length, 2);
});

test('what is given up in flight makes room for what waits', async () => {
  const it = await openRig();
  const abort = new AbortController();
  for (let n = 0; n < 33; n += 1) it.socket.send({ type: 'n' }, n === 5 ? { signal: abort.signal } : {});
  assert.equal(it.peer.sent.length, 32);
  abort.abort();
  await settle();
  assert.equal(it.peer.sent.length, 33);
  for (let n = 0; n < 10; n += 1) it.socket.send({ type: 'late' }, { timeoutMs: 90_000 });
  await it.clock.advance(30_000);
  assert.deepEqual(it.peer.sent.slice(33).map(({ type }) => type), Array(10).fill('late'));
});

test('for await: every message from the call on, until the end', async () => {
  const it = await openRig();
  it.peer.frame('n', 'before');
  const messages = iterate(it.socket);
  it.peer.frame('n', 1);
  it.peer.frame('n', 2);
  const seen = [];
  const reading = (async () => {
    for await (const { payload } of messages) seen.push(payload);
    return 'done';
  })();
  await settle();
  it.peer.frame('n', 3);
  await settle();
  assert.deepEqual(seen, [1, 2, 3]);
  it.socket.close();
  assert.equal(await reading, 'done');
});

test('for await: an end with an error is thrown, and leaving the loop stops listening', async () => {
  const it = await openRig();
  for await (const message of feed(it)) {
    assert.equal(message.payload, 'only');
    break;
  }
  const reading = iterate(it.socket).next();
  it.peer.drop(4403);
  await assert.rejects(reading, { code: 'forbidden' });
});

/** The messages of a socket, with one already under way. */
function feed(it) {
  const messages = iterate(it.socket);
  it.peer.frame('n', 'only');
  return messages;
}

test('for await: a reader that falls behind is told, and costs no memory without end', async () => {
  const it = await openRig();
  const messages = iterate(it.socket, { maxMessages: 10 });
  for (let n = 0; n < 11; n += 1) it.peer.frame('n', n);
  await assert.rejects(messages.next(), { code: 'queue_full' });
});

test('a timer that fires late gives what arrived meanwhile one more turn', async () => {
  for (const [name, answers] of [['answers', true], ['silence', false]]) {
    const it = await openRig({ health: { timeoutMs: 1_000 } });
    // The page was frozen: its clock went on, its timers did not.
    it.clock.freeze(60_000);
    await it.clock.advance(0);
    assert.equal(it.socket.state, 'open', name);
    if (answers) it.peer.frame('n', 1);
    await it.clock.advance(1_000);
    assert.equal(it.socket.state, answers ? 'open' : 'reconnecting', name);
    it.socket.close();
  }
});

test('closing inside onOpen leaves no timer, with pings too', async () => {
  const it = rig({ health: true, onOpen: () => it.socket.close() });
  await settle();
  it.peer.welcome();
  assert.equal(it.socket.state, 'closed');
  assert.equal(it.clock.pending, 0);
});

test('a page: nothing is heard of it after the end', async () => {
  const page = new FakePage();
  const it = await openRig({ page });
  assert.equal(page.listening, 1);
  it.socket.close();
  assert.equal(page.listening, 0);
});

test('a page: the events of the document and of the network, as a browser fires them', async (t) => {
  const listeners = [];
  globalThis.addEventListener = (type, wake, options) => listeners.push({ type, wake, options });
  t.after(() => delete globalThis.addEventListener);
  const stop = new AbortController();
  let woken = 0;
  thisPage.listen(() => (woken += 1), stop.signal);
  assert.deepEqual(listeners.map(({ type }) => type), ['online', 'offline', 'visibilitychange', 'pageshow', 'resume']);
  for (const { options } of listeners) assert.deepEqual(options, { capture: true, signal: stop.signal });
  for (const { wake } of listeners) wake();
  assert.equal(woken, 5);
  for (const [name, hidden, onLine, dormant] of [
    ['seen', false, true, false],
    ['hidden', true, true, true],
    ['offline', false, false, true],
    ['a worker', undefined, true, false],
    ['Node', undefined, undefined, false],
  ]) {
    for (const [global, value] of [['document', hidden === undefined ? undefined : { hidden }], ['navigator', { onLine }]]) {
      const saved = Object.getOwnPropertyDescriptor(globalThis, global);
      Object.defineProperty(globalThis, global, { value, configurable: true });
      t.after(() => (saved ? Object.defineProperty(globalThis, global, saved) : delete globalThis[global]));
    }
    assert.equal(thisPage.dormant, dormant, name);
  }
});

test('importing has no side effect, and making a socket touches the network only later', async () => {
  const script = `
    const { WebSocket, navigator, document, ...rest } = globalThis;
    for (const name of ['setTimeout', 'setInterval', 'fetch', 'WebSocket', 'addEventListener', 'queueMicrotask']) {
      globalThis[name] = () => { throw new Error(name + ' was called'); };
    }
    const before = Object.keys(globalThis).join();
    await import(${JSON.stringify(new URL('../dist/node.js', import.meta.url).href)});
    await import(${JSON.stringify(new URL('../dist/iterate.js', import.meta.url).href)});
    await import(${JSON.stringify(new URL('../dist/describe.js', import.meta.url).href)});
    await import(${JSON.stringify(new URL('../dist/react.js', import.meta.url).href)});
    await import(${JSON.stringify(new URL('../dist/schema.js', import.meta.url).href)});
    if (Object.keys(globalThis).join() !== before) throw new Error('a global was made');
    console.log('clean');
  `;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', script], { timeout: 30_000 });
  assert.equal(stdout, 'clean\n');
});

test('without a WebSocket of the platform, that of the package ws is used; without both it ends in words', async (t) => {
  const found = new SecureWebSocket({ url: 'ws://127.0.0.1:1/ws', authToken: 't', reconnect: false, health: false });
  await new Promise((resolve) => found.addEventListener('close', resolve));
  assert.equal(found.snapshot.error.code, 'connection_lost', 'it dialled');

  // The package alone, where nothing of that name can be found beside it.
  const alone = mkdtempSync(join(tmpdir(), 'wsguard-alone-'));
  t.after(() => rmSync(alone, { recursive: true, force: true }));
  cpSync(new URL('../dist', import.meta.url), join(alone, 'dist'), { recursive: true });
  writeFileSync(join(alone, 'package.json'), '{"type":"module"}');
  const script = `
    delete globalThis.WebSocket;
    const { SecureWebSocket } = await import(${JSON.stringify(pathToFileURL(join(alone, 'dist/node.js')).href)});
    const socket = new SecureWebSocket({ url: 'ws://127.0.0.1:1/ws', authToken: 't' });
    socket.addEventListener('close', ({ error, willReconnect }) => console.log(error.code, willReconnect));
  `;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', script], { timeout: 30_000 });
  assert.equal(stdout, 'unsupported false\n');
});

test('debug: lines can go elsewhere', async (t) => {
  const log = t.mock.method(console, 'log', () => {});
  const lines = [];
  const it = await openRig({ debug: (line) => lines.push(line) });
  it.socket.close();
  assert.equal(log.mock.callCount(), 0);
  assert.match(lines.join('\n'), /<- \{"type":"welcome"[\s\S]*"state":"open"[\s\S]*"state":"closed"/);
});
