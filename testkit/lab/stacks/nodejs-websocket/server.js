'use strict';
// nodejs-websocket: a small server on a port of its own, without a gate for handshakes; the credential is the first message.
const ws = require('nodejs-websocket');
const app = require('../../app/app.js');

const identity = app.options.credential === 'none' ? { user: 'guest', credential: '' } : null;
const server = ws.createServer((c) => {
  const conn = app.connect({ identity, address: c.socket.remoteAddress }, { send: (t) => c.sendText(t), close: (code, reason) => c.close(code, reason) });
  c.on('text', (text) => conn.message(text));
  c.on('binary', (stream) => { stream.on('data', (d) => conn.message(d, true)); });
  c.on('close', () => conn.closed());
  c.on('error', () => {});
});
server.listen(Number(process.env.LAB_PORT), '127.0.0.1', () => console.log(`listening ${process.env.LAB_PORT}`));
