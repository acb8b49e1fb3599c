'use strict';
// engine.io alone, without Socket.IO above it.
const http = require('http');
const engine = require('engine.io');
const app = require('../../app/app.js');

const server = http.createServer(app.onRequest);
const lib = app.options.lib || {};
const io = engine.attach(server, Object.assign({
  allowRequest: (req, done) => {
    const judged = app.judge({ method: req.method, url: req.url.replace(/^\/engine\.io\/?/, app.options.path), headers: req.headers, ip: req.socket.remoteAddress });
    if (!judged.ok) { done('refused', false); return; }
    req.judged = judged;
    done(null, true);
  },
}, lib));
io.on('connection', (socket) => {
  const conn = app.connect(socket.request.judged, { send: (t) => socket.send(t), close: () => socket.close() });
  socket.on('message', (data) => conn.message(data, typeof data !== 'string'));
  socket.on('close', () => conn.closed());
});
app.listen(server);
