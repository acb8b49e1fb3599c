// Plays the endpoints of `wsguard serve --dev` with invented data, so that the page can be built and looked at without
// the server. Not a guard: it knows the attacks of the page and nothing else.
//
//   node mock/server.mjs [PORT] [--unguarded]      then http://localhost:PORT/
//
// With --unguarded it refuses nothing: every attack must then say that it passed, and the browser test must fail.
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";

const assets = fileURLToPath(new URL("../../../crates/wsguard-server/assets/demo/", import.meta.url));
const unguarded = process.argv.includes("--unguarded");
const port = Number(process.argv.slice(2).find((argument) => /^\d+$/.test(argument)) ?? 3000);
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'none'";
const PAGES = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/app.js": ["app.js", "text/javascript; charset=utf-8"],
  "/style.css": ["style.css", "text/css; charset=utf-8"],
  "/dev/frame.html": ["frame.html", "text/html; charset=utf-8"],
  "/dev/frame.js": ["frame.js", "text/javascript; charset=utf-8"],
};
const CONTROLS = ["liveness", "rate", "scan", "csrf", "authorization", "rate_type", "schema", "content", "application"];
const USUAL_NS = [28, 120, 900, 80, 20, 15, 300, 40, 1700];

const streams = new Set();
const members = new Set();
const buckets = new Map();
const makeRef = () => randomBytes(6).toString("base64url").toUpperCase();

function emit(session, name, value) {
  for (const stream of streams) {
    if (session !== null && stream.session !== session) continue;
    stream.response.write(`event: ${name}\ndata: ${JSON.stringify(value)}\n\n`);
  }
}

function record(peer, control, reason, code, ref, extra = {}) {
  emit(null, "record", {
    "@timestamp": new Date().toISOString(),
    "ecs.version": "8.17",
    "event.kind": "event",
    "event.category": ["network"],
    "event.type": ["denied"],
    "event.action": peer === null ? "handshake-refused" : "message-refused",
    "event.outcome": "failure",
    "event.code": code,
    "event.reason": reason,
    "wsguard.control": control,
    "source.ip": "127.0.0.1",
    "wsguard.ref": ref,
    "user.name": peer?.subject,
    "wsguard.session": peer?.session,
    ...extra,
  });
}

function take(key, count, burst, perSecond) {
  const now = Date.now();
  const bucket = buckets.get(key) ?? { used: 0, at: now };
  bucket.used = Math.max(0, bucket.used - ((now - bucket.at) / 1000) * perSecond);
  bucket.at = now;
  const fits = bucket.used + count <= burst;
  if (fits) bucket.used += count;
  buckets.set(key, bucket);
  return { fits, share: bucket.used / burst };
}

function stateOf(peer) {
  const messages = take(`m ${peer.subject}`, 0, 60, 20).share;
  const bytes = take(`b ${peer.session}`, 0, 262_144, 262_144).share;
  return {
    subject: peer.subject,
    sessionStartedAt: peer.startedAt,
    authExpiresAt: peer.authExpiresAt,
    csrfExpiresAt: peer.startedAt + 900_000,
    buckets: [
      { name: "messages of this subject", used: messages, burst: 60, perSecond: 20, unit: "messages" },
      { name: "bytes of this session", used: bytes, burst: 262_144, perSecond: 262_144, unit: "bytes" },
      { name: "messages of this address", used: messages / 4, burst: 240, perSecond: 80, unit: "messages" },
      { name: "chat messages", used: messages / 2, burst: 30, perSecond: 10, unit: "messages" },
    ],
    expiring: peer.authExpiresAt - Date.now() < 60_000,
    frames: 0,
    kept: null,
    ladder: { rung: "calm", weight: 0, slowAt: 60, dropAt: 120, closeAt: 180, offences: 0 },
  };
}

function judge(peer, text) {
  const bytes = Buffer.byteLength(text);
  if (unguarded) return { message: JSON.parse(text) };
  if (!take(`m ${peer.subject}`, 1, 60, 20).fits) return { control: "rate", code: "rate_limited", reason: "messages_of_subject" };
  take(`b ${peer.session}`, bytes, 262_144, 262_144);
  if (bytes > 65_536) return { control: "scan", code: "too_large", reason: "message_bytes", close: 1009 };
  if (/__proto__|u005fproto/.test(text)) return { control: "scan", code: "unsafe_content", reason: "prototype_key" };
  if ((text.match(/"message":/g) ?? []).length > 1) return { control: "scan", code: "invalid_json", reason: "duplicate_key" };
  const message = JSON.parse(text);
  if (message.csrfToken !== peer.csrf) return { control: "csrf", code: "csrf_invalid", reason: "csrf_wrong", message };
  if (message.type === "chat" && (message.payload?.message ?? "").length > 4000) {
    return { control: "schema", code: "invalid_message", reason: "schema_max_length", message };
  }
  return { message };
}

function handle(peer, text) {
  const { message, control = null, code = null, reason = null, close } = judge(peer, text);
  const send = (frame) => peer.socket.send(JSON.stringify(frame));
  const ref = code === null ? null : makeRef();
  const id = message?.id ?? (text.match(/"id":"?([^",}]+)/)?.[1] ?? null);
  const stop = control === null ? CONTROLS.length : CONTROLS.indexOf(control) + 1;
  const times = CONTROLS.slice(0, stop).map((name, at) => [name, Math.round(USUAL_NS[at] * (0.7 + Math.random() * 0.7))]);
  emit(peer.session, "message", {
    at: Date.now(), session: peer.session, type: message?.type ?? null, id, bytes: Buffer.byteLength(text),
    verdict: close ? "close" : code === null ? "allow" : "refuse", control, code, reason, ref,
    ns: { total: times.reduce((sum, [, ns]) => sum + ns, 0), controls: times }, state: stateOf(peer),
  });
  if (code !== null) {
    record(peer, control, reason, code, ref);
    send({ type: "error", ...(id === null ? {} : { id }), payload: { code, message: "refused", ref } });
    if (close) peer.socket.close(close);
    return;
  }
  if (message.type === "echo") send({ type: "echo", payload: message.payload });
  if (message.type === "chat") {
    const harmful = !unguarded && /<(img|script|svg|iframe|a)\b/i.test(message.payload.message);
    const clean = harmful ? message.payload.message.replaceAll("<", "&lt;") : message.payload.message;
    if (harmful) record(peer, "content", "content_neutralised", undefined, undefined, { "event.action": "content-neutralised", "event.type": ["allowed"], "event.outcome": "success" });
    for (const member of members) {
      member.socket.send(JSON.stringify({ type: "chat", seq: ++member.seq, payload: { from: peer.subject, room: "lobby", message: clean, at: Date.now() } }));
    }
  }
  if (message.id !== undefined) send({ type: "ack", id: message.id, payload: {} });
}

async function body(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return JSON.parse(text);
}

function seconds(ttl) {
  const [, count, unit] = /^(-?\d+)([smh])$/.exec(ttl);
  return Number(count) * { s: 1, m: 60, h: 3600 }[unit];
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, "http://localhost");
  const json = (value) => response.setHeader("content-type", "application/json").end(JSON.stringify(value));
  response.setHeader("content-security-policy", POLICY);
  if (PAGES[url.pathname]) {
    const [file, type] = PAGES[url.pathname];
    response.setHeader("content-type", type).end(await readFile(join(assets, file)));
  } else if (url.pathname === "/dev/token") {
    const { name, ttl } = await body(request);
    const expiresAt = Date.now() + seconds(ttl) * 1000;
    json({ token: Buffer.from(JSON.stringify({ name, expiresAt })).toString("base64url"), subject: name.toLowerCase(), expiresAt });
  } else if (url.pathname === "/dev/watch") {
    response.setHeader("content-type", "text/event-stream").flushHeaders();
    const stream = { session: url.searchParams.get("session"), response };
    streams.add(stream);
    response.on("close", () => streams.delete(stream));
  } else if (url.pathname === "/dev/attack") {
    const { kind } = await body(request);
    if (unguarded) {
      json({ sent: "8100", status: 101, frames: [{ type: "ack", id: 1, payload: {} }], closeCode: null, closeReason: null, ref: null });
      return;
    }
    const ref = kind === "oversized" ? makeRef() : null;
    const code = kind === "oversized" ? "too_large" : undefined;
    record(null, "frame", kind === "oversized" ? "declared_length" : "unmasked_frame", code, ref ?? undefined);
    json({
      sent: kind === "oversized" ? "81ff000000003fffffff00000000" : "810f7b2274797065223a2265",
      status: 101,
      frames: code ? [{ type: "error", payload: { code, message: "refused", ref } }] : [],
      closeCode: kind === "oversized" ? 1009 : 1002, closeReason: "", ref,
    });
  } else response.writeHead(404).end();
});

const sockets = new WebSocketServer({ noServer: true, maxPayload: 1 << 20, handleProtocols: () => "wsguard.v1" });
server.on("upgrade", (request, socket, head) => {
  if (request.headers.origin === "null" && !unguarded) {
    const ref = makeRef();
    record(null, "origin", "origin_foreign", "forbidden", ref, { "wsguard.origin": "null", "http.response.status_code": 403 });
    socket.end(`HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n{"error":{"code":"forbidden","ref":"${ref}"}}`);
    return;
  }
  const bearer = request.headers["sec-websocket-protocol"]?.split("wsguard.bearer.")[1] ?? "";
  const token = JSON.parse(Buffer.from(bearer, "base64url").toString());
  sockets.handleUpgrade(request, socket, head, (ws) => {
    if (token.expiresAt < Date.now() && !unguarded) {
      const ref = makeRef();
      record(null, "credential", "token_expired", "unauthenticated", ref);
      ws.send(JSON.stringify({ type: "error", payload: { code: "unauthenticated", message: "not authenticated", ref } }));
      ws.close(4401);
      return;
    }
    const peer = {
      socket: ws, subject: token.name.toLowerCase(), session: randomBytes(12).toString("base64url"), startedAt: Date.now(), seq: 0,
      authExpiresAt: token.expiresAt, csrf: createHash("sha256").update(bearer).digest("base64url"),
    };
    members.add(peer);
    const timer = setInterval(() => emit(peer.session, "state", stateOf(peer)), 1000);
    ws.on("close", () => (members.delete(peer), clearInterval(timer)));
    ws.on("message", (text) => handle(peer, text.toString()));
    ws.send(JSON.stringify({ type: "welcome", payload: { session: peer.session, subject: peer.subject, csrfToken: peer.csrf, csrfExpiresAt: peer.startedAt + 900_000, authExpiresAt: peer.authExpiresAt, heartbeatMs: 25_000, maxMessageBytes: 65_536, resumeToken: "", resumed: false } }));
  });
});
server.listen(port, "127.0.0.1", () => console.error(`http://localhost:${server.address().port}/`));
