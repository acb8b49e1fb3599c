import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { codeOf, openRig, rig, settle } from './support.mjs';

const vectors = JSON.parse(readFileSync(new URL('../../../vectors/protocol.json', import.meta.url), 'utf8'));

test('full jitter below a bound that doubles up to the maximum, and nothing overflows', async () => {
  for (const [random, want] of [
    [1, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]],
    [0, Array(8).fill(0)],
  ]) {
    const it = rig({ random: () => random });
    await settle();
    const waits = [];
    for (let tries = 0; tries < 1_100; tries += 1) {
      it.peer.drop();
      waits.push(it.socket.snapshot.retryAt - it.clock.now());
      await it.clock.advance(waits.at(-1));
    }
    assert.deepEqual(waits.slice(0, 8), want);
    assert.equal(waits.at(-1), want.at(-1));
    it.socket.close();
  }
});

test('every close code does what the protocol says', async (t) => {
  for (const { code, reconnect } of vectors.closeCodes) {
    await t.test(`${code}: ${reconnect}`, async () => {
      const it = await openRig({ authToken: () => 't' });
      it.peer.frame('error', { code: 'rate_limited', message: 'm', ref: 'r', retryAfterMs: 7_000 });
      it.peer.drop(code, 'why');
      const [info] = it.seen.closes;
      assert.deepEqual([info.code, info.reason], [code, 'why']);
      // The wait that the error names is obeyed where it explains the close.
      const named = code >= 4400 ? 7_000 : 0;
      const waitMs = reconnect === 'never' ? undefined : named + 250;
      assert.equal(info.willReconnect, waitMs !== undefined);
      assert.equal(it.socket.state, waitMs === undefined ? 'closed' : 'reconnecting');
      if (waitMs === undefined) {
        await it.clock.advance(1_000_000);
        assert.equal(it.connections.length, 1);
        assert.equal(it.clock.pending, 0);
      } else {
        await it.clock.advance(waitMs - 1);
        assert.equal(it.connections.length, 1, 'not earlier');
        await it.clock.advance(1);
        assert.equal(it.connections.length, 2);
      }
    });
  }
});

test('close codes that no server of ours sends', async () => {
  for (const [code, state] of [
    [1005, 'reconnecting'],
    [1006, 'reconnecting'],
    [1015, 'reconnecting'],
    [3000, 'reconnecting'],
    [4000, 'reconnecting'],
    [4410, 'closed'],
    [4499, 'closed'],
    [4500, 'reconnecting'],
  ]) {
    const it = await openRig();
    it.peer.drop(code);
    assert.equal(it.socket.state, state, String(code));
    it.socket.close();
  }
});

test('the error of a close is what the server said before it, and not an older refusal', async () => {
  for (const [code, want] of [
    [4403, 'session_expired'],
    [1008, 'session_expired'],
    [1006, 'connection_lost'],
    [1012, 'connection_lost'],
  ]) {
    const it = await openRig();
    it.peer.frame('error', { code: 'session_expired', message: 'm', ref: 'r' });
    it.peer.drop(code);
    assert.equal(it.seen.closes[0].error.code, want, String(code));
    it.socket.close();
  }
  for (const [code, want] of [
    [4401, 'unauthenticated'],
    [4403, 'forbidden'],
    [4429, 'rate_limited'],
    [1009, 'too_large'],
    [1011, 'connection_lost'],
  ]) {
    const it = await openRig();
    it.peer.drop(code);
    assert.equal(it.seen.closes[0].error.code, want, `${code} without a frame`);
    it.socket.close();
  }
});

test('delays grow with every ended attempt and start over only after a stable connection', async () => {
  const it = rig();
  await settle();
  const waits = [];
  const lose = async () => {
    const before = it.connections.length;
    it.peer.drop();
    let waited = 0;
    while (it.connections.length === before) {
      await it.clock.advance(250);
      waited += 250;
    }
    waits.push(waited);
  };
  await lose();
  await lose();
  // Accepted and dropped: that is no success.
  it.peer.welcome();
  await it.clock.advance(4_999);
  await lose();
  it.peer.welcome();
  await it.clock.advance(5_000);
  await lose();
  assert.deepEqual(waits, [250, 500, 1_000, 250]);
});

test('an attempt that nobody answers is given up', async () => {
  const it = rig({ connectTimeoutMs: 3_000 });
  await settle();
  it.peer.open();
  await it.clock.advance(3_000);
  assert.equal(it.seen.closes[0].error.code, 'connection_lost');
  assert.equal(it.peer.readyState, 3, 'the silent connection is not left open');
  await it.clock.advance(250);
  assert.equal(it.connections.length, 2);
});

test('an old connection has no voice', async () => {
  const it = await openRig();
  const old = it.peer;
  const late = { ...old };
  it.peer.drop();
  await it.clock.advance(250);
  it.peer.welcome();
  late.onmessage({ data: '{"type":"chat","payload":"late"}' });
  late.onclose({ code: 1000 });
  assert.deepEqual(it.seen.messages, []);
  assert.equal(it.socket.state, 'open');
});

test('reconnect: false ends with the first connection', async () => {
  const it = await openRig({ reconnect: false });
  const waiting = it.socket.send({ type: 'n' });
  it.peer.drop(1012);
  assert.equal(it.seen.closes[0].willReconnect, false);
  assert.equal(it.socket.state, 'closed');
  assert.equal(await codeOf(waiting), 'delivery_unknown');
  assert.equal(it.clock.pending, 0);
});

test('close: from every state, once, for good, leaving no timer', async (t) => {
  const reach = {
    'before the first attempt': () => {},
    connecting: () => settle(),
    open: async (it) => {
      await settle();
      it.peer.welcome();
    },
    reconnecting: async (it) => {
      await settle();
      it.peer.drop();
    },
    draining: async (it) => {
      await settle();
      it.peer.welcome();
      it.peer.frame('draining', { reconnectAfterMs: 1_000 });
    },
  };
  for (const [name, arrive] of Object.entries(reach)) {
    await t.test(name, async () => {
      const it = rig();
      await arrive(it);
      const made = it.connections.length;
      const sent = it.socket.send({ type: 'n' });
      it.socket.close(4000, 'bye');
      it.socket.close();
      assert.match(await codeOf(sent), /^(closed|delivery_unknown)$/);
      const { code, reason, error, willReconnect } = it.seen.closes.at(-1);
      assert.deepEqual([code, reason, error, willReconnect], [4000, 'bye', undefined, false]);
      assert.equal(it.seen.closes.filter((info) => !info.willReconnect).length, 1);
      assert.equal(it.clock.pending, 0);
      await it.clock.advance(1_000_000);
      assert.equal(it.connections.length, made);
      if (made && name !== 'reconnecting') assert.deepEqual(it.peer.closedWith, { code: 4000, reason: 'bye' });
    });
  }
});

test('close refuses what no close frame can carry, and the socket lives on', async () => {
  const it = await openRig();
  for (const [code, reason] of [[999], [1001], [2999], [5000], [Number.NaN], [1000, 'é'.repeat(62)]]) {
    assert.throws(() => it.socket.close(code, reason), DOMException, String(code));
  }
  assert.equal(it.socket.state, 'open');
  it.socket.send({ type: 'n' });
  assert.equal(it.peer.sent.length, 1);
  it.peer.drop();
  assert.equal(it.socket.state, 'reconnecting');
});

test('close inside a callback is the last word', async (t) => {
  for (const callback of ['onStateChange', 'onOpen', 'onMessage', 'onClose']) {
    await t.test(callback, async () => {
      const finals = [];
      const it = rig({
        [callback]: (info) => {
          if (callback === 'onClose' && !info.willReconnect) finals.push(info);
          it.socket.close();
        },
      });
      await settle();
      it.peer.welcome();
      it.peer?.frame('chat', 1);
      it.peer?.drop();
      await it.clock.advance(100_000);
      assert.equal(it.socket.state, 'closed');
      assert.equal(it.connections.length, 1);
      assert.equal(it.clock.pending, 0);
      const closes = callback === 'onClose' ? finals : it.seen.closes;
      assert.deepEqual(closes.map(({ willReconnect }) => willReconnect), [false]);
    });
  }
});

test('close inside onStateChange silences what would have followed', async (t) => {
  for (const state of ['open', 'reconnecting']) {
    await t.test(state, async () => {
      const it = rig({ onStateChange: (now) => now === state && it.socket.close() });
      await settle();
      it.peer.welcome();
      it.peer.drop();
      assert.equal(it.seen.opens.length, state === 'open' ? 0 : 1);
      assert.deepEqual(it.seen.closes.map(({ willReconnect }) => willReconnect), [false]);
      assert.equal(it.clock.pending, 0);
    });
  }
});

test('a closed socket writes nothing, also when its handshake succeeds late', async () => {
  const it = rig({ auth: 'first-message' });
  await settle();
  it.socket.close();
  it.peer.open();
  assert.deepEqual(it.peer.sent, []);
});

test('a closed socket gives up what it was fetching', async (t) => {
  let signal;
  t.mock.method(globalThis, 'fetch', (_, init) => new Promise(() => ({ signal } = init)));
  const it = rig({ auth: 'ticket' });
  await settle();
  assert.equal(signal.aborted, false);
  it.socket.close();
  assert.equal(signal.aborted, true);
});

test('a connection that is closing takes no message: it waits for the next', async () => {
  const it = await openRig();
  it.peer.readyState = 2;
  const sent = it.socket.send({ type: 'n' });
  it.peer.drop();
  await it.clock.advance(250);
  it.peer.welcome();
  it.peer.frame('ack', {}, { id: 1 });
  assert.equal(await codeOf(sent), 'resolved');
});

test('a wait longer than timers can count is cut, not skipped', async () => {
  for (const [type, payload, code] of [
    ['draining', { reconnectAfterMs: 1e12 }, 1001],
    ['error', { code: 'rate_limited', message: 'm', ref: 'r', retryAfterMs: 1e12 }, 4429],
  ]) {
    const it = await openRig();
    it.peer.frame(type, payload);
    it.peer.drop(code);
    await it.clock.advance(1_000_000);
    assert.equal(it.connections.length, 1, type);
    it.socket.close();
  }
});
