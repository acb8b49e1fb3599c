'use strict';
// @fastify/websocket, the gate in a preValidation hook.
const app = require('../../app/app.js');
const fastify = require('fastify')({ logger: false });

fastify.register(require('@fastify/websocket'), { options: app.options.lib || {} });
fastify.register(async (site) => {
  site.addContentTypeParser('*', { parseAs: 'string' }, (req, body, done) => done(null, body));
  site.get(app.options.path, {
    websocket: true,
    preValidation: async (req, reply) => {
      const judged = app.judge(app.requestOf(req.raw));
      if (!judged.ok) { await reply.code(judged.status).headers(judged.headers).send(judged.body); return; }
      req.judged = judged;
    },
  }, (ws, req) => {
    const conn = app.connect(req.judged, { send: (t) => ws.send(t), close: (code, reason) => ws.close(code, reason) });
    ws.on('message', (data, binary) => conn.message(binary ? data : data.toString('utf8'), binary));
    ws.on('close', () => conn.closed());
    ws.on('error', () => {});
  });
  site.route({ method: ['GET', 'POST'], url: '/*', handler: (req, reply) => {
    const r = app.http({ method: req.method, url: req.url, headers: req.headers, body: '', ip: req.ip });
    reply.code(r.status).headers(r.headers).send(r.body);
  } });
});
fastify.listen({ port: Number(process.env.LAB_PORT), host: '127.0.0.1' }, () => console.log(`listening ${process.env.LAB_PORT}`));
