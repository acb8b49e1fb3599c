// The hooks with real React, under StrictMode, in a document.
import { Window } from 'happy-dom';
import assert from 'node:assert/strict';
import test from 'node:test';
import { FakeClock, fakeWebSocket, settle } from './support.mjs';

const window = new Window();
// React looks for these when it is loaded.
for (const [name, value] of Object.entries({ window, document: window.document, navigator: window.navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
globalThis.IS_REACT_ACT_ENVIRONMENT = true;
const { act, createElement: h, StrictMode, useState } = await import('react');
const { createRoot, hydrateRoot } = await import('react-dom/client');
const { renderToString } = await import('react-dom/server');
const { useMessage, useRtt, useSecureWebSocket } = await import('../dist/react.js');

/** A component on fake connections: what it rendered, and what it holds. */
function stage() {
  const clock = new FakeClock();
  const network = fakeWebSocket();
  const it = { clock, network, renders: 0, states: [], messages: [], odd: [], sends: new Set() };
  const options = {
    url: 'wss://example.com/ws', authToken: 't0', health: false, WebSocket: network.WebSocket, now: clock.now,
    timers: clock.timers, random: () => 0.5,
  };
  it.Chat = (props) => {
    const result = useSecureWebSocket({ ...options, ...props, onMessage: ({ payload }) => it.messages.push(payload) });
    useMessage(result.socket, 'odd', ({ payload }) => it.odd.push([props.label, payload]));
    it.renders += 1;
    it.states.push(result.state);
    it.sends.add(result.send);
    Object.assign(it, result);
    return h('p', null, result.state);
  };
  const container = window.document.createElement('div');
  it.text = () => container.textContent;
  let root;
  it.mount = (props = {}, Component = it.Chat) =>
    act(async () => {
      root ??= createRoot(container);
      root.render(h(StrictMode, null, h(Component, props)));
    });
  it.unmount = () => act(async () => root.unmount());
  it.step = (what) => act(async () => {
    await what();
    await settle();
  });
  Object.defineProperty(it, 'peer', { get: () => network.connections.at(-1) });
  return it;
}

test('StrictMode mounts twice and connects once; unmounting closes', async () => {
  const it = stage();
  await it.mount();
  await it.step(() => {});
  assert.equal(it.network.connections.length, 1);
  assert.equal(it.text(), 'connecting');
  await it.step(() => it.peer.welcome());
  assert.equal(it.text(), 'open');
  assert.equal(it.welcome.subject, 'ann');
  await it.unmount();
  assert.equal(it.peer.closedWith.code, 1000);
  assert.equal(it.socket.state, 'closed');
  assert.equal(it.clock.pending, 0, 'no timer is left');
  await assert.rejects(it.send({ type: 'n' }), { code: 'closed' });
});

test('messages render nothing, and every one of them is seen', async () => {
  const it = stage();
  await it.mount({ label: 'first' });
  await it.step(() => it.peer.welcome());
  const { renders } = it;
  await it.step(() => {
    for (let n = 1; n <= 200; n += 1) it.peer.frame('n', n, { seq: n });
    it.peer.frame('odd', 'x', { seq: 201 });
  });
  assert.equal(it.renders, renders);
  assert.deepEqual(it.messages, [...Array.from({ length: 200 }, (_, n) => n + 1), 'x']);
  assert.deepEqual(it.odd, [['first', 'x']]);
  await it.mount({ label: 'second' });
  await it.step(() => it.peer.frame('odd', 'y', { seq: 202 }));
  assert.deepEqual(it.odd.at(-1), ['second', 'y'], 'the handler of the last render');
});

test('the state follows the connection, and send is one function throughout', async () => {
  const it = stage();
  await it.mount();
  await it.step(() => it.peer.welcome());
  const sent = it.send({ type: 'n' });
  await it.step(() => it.peer.drop());
  assert.equal(it.text(), 'reconnecting');
  assert.equal(it.error.code, 'connection_lost');
  assert.equal(it.retryAt, it.clock.now() + 250);
  await it.step(() => it.clock.advance(250));
  assert.equal(it.socket.snapshot.retryAt, it.clock.now(), 'while an attempt is under way it is past');
  await it.step(() => it.peer.welcome({ resumed: true }));
  await it.step(() => it.peer.frame('ack', {}, { id: 1 }));
  assert.deepEqual(await sent, { id: 1 });
  assert.equal(it.sends.size, 1);
});

test('a new token is put in force on the open connection and does not replace the socket', async () => {
  const it = stage();
  await it.mount();
  await it.step(() => it.peer.welcome());
  const { socket } = it;
  await it.mount({ authToken: 't1' });
  await it.step(() => {});
  assert.equal(it.network.connections.length, 1);
  assert.deepEqual(it.peer.sent.at(-1), { type: 'auth.refresh', payload: { token: 't1' } });
  assert.equal(it.socket, socket);
  await it.step(() => it.peer.drop());
  await it.step(() => it.clock.advance(250));
  assert.equal(it.peer.protocols[3], 'wsguard.bearer.t1', 'and for the next connection');
  assert.equal(it.socket, socket);
});

test('a socket that was closed for its token comes back with another one', async () => {
  const it = stage();
  await it.mount();
  await it.step(() => it.peer.drop(4401));
  // The hook asks once more, as the token might have changed since.
  await it.step(() => it.clock.advance(250));
  await it.step(() => it.peer.drop(4401));
  assert.equal(it.text(), 'closed');
  assert.equal(it.error.code, 'unauthenticated');
  await it.mount({ authToken: 't1' });
  await it.step(() => it.peer.welcome());
  assert.equal(it.text(), 'open');
  assert.equal(it.peer.protocols[3], 'wsguard.bearer.t1');
});

test('another address is another socket', async () => {
  const it = stage();
  await it.mount();
  await it.step(() => it.peer.welcome());
  await it.mount({ url: 'wss://other.example/ws' });
  await it.step(() => {});
  assert.equal(it.network.connections.length, 2);
  assert.equal(it.network.connections[0].closedWith.code, 1000);
  assert.equal(it.peer.url, 'wss://other.example/ws');
});

test('a child that sends when it is mounted finds the socket', async () => {
  const it = stage();
  const sent = [];
  const { useEffect } = await import('react');
  const Child = ({ send }) => {
    useEffect(() => {
      send({ type: 'join' }).then(() => sent.push('joined'), (error) => sent.push(error.code));
    }, [send]);
  };
  await it.mount({}, (props) => [h(it.Chat, { ...props, key: 1 })].concat(h(Parent, { key: 2 })));
  function Parent() {
    const { send } = useSecureWebSocket({
      url: 'wss://example.com/ws', authToken: 't', health: false, WebSocket: it.network.WebSocket, timers: it.clock.timers,
    });
    return h(Child, { send });
  }
  await it.step(() => it.peer.welcome());
  assert.deepEqual(it.peer.sent.map(({ type }) => type), ['join']);
});

test('useRtt renders with each answer, and only where it is used', async () => {
  const it = stage();
  const seen = [];
  const Rtt = ({ socket }) => {
    seen.push(useRtt(socket)?.last);
  };
  const Page = (props) => {
    const { socket } = useSecureWebSocket({
      url: 'wss://example.com/ws', authToken: 't', WebSocket: it.network.WebSocket, timers: it.clock.timers, now: it.clock.now,
    });
    it.pages = (it.pages ?? 0) + 1;
    return h(Rtt, { ...props, socket });
  };
  await it.mount({}, Page);
  await it.step(() => it.peer.welcome());
  const { pages } = it;
  await it.step(() => it.clock.advance(12));
  await it.step(() => it.peer.frame('pong', { t: it.peer.sent[0].payload.t, serverTime: 1 }));
  assert.equal(seen.at(-1), 12);
  assert.equal(it.pages, pages);
});

test('a server renders without connecting, and the page takes over without a complaint', async (t) => {
  const complaints = t.mock.method(console, 'error', () => {});
  const it = stage();
  const html = renderToString(h(it.Chat));
  await settle();
  assert.equal(html, '<p>connecting</p>');
  assert.equal(it.network.connections.length, 0);
  const container = window.document.createElement('div');
  container.innerHTML = html;
  await act(async () => void hydrateRoot(container, h(it.Chat)));
  await it.step(() => it.peer.welcome());
  assert.equal(container.textContent, 'open');
  assert.deepEqual(complaints.mock.calls, []);
});
