'use strict';
// faye-websocket with permessage-deflate; it also speaks the drafts before RFC 6455.
const http = require('http');
const WebSocket = require('faye-websocket');
const deflate = require('permessage-deflate');
const app = require('../../app/app.js');

const { deflate: squeeze = true, ...lib } = app.options.lib || {};
const server = http.createServer(app.onRequest);
server.on('upgrade', (req, socket, head) => {
  socket.on('error', () => {});
  const judged = app.judge(app.requestOf(req));
  if (!judged.ok) { app.writeRefusal(socket, judged); return; }
  const ws = new WebSocket(req, socket, head, ['lab.v1'], Object.assign({ extensions: squeeze ? [deflate] : [] }, lib));
  const conn = app.connect(judged, {
    send: (t) => ws.send(t),
    // The library sends 1000 and 3000 to 4999 only.
    close: (code, reason) => ws.close(code === 1000 || code >= 3000 ? code : 3000 + code, reason),
  });
  ws.on('message', (e) => conn.message(e.data, typeof e.data !== 'string'));
  ws.on('close', () => conn.closed());
});
app.listen(server);
