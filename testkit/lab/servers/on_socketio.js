'use strict';
// Socket.IO of the stack's own folder; authentication in the CONNECT packet, as its documentation has it.
const http = require('http');
const io = require('module').createRequire(`${process.cwd()}/`)('socket.io');
const app = require('../app/app.js');

const server = http.createServer(app.onRequest);
const { cors_reflect: corsReflect = false, origins = true, ...lib } = app.options.lib || {};
const allowed = process.env.LAB_ORIGIN;
const options = Object.assign({ serveClient: false }, lib);
if (corsReflect) options.cors = { origin: true, credentials: true };
if (origins) options.allowRequest = (req, done) => done(null, req.headers.origin === undefined || req.headers.origin === allowed);
const sockets = io.Server ? new io.Server(server, options) : io(server, options);
const guest = { user: 'guest', credential: '' };
sockets.use((socket, next) => {
  const auth = socket.handshake.auth || {};
  const identity = app.options.credential === 'none' ? guest
    : app.identify(app.options.credential === 'query' ? socket.handshake.query.token : app.options.credential === 'header' ? String(socket.handshake.headers.authorization || '').slice(7) : auth.token);
  if (!identity) { next(new Error('unauthenticated')); return; }
  socket.identity = identity;
  next();
});
sockets.on('connection', (socket) => {
  const conn = app.connect({ identity: socket.identity, address: socket.handshake.address }, {
    send: (text) => socket.emit('message', JSON.parse(text)),
    close: () => socket.disconnect(true),
  });
  socket.on('message', (data) => {
    let text = 'null';
    try { text = JSON.stringify(data) ?? 'null'; } catch { /* not JSON after all */ }
    conn.message(text);
  });
  socket.on('disconnect', () => conn.closed());
});
app.listen(server);
