// The stack that wsguard is measured against: what a careful Node developer builds today from well known packages.
//
// It does the same work for each handshake and message as `wsguard serve --dev` does, and speaks as much of wsguard.v1
// as the load generator needs, so that one client drives both. Where the two could differ in effort, this one does
// less: frames carry no `seq`, and a chat is serialised once for all members of a room.
//
// Usage: node server.mjs [PORT]      (0, the default: any free port)
// Prints one JSON line when it listens: {"port", "pid", "token"}; the token is good for a day.
import { createServer } from 'node:http';
import { randomBytes, timingSafeEqual } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import sanitizeHtml from 'sanitize-html';
import { WebSocket, WebSocketServer } from 'ws';
import { z } from 'zod';

const SUBPROTOCOL = 'wsguard.v1';
const BEARER_ENTRY = 'wsguard.bearer.';
const MESSAGE_BYTES_MAX = 64 * 1024;
const HEARTBEAT_MS = 30_000;
const CSRF_MS = 15 * 60_000;

const secret = randomBytes(32);
const server = createServer((request, response) => {
  response.writeHead(request.url === '/health' ? 200 : 404).end();
});

// The limits are far above what a benchmark sends: nothing is refused, but every message is counted.
const handshakeRate = new RateLimiterMemory({ points: 1_000_000_000, duration: 10 });
const messageRate = new RateLimiterMemory({ points: 1_000_000_000, duration: 1 });

const idSchema = z.union([z.string().min(1).max(64), z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)]);
const room = z.string().min(1).max(64);
const envelope = (type, payload) =>
  z.strictObject({ type: z.literal(type), id: idSchema.optional(), csrfToken: z.string().max(256).optional(), payload });
const messageSchema = z.discriminatedUnion('type', [
  envelope('chat', z.strictObject({ message: z.string().min(1).max(4000), room: room.optional() })),
  envelope('echo', z.unknown()),
  envelope('join', z.strictObject({ room })),
  envelope('leave', z.strictObject({ room })),
  envelope('ping', z.strictObject({ t: z.number().optional() }).optional()),
]);

const sanitizeOptions = { allowedTags: [], allowedAttributes: {}, disallowedTagsMode: 'escape' };

const rooms = new Map();

function join(peer, name) {
  let members = rooms.get(name);
  if (!members) rooms.set(name, (members = new Set()));
  members.add(peer);
  peer.rooms.add(name);
}

function leave(peer, name) {
  const members = rooms.get(name);
  members?.delete(peer);
  if (members?.size === 0) rooms.delete(name);
  peer.rooms.delete(name);
}

function refuse(socket, status, reason) {
  socket.end(`HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** The token of a handshake: the bearer header, or the subprotocol entry that browsers can send. */
function credential(request) {
  const header = request.headers.authorization;
  if (header !== undefined) return /^Bearer ([\w.~+/-]+=*)$/.exec(header)?.[1];
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((entry) => entry.trim());
  return offered.find((entry) => entry.startsWith(BEARER_ENTRY))?.slice(BEARER_ENTRY.length);
}

const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: MESSAGE_BYTES_MAX,
  perMessageDeflate: false,
  handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
});

server.on('upgrade', async (request, socket, head) => {
  socket.on('error', () => socket.destroy());
  if (request.url.split('?', 1)[0] !== '/ws') return refuse(socket, 404, 'Not Found');
  try {
    await handshakeRate.consume(request.socket.remoteAddress);
  } catch {
    return refuse(socket, 429, 'Too Many Requests');
  }
  const port = server.address().port;
  const hosts = [`localhost:${port}`, `127.0.0.1:${port}`];
  if (!hosts.includes(request.headers.host)) return refuse(socket, 403, 'Forbidden');
  const origin = request.headers.origin;
  if (origin !== undefined && !hosts.some((host) => origin === `http://${host}`)) {
    return refuse(socket, 403, 'Forbidden');
  }
  let claims;
  try {
    claims = jwt.verify(credential(request) ?? '', secret, { algorithms: ['HS256'] });
  } catch {
    return refuse(socket, 401, 'Unauthorized');
  }
  sockets.handleUpgrade(request, socket, head, (webSocket) => sockets.emit('connection', webSocket, claims));
});

function send(peer, frame) {
  peer.socket.send(JSON.stringify(frame));
}

function error(peer, id, code) {
  send(peer, { type: 'error', id, payload: { code, message: 'The message was refused.', ref: randomBytes(6).toString('hex') } });
}

function csrfMatches(peer, token) {
  if (token === undefined) return false;
  const got = Buffer.from(token);
  return got.length === peer.csrf.length && timingSafeEqual(got, peer.csrf);
}

async function onMessage(peer, bytes, isBinary) {
  if (isBinary) return peer.socket.close(1003);
  try {
    await messageRate.consume(peer.subject);
  } catch {
    return error(peer, undefined, 'rate_limited');
  }
  let json;
  try {
    json = JSON.parse(bytes.toString());
  } catch {
    return error(peer, undefined, 'invalid_json');
  }
  if (json?.type !== 'ping' && !csrfMatches(peer, json?.csrfToken)) return error(peer, json?.id, 'csrf_invalid');
  const parsed = messageSchema.safeParse(json);
  if (!parsed.success) return error(peer, undefined, 'invalid_message');
  const { type, id, payload } = parsed.data;
  switch (type) {
    case 'chat': {
      const name = payload.room ?? 'lobby';
      if (!peer.rooms.has(name)) return error(peer, id, 'forbidden');
      const message = sanitizeHtml(payload.message, sanitizeOptions);
      const frame = JSON.stringify({ type: 'chat', payload: { from: peer.subject, room: name, message, at: Date.now() } });
      for (const member of rooms.get(name)) {
        if (member.socket.readyState === WebSocket.OPEN) member.socket.send(frame);
      }
      break;
    }
    case 'echo':
      send(peer, { type: 'echo', payload });
      break;
    case 'join':
      join(peer, payload.room);
      break;
    case 'leave':
      leave(peer, payload.room);
      break;
    case 'ping':
      send(peer, { type: 'pong', id, payload: { t: payload?.t, serverTime: Date.now() } });
      return;
  }
  if (id !== undefined) send(peer, { type: 'ack', id, payload: {} });
}

sockets.on('connection', (socket, claims) => {
  const csrfToken = randomBytes(32).toString('base64url');
  const peer = { socket, subject: claims.sub, csrf: Buffer.from(csrfToken), rooms: new Set(), alive: true };
  socket.peer = peer;
  socket.on('pong', () => (peer.alive = true));
  socket.on('error', () => socket.terminate());
  socket.on('message', (bytes, isBinary) => onMessage(peer, bytes, isBinary));
  socket.on('close', () => {
    for (const name of peer.rooms) leave(peer, name);
  });
  join(peer, 'lobby');
  send(peer, {
    type: 'welcome',
    payload: {
      session: randomBytes(16).toString('base64url'),
      subject: claims.sub,
      csrfToken,
      csrfExpiresAt: Date.now() + CSRF_MS,
      authExpiresAt: claims.exp * 1000,
      heartbeatMs: HEARTBEAT_MS,
      maxMessageBytes: MESSAGE_BYTES_MAX,
      resumed: false,
    },
  });
});

setInterval(() => {
  for (const socket of sockets.clients) {
    if (!socket.peer.alive) socket.terminate();
    else {
      socket.peer.alive = false;
      socket.ping();
    }
  }
}, HEARTBEAT_MS).unref();

server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const token = jwt.sign({}, secret, { algorithm: 'HS256', subject: 'bench', expiresIn: '1d' });
  console.log(JSON.stringify({ port: server.address().port, pid: process.pid, token }));
});
