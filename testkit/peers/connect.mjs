// Connects to wsguard with the npm package `ws`, which knows nothing of wsguard, and sends one chat.
//
// Usage: node connect.mjs --url ws://127.0.0.1:3000/ws --token TOKEN --method header|subprotocol|ticket|first-message
//                         [--origin ORIGIN] [--message TEXT]
// Prints one JSON line. Exit code 0: welcomed, acknowledged and heard itself; 1: anything else; 2: wrong usage.
import { parseArgs } from 'node:util';
import WebSocket from 'ws';

const METHODS = ['header', 'subprotocol', 'ticket', 'first-message'];
const PATIENCE_MS = 10_000;
// Text that looks like markup and is none has to arrive as it was sent.
const MESSAGE = 'a stranger says hello: 1 < 2 && 3 > 2';
const ID = 'stranger-1';

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    token: { type: 'string' },
    method: { type: 'string' },
    origin: { type: 'string' },
    message: { type: 'string', default: MESSAGE },
  },
});
const { url, token, method, origin, message } = values;
if (!url || !token || !METHODS.includes(method)) {
  console.error(`usage: connect.mjs --url URL --token TOKEN --method ${METHODS.join('|')} [--origin ORIGIN] [--message TEXT]`);
  process.exit(2);
}

function finish(ok, facts) {
  console.log(JSON.stringify({ ok, client: 'ws', method, ...facts }));
  process.exit(ok ? 0 : 1);
}

/** A single-use ticket for the query: what a browser does that must not put a token into a URL. */
async function ticket() {
  const headers = { authorization: `Bearer ${token}`, ...(origin && { origin }) };
  const address = new URL('/ws/ticket', url.replace(/^ws/, 'http'));
  const response = await fetch(address, { method: 'POST', headers });
  if (!response.ok) throw new Error(`POST /ws/ticket answered with ${response.status}`);
  const { ticket } = await response.json();
  return ticket;
}

async function open() {
  const options = { origin, handshakeTimeout: PATIENCE_MS };
  switch (method) {
    case 'header':
      return new WebSocket(url, ['wsguard.v1'], { ...options, headers: { authorization: `Bearer ${token}` } });
    case 'subprotocol':
      return new WebSocket(url, ['wsguard.v1', `wsguard.bearer.${token}`], options);
    case 'ticket':
      return new WebSocket(`${url}?ticket=${encodeURIComponent(await ticket())}`, ['wsguard.v1'], options);
    case 'first-message':
      return new WebSocket(url, ['wsguard.v1'], options);
  }
}

setTimeout(() => finish(false, { error: `not done after ${PATIENCE_MS} ms` }), PATIENCE_MS);
let socket;
try {
  socket = await open();
} catch (error) {
  finish(false, { error: error.message });
}

let welcome;
let acknowledged = false;
let heard = false;
socket.on('error', (error) => finish(false, { error: error.message }));
socket.on('close', (code, reason) => finish(false, { closed: code, reason: reason.toString() }));
socket.on('open', () => {
  if (method === 'first-message') socket.send(JSON.stringify({ type: 'auth', payload: { token } }));
});
socket.on('message', (bytes) => {
  const { type, id, payload } = JSON.parse(bytes.toString());
  if (type === 'error') finish(false, { refused: payload.code, ref: payload.ref });
  if (type === 'welcome') {
    welcome = payload;
    const { csrfToken } = welcome;
    socket.send(JSON.stringify({ type: 'chat', id: ID, csrfToken, payload: { message } }));
  }
  // Without a welcome first, neither counts.
  acknowledged ||= welcome !== undefined && type === 'ack' && id === ID;
  heard ||= welcome !== undefined && type === 'chat' && payload.message === message && payload.from === welcome.subject;
  if (acknowledged && heard) finish(true, { subject: welcome.subject, subprotocol: socket.protocol });
});
