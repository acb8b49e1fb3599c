'use strict';
// ws of the stack's own folder, under node:http. `lib` in [options] is given to the library.
const http = require('http');
const WebSocket = require('module').createRequire(`${process.cwd()}/`)('ws');
const app = require('../app/app.js');

const { ping_ms: pingMs = 0, pings_max: pingsMax = 0, protocol_always: protocolAlways = false, echo_protocol: echoProtocol = false, accept, packed = false, ...lib } = app.options.lib || {};
// Without a choice of one's own ws takes the first protocol that is offered, though it be a token.
const choose = (offered) => (protocolAlways || Array.from(offered).includes('lab.v1') ? 'lab.v1' : false);
// Documents in MessagePack.
const { encode: pack, decode: unpack } = packed ? require('module').createRequire(`${process.cwd()}/`)('@msgpack/msgpack') : {};
const server = http.createServer(app.onRequest);
const wss = new WebSocket.Server({ noServer: true, ...(echoProtocol ? {} : { handleProtocols: choose }), ...lib });
// A program that writes the headers of the 101 itself, and repeats the key.
if (accept === 'key') wss.on('headers', (lines, req) => lines.forEach((line, at) => { if (/^sec-websocket-accept:/i.test(line)) lines[at] = `Sec-WebSocket-Accept: ${req.headers['sec-websocket-key']}`; }));
server.on('upgrade', (req, socket, head) => {
  socket.on('error', () => {});
  const judged = app.judge(app.requestOf(req));
  if (!judged.ok) { app.writeRefusal(socket, judged); return; }
  wss.handleUpgrade(req, socket, head, (ws) => {
    const conn = app.connect(judged, { send: (t) => ws.send(packed ? pack(JSON.parse(t)) : t), close: (code, reason) => ws.close(code, reason) });
    if (packed) {
      ws.on('message', (data, binary) => {
        if (!binary) { ws.close(1003); return; }
        let text = '';
        try { text = JSON.stringify(unpack(data)); } catch { /* malformed, as the empty text is */ }
        conn.message(text);
      });
    } else ws.on('message', (data, binary) => conn.message(typeof data === 'string' ? data : binary === undefined || binary ? data : data.toString('utf8'), typeof data === 'string' ? false : binary === undefined ? true : binary));
    ws.on('close', () => conn.closed());
    ws.on('error', () => {});
    ws.alive = true;
    ws.on('pong', () => { ws.alive = true; });
    let pings = 0;
    ws.on('ping', () => { if (pingsMax && ++pings > pingsMax) ws.close(1008, 'rate limit'); });
  });
});
if (pingMs) {
  setInterval(() => wss.clients.forEach((ws) => {
    if (!ws.alive) { ws.terminate(); return; }
    ws.alive = false;
    ws.ping();
  }), pingMs);
}
app.listen(server);
