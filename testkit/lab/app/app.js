'use strict';
// The small application that every Node stack of the lab carries: accounts, echo, notes, limits.
// Good and bad behaviour is chosen by LAB_OPTIONS (JSON, the table [options] of stack.toml); the
// WebSocket library under it is the stack's own. Weak choices exist to be found: never use this.
const crypto = require('crypto');

const options = Object.assign({
  path: '/ws', credential: 'header', also_query: false, token: 'jwt',
  alg_none: false, unsigned: false, expired_ok: false, any_audience: false, any_token: false, well_known: false,
  origin: 'exact', origin_null: false, origin_missing: true, host_check: false,
  handshakes: null, concurrent: 0, trust_forwarded: false, messages: null, limit_signal: 'close', bad_tokens: 0,
  progressive: false, strict: true, merge: 'none', stack: false, malformed: 'error', markup: 'raw', inject: 'none',
  before_auth: false, auth_deadline_ms: 0, idle_ms: 0, expiry_live: false, revoke_live: false, revoke_check: true,
  login: 'none', enumerate: false, session_ids: 'random', fixation: false, cookie_flags: 'good', ticket: 'none',
  metrics: false, health: 'minimal', banner: '', cors: 'none', trace_404: false, security_txt: false, date_skew_s: 0,
  hsts: '', welcome: 'none', dev_socket: false, reason: 'generic', note_check: true, resume: 'none', text_max: 0,
  binary: 'refuse', prefix: false,
}, JSON.parse(process.env.LAB_OPTIONS || '{}'));
const secret = process.env.LAB_SECRET || '';
const allowed = process.env.LAB_ORIGIN || 'https://app.example.test';
const seeded = JSON.parse(process.env.LAB_SESSIONS || '{}');

const sessions = new Map(Object.entries(seeded)); // sid or opaque token -> user
const revoked = new Set();
const tickets = new Map();
const live = new Set();
const resumable = new Map();
const windows = new Map();
const settings = {};
let sequence = 0;

const digest = (text) => crypto.createHash('sha256').update(text).digest();
const same = (a, b) => crypto.timingSafeEqual(digest(a), digest(b));
const decode = (part) => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));

/** Who a credential speaks for, or null. */
function identify(credential) {
  if (!credential) return null;
  if (options.revoke_check && revoked.has(credential)) return null;
  if (options.well_known && credential === 'test_token') return { user: 'alice', credential };
  if (options.any_token) return { user: 'alice', credential };
  if (options.ticket !== 'none' && tickets.has(credential)) {
    const ticket = tickets.get(credential);
    if (options.ticket === 'single') tickets.delete(credential);
    if (options.ticket === 'single' && ticket.until < Date.now()) return null;
    return { user: ticket.user, credential };
  }
  if (options.credential === 'cookie' || options.token === 'opaque') {
    return sessions.has(credential) ? { user: sessions.get(credential), credential } : null;
  }
  try {
    const [head, body, signature, more] = credential.split('.');
    if (more !== undefined) return null;
    const header = decode(head);
    const claims = decode(body);
    const none = String(header.alg).toLowerCase() === 'none';
    if (!(none && options.alg_none) && !options.unsigned) {
      if (header.alg !== 'HS256') return null;
      const good = crypto.createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url');
      if (!same(good, signature || '')) return null;
    }
    if (!options.expired_ok && !(claims.exp > Date.now() / 1000)) return null;
    if (!options.any_audience && claims.aud !== 'lab') return null;
    return { user: String(claims.sub), exp: claims.exp, credential };
  } catch { return null; }
}

function cookie(headers, name) {
  for (const pair of String(headers.cookie || '').split(';')) {
    const at = pair.indexOf('=');
    if (at > 0 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim();
  }
  return '';
}

/** The session's cookie, by the name that it is set under and by the plain one. */
const session = (headers) => cookie(headers, '__Host-sid') || cookie(headers, 'sid');
const bearer = (headers) => (/^Bearer (.+)$/.exec(headers.authorization || '') || [])[1] || '';
const query = (url, name) => { try { return new URL(url, 'http://lab').searchParams.get(name) || ''; } catch { return ''; } };
const offered = (headers) => String(headers['sec-websocket-protocol'] || '').split(',').map((s) => s.trim()).filter(Boolean);

function credentialOf({ url, headers }) {
  if (options.ticket !== 'none' && query(url, 'ticket')) return query(url, 'ticket');
  if (options.also_query && query(url, 'token')) return query(url, 'token');
  switch (options.credential) {
    case 'header': return bearer(headers);
    case 'query': return query(url, 'token');
    case 'cookie': return session(headers);
    case 'subprotocol': return (offered(headers).find((p) => p.startsWith('bearer.')) || '').slice(7);
    default: return '';
  }
}

function originAllowed(headers) {
  const origin = headers.origin;
  if (options.origin === 'any') return true;
  if (origin === undefined) return options.origin_missing;
  if (origin === 'null') return options.origin_null;
  const host = allowed.replace(/^https?:\/\//, '');
  switch (options.origin) {
    case 'prefix': return origin.startsWith(allowed);
    case 'suffix': return origin.endsWith(host);
    case 'regex': return new RegExp(`^https?://([a-z0-9-]+\\.)?${host}$`).test(origin); // the dots match anything
    case 'hostname': try { return new URL(origin).hostname === host; } catch { return false; }
    case 'same-host': return origin.replace(/^https?:\/\//, '') === headers.host;
    default: return origin === allowed;
  }
}

/** Counts one event for a key in a fixed window; true while within the limit. */
function within(kind, key, limit) {
  if (!limit) return true;
  const [most, ms] = limit;
  const now = Date.now();
  const id = `${kind} ${key}`;
  let w = windows.get(id);
  if (!w || now >= w.until) {
    if (windows.size > 10000) windows.clear();
    w = { count: 0, until: now + ms, strikes: w ? w.strikes : 0 };
    windows.set(id, w);
  }
  w.count += 1;
  if (w.count === most + 1 && options.progressive) { w.strikes += 1; w.until = now + ms * 2 ** w.strikes; }
  return w.count <= most;
}

/** The /64 of an IPv6 address, written out; every other address as it is, and none where the peer is gone already. */
function prefixOf(ip = '') {
  if (!ip.includes(':') || ip.includes('.')) return ip;
  const [before, after = ''] = ip.split('::');
  const head = before.split(':').filter(Boolean);
  const tail = after.split(':').filter(Boolean);
  return [...head, ...Array(Math.max(0, 8 - head.length - tail.length)).fill('0'), ...tail].slice(0, 4).join(':');
}

const addressOf = (headers, ip) =>
  (options.trust_forwarded && (headers['x-forwarded-for'] || headers['x-real-ip'] || '').split(',')[0].trim()) || (options.prefix ? prefixOf(ip) : ip);

const refuse = (status, body = '', headers = {}) => ({ ok: false, status, body, headers });

/** Judges a handshake: { ok, identity, address, protocol } or { ok: false, status, body, headers }. */
function judge({ url, headers, ip }) {
  const address = addressOf(headers, ip);
  if (!within('handshake', address, options.handshakes)) return refuse(429, '', { 'Retry-After': '10' });
  const path = url.split('?')[0];
  const dev = options.dev_socket && path === '/_next/webpack-hmr';
  if (path !== options.path && !dev) return refuse(404, lost(url));
  if (options.host_check && !/^(127\.0\.0\.1|localhost|\[fd00:1ab::1\])(:\d+)?$/.test(headers.host || '')) return refuse(403);
  if (!originAllowed(headers)) return refuse(403);
  let identity = null;
  if (dev || options.credential === 'none') identity = { user: 'guest', credential: '' };
  else if (!['first', 'connect'].includes(options.credential)) {
    const credential = credentialOf({ url, headers });
    if (options.bad_tokens && windows.has(`bad ${address}`) && !within('bad', address, [options.bad_tokens, 30000])) {
      return refuse(429, '', { 'Retry-After': '30' });
    }
    identity = identify(credential);
    if (!identity) {
      if (options.bad_tokens) within('bad', address, [options.bad_tokens, 30000]);
      return refuse(401);
    }
    windows.delete(`bad ${address}`);
  }
  if (options.concurrent) {
    const key = identity ? identity.user : address;
    const open = [...live].filter((c) => (identity ? c.identity && c.identity.user === key : c.address === key)).length;
    if (open >= options.concurrent) return refuse(429, '', { 'Retry-After': '5' });
  }
  return { ok: true, identity, address, protocol: offered(headers).includes('lab.v1') ? 'lab.v1' : undefined };
}

const lost = (url) => options.trace_404
  ? `<h1>Cannot GET ${url}</h1><pre>${new Error('no such route').stack}</pre>`
  : 'not found';

/** JSON as RFC 8259 has it, without doubled keys, prototype keys, deep nesting, or numbers that lose digits. */
function strictParse(text) {
  if (/[\ud800-\udfff]/.test(text.replace(/[\ud800-\udbff][\udc00-\udfff]/g, ''))) throw new Error('surrogate');
  JSON.parse(text); // grammar first
  const token = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[{}[\],:]/g;
  const keys = [];
  let depth = 0;
  let expectKey = [];
  for (let m; (m = token.exec(text));) {
    const t = m[0];
    if (t === '{' || t === '[') {
      if (++depth > 16) throw new Error('depth');
      keys.push(t === '{' ? new Set() : null);
      expectKey.push(t === '{');
    } else if (t === '}' || t === ']') { depth -= 1; keys.pop(); expectKey.pop();
    } else if (t === ',') { if (keys[depth - 1]) expectKey[depth - 1] = true;
    } else if (t === ':') { expectKey[depth - 1] = false;
    } else if (t[0] === '"') {
      const s = JSON.parse(t);
      if (/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069\ufeff]/.test(s)) throw new Error('control character');
      if (/[\ud800-\udfff]/.test(s.replace(/[\ud800-\udbff][\udc00-\udfff]/g, ''))) throw new Error('surrogate');
      if (expectKey[depth - 1] && keys[depth - 1]) {
        if (keys[depth - 1].has(s) || ['__proto__', 'constructor', 'prototype'].includes(s)) throw new Error('key');
        keys[depth - 1].add(s);
      }
    } else if (!Number.isFinite(Number(t)) || Math.abs(Number(t)) > Number.MAX_SAFE_INTEGER || t.length > 24) throw new Error('number');
  }
  return JSON.parse(text);
}

const shapes = {
  auth: { token: 'string' }, echo: { text: 'string' }, whoami: {}, note: { id: 'string' },
  login: { user: 'string', pass: 'string' }, resume: { session: 'string' }, subscribe: { text: 'string' },
};
function conforms(m) {
  const shape = Object.hasOwn(shapes, m.type) ? shapes[m.type] : null;
  if (!shape) return false;
  for (const [k, v] of Object.entries(m)) {
    if (k === 'type') continue;
    if (k === 'n' && m.type === 'echo') { if (!Number.isInteger(v)) return false; continue; }
    if (typeof v !== shape[k]) return false;
  }
  return Object.keys(shape).every((k) => k in m);
}

function deepMerge(into, from) { // what CWE-1321 is about
  for (const key of Object.keys(from)) {
    if (from[key] && typeof from[key] === 'object' && into[key]) deepMerge(into[key], from[key]);
    else into[key] = from[key];
  }
}
const merge = options.merge === 'lodash' ? require(require.resolve('lodash', { paths: [process.cwd()] })).merge : deepMerge;

const encode = (s) => String(s).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
function render(text) {
  if (options.inject === 'template' && typeof text === 'string') {
    return text.replace(/\{\{([^}]*)\}\}/g, (_, code) => { try { return String(eval(code)); } catch (e) { return String(e); } }); // eslint-disable-line no-eval
  }
  return options.markup === 'encode' && typeof text === 'string' ? encode(text) : text;
}

const notes = { 'note-a': { owner: 'alice', text: 'for alice only' }, 'note-b': { owner: 'bob', text: 'for bob only' } };

/** One open connection. `out`: { send(text), close(code, reason) }. */
function connect(judged, out) {
  const c = { identity: judged.identity, address: judged.address, session: crypto.randomBytes(16).toString('hex'), timers: [] };
  live.add(c);
  const later = (ms, act) => { const t = setTimeout(act, ms); c.timers.push(t); return t; };
  const reply = (o) => { const flat = {}; for (const k in o) flat[k] = o[k]; out.send(JSON.stringify(flat)); };
  const fail = (code, error, detail) => {
    const o = { type: 'error', code };
    if (options.stack && error) { o.stack = error.stack || String(error); }
    if (options.reason === 'reflect') { out.close(1008, `cannot handle ${String(detail).slice(0, 80)}`); return; }
    reply(o);
  };
  c.shut = (code, reason) => out.close(code, reason);
  let idle = null;
  const touch = () => { if (options.idle_ms) { clearTimeout(idle); idle = later(options.idle_ms, () => out.close(4408, 'idle')); } };
  const expires = () => { if (options.expiry_live && c.identity && c.identity.exp) later(Math.max(0, Math.min(c.identity.exp * 1000 - Date.now(), 2 ** 31 - 1)), () => out.close(4401, 'expired')); };
  touch();
  if (c.identity) expires();
  else if (options.auth_deadline_ms) later(options.auth_deadline_ms, () => { if (!c.identity) out.close(4401, 'unauthenticated'); });
  if (options.welcome === 'session') reply({ type: 'welcome', session: c.session });
  if (options.welcome === 'leak') reply({ type: 'welcome', node: 'db1.internal.corp 10.2.3.4', admin: 'root@corp-mail.com', key: 'AKIAIOSFODNN7EXAMPLE', user_id: 4711 });
  if (options.resume !== 'none' && c.identity) resumable.set(c.session, c.identity);
  c.closed = () => { live.delete(c); c.timers.forEach(clearTimeout); clearTimeout(idle); };

  c.message = (data, binary = false) => {
    touch();
    if (binary && options.binary === 'refuse') { if (options.reason === 'reflect') fail('binary'); else out.close(1003, ''); return; }
    const text = typeof data === 'string' ? data : Buffer.from(data).toString('utf8');
    const key = c.identity ? `${c.identity.user} ${c.address}` : c.address;
    const forwarded = options.messages && !within('message', key, options.messages);
    if (forwarded) {
      if (options.limit_signal === 'close') out.close(1008, 'rate limit');
      else if (options.limit_signal === 'error') reply({ type: 'error', code: 'rate_limited', retryAfterMs: 1000 });
      return;
    }
    if (options.text_max && Buffer.byteLength(text) > options.text_max) { out.close(1009, ''); return; }
    let m;
    try { m = options.strict ? strictParse(text) : JSON.parse(text); } catch (error) {
      if (options.malformed === 'crash') throw error;
      if (options.malformed === 'ignore') return;
      if (options.malformed === 'close') { out.close(1007, ''); return; }
      fail('malformed', error, text); return;
    }
    try { act(m, text); } catch (error) { if (options.malformed === 'crash') throw error; fail('failed', error, text); }
  };

  function act(m, text) {
    if (options.strict && (m === null || typeof m !== 'object' || Array.isArray(m) || !conforms(m))) { fail('invalid', new TypeError('does not conform'), text); return; }
    if (!c.identity && m.type !== 'auth' && m.type !== 'login' && !options.before_auth) { reply({ type: 'error', code: 'unauthenticated' }); out.close(4401, 'unauthenticated'); return; }
    const user = c.identity ? c.identity.user : 'guest';
    switch (m.type) {
      case 'auth':
        if (options.bad_tokens && windows.has(`bad ${c.address}`) && !within('bad', c.address, [options.bad_tokens, 30000])) { out.close(4429, 'slow down'); return; }
        c.identity = identify(m.token);
        if (!c.identity) { if (options.bad_tokens) within('bad', c.address, [options.bad_tokens, 30000]); out.close(4401, 'unauthenticated'); return; }
        expires(); reply({ type: 'ready', user: c.identity.user }); return;
      case 'whoami': reply({ type: 'whoami', user }); return;
      case 'echo': {
        if (options.merge === 'assign') { reply(Object.assign({ user }, m, { text: render(m.text) })); return; }
        if (options.merge === 'deep' || options.merge === 'lodash') merge(settings, m);
        const o = { type: 'echo', text: render(m.text), user };
        if ('n' in m) o.n = m.n;
        if (options.markup === 'html') o.html = `<p>${m.text}</p>`;
        reply(o); return;
      }
      case 'note': {
        const note = Object.hasOwn(notes, m.id) ? notes[m.id] : null;
        if (!note || (options.note_check && note.owner !== user)) { reply({ type: 'error', code: 'forbidden' }); return; }
        reply({ type: 'note', id: m.id, text: note.text }); return;
      }
      case 'resume': {
        if (options.resume === 'none') break;
        const old = resumable.get(m.session);
        if (old && (options.resume === 'open' || (c.identity && old.user === c.identity.user))) { c.identity = old; reply({ type: 'resumed', user: old.user }); return; }
        reply({ type: 'error', code: 'no_session' }); return;
      }
      case 'login': {
        if (options.login === 'none') break;
        if (options.login === 'throttled' && !within('login', `${m.user} ${c.address}`, [3, 30000])) { reply({ type: 'error', code: 'rate_limited', retryAfterMs: 30000 }); return; }
        reply({ type: 'error', code: options.enumerate ? (m.user === 'alice' ? 'wrong_password' : 'no_such_user') : 'login_failed' }); return;
      }
    }
    if (!options.strict && options.stack) { null.method(m.type); } // as careless dispatchers do
    fail('unknown_type', new Error(`unknown type ${m.type}`), text);
  }
  return c;
}

/** The HTTP side: accounts, tickets, probes. Returns { status, headers, body }. */
function http({ method, url, headers, body, ip }) {
  const h = { 'Content-Type': 'text/plain' };
  if (options.banner) { h.Server = options.banner; h['X-Powered-By'] = options.banner; }
  if (options.hsts) h['Strict-Transport-Security'] = options.hsts;
  if (options.date_skew_s) h.Date = new Date(Date.now() - options.date_skew_s * 1000).toUTCString();
  if (options.cors === 'reflect' && headers.origin) { h['Access-Control-Allow-Origin'] = headers.origin; h['Access-Control-Allow-Credentials'] = 'true'; }
  if (options.cors === 'star') h['Access-Control-Allow-Origin'] = '*';
  const path = url.split('?')[0];
  const say = (status, text, type) => { if (type) h['Content-Type'] = type; return { status, headers: h, body: text }; };
  const current = () => session(headers) || bearer(headers);
  const issue = (sid) => {
    sessions.set(sid, 'alice');
    if (sessions.size > 5000) sessions.clear();
    h['Set-Cookie'] = options.cookie_flags === 'good' ? `__Host-sid=${sid}; Path=/; Secure; HttpOnly; SameSite=Strict` : `sid=${sid}; Path=/`;
  };
  const fresh = () => options.session_ids === 'sequential' ? `s-${String(++sequence).padStart(6, '0')}` : crypto.randomBytes(24).toString('base64url');
  if (path === '/' && method === 'GET') {
    if (options.credential === 'cookie') { const sid = fresh(); issue(sid); sessions.set(sid, 'visitor'); }
    return say(200, '<!doctype html><title>lab</title>', 'text/html');
  }
  if (path === '/login' && method === 'POST') {
    const chosen = session(headers);
    issue(options.fixation && chosen ? chosen : fresh());
    return say(200, '{"ok":true}', 'application/json');
  }
  if (path === '/logout' && method === 'POST') {
    const credential = current();
    if (!credential) return say(401, '');
    revoked.add(credential);
    if (options.credential === 'cookie' && options.revoke_check) sessions.delete(credential);
    if (options.revoke_live) for (const c of live) if (c.identity && c.identity.credential === credential) c.shut(4401, 'revoked');
    return say(204, '');
  }
  if (path === '/ticket' && method === 'POST' && options.ticket !== 'none') {
    const who = identify(current());
    if (!who) return say(401, '');
    const ticket = crypto.randomBytes(24).toString('base64url');
    tickets.set(ticket, { user: who.user, until: Date.now() + 30000 });
    return say(200, JSON.stringify({ ticket }), 'application/json');
  }
  if (/^\/(health|healthz)$/.test(path) && options.health !== 'none') {
    return options.health === 'verbose'
      ? say(200, JSON.stringify({ status: 'ok', version: '2.3.1', build: '9f8e7d6', node: process.version, dependencies: { postgres: '14.2 at 10.2.3.4:5432' } }), 'application/json')
      : say(200, '{"status":"ok"}', 'application/json');
  }
  if (path === '/metrics' && options.metrics) return say(200, '# HELP lab_connections Open connections.\n# TYPE lab_connections gauge\nlab_connections ' + live.size + '\nprocess_resident_memory_bytes 1.2e+07\n', 'text/plain; version=0.0.4');
  if (path === '/.well-known/security.txt' && options.security_txt) return say(200, 'Contact: mailto:security@example.test\nExpires: 2030-01-01T00:00:00.000Z\n');
  return say(404, lost(url), options.trace_404 ? 'text/html' : undefined);
}

/** A listener for node:http. */
function onRequest(req, res) {
  let body = '';
  req.on('data', (d) => { if (body.length < 65536) body += d; });
  req.on('end', () => {
    const r = http({ method: req.method, url: req.url, headers: req.headers, body, ip: req.socket.remoteAddress });
    res.writeHead(r.status, r.headers);
    res.end(r.body);
  });
}

/** Writes a refusal on a bare socket, as an upgrade listener must. */
function writeRefusal(socket, r) {
  const extra = Object.entries(r.headers || {}).map(([k, v]) => `${k}: ${v}\r\n`).join('');
  const banner = options.banner ? `Server: ${options.banner}\r\n` : '';
  socket.end(`HTTP/1.1 ${r.status} Refused\r\n${banner}${extra}Connection: close\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(r.body || '')}\r\n\r\n${r.body || ''}`);
}

const requestOf = (req) => ({ method: req.method, url: req.url, headers: req.headers, ip: req.socket.remoteAddress });

/** Listens on a free loopback port and says which. */
function listen(server) {
  server.listen(Number(process.env.LAB_PORT || 0), process.env.LAB_HOST || '127.0.0.1', () => console.log(`listening ${server.address().port}`));
}

module.exports = { options, identify, judge, connect, http, onRequest, writeRefusal, requestOf, listen };
