'use strict';
// subscriptions-transport-ws 0.9, the older graphql-ws protocol, as many servers still have it.
const http = require('http');
const { SubscriptionServer } = require('subscriptions-transport-ws');
const { buildSchema, execute, subscribe } = require('graphql');
const app = require('../../app/app.js');

const schema = buildSchema('type Query { echo(text: String!): String }');
const server = http.createServer(app.onRequest);
SubscriptionServer.create({
  schema, execute, subscribe,
  rootValue: { echo: ({ text }) => text },
  onConnect: (params) => {
    if (app.options.credential !== 'none' && !app.identify((params || {}).token)) throw new Error('unauthenticated');
    return {};
  },
}, { server, path: app.options.path });
app.listen(server);
