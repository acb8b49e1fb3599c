"""The small application that every Python stack of the lab carries: accounts, echo, notes, limits.

The twin of app.js: good and bad behaviour is chosen by LAB_OPTIONS (JSON, the table [options] of
stack.toml); the WebSocket library under it is the stack's own. Weak choices exist to be found.
"""
import base64
import hashlib
import hmac
import html
import json
import os
import pickle
import re
import secrets
import sqlite3
import threading
import time
import traceback
from urllib.parse import parse_qs, urlsplit

O = {
    "path": "/ws", "credential": "header", "also_query": False, "token": "jwt",
    "alg_none": False, "unsigned": False, "expired_ok": False, "any_audience": False, "any_token": False, "well_known": False,
    "origin": "exact", "origin_null": False, "origin_missing": True, "host_check": False,
    "handshakes": None, "concurrent": 0, "trust_forwarded": False, "messages": None, "limit_signal": "close", "bad_tokens": 0,
    "progressive": False, "strict": True, "merge": "none", "stack": False, "malformed": "error", "markup": "raw", "inject": "none",
    "before_auth": False, "auth_deadline_ms": 0, "idle_ms": 0, "expiry_live": False, "revoke_live": False, "revoke_check": True,
    "login": "none", "enumerate": False, "session_ids": "random", "fixation": False, "cookie_flags": "good", "ticket": "none",
    "metrics": False, "health": "minimal", "banner": "", "cors": "none", "trace_404": False, "security_txt": False, "date_skew_s": 0,
    "hsts": "", "welcome": "none", "dev_socket": False, "reason": "generic", "note_check": True, "resume": "none", "text_max": 0,
    "binary": "refuse", "gate_on_upgrade": False,
}
O.update(json.loads(os.environ.get("LAB_OPTIONS", "{}")))
SECRET = os.environ.get("LAB_SECRET", "").encode()
ALLOWED = os.environ.get("LAB_ORIGIN", "https://app.example.test")

sessions = dict(json.loads(os.environ.get("LAB_SESSIONS", "{}")))
revoked, tickets, live, resumable, windows = set(), {}, set(), {}, {}
lock = threading.RLock()
sequence = 0


def _decode(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def identify(credential):
    """Who a credential speaks for: {"user", "exp", "credential"} or None."""
    if not credential or (O["revoke_check"] and credential in revoked):
        return None
    if O["well_known"] and credential == "test_token" or O["any_token"]:
        return {"user": "alice", "exp": None, "credential": credential}
    if O["ticket"] != "none" and credential in tickets:
        user, until = tickets[credential]
        if O["ticket"] == "single":
            del tickets[credential]
            if until < time.time():
                return None
        return {"user": user, "exp": None, "credential": credential}
    if O["credential"] == "cookie" or O["token"] == "opaque":
        user = sessions.get(credential)
        return {"user": user, "exp": None, "credential": credential} if user else None
    try:
        head, body, signature = credential.split(".")
        header, claims = json.loads(_decode(head)), json.loads(_decode(body))
        none = str(header.get("alg")).lower() == "none"
        if not (none and O["alg_none"]) and not O["unsigned"]:
            if header.get("alg") != "HS256":
                return None
            good = hmac.new(SECRET, f"{head}.{body}".encode(), hashlib.sha256).digest()
            if not hmac.compare_digest(good, _decode(signature)):
                return None
        if not O["expired_ok"] and not claims.get("exp", 0) > time.time():
            return None
        if not O["any_audience"] and claims.get("aud") != "lab":
            return None
        return {"user": str(claims.get("sub")), "exp": claims.get("exp"), "credential": credential}
    except Exception:
        return None


def _cookie(headers, name):
    for pair in headers.get("cookie", "").split(";"):
        k, _, v = pair.partition("=")
        if k.strip() == name:
            return v.strip()
    return ""


def _session(headers):
    """The session's cookie, by the name that it is set under and by the plain one."""
    return _cookie(headers, "__Host-sid") or _cookie(headers, "sid")


def _bearer(headers):
    value = headers.get("authorization", "")
    return value[7:] if value.startswith("Bearer ") else ""


def _query(url, name):
    return parse_qs(urlsplit(url).query).get(name, [""])[0]


def _offered(headers):
    return [p.strip() for p in headers.get("sec-websocket-protocol", "").split(",") if p.strip()]


def _credential(url, headers):
    if O["ticket"] != "none" and _query(url, "ticket"):
        return _query(url, "ticket")
    if O["also_query"] and _query(url, "token"):
        return _query(url, "token")
    kind = O["credential"]
    if kind == "header":
        return _bearer(headers)
    if kind == "query":
        return _query(url, "token")
    if kind == "cookie":
        return _session(headers)
    if kind == "subprotocol":
        return next((p[7:] for p in _offered(headers) if p.startswith("bearer.")), "")
    return ""


def _origin_allowed(headers):
    origin = headers.get("origin")
    kind, host = O["origin"], re.sub("^https?://", "", ALLOWED)
    if kind == "any":
        return True
    if origin is None:
        return O["origin_missing"]
    if origin == "null":
        return O["origin_null"]
    if kind == "prefix":
        return origin.startswith(ALLOWED)
    if kind == "suffix":
        return origin.endswith(host)
    if kind == "regex":
        return bool(re.fullmatch(rf"https?://([a-z0-9-]+\.)?{host}", origin))  # the dots match anything
    if kind == "hostname":
        return urlsplit(origin).hostname == host
    if kind == "same-host":
        return re.sub("^https?://", "", origin) == headers.get("host")
    return origin == ALLOWED


def _within(kind, key, limit):
    """Counts one event for a key in a fixed window; true while within the limit."""
    if not limit:
        return True
    most, ms = limit
    now, ident = time.monotonic(), f"{kind} {key}"
    w = windows.get(ident)
    if not w or now >= w[1]:
        if len(windows) > 10000:
            windows.clear()
        w = windows[ident] = [0, now + ms / 1000, w[2] if w else 0]
    w[0] += 1
    if w[0] == most + 1 and O["progressive"]:
        w[2] += 1
        w[1] = now + ms / 1000 * 2 ** w[2]
    return w[0] <= most


def _address(headers, ip):
    forwarded = (headers.get("x-forwarded-for") or headers.get("x-real-ip") or "").split(",")[0].strip()
    return forwarded if O["trust_forwarded"] and forwarded else ip


class Judged:
    def __init__(self, ok, status=101, body="", headers=None, identity=None, address="", protocol=None):
        self.ok, self.status, self.body, self.headers = ok, status, body, dict(headers or {})
        self.identity, self.address, self.protocol = identity, address, protocol
        if O["banner"]:
            self.headers["Server"] = O["banner"]


def lost(url):
    if not O["trace_404"]:
        return "not found"
    try:
        raise LookupError(f"no route for {url}")
    except LookupError:
        return traceback.format_exc()


def judge(url, headers, ip):
    """Judges a handshake. `headers`: lower-case names; `ip`: the peer's address."""
    with lock:
        address = _address(headers, ip)
        if not _within("handshake", address, O["handshakes"]):
            return Judged(False, 429, headers={"Retry-After": "10"})
        path = url.split("?")[0]
        dev = O["dev_socket"] and path == "/_next/webpack-hmr"
        if path != O["path"] and not dev:
            return Judged(False, 404, lost(url))
        if O["host_check"] and not re.fullmatch(r"(127\.0\.0\.1|localhost)(:\d+)?", headers.get("host", "")):
            return Judged(False, 403)
        if not _origin_allowed(headers):
            return Judged(False, 403)
        identity = None
        if dev or O["credential"] == "none":
            identity = {"user": "guest", "exp": None, "credential": ""}
        elif O["credential"] not in ("first", "connect"):
            bad = f"bad {address}"
            if O["bad_tokens"] and bad in windows and not _within("bad", address, [O["bad_tokens"], 30000]):
                return Judged(False, 429, headers={"Retry-After": "30"})
            identity = identify(_credential(url, headers))
            if not identity:
                if O["bad_tokens"]:
                    _within("bad", address, [O["bad_tokens"], 30000])
                return Judged(False, 401)
            windows.pop(bad, None)
        if O["concurrent"]:
            same = [c for c in live if (c.identity and c.identity["user"] == identity["user"] if identity else c.address == address)]
            if len(same) >= O["concurrent"]:
                return Judged(False, 429, headers={"Retry-After": "5"})
        protocol = "lab.v1" if "lab.v1" in _offered(headers) else None
        return Judged(True, identity=identity, address=address, protocol=protocol)


CONTROL = re.compile("[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def _pairs(pairs):
    seen = {}
    for k, v in pairs:
        if k in seen or k in ("__proto__", "constructor", "prototype"):
            raise ValueError("key")
        seen[k] = v
    return seen


def _number(text):
    value = float(text)
    if value in (float("inf"), float("-inf")) or abs(value) > 2**53 - 1 or len(text) > 24:
        raise ValueError("number")
    return float(text) if re.search("[.eE]", text) else int(text)


def _no_constant(text):
    raise ValueError(text)


def strict_parse(text):
    depth = 0
    for ch in re.sub(r'"(?:[^"\\]|\\.)*"', "", text):
        depth += ch in "{[" or -(ch in "}]")
        if depth > 16:
            raise ValueError("depth")
    value = json.loads(text, object_pairs_hook=_pairs, parse_int=_number, parse_float=_number, parse_constant=_no_constant)
    stack = [value]
    while stack:
        v = stack.pop()
        if isinstance(v, str) and CONTROL.search(v):
            raise ValueError("control character")
        if isinstance(v, dict):
            stack += list(v) + list(v.values())
        elif isinstance(v, list):
            stack += v
    return value


SHAPES = {"auth": {"token"}, "echo": {"text"}, "whoami": set(), "note": {"id"}, "login": {"user", "pass"}, "resume": {"session"}}


def conforms(m):
    shape = SHAPES.get(m.get("type")) if isinstance(m, dict) and isinstance(m.get("type"), str) else None
    if shape is None:
        return False
    for k, v in m.items():
        if k == "type" or (k == "n" and m["type"] == "echo" and type(v) is int):
            continue
        if k not in shape or not isinstance(v, str):
            return False
    return shape <= m.keys()


NOTES = {"note-a": ("alice", "for alice only"), "note-b": ("bob", "for bob only")}


class Conn:
    """One open connection. `send(text)` and `close(code, reason)` are the library's; `later(seconds, act)` returns something with cancel()."""

    def __init__(self, judged, send, close, later=None):
        self.identity, self.address, self._send, self._close = judged.identity, judged.address, send, close
        self._later = later or self._timer
        self.session, self.timers, self.idle, self.over = secrets.token_hex(16), [], None, False
        with lock:
            live.add(self)
        self._touch()
        if self.identity:
            self._expires()
        elif O["auth_deadline_ms"]:
            self.timers.append(self._later(O["auth_deadline_ms"] / 1000, lambda: self.identity or self.shut(4401, "unauthenticated")))
        if O["welcome"] == "session":
            self._reply({"type": "welcome", "session": self.session})
        if O["welcome"] == "leak":
            self._reply({"type": "welcome", "node": "db1.internal.corp 10.2.3.4", "admin": "root@corp-mail.com", "key": "AKIAIOSFODNN7EXAMPLE", "user_id": 4711})
        if O["resume"] != "none" and self.identity:
            resumable[self.session] = self.identity

    @staticmethod
    def _timer(seconds, act):
        t = threading.Timer(seconds, act)
        t.daemon = True
        t.start()
        return t

    def shut(self, code, reason):
        if not self.over:
            self._close(code, reason)

    def _touch(self):
        if O["idle_ms"]:
            if self.idle:
                self.idle.cancel()
            self.idle = self._later(O["idle_ms"] / 1000, lambda: self.shut(4408, "idle"))

    def _expires(self):
        if O["expiry_live"] and self.identity and self.identity["exp"]:
            wait = min(max(0, self.identity["exp"] - time.time()), 86400)
            self.timers.append(self._later(wait, lambda: self.shut(4401, "expired")))

    def closed(self):
        self.over = True
        with lock:
            live.discard(self)
        for t in self.timers + ([self.idle] if self.idle else []):
            t.cancel()

    def _reply(self, o):
        self._send(json.dumps(o, ensure_ascii=False).encode("utf-8", "surrogatepass").decode("utf-8", "replace"))

    def _fail(self, code, detail=""):
        if O["reason"] == "reflect":
            self.shut(1008, f"cannot handle {str(detail)[:80]}".encode("utf-8", "replace")[:120].decode("utf-8", "ignore"))
            return
        o = {"type": "error", "code": code}
        if O["stack"]:
            o["stack"] = traceback.format_exc() if "NoneType: None" not in traceback.format_exc() else "".join(traceback.format_stack(limit=3))
        self._reply(o)

    def message(self, data, binary=False):
        self._touch()
        if binary and O["binary"] == "refuse":
            self.shut(1003, "")
            return
        if binary and O["binary"] == "pickle" and not data[:1] in (b"{", b"["):
            try:
                self._reply({"type": "echo", "text": str(pickle.loads(data))})
            except Exception as e:
                self._reply({"type": "error", "code": f"pickle: {type(e).__name__}: {e}"})
            return
        text = data if isinstance(data, str) else bytes(data).decode("utf-8", "replace")
        key = f"{self.identity['user']} {self.address}" if self.identity else self.address
        with lock:
            limited = O["messages"] and not _within("message", key, O["messages"])
        if limited:
            if O["limit_signal"] == "close":
                self.shut(1008, "rate limit")
            elif O["limit_signal"] == "error":
                self._reply({"type": "error", "code": "rate_limited", "retryAfterMs": 1000})
            return
        if O["text_max"] and len(text.encode("utf-8", "replace")) > O["text_max"]:
            self.shut(1009, "")
            return
        try:
            m = strict_parse(text) if O["strict"] else json.loads(text)
        except (ValueError, RecursionError):
            if O["malformed"] == "crash":
                raise
            if O["malformed"] == "close":
                self.shut(1007, "")
            elif O["malformed"] != "ignore":
                self._fail("malformed", text)
            return
        try:
            self._act(m, text)
        except Exception:
            if O["malformed"] == "crash":
                raise
            self._fail("failed", text)

    def _render(self, text):
        if not isinstance(text, str):
            return text
        if O["inject"] == "template":
            return re.sub(r"\{\{([^}]*)\}\}", lambda m: str(eval(m[1], {"__builtins__": {}})), text)  # what CWE-1336 is about
        if O["inject"] == "sql":
            db = sqlite3.connect(":memory:")
            try:
                return db.execute(f"SELECT '{text}'").fetchone()[0]  # what CWE-89 is about
            except sqlite3.Error as e:
                return f"sqlite3.{type(e).__name__}: {e} in: SELECT '{text}'"
        return html.escape(text) if O["markup"] == "encode" else text

    def _act(self, m, text):
        if O["strict"] and not conforms(m):
            self._fail("invalid", text)
            return
        if not self.identity and m["type"] not in ("auth", "login") and not O["before_auth"]:
            self._reply({"type": "error", "code": "unauthenticated"})
            self.shut(4401, "unauthenticated")
            return
        user = self.identity["user"] if self.identity else "guest"
        kind = m["type"]
        if kind == "auth":
            bad = f"bad {self.address}"
            if O["bad_tokens"] and bad in windows and not _within("bad", self.address, [O["bad_tokens"], 30000]):
                self.shut(4429, "slow down")
                return
            self.identity = identify(m["token"])
            if not self.identity:
                if O["bad_tokens"]:
                    _within("bad", self.address, [O["bad_tokens"], 30000])
                self.shut(4401, "unauthenticated")
                return
            self._expires()
            self._reply({"type": "ready", "user": self.identity["user"]})
        elif kind == "whoami":
            self._reply({"type": "whoami", "user": user})
        elif kind == "echo":
            if O["merge"] == "assign":
                self._reply({"user": user, **m, "text": self._render(m["text"])})
                return
            o = {"type": "echo", "text": self._render(m["text"]), "user": user}
            if "n" in m:
                o["n"] = m["n"]
            if O["markup"] == "html":
                o["html"] = f"<p>{m['text']}</p>"
            self._reply(o)
        elif kind == "note":
            owner, content = NOTES.get(m["id"], (None, None))
            if owner is None or (O["note_check"] and owner != user):
                self._reply({"type": "error", "code": "forbidden"})
            else:
                self._reply({"type": "note", "id": m["id"], "text": content})
        elif kind == "resume" and O["resume"] != "none":
            old = resumable.get(m["session"])
            if old and (O["resume"] == "open" or (self.identity and old["user"] == self.identity["user"])):
                self.identity = old
                self._reply({"type": "resumed", "user": old["user"]})
            else:
                self._reply({"type": "error", "code": "no_session"})
        elif kind == "login" and O["login"] != "none":
            if O["login"] == "throttled" and not _within("login", f"{m['user']} {self.address}", [3, 30000]):
                self._reply({"type": "error", "code": "rate_limited", "retryAfterMs": 30000})
            else:
                known = "wrong_password" if m["user"] == "alice" else "no_such_user"
                self._reply({"type": "error", "code": known if O["enumerate"] else "login_failed"})
        else:
            self._fail("unknown_type", text)


def http(method, url, headers, body=b""):
    """The HTTP side: accounts, tickets, probes. Returns (status, headers, text)."""
    global sequence
    h = {"Content-Type": "text/plain"}
    if O["banner"]:
        h["Server"] = h["X-Powered-By"] = O["banner"]
    if O["hsts"]:
        h["Strict-Transport-Security"] = O["hsts"]
    if O["cors"] == "reflect" and headers.get("origin"):
        h["Access-Control-Allow-Origin"], h["Access-Control-Allow-Credentials"] = headers["origin"], "true"
    if O["cors"] == "star":
        h["Access-Control-Allow-Origin"] = "*"
    path = url.split("?")[0]
    current = _session(headers) or _bearer(headers)

    def issue(sid, user):
        sessions[sid] = user
        h["Set-Cookie"] = f"__Host-sid={sid}; Path=/; Secure; HttpOnly; SameSite=Strict" if O["cookie_flags"] == "good" else f"sid={sid}; Path=/"

    def fresh():
        global sequence
        sequence += 1
        return f"s-{sequence:06d}" if O["session_ids"] == "sequential" else secrets.token_urlsafe(24)

    if path == "/" and method == "GET":
        if O["credential"] == "cookie":
            issue(fresh(), "visitor")
        h["Content-Type"] = "text/html"
        return 200, h, "<!doctype html><title>lab</title>"
    if path == "/login" and method == "POST":
        chosen = _session(headers)
        issue(chosen if O["fixation"] and chosen else fresh(), "alice")
        return 200, h, '{"ok":true}'
    if path == "/logout" and method == "POST":
        if not current:
            return 401, h, ""
        revoked.add(current)
        if O["credential"] == "cookie" and O["revoke_check"]:
            sessions.pop(current, None)
        if O["revoke_live"]:
            for c in list(live):
                if c.identity and c.identity["credential"] == current:
                    c.shut(4401, "revoked")
        return 204, h, ""
    if path == "/ticket" and method == "POST" and O["ticket"] != "none":
        who = identify(current)
        if not who:
            return 401, h, ""
        ticket = secrets.token_urlsafe(24)
        tickets[ticket] = (who["user"], time.time() + 30)
        h["Content-Type"] = "application/json"
        return 200, h, json.dumps({"ticket": ticket})
    if path in ("/health", "/healthz") and O["health"] != "none":
        h["Content-Type"] = "application/json"
        if O["health"] == "verbose":
            return 200, h, json.dumps({"status": "ok", "version": "2.3.1", "build": "9f8e7d6", "python": "3.11.7", "dependencies": {"postgres": "14.2 at 10.2.3.4:5432"}})
        return 200, h, '{"status":"ok"}'
    if path == "/metrics" and O["metrics"]:
        h["Content-Type"] = "text/plain; version=0.0.4"
        return 200, h, f"# HELP lab_connections Open connections.\n# TYPE lab_connections gauge\nlab_connections {len(live)}\nprocess_resident_memory_bytes 1.2e+07\n"
    if path == "/.well-known/security.txt" and O["security_txt"]:
        return 200, h, "Contact: mailto:security@example.test\nExpires: 2030-01-01T00:00:00.000Z\n"
    if O["trace_404"]:
        h["Content-Type"] = "text/html"
    return 404, h, lost(url)


def port():
    return int(os.environ.get("LAB_PORT", "0"))


def say(number):
    print(f"listening {number}", flush=True)
