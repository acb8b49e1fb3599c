import assert from 'node:assert/strict';
import test from 'node:test';
import { codeOf, fakeWebSocket, openRig, rig, settle, WELCOME } from './support.mjs';

test('the example of the README, word for word', async (t) => {
  const lines = [];
  t.mock.method(console, 'log', (...line) => lines.push(line));
  const { WebSocket, connections } = fakeWebSocket();
  const saved = globalThis.WebSocket;
  globalThis.WebSocket = WebSocket;
  try {
    const { SecureWebSocket } = await import('../dist/index.js');
    const socket = new SecureWebSocket({ url: 'wss://example.com/ws', authToken: 'your-auth-token', debug: true,
      onMessage: (message) => console.log('Received message:', message) });
    const failures = [];
    socket.send({ type: 'chat', payload: { message: 'Hello, world!' } }).catch((error) => failures.push(error.code));
    await settle();
    connections[0].welcome();
    connections[0].frame('chat', { message: 'Hello, world!' }, { seq: 1 });
    assert.deepEqual(connections[0].sent.filter(({ type }) => type !== 'ping'), [
      { csrfToken: 'csrf-1', type: 'chat', id: 1, payload: { message: 'Hello, world!' } },
    ]);
    assert.deepEqual(lines.find(([text]) => text === 'Received message:')[1], {
      type: 'chat', seq: 1, payload: { message: 'Hello, world!' },
    });
    socket.close();
    await settle();
    assert.deepEqual(failures, ['delivery_unknown']);
    assert.equal(connections[0].closedWith.code, 1000);
  } finally {
    if (saved) globalThis.WebSocket = saved;
    else delete globalThis.WebSocket;
  }
});

test('send resolves on ack, with the id that the message had', async () => {
  const it = await openRig();
  const first = it.socket.send({ type: 'chat', payload: 'a' });
  const second = it.socket.send({ type: 'chat', payload: 'b' });
  assert.deepEqual(it.peer.sent.map(({ id }) => id), [1, 2]);
  it.peer.frame('ack', {}, { id: 2 });
  it.peer.frame('ack', {}, { id: 1 });
  assert.deepEqual(await Promise.all([first, second]), [{ id: 1 }, { id: 2 }]);
});

test('send rejects with what the server said', async () => {
  const it = await openRig();
  const sent = it.socket.send({ type: 'chat', payload: 'a' });
  const refusal = { code: 'upstream_unavailable', message: 'm', ref: 'r1', retryAfterMs: 40 };
  it.peer.frame('error', refusal, { id: 1 });
  await assert.rejects(sent, { name: 'SecureWebSocketError', code: 'upstream_unavailable', ref: 'r1', retryAfterMs: 40 });
  assert.deepEqual(it.seen.errors, [], 'told once, not twice');
});

test('an error that is about no message of ours goes to onError', async () => {
  const it = await openRig();
  it.peer.frame('error', { code: 'internal', message: 'm', ref: 'r2' });
  it.peer.frame('error', { code: 'internal', message: 'm', ref: 'r3' }, { id: 99 });
  assert.deepEqual(it.seen.errors.map(({ ref }) => ref), ['r2', 'r3']);
});

test('sends wait for the welcome and keep their order', async () => {
  const it = rig();
  for (const payload of [1, 2, 3]) it.socket.send({ type: 'n', payload });
  await settle();
  it.peer.open();
  assert.deepEqual(it.peer.sent, []);
  it.peer.welcome();
  it.socket.send({ type: 'n', payload: 4 });
  assert.deepEqual(it.peer.sent.map(({ payload }) => payload), [1, 2, 3, 4]);
});

test('the payload is written down at send, the CSRF token when it is written', async () => {
  const it = rig();
  const payload = { text: 'before' };
  it.socket.send({ type: 'n', payload });
  payload.text = 'after';
  await settle();
  it.peer.welcome({ csrfToken: 'quo"te' });
  assert.deepEqual(it.peer.sent, [{ csrfToken: 'quo"te', type: 'n', id: 1, payload: { text: 'before' } }]);
});

test('CSRF: rotation is followed and loses nothing', async () => {
  const it = await openRig();
  const late = it.socket.send({ type: 'n', payload: 1 });
  it.peer.frame('csrf', { csrfToken: 'csrf-2', csrfExpiresAt: 9 });
  it.socket.send({ type: 'n', payload: 2 });
  // The first was on its way for longer than the old token stayed good.
  it.peer.frame('error', { code: 'csrf_invalid', message: 'm', ref: 'r' }, { id: 1 });
  assert.deepEqual(
    it.peer.sent.map(({ id, csrfToken }) => `${id} ${csrfToken}`),
    ['1 csrf-1', '2 csrf-2', '1 csrf-2'],
  );
  it.peer.frame('ack', {}, { id: 1 });
  assert.equal(await codeOf(late), 'resolved');
});

test('CSRF: a refusal of the newest token stands', async () => {
  const it = await openRig();
  const sent = it.socket.send({ type: 'n' });
  it.peer.frame('error', { code: 'csrf_invalid', message: 'm', ref: 'r' }, { id: 1 });
  assert.equal(await codeOf(sent), 'csrf_invalid');
  assert.equal(it.peer.sent.length, 1);
});

test('messages that cannot be sent are refused at once and not counted', async () => {
  const it = await openRig({}, { maxMessageBytes: 200 });
  const circular = {};
  circular.self = circular;
  for (const [name, message, code] of [
    ['nothing', null, 'invalid_message'],
    ['type of the protocol', { type: 'auth', payload: { token: 'x' } }, 'invalid_message'],
    ['circular', { type: 'n', payload: circular }, 'invalid_message'],
    ['bigint', { type: 'n', payload: 1n }, 'invalid_message'],
    ['too large', { type: 'n', payload: 'é'.repeat(80) }, 'too_large'],
  ]) {
    assert.equal(await codeOf(it.socket.send(message)), code, name);
  }
  assert.deepEqual(it.peer.sent, []);
  it.socket.send({ type: 'n' });
  assert.equal(it.peer.sent.length, 1);
});

test('the size limit counts the whole frame: one byte more is refused', async () => {
  const frame = (chars) => JSON.stringify({ csrfToken: 'csrf-1', type: 'n', id: 1, payload: 'x'.repeat(chars) }).length;
  const room = 200 - frame(0);
  for (const [extra, code] of [[0, 'resolved'], [1, 'too_large']]) {
    const it = await openRig({}, { maxMessageBytes: 200 });
    const sent = it.socket.send({ type: 'n', payload: 'x'.repeat(room + extra) });
    if (it.peer.sent.length) it.peer.frame('ack', {}, { id: 1 });
    assert.equal(await codeOf(sent), code);
  }
});

test('a message that waited and is larger than the welcome allows does not cost the connection', async () => {
  const it = rig();
  const sent = it.socket.send({ type: 'n', payload: 'x'.repeat(300) });
  it.socket.send({ type: 'n', payload: 'small' });
  await settle();
  it.peer.welcome({ maxMessageBytes: 200 });
  assert.equal(await codeOf(sent), 'too_large');
  assert.deepEqual(it.peer.sent.map(({ payload }) => payload), ['small']);
});

test('queue: bounded in count and bytes, and an acknowledgement makes room', async () => {
  const it = await openRig({ queue: { maxMessages: 2 } });
  it.socket.send({ type: 'n' });
  it.socket.send({ type: 'n' });
  assert.equal(await codeOf(it.socket.send({ type: 'n' })), 'queue_full');
  it.peer.frame('ack', {}, { id: 1 });
  it.socket.send({ type: 'last' });
  assert.deepEqual(it.peer.sent.map(({ type }) => type), ['n', 'n', 'last']);

  const bytes = rig({ queue: { maxBytes: 100 } });
  bytes.socket.send({ type: 'n', payload: 'é'.repeat(30) });
  assert.equal(await codeOf(bytes.socket.send({ type: 'n', payload: 'x' })), 'queue_full');
  await settle();
  bytes.peer.welcome();
  bytes.peer.frame('ack', {}, { id: 1 });
  bytes.socket.send({ type: 'n', payload: 'é'.repeat(30) });
  assert.deepEqual(bytes.peer.sent.map(({ id }) => id), [1, 3], 'an id that was refused is not used again');
});

test('time: each message has its own, counted from send', async () => {
  const it = await openRig();
  const outcomes = [];
  const send = (name) => it.socket.send({ type: name }).catch(({ code }) => outcomes.push(`${name} ${code}`));
  send('first');
  await it.clock.advance(9_000);
  send('second');
  await it.clock.advance(20_999);
  assert.deepEqual(outcomes, []);
  await it.clock.advance(1);
  assert.deepEqual(outcomes, ['first timeout']);
  await it.clock.advance(8_999);
  assert.deepEqual(outcomes, ['first timeout']);
  await it.clock.advance(1);
  assert.deepEqual(outcomes, ['first timeout', 'second timeout']);
});

test('time: a message that never found a connection rejects too', async () => {
  const it = rig();
  const outcome = codeOf(it.socket.send({ type: 'n' }));
  await it.clock.advance(30_000);
  assert.equal(await outcome, 'timeout');
  it.socket.close();
});

test('a message that was rejected while it waited is never sent', async () => {
  const it = rig({ ackTimeoutMs: 1_000 });
  await settle();
  const sent = it.socket.send({ type: 'n' });
  await it.clock.advance(1_000);
  assert.equal(await codeOf(sent), 'timeout');
  it.peer.welcome();
  assert.deepEqual(it.peer.sent, []);
});

test('a send that nobody awaits never becomes an unhandled rejection', async () => {
  const unhandled = [];
  const listener = (reason) => unhandled.push(reason);
  process.on('unhandledRejection', listener);
  try {
    const it = await openRig();
    it.socket.send({ type: 'n' });
    it.socket.send(null);
    it.peer.drop();
    it.socket.send({ type: 'n' });
    it.socket.close();
    it.socket.send({ type: 'n' });
    await settle();
    await settle();
    assert.deepEqual(unhandled, []);
  } finally {
    process.off('unhandledRejection', listener);
  }
});

test('onMessage gets the messages of the application and no control frame', async () => {
  const it = await openRig();
  it.peer.frame('csrf', { csrfToken: 'c', csrfExpiresAt: 1 });
  it.peer.frame('auth.refreshed', { authExpiresAt: 1 });
  it.peer.frame('pong', { serverTime: 1 });
  it.peer.frame('ack', {}, { id: 5 });
  it.peer.frame('error', { code: 'internal', message: 'm', ref: 'r' });
  it.peer.frame('echo', [1], { id: 7, seq: 1 });
  it.peer.frame('chat', { message: 'm' }, { seq: 2 });
  it.peer.raw('{"type":"odd","payload":null}');
  assert.deepEqual(it.seen.messages, [
    { type: 'echo', id: 7, seq: 1, payload: [1] },
    { type: 'chat', seq: 2, payload: { message: 'm' } },
    { type: 'odd', payload: null },
  ]);
});

test('what is not wsguard.v1 is reported and changes nothing', async () => {
  for (const [name, data] of [
    ['not JSON', '{'],
    ['null', 'null'],
    ['an array', '[]'],
    ['no type', '{"payload":1}'],
    ['type is a number', '{"type":1}'],
    ['binary', new ArrayBuffer(4)],
    ['welcome without a CSRF token', '{"type":"welcome","payload":{"maxMessageBytes":1}}'],
    ['csrf without a payload', '{"type":"csrf"}'],
    ['error with a payload that is a string', '{"type":"error","payload":"x"}'],
    ['draining at no time', '{"type":"draining","payload":{"reconnectAfterMs":"soon"}}'],
  ]) {
    const it = await openRig();
    it.peer.raw(data);
    assert.deepEqual(it.seen.errors.map(({ code }) => code), ['protocol'], name);
    assert.deepEqual(it.seen.messages, [], name);
    it.socket.send({ type: 'n' });
    assert.equal(it.peer.sent[0].csrfToken, WELCOME.csrfToken, name);
  }
});

test('a message before the welcome is not believed', async () => {
  const it = rig();
  await settle();
  it.peer.open();
  it.peer.frame('chat', 'early');
  assert.deepEqual(it.seen.messages, []);
  assert.deepEqual(it.seen.errors.map(({ code }) => code), ['protocol']);
});

test('a callback that throws, at once or later, does not break the socket', async () => {
  const boom = new Error('boom');
  const it = await openRig({
    onOpen: () => {
      throw boom;
    },
    onMessage: async () => {
      throw boom;
    },
    onStateChange: () => {
      throw boom;
    },
  });
  it.peer.frame('chat', 1);
  await settle();
  assert.deepEqual(it.seen.errors.map(({ code, cause }) => [code, cause]), Array(3).fill(['callback_failed', boom]));
  const sent = it.socket.send({ type: 'n' });
  it.peer.frame('ack', {}, { id: 1 });
  assert.equal(await codeOf(sent), 'resolved');
});

test('an onError that throws is the end of the line, and still breaks nothing', async (t) => {
  const shown = t.mock.method(console, 'error', () => {});
  const it = await openRig({
    onError: () => {
      throw new Error('boom');
    },
  });
  it.peer.raw('{');
  await settle();
  assert.equal(shown.mock.callCount(), 1);
  assert.equal(it.socket.state, 'open');
});

test('debug output tells the story and no secret', async (t) => {
  const lines = [];
  t.mock.method(console, 'log', (line) => lines.push(line));
  const secrets = { csrfToken: 'TOPSECRET-2', resumeToken: 'TOPSECRET-3' };
  const it = await openRig({ debug: true, authToken: () => 'TOPSECRET-1' }, secrets);
  it.socket.send({ type: 'chat', payload: { message: 'hello', password: 'TOPSECRET-4' } });
  it.peer.frame('auth.expiring', { authExpiresAt: 1 });
  await settle();
  it.peer.raw('{"type":"csrf","payload":{"csrfT\\u006fken":"TOPSECRET-5","csrfExpiresAt":1}}');
  it.peer.raw('TOPSECRET-6');
  it.peer.drop();
  it.socket.close();
  const text = lines.join('\n');
  assert.doesNotMatch(text, /TOPSECRET/);
  const told = ['hello', 'auth.refresh', '"state":"open"', 'onError {"error"', 'onClose {"code":1006', '"retryAt":', '***'];
  for (const part of told) {
    assert.ok(text.includes(part), part);
  }
});

test('without debug nothing is printed', async (t) => {
  const log = t.mock.method(console, 'log', () => {});
  const it = await openRig();
  it.socket.send({ type: 'n' });
  it.socket.close();
  assert.equal(log.mock.callCount(), 0);
});
