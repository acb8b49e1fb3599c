'use strict';
// graphql-ws (graphql-transport-ws) on ws; the credential is in connection_init.
const http = require('http');
const { WebSocketServer } = require('ws');
const { useServer } = require('graphql-ws/use/ws');
const { buildSchema, NoSchemaIntrospectionCustomRule, specifiedRules, validate } = require('graphql');
const app = require('../../app/app.js');

const { introspection = true, init_ms: initMs, ...lib } = app.options.lib || {};
const schema = buildSchema('type Query { echo(text: String!): String }');
const server = http.createServer(app.onRequest);
const wss = new WebSocketServer({ noServer: true, ...lib });
useServer({
  schema,
  connectionInitWaitTimeout: initMs || 3000,
  onConnect: (cx) => app.options.credential === 'none' || Boolean(app.identify((cx.connectionParams || {}).token)),
  roots: { query: { echo: ({ text }) => text } },
  validate: (s, document) => validate(s, document, introspection ? specifiedRules : [...specifiedRules, NoSchemaIntrospectionCustomRule]),
}, wss);
server.on('upgrade', (req, socket, head) => {
  socket.on('error', () => {});
  const judged = app.judge(app.requestOf(req));
  if (!judged.ok) { app.writeRefusal(socket, judged); return; }
  wss.handleUpgrade(req, socket, head, (ws) => wss.emit('connection', ws, req));
});
app.listen(server);
