import assert from 'node:assert/strict';
import test from 'node:test';
import { SecureWebSocketError } from '../dist/index.js';
import { codeOf, fakeFetch, openRig, rig, settle } from './support.mjs';

test('subprotocol: the token is offered beside wsguard.v1 and never in the address', async () => {
  const { peer } = await openRig();
  assert.deepEqual(peer.protocols, ['wsguard.v1', 'wsguard.ordered', 'wsguard.resume', 'wsguard.bearer.secret-token']);
  assert.equal(peer.url, 'wss://example.com/ws');
  assert.deepEqual(peer.sent, []);
});

test('first-message: the token travels in the first frame, and nothing overtakes it', async () => {
  const it = rig({ auth: 'first-message' });
  it.socket.send({ type: 'chat', payload: 1 });
  await settle();
  assert.deepEqual(it.peer.protocols, ['wsguard.v1', 'wsguard.ordered', 'wsguard.resume']);
  it.peer.open();
  assert.deepEqual(it.peer.sent, [{ type: 'auth', payload: { token: 'secret-token' } }]);
  it.peer.welcome();
  assert.deepEqual(it.peer.sent.map(({ type }) => type), ['auth', 'chat']);
});

test('ticket: a new one is fetched with the bearer before each connection', async (t) => {
  const asked = fakeFetch(t, { body: { ticket: 't&1' } }, { body: { ticket: 't2' } });
  const it = rig({ auth: 'ticket' });
  await settle();
  assert.equal(asked[0].url, 'https://example.com/ws/ticket');
  assert.equal(asked[0].method, 'POST');
  assert.equal(asked[0].headers.authorization, 'Bearer secret-token');
  assert.equal(it.peer.url, 'wss://example.com/ws?ticket=t%261');
  assert.deepEqual(it.peer.protocols, ['wsguard.v1', 'wsguard.ordered', 'wsguard.resume']);
  it.peer.drop();
  await it.clock.advance(250);
  assert.equal(it.peer.url, 'wss://example.com/ws?ticket=t2');
});

test('cookie: the proof is fetched with the cookie and sent in the first frame', async (t) => {
  const asked = fakeFetch(t, { body: { csrfToken: 'proof' } });
  const it = rig({ url: 'ws://localhost:3000/ws?room=1', auth: 'cookie', authToken: undefined });
  await settle();
  assert.equal(asked[0].url, 'http://localhost:3000/ws/session');
  // The cookie goes with it: that is what a browser does where the page is of the same origin.
  assert.deepEqual([asked[0].credentials, asked[0].headers], [undefined, {}]);
  assert.equal(asked[0].body, undefined);
  it.peer.open();
  assert.deepEqual(it.peer.sent, [{ type: 'auth', csrfToken: 'proof' }]);
});

test('an endpoint that refuses is understood', async (t) => {
  const refs = { error: { code: 'x', ref: 'r1' } };
  for (const [name, answer, code, willReconnect] of [
    ['401 with a static token', { status: 401, body: refs }, 'unauthenticated', false],
    ['403', { status: 403, body: refs }, 'forbidden', false],
    ['429', { status: 429, headers: { 'retry-after': '3' }, body: refs }, 'rate_limited', true],
    ['500', { status: 500, body: refs }, 'token_failed', true],
  ]) {
    await t.test(name, async (t) => {
      fakeFetch(t, answer);
      const it = rig({ auth: 'ticket' });
      await settle();
      const [info] = it.seen.closes;
      assert.equal(info.error.code, code);
      assert.equal(info.error.ref, 'r1');
      assert.equal(info.willReconnect, willReconnect);
      assert.equal(it.connections.length, 0);
      it.socket.close();
    });
  }
  await t.test('no ticket in the answer', async (t) => {
    for (const body of [{}, null, { ticket: '' }, { ticket: 7 }]) {
      fakeFetch(t, { body });
      const it = rig({ auth: 'ticket' });
      await settle();
      assert.equal(it.seen.closes[0].error.code, 'token_failed');
      assert.equal(it.connections.length, 0);
      it.socket.close();
    }
  });
  await t.test('429 is obeyed', async (t) => {
    const asked = fakeFetch(t, { status: 429, headers: { 'retry-after': '3' } }, { body: { ticket: 't' } });
    const it = rig({ auth: 'ticket' });
    await it.clock.advance(3_000);
    assert.equal(asked.length, 1);
    await it.clock.advance(250);
    assert.equal(asked.length, 2);
  });
  await t.test('no network', async (t) => {
    const cause = new TypeError('fetch failed');
    fakeFetch(t, cause);
    const it = rig({ auth: 'ticket' });
    await settle();
    assert.equal(it.seen.closes[0].error.code, 'token_failed');
    assert.equal(it.seen.closes[0].error.cause, cause);
    it.socket.close();
  });
});

test('a token function is asked for every connection, with the reason', async () => {
  const reasons = [];
  const it = await openRig({ authToken: async ({ reason }) => `t${reasons.push(reason)}` });
  it.peer.drop();
  await it.clock.advance(250);
  assert.equal(it.peer.protocols[3], 'wsguard.bearer.t2');
  it.peer.open();
  it.peer.drop(4401);
  await it.clock.advance(500);
  assert.equal(it.peer.protocols[3], 'wsguard.bearer.t3');
  assert.deepEqual(reasons, ['connect', 'connect', 'rejected']);
});

test('a token function that fails is asked again, backing off, unless it says forbidden', async () => {
  const cause = new Error('offline');
  let calls = 0;
  const it = rig({
    authToken: () => {
      calls += 1;
      throw calls < 3 ? cause : new SecureWebSocketError('forbidden', 'logged out');
    },
  });
  await settle();
  assert.equal(it.seen.closes[0].error.code, 'token_failed');
  assert.equal(it.seen.closes[0].error.cause, cause);
  await it.clock.advance(60_000);
  assert.equal(calls, 3);
  assert.equal(it.socket.state, 'closed');
  assert.equal(it.seen.closes.at(-1).error.message, 'logged out');
});

test('a token function that never answers costs one attempt, not the socket', async () => {
  let calls = 0;
  const it = rig({ authToken: () => (calls++ ? 'second' : new Promise(() => {})) });
  await it.clock.advance(10_000);
  assert.equal(it.seen.closes[0].error.code, 'connection_lost');
  await it.clock.advance(250);
  assert.equal(it.peer.protocols[3], 'wsguard.bearer.second');
});

test('auth.expiring: a function brings a fresh token on the open connection, one question at a time', async () => {
  const answers = [];
  const it = rig({ authToken: ({ reason }) => (reason === 'connect' ? 't1' : new Promise((r) => answers.push(r))) });
  await settle();
  it.peer.welcome();
  it.peer.frame('auth.expiring', { authExpiresAt: 3 });
  it.peer.frame('auth.expiring', { authExpiresAt: 3 });
  await settle();
  assert.equal(answers.length, 1);
  answers[0]('t2');
  await settle();
  assert.deepEqual(it.peer.sent, [{ type: 'auth.refresh', payload: { token: 't2' } }]);
  it.peer.frame('auth.refreshed', { authExpiresAt: 4 });
  assert.deepEqual(it.seen.messages, []);
  assert.equal(it.connections.length, 1);
});

test('auth.expiring: a static token sends nothing; a failing function is reported', async () => {
  const it = await openRig();
  it.peer.frame('auth.expiring', { authExpiresAt: 3 });
  await settle();
  assert.deepEqual(it.peer.sent, []);

  const failing = await openRig({
    authToken: ({ reason }) => {
      if (reason === 'expiring') throw new Error('offline');
      return 't1';
    },
  });
  failing.peer.frame('auth.expiring', { authExpiresAt: 3 });
  await settle();
  assert.deepEqual(failing.seen.errors.map(({ code }) => code), ['token_failed']);
  assert.equal(failing.socket.state, 'open');
});

test('a static token that is refused ends in a typed error, never in a loop', async () => {
  const it = rig();
  const queued = codeOf(it.socket.send({ type: 'chat' }));
  await settle();
  it.peer.open();
  it.peer.frame('error', { code: 'unauthenticated', message: 'Authentication is required.', ref: 'r9' });
  it.peer.drop(4401);
  assert.equal(it.socket.state, 'closed');
  const { error, willReconnect, code } = it.seen.closes[0];
  assert.deepEqual([code, error.code, error.ref, willReconnect], [4401, 'unauthenticated', 'r9', false]);
  assert.equal(await queued, 'unauthenticated');
  await it.clock.advance(600_000);
  assert.equal(it.connections.length, 1);
  assert.equal(it.clock.pending, 0);
  assert.equal(await codeOf(it.socket.send({ type: 'chat' })), 'closed');
});

test('4401 is answered once with a fresh token, and again only after a stable connection', async () => {
  const it = await openRig({ authToken: () => 't' });
  await it.clock.advance(5_000);
  for (const round of [1, 2]) {
    it.peer.drop(4401);
    await it.clock.advance(500);
    assert.equal(it.connections.length, 1 + round, `round ${round}`);
    it.peer.welcome();
    await it.clock.advance(5_000);
  }
  it.peer.drop(4401);
  await it.clock.advance(500);
  it.peer.welcome();
  await it.clock.advance(4_999);
  it.peer.drop(4401);
  assert.equal(it.socket.state, 'closed');
  assert.equal(it.seen.closes.at(-1).error.code, 'unauthenticated');
});

test('options that cannot work are refused where they are written', () => {
  assert.throws(() => rig({ url: 'example' }), TypeError);
  assert.throws(() => rig({ authToken: '' }), { code: 'token_failed' });
});

test('a token that no header can carry ends the socket, and nothing repeats it', async () => {
  for (const authToken of ['secret token', () => 'secret token']) {
    const it = rig({ authToken });
    await settle();
    assert.equal(it.socket.state, 'closed');
    const { error } = it.socket.snapshot;
    assert.equal(error.code, 'token_failed');
    assert.equal(error.cause, 'SyntaxError');
    assert.doesNotMatch(`${error.message} ${error.cause}`, /secret/);
    assert.equal(it.clock.pending, 0);
  }
});

test('questions for the token that overlap are one question', async () => {
  const answers = [];
  const it = await openRig({
    authToken: ({ reason }) => (answers.length || reason === 'expiring' ? new Promise((r) => answers.push(r)) : 't'),
  });
  // The connection is lost while its successor is asked for: the next attempt waits for the same answer.
  void it.socket.refresh();
  it.peer.drop();
  await it.clock.advance(250);
  assert.equal(answers.length, 1);
  answers[0]('a');
  await settle();
  assert.equal(it.peer.protocols[3], 'wsguard.bearer.a');
  assert.deepEqual(it.peer.sent, [], 'the new connection began with the fresh token');

  // An attempt that nobody answers is given up, with its question; the late answer goes nowhere.
  it.peer.drop();
  await it.clock.advance(500);
  await it.clock.advance(10_000);
  await it.clock.advance(1_000);
  assert.equal(answers.length, 3);
  answers[1]('late');
  await settle();
  assert.equal(it.connections.length, 2);
  answers[2]('b');
  await settle();
  assert.equal(it.peer.protocols[3], 'wsguard.bearer.b');
});
