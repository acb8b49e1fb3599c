'use strict';
// The `websocket` package (theturtle32).
const http = require('http');
const { server: WebSocketServer } = require('websocket');
const app = require('../../app/app.js');

const server = http.createServer(app.onRequest);
const lib = app.options.lib || {};
const wss = new WebSocketServer(Object.assign({ httpServer: server, autoAcceptConnections: false }, lib));
wss.on('request', (request) => {
  const judged = app.judge({ method: 'GET', url: request.resource, headers: request.httpRequest.headers, ip: request.httpRequest.socket.remoteAddress });
  if (!judged.ok) { request.reject(judged.status, '', judged.headers); return; }
  const ws = request.accept(judged.protocol || null, request.origin);
  const conn = app.connect(judged, { send: (t) => ws.sendUTF(t), close: (code, reason) => ws.close(code, reason) });
  ws.on('message', (m) => conn.message(m.type === 'utf8' ? m.utf8Data : m.binaryData, m.type !== 'utf8'));
  ws.on('close', () => conn.closed());
  ws.on('error', () => {});
});
app.listen(server);
