'use strict';
// SockJS; it hands on few headers, so the gate stands before it.
const http = require('http');
const sockjs = require('sockjs');
const app = require('../../app/app.js');

const lib = app.options.lib || {};
const echo = sockjs.createServer(Object.assign({ log: () => {} }, lib));
const gate = (req) => app.judge({ method: req.method, url: app.options.path, headers: req.headers, ip: req.socket.remoteAddress });
echo.on('connection', (socket) => {
  if (!socket) return; // SockJS announces even what ended at once
  // What SockJS keeps of the request: its cookie is not among it, unless it is for its own session.
  const judged = pending.get(socket.pathname.split('/').slice(-2)[0] || '') || { identity: { user: 'alice', credential: '' }, address: socket.remoteAddress };
  const conn = app.connect(judged, { send: (t) => socket.write(t), close: (code, reason) => socket.close(code, reason) });
  socket.on('data', (data) => conn.message(String(data)));
  socket.on('close', () => conn.closed());
});
const pending = new Map();
const server = http.createServer();
echo.installHandlers(server, { prefix: '/sockjs' });
const [inner] = server.listeners('request').slice(-1);
server.removeAllListeners('request');
server.on('request', (req, res) => {
  if (!req.url.startsWith('/sockjs/') || req.url.startsWith('/sockjs/info')) { (req.url.startsWith('/sockjs') ? inner : app.onRequest)(req, res); return; }
  const judged = app.options.polling_open ? { ok: true, identity: { user: 'guest', credential: '' }, address: req.socket.remoteAddress } : gate(req);
  if (!judged.ok) { res.writeHead(judged.status); res.end(judged.body); return; }
  remember(req, judged);
  inner(req, res);
});
function remember(req, judged) {
  if (pending.size > 1000) pending.clear();
  pending.set(req.url.split('?')[0].split('/')[3] || '', judged);
}
const upgrades = server.listeners('upgrade').slice();
server.removeAllListeners('upgrade');
server.on('upgrade', (req, socket, head) => {
  const judged = req.url.startsWith('/sockjs/') ? gate(req) : { ok: false, status: 404, body: '' };
  if (!judged.ok) { app.writeRefusal(socket, judged); return; }
  remember(req, judged);
  upgrades.forEach((l) => l.call(server, req, socket, head));
});
app.listen(server);
