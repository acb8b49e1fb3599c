// The client in Node against the real server.
import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import * as ws from 'ws';
import { SecureWebSocket } from '../dist/node.js';
import { Proxy, Server, TOKEN, UNLIMITED, until } from './support.mjs';

/** That of the package `ws`, or (`scripts/node.mjs`) that of Node itself. */
const WebSocket = process.env.WSGUARD_WEBSOCKET === 'platform' ? undefined : ws.WebSocket;

/** A socket that keeps what it hears. */
function open(url, options = {}) {
  const seen = { echoes: [], chats: [], opens: [], closes: [], errors: [], debug: [], rtts: [] };
  const socket = new SecureWebSocket({
    url,
    authToken: TOKEN,
    WebSocket,
    reconnect: { minDelayMs: 50, maxDelayMs: 500, stableAfterMs: 200 },
    debug: (line) => seen.debug.push(line),
    onMessage: ({ type, payload }) => (type === 'echo' ? seen.echoes : seen.chats).push(payload),
    onOpen: (welcome) => seen.opens.push(welcome),
    onClose: (info) => seen.closes.push(info),
    onError: (error) => seen.errors.push(error),
    onRtt: (rtt) => seen.rtts.push(rtt),
    ...options,
  });
  return { socket, seen, [Symbol.dispose]: () => socket.close() };
}

const range = (count, from = 0) => Array.from({ length: count }, (_, n) => from + n);

describe('the client and the real server', { concurrency: 4, timeout: 120_000 }, () => {
  for (const auth of ['subprotocol', 'first-message', 'ticket']) {
    test(`connects, sends, measures and closes: ${auth}`, async (t) => {
      const server = await Server.start();
      t.after(() => server[Symbol.asyncDispose]());
      const { socket, seen } = open(server.url, { auth });
      assert.deepEqual(await socket.send({ type: 'echo', payload: 'grüße' }), { id: 1 });
      assert.deepEqual(seen.echoes, ['grüße']);
      await until('a pong', () => socket.rtt);
      assert.ok(socket.rtt.last > 0 && socket.rtt.last < 20_000);
      socket.close();
      assert.deepEqual(seen.errors, []);
      assert.doesNotMatch(seen.debug.join('\n'), /test_token|wsguard\.resume\./);
    });
  }

  test('a bad token ends in a typed error after one attempt, whichever way it travels', async (t) => {
    const server = await Server.start();
    t.after(() => server[Symbol.asyncDispose]());
    for (const auth of ['subprotocol', 'first-message', 'ticket']) {
      const { socket, seen } = open(server.url, { auth, authToken: 'not-a-token' });
      await assert.rejects(socket.send({ type: 'echo' }), { code: 'unauthenticated' });
      assert.equal(socket.state, 'closed');
      assert.equal(seen.closes.length, 1);
      assert.ok(seen.closes[0].error.ref, 'a reference that the operator finds');
    }
  });

  test('a refused message says why, and the next one passes', async (t) => {
    const server = await Server.start();
    t.after(() => server[Symbol.asyncDispose]());
    const { socket } = open(server.url);
    t.after(() => socket.close());
    await assert.rejects(socket.send({ type: 'nonsense' }), { code: 'unknown_type' });
    await assert.rejects(socket.send({ type: 'chat', payload: { message: '' } }), { code: 'invalid_message' });
    await assert.rejects(socket.send({ type: 'chat', payload: JSON.parse('{"__proto__":1}') }), { code: 'unsafe_content' });
    await assert.rejects(socket.send({ type: 'chat', payload: { message: 'm', room: 'elsewhere' } }), { code: 'forbidden' });
    await socket.send({ type: 'chat', payload: { message: 'hello' } });
  });

  test('the token is renewed before it ends, on the open connection', async (t) => {
    const server = await Server.start();
    t.after(() => server[Symbol.asyncDispose]());
    const reasons = [];
    const { socket, seen } = open(server.url, {
      authToken: ({ reason }) => {
        reasons.push(reason);
        return server.token('ann', '3s');
      },
    });
    t.after(() => socket.close());
    await until('two renewals', () => seen.debug.filter((line) => line.includes('auth.refreshed')).length >= 2);
    await socket.send({ type: 'echo', payload: 'after the first token ended' });
    assert.deepEqual(reasons.slice(0, 3), ['connect', 'expiring', 'expiring']);
    assert.deepEqual(seen.closes, [], 'one connection throughout');
  });

  test('a static token that ends closes the socket, once', async (t) => {
    const server = await Server.start();
    t.after(() => server[Symbol.asyncDispose]());
    const { socket, seen } = open(server.url, { authToken: await server.token('ann', '1s') });
    await until('the end', () => socket.state === 'closed');
    assert.deepEqual(seen.closes.map(({ code, error }) => [code, error.code]), [[4401, 'session_expired']]);
  });

  test('the CSRF token rotates and no message is lost for it', async (t) => {
    const server = await Server.start({ WSGUARD_CSRF__ROTATE_EVERY: '1m' });
    t.after(() => server[Symbol.asyncDispose]());
    const { socket, seen } = open(server.url);
    t.after(() => socket.close());
    const rotated = () => seen.debug.some((line) => line.includes('<- {"type":"csrf"'));
    const started = Date.now();
    let sent = 0;
    // A message each 200 ms, past the rotation; the server rotates every minute at the soonest.
    while (!rotated() || sent < 10) {
      assert.ok(Date.now() - started < 100_000, 'the token rotated');
      await socket.send({ type: 'echo', payload: sent++ });
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    for (let n = 0; n < 10; n += 1) await socket.send({ type: 'echo', payload: sent++ });
    assert.deepEqual(seen.echoes, range(sent));
    assert.deepEqual(seen.errors, []);
  });

  // Twelve times the burst at once, on a quota that has room for another message every 5 ms: what is in flight when the
  // first is refused would overtake it.
  test('a burst far beyond the quota arrives, each message once, in order', async (t) => {
    const server = await Server.start({ WSGUARD_RATE__MESSAGES_PER_SECOND: '200', WSGUARD_RATE__BURST: '50' });
    t.after(() => server[Symbol.asyncDispose]());
    const { socket, seen } = open(server.url, { ackTimeoutMs: 60_000 });
    t.after(() => socket.close());
    await Promise.all(range(600).map((payload) => socket.send({ type: 'echo', payload })));
    assert.deepEqual(seen.echoes, range(600));
    assert.deepEqual(new Set(seen.errors.map(({ code }) => code)), new Set(['rate_limited']));
    assert.deepEqual(seen.closes, [], 'no penalty beyond waiting');
  });

  test('1,000 messages while the network is cut, half-open and restored: each once, in order', async (t) => {
    const server = await Server.start(UNLIMITED);
    t.after(() => server[Symbol.asyncDispose]());
    const proxy = await Proxy.to(server.port);
    t.after(() => proxy[Symbol.asyncDispose]());
    // Trouble strikes with an echo, not a while after it: the rest of its part is under way then, whatever the machine's pace.
    let strike = () => {};
    const { socket, seen } = open(proxy.url, {
      health: { intervalMs: 300, timeoutMs: 200 }, ackTimeoutMs: 100_000, connectTimeoutMs: 1_000,
      onMessage: ({ payload }) => {
        seen.echoes.push(payload);
        strike();
      },
    });
    t.after(() => socket.close());
    const outcomes = [];
    let sent = 0;
    const send = (count) => {
      for (const payload of range(count, sent)) socket.send({ type: 'echo', payload }).then(() => outcomes.push(payload), (error) => outcomes.push(error.code));
      sent += count;
    };
    const refuse = () => {
      proxy.refuse();
      proxy.cut();
    };
    for (const trouble of [() => proxy.cut(), () => proxy.hold(), () => proxy.cut(), () => proxy.mute(), () => proxy.cut(), refuse]) {
      const half = sent + 75;
      let closes;
      const struck = new Promise((resolve) => {
        strike = () => {
          if (seen.echoes.length < half) return;
          strike = () => {};
          closes = seen.closes.length;
          resolve(trouble());
        };
      });
      send(150);
      await struck;
      await until('the client noticed', () => seen.closes.length > closes);
      proxy.restore();
    }
    send(100);
    await until('all outcomes', () => outcomes.length === 1_000);
    await until('all echoes', () => seen.echoes.length >= 1_000);
    assert.deepEqual(outcomes, range(1_000), 'each acknowledged, in order');
    assert.deepEqual(seen.echoes, range(1_000), 'each handled once, in order, and its answer received once');
    assert.ok(seen.opens.slice(1).every(({ resumed }) => resumed), 'every return resumed');
    assert.ok(seen.opens.length >= 7, 'each trouble ended a connection, and the next part came over a new one');
  });

  for (const onLost of ['reject', 'resend']) {
    test(`kill -9 and a new start: ${onLost}`, async (t) => {
      const server = await Server.start(UNLIMITED);
      t.after(() => server[Symbol.asyncDispose]());
      const proxy = await Proxy.to(server.port);
      t.after(() => proxy[Symbol.asyncDispose]());
      const { socket, seen } = open(proxy.url, { onLost, ackTimeoutMs: 100_000 });
      t.after(() => socket.close());
      const outcomes = new Map();
      const send = (payload) =>
        socket.send({ type: 'echo', payload }).then(() => outcomes.set(payload, 'handled'), (error) => outcomes.set(payload, error.code));
      await Promise.all(range(20).map(send));
      assert.deepEqual(seen.echoes, range(20));
      // In flight: the server handles these, and its answers do not arrive.
      proxy.mute();
      for (const payload of range(10, 100)) send(payload);
      await until('they were written', () => seen.debug.filter((line) => line.includes('"type":"echo","id"')).length >= 30);
      await server.stop('SIGKILL');
      proxy.cut();
      await until('the client noticed', () => socket.state === 'reconnecting');
      // Queued: these were never written.
      for (const payload of range(10, 200)) send(payload);
      proxy.restore();
      await server.start();
      await until('everything has an outcome', () => outcomes.size === 40);
      const inFlight = onLost === 'reject' ? 'delivery_unknown' : 'handled';
      for (const payload of range(10, 100)) assert.equal(outcomes.get(payload), inFlight, String(payload));
      for (const payload of range(10, 200)) assert.equal(outcomes.get(payload), 'handled', String(payload));
      await until('the echoes of the new process', () => seen.echoes.includes(209));
      // Nothing that was acknowledged is sent again.
      const again = onLost === 'reject' ? range(10, 200) : [...range(10, 100), ...range(10, 200)];
      assert.deepEqual(seen.echoes.slice(20), again);
      assert.deepEqual(seen.opens.map(({ resumed }) => resumed), [false, false]);
    });
  }

  test('a key that a restart replaced: one fresh token, and on', async (t) => {
    const server = await Server.start();
    t.after(() => server[Symbol.asyncDispose]());
    const reasons = [];
    let kept;
    const { socket, seen } = open(server.url, {
      // As applications do: a token is kept until it is refused.
      authToken: async ({ reason }) => {
        reasons.push(reason);
        if (reason !== 'connect') kept = undefined;
        return (kept ??= await server.token('ann', '5m'));
      },
    });
    t.after(() => socket.close());
    await socket.send({ type: 'echo', payload: 1 });
    await server.stop('SIGKILL');
    await server.start();
    await socket.send({ type: 'echo', payload: 2 });
    assert.equal(reasons.filter((reason) => reason === 'rejected').length, 1);
    assert.deepEqual(seen.echoes, [1, 2]);
  });

  test('a server that drains: what is sent meanwhile reaches the next one', async (t) => {
    const server = await Server.start(UNLIMITED);
    t.after(() => server[Symbol.asyncDispose]());
    const { socket, seen } = open(server.url, { ackTimeoutMs: 60_000 });
    t.after(() => socket.close());
    await socket.send({ type: 'echo', payload: 0 });
    const stopped = server.stop('SIGTERM');
    await until('draining', () => seen.debug.some((line) => line.includes('<- {"type":"draining"')));
    const sent = range(20, 1).map((payload) => socket.send({ type: 'echo', payload }));
    await stopped;
    await server.start();
    await Promise.all(sent);
    assert.deepEqual(seen.echoes, range(21));
  });
});
