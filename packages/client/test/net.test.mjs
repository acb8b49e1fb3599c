// The client over real sockets, against the package `ws`: what a fake WebSocket cannot get wrong.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { SecureWebSocket } from '../dist/index.js';
import { codeOf, WELCOME } from './support.mjs';

test('connects, sends, receives and closes over a real socket', async () => {
  const server = new WebSocketServer({
    port: 0,
    host: '127.0.0.1',
    handleProtocols: (offered) => offered.has('wsguard.v1') && 'wsguard.v1',
  });
  await once(server, 'listening');
  const offered = [];
  const received = [];
  const closed = new Promise((resolve) => {
    server.on('connection', (peer, request) => {
      offered.push(request.headers['sec-websocket-protocol'], request.url);
      peer.send(JSON.stringify({ type: 'welcome', payload: WELCOME }));
      peer.on('message', (data) => {
        const message = JSON.parse(String(data));
        if (message.type === 'ping') return;
        received.push(message);
        peer.send(JSON.stringify({ type: 'echo', seq: 1, payload: message.payload }));
        peer.send(JSON.stringify({ type: 'ack', id: message.id, payload: {} }));
      });
      peer.on('close', (code, reason) => resolve([code, String(reason)]));
    });
  });
  const messages = [];
  const socket = new SecureWebSocket({
    url: `ws://127.0.0.1:${server.address().port}/ws`,
    authToken: 'test_token',
    WebSocket,
    onMessage: (message) => messages.push(message),
  });
  assert.deepEqual(await socket.send({ type: 'echo', payload: 'grüße' }), { id: 1 });
  socket.close(4000, 'bye');
  assert.deepEqual(await closed, [4000, 'bye']);
  assert.deepEqual(offered, ['wsguard.v1,wsguard.ordered,wsguard.resume,wsguard.bearer.test_token', '/ws']);
  assert.deepEqual(received, [{ csrfToken: 'csrf-1', type: 'echo', id: 1, payload: 'grüße' }]);
  assert.deepEqual(messages, [{ type: 'echo', seq: 1, payload: 'grüße' }]);
  server.close();
});

test('giving up while the handshake is on its way does not end the process', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', verifyClient: () => new Promise(() => {}) });
  await once(server, 'listening');
  const socket = new SecureWebSocket({ url: `ws://127.0.0.1:${server.address().port}/ws`, authToken: 't', WebSocket });
  const sent = socket.send({ type: 'n' });
  await new Promise((resolve) => setImmediate(resolve));
  socket.close();
  assert.equal(await codeOf(sent), 'closed');
  server.close();
});
