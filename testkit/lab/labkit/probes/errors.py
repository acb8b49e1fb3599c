"""F6: what errors tell, and whether they end the server."""
import re
import time

from ..raw import Gone
from ..target import Refused, new_address
from . import informational, not_applicable, probe, sound, vulnerable
from .inputs import TRACE, each, mark


@probe("WSA-ERR-01")
def internals(t):
    if not t.speaks:
        return None
    prefix = t.form["template"].split("{", 1)[0]
    m = mark()
    cases = [("unfinished", prefix + '{"a":', "@@"), ("unknown type", t.compose(m).replace('"echo"', '"zzz"').replace('"subscribe"', '"zzz"'), "@@"),
             ("wrong type", t.compose(m, text="[1]"), "@@"), ("null", prefix + "null", "@@"), ("quote", t.compose(m, text='"\'"'), "@@")]
    out = each(t, cases)
    try:
        out["a pickle"] = t.outcome(t.open(), b"\x80\x04\x95\x00.", "@@", opcode=2)
    except Refused:
        pass
    for name, (how, text) in out.items():
        plain = text.replace("\\n", "\n").replace('\\"', '"')
        if re.search(TRACE, plain):
            return vulnerable(f"{name}: {re.search(TRACE, plain)[0].strip()[:80]!r} in the reply")
    return sound("replies to six malformed messages hold no trace, path or library name")


@probe("WSA-ERR-02")
def handshake_errors(t):
    seen = {}
    for name, how in (("404", dict(path="/no-such-path-lab")), ("version", dict(version="99")), ("key", dict(key="short")), ("9 KiB header", dict(headers=["X-Long: " + "a" * 9000]))):
        t.source = new_address()
        r = t.handshake(**how)
        if r is None:
            seen[name] = "no answer"
            continue
        body = r.body(0.6).decode("latin-1") if r.status != 101 else ""
        r.close()
        if re.search(TRACE + r"|<title>.*(Debugger|Traceback)", body):
            return vulnerable(f"{name}: status {r.status} with a trace: {re.search(TRACE, body)[0].strip()[:70]!r}")
        banner = re.search(r"[A-Za-z]+/\d+\.\d[\w.]*", " ".join([*r.every("server"), *r.every("x-powered-by"), *r.every("via"), body[:2000]]))
        if banner and r.status != 101 and not banner[0].startswith("HTTP"):
            seen[name] = f"{r.status} banner {banner[0]}"
        else:
            seen[name] = str(r.status)
    banners = [f"{k}: {v}" for k, v in seen.items() if "banner" in v]
    if banners:
        return vulnerable(banners[0])
    return sound("; ".join(f"{k}: {v}" for k, v in seen.items()))


@probe("WSA-ERR-03")
def reasons(t):
    if not t.speaks:
        return None
    m, seen = mark(), []
    for opcode, data in ((1, (t.form["template"].split("{", 1)[0] + '{"' + m + '<i>').encode()), (3, b""), (2, m.encode())):
        t.source = new_address()
        try:
            peer = t.open()
            peer.send(opcode, data)
            t.until(peer, "@@", 1.2)
        except Gone as e:
            seen.append(e.reason.decode("utf-8", "replace"))
        except Refused:
            return None
    if any(m in s for s in seen):
        return vulnerable("a close reason repeats what was sent: " + next(s for s in seen if m in s)[:80])
    if any(re.search(TRACE, s) for s in seen):
        return vulnerable("a close reason holds internals: " + " | ".join(seen)[:100])
    said = [s for s in seen if s]
    if said and not all(s in ("rate limit", "unauthenticated", "") for s in said):
        return informational("close reasons carry the library's own text: " + " | ".join(said)[:100])
    return sound(f"close reasons: {said or 'none'}")


@probe("WSA-ERR-04")
def closing(t):
    peer = t.open()
    peer.send(8, b"\x03\xe8")
    started, code = time.monotonic(), "no close frame"
    try:
        while time.monotonic() - started < 8:
            peer.frame(1)
    except Gone as e:
        code = e.how if e.code else "no close frame, " + e.how
    echoed = code.startswith("close 1000")
    after, ended = peer.buffer, False
    try:
        while time.monotonic() - started < 6 and not ended:
            peer.sock.settimeout(max(0.1, 6 - (time.monotonic() - started)))
            more = peer.sock.recv(4096)
            after, ended = after + more, not more
    except TimeoutError:
        pass
    except OSError:
        ended = True
    if b"HTTP/1." in after or "/1.1 200" in code:
        return vulnerable("an HTTP answer follows on the WebSocket's stream")
    took = time.monotonic() - started
    if echoed and ended and took <= 5.5:
        return sound(f"close 1000 is echoed and TCP ends after {took:.1f} s")
    if code == "close 1005" and ended and took <= 5.5:
        return informational("close 1000 is answered with a close without a code, which RFC 6455 allows")
    if code.startswith("close") and ended and not echoed:
        return vulnerable(f"our 1000 is answered {code}")
    return vulnerable(f"{code}; TCP {'ended' if ended else 'still open'} after {took:.1f} s")


@probe("WSA-ERR-05", last=True)
def uniform(t):
    if not t.speaks:
        return None
    if t.stack.opt("login", "none") != "none":
        peer = t.open(greet=t.credential != "first")
        said = []
        for user in ("alice", "nobody-here"):
            peer.send(1, t.wrap('{"type":"login","user":"%s","pass":"wrong"}' % user))
            said.append(t.until(peer, '"error"', 2))
        if said[0] != said[1]:
            return vulnerable(f"a known and an unknown user differ: {said[0]} and {said[1]}")
    # Things that ended real servers are sent one by one; each is followed by an honest conversation.
    t.done()
    for name, data in (("unfinished JSON", b'{"a":'), ("null", b"null"), ("array", b"[]"), ("bad UTF-8", b"\xff\xfe")):
        t.source = new_address()
        try:
            peer = t.open()
            peer.send(1, t.form["template"].split("{", 1)[0].encode() + data)
            t.until(peer, "@@", 0.6)
        except Gone:
            pass
        except Refused as e:
            return vulnerable(f"after {name} the next handshake: {e.how}")
        t.done()
        t.source = new_address()
        try:
            ok, how = t.usable()
        except OSError as e:
            ok, how = False, str(e)
        if not ok:
            return vulnerable(f"after {name} an honest conversation fails: {how}; process {'lives' if t.run.alive() else 'is gone'}")
    return sound("honest conversations succeed after unfinished JSON, null, an array and bad UTF-8")
