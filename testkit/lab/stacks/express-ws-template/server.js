'use strict';
// express-ws: the upgrade is answered before the route runs, so a refusal is a close.
const express = require('express');
const app = require('../../app/app.js');

const site = express();
require('express-ws')(site, null, { wsOptions: app.options.lib || {} });
if (!app.options.banner) site.disable('x-powered-by');
const route = (ws, req) => {
  const judged = app.judge({ method: 'GET', url: req.originalUrl.replace('/.websocket', ''), headers: req.headers, ip: req.socket.remoteAddress });
  if (!judged.ok) { ws.close(1008); return; }
  const conn = app.connect(judged, { send: (t) => ws.send(t), close: (code, reason) => ws.close(code, reason) });
  ws.on('message', (data) => conn.message(typeof data === 'string' ? data : data, typeof data !== 'string'));
  ws.on('close', () => conn.closed());
  ws.on('error', () => {});
};
site.ws(app.options.path, route);
if (app.options.dev_socket) site.ws('/_next/webpack-hmr', route);
site.use((req, res) => app.onRequest(req, res));
const server = site.listen(Number(process.env.LAB_PORT), '127.0.0.1', () => console.log(`listening ${server.address().port}`));
