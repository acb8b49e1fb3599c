"""F2: who is let in, and what is done for those who are not."""
import json
import re
import secrets
import time

from .. import tokens
from ..raw import Gone
from ..target import Refused
from . import informational, not_applicable, probe, sound, vulnerable

OPEN_TO_ALL = "the stack is public by design"
WELL_KNOWN = ["test_token", "test", "admin", "changeme", "dev", "secret", "token", "password", "demo", "12345"]
WORDS = ["secret", "password", "changeme", "jwt-secret", "your-256-bit-secret", "123456", "key", "test", "dev", "supersecret"]


@probe("WSA-AUTH-01")
def anonymous(t):
    if not t.speaks and not t.public:
        return None
    if t.public:
        return vulnerable("no credential exists: a stranger's handshake opens and is served: " + t.usable(token="")[1]) if t.speak.get("private") else not_applicable(OPEN_TO_ALL)
    served, how = t.usable(token=False)
    if served:
        return vulnerable("without a credential: " + how)
    try:
        peer = t.open(token=False, greet=False)
        got = t.ask(peer, wait=1.5)
        return vulnerable("without a credential: " + got[:80]) if got else sound("101 without a credential, but no reply to a message")
    except Refused as e:
        return sound("without a credential: " + e.how)
    except Gone as e:
        return sound("without a credential: 101, then " + e.how)


@probe("WSA-AUTH-02")
def before(t):
    if not t.in_band or not t.speaks:
        return not_applicable("the credential is in the handshake") if not t.public else not_applicable(OPEN_TO_ALL)
    try:
        peer = t.open(token=False, greet=False)
        if t.dialect.startswith("socketio"):
            t.until(peer, "^0", 2)
        got = t.ask(peer, wait=2)
        return vulnerable("a message before authentication is answered: " + got[:80]) if got else sound(f"a message before authentication gets {peer.texts[:1] or 'nothing'}")
    except Gone as e:
        return sound("a message before authentication: " + e.how)
    except Refused as e:
        return sound(e.how)


@probe("WSA-AUTH-03")
def garbage(t):
    if t.public:
        return not_applicable(OPEN_TO_ALL)
    bad = "".join(secrets.choice("abcdefgh234567") if c.isalnum() else c for c in t.run.token())
    served, how = t.usable(token=bad)
    return vulnerable("a token of random letters: " + how) if served else sound("a token of random letters: " + how)


@probe("WSA-AUTH-04")
def forged(t):
    if t.public:
        return not_applicable(OPEN_TO_ALL)
    if not t.run.is_jwt:
        return not_applicable("the credential is opaque")
    for name, token in tokens.forgeries(t.run.token()):
        served, how = t.usable(token=token)
        if served:
            return vulnerable(f"{name}: {how}")
    return sound("alg none, NonE, flipped and dropped signatures and a changed payload are all refused")


@probe("WSA-AUTH-05")
def expired(t):
    if not t.run.is_jwt:
        return not_applicable(OPEN_TO_ALL if t.public else "the credential is opaque")
    served, how = t.usable(token=t.run.token(lifetime=-3600))
    return vulnerable("expired an hour ago: " + how) if served else sound("expired an hour ago: " + how)


@probe("WSA-AUTH-06")
def audience(t):
    if not t.run.is_jwt:
        return not_applicable(OPEN_TO_ALL if t.public else "the credential is opaque")
    served, how = t.usable(token=t.run.token(aud="billing"))
    return vulnerable("aud billing: " + how) if served else sound("aud billing: " + how)


@probe("WSA-AUTH-07")
def in_url(t):
    if t.public:
        return not_applicable(OPEN_TO_ALL)
    if anonymous(t)[0] == "vulnerable":
        return None  # strangers are served, with a token in the URL or without
    token = t.run.token()
    if t.credential == "query":
        served, how = t.usable()
        return vulnerable("the only way in is a token in the URL that lives an hour: " + how) if served else None
    for name in ("token", "access_token"):
        path = t.path + ("&" if "?" in t.path else "?") + f"{name}={token}"
        try:
            peer = t.open(token=False, path=path, greet=not t.in_band)
            if t.in_band and t.dialect.startswith("graphql"):
                t.greet(peer, False)
            got = t.ask(peer, wait=1.5) if t.speaks else None
            if got:
                return vulnerable(f"?{name}= is accepted beside the {t.credential}: {got[:60]}")
        except (Refused, Gone):
            pass
    return sound(f"?token= and ?access_token= without the {t.credential}: refused")


@probe("WSA-AUTH-08")
def echoed(t):
    if t.credential != "subprotocol":
        return None  # says something only where tokens travel there
    token = t.run.token()
    seen = []
    for offers in (["lab.v1", f"bearer.{token}"], [f"bearer.{token}", "lab.v1"]):
        r = t.handshake(token=False, protocols=offers)
        seen.append(r.get("sec-websocket-protocol") if r else "no answer")
        if r:
            r.close()
    bad = [s for s in seen if token in s]
    return vulnerable("the 101 repeats the token as Sec-WebSocket-Protocol") if bad else sound(f"the 101 names {seen}")


@probe("WSA-AUTH-09", slow=True)
def deadline(t):
    if not t.in_band:
        return not_applicable(OPEN_TO_ALL if t.public else "the credential is in the handshake")
    if anonymous(t)[0] == "vulnerable":
        return None  # strangers are served, so a deadline for them says nothing
    peer, started = t.open(token=False, greet=False), time.monotonic()
    try:
        t.until(peer, "never sent", 36)
    except Gone as e:
        took = time.monotonic() - started
        return (sound if took <= 31 else vulnerable)(f"unauthenticated and silent: {e.how} after {took:.0f} s")
    return vulnerable("unauthenticated and silent: still open after 36 s")


@probe("WSA-AUTH-10")
def brute(t):
    if t.public:
        return not_applicable(OPEN_TO_ALL)
    seen = []
    for i in range(10):
        bad = t.run.token()[:-6] + f"{i:06d}"
        started = time.monotonic()
        try:
            peer = t.open(token=bad, wait=2)
            peer.end()
            seen.append("accepted")
        except Refused as e:
            seen.append("429" if e.status == 429 or "4429" in e.how else "slow" if time.monotonic() - started > 1 and e.status else e.how.split(" ", 1)[-1])
    changed = [i for i, s in enumerate(seen) if s in ("429", "slow")]
    return sound(f"bad token number {changed[0] + 1} gets {seen[changed[0]]}") if changed else vulnerable(f"ten bad tokens in a row, each answered alike: {seen[-1]}")


@probe("WSA-AUTH-11")
def authorised(t):
    if t.public or not t.speaks or not t.stack.speak.get("note", t.dialect == "json"):
        return None
    say = '{"type":"note","id":"note-a"}'
    try:
        a, b = t.open(), t.open(token=t.run.token("bob"))
        a.send(1, t.wrap(say))
        b.send(1, t.wrap(say))
        own = t.until(a, '"note"|error', 2)
        other = t.until(b, '"note"|error', 2)
    except (Refused, Gone) as e:
        return None
    if not own or "for alice only" not in own:
        return None
    return vulnerable("bob reads alice's note") if other and "for alice only" in other else sound(f"bob asks for alice's note: {other}")


@probe("WSA-AUTH-12")
def parity(t):
    if t.public:
        return not_applicable(OPEN_TO_ALL)
    polling = t.speak.get("polling")
    if not polling:
        return not_applicable("no second transport")
    path = polling.replace("@RANDOM@", secrets.token_hex(4))
    r = t.get(path, method="POST" if "xhr" in path else "GET")
    if r is None:
        return None
    body = r.body()
    if t.dialect == "socketio2":
        # The session opens on either transport; the packet behind it says whether the namespace does.
        sid = re.search(rb'"sid":"([^"]+)"', body)
        after = t.get(path + "&sid=" + sid[1].decode()).body() if sid and b"44" not in body.split(b"}", 1)[-1] else body
        refused = b"44\"" in body + after
        return sound("polling without a credential gets 44, as WebSocket does") if refused else vulnerable(f"polling without a credential: {after[:60]!r}")
    if t.credential == "connect":
        # The transport opens for all; what counts is whether a message is served on it.
        return vulnerable("polling serves without CONNECT") if b'"text"' in body else sound("polling opens a transport; authentication follows in CONNECT as for WebSocket")
    return vulnerable(f"GET {path} without a credential: {r.status} {body[:60]!r}") if r.status == 200 and (body[:1] == b"o" or b'"sid"' in body) else sound(f"{path} without a credential: {r.status}")


@probe("WSA-AUTH-13")
def well_known(t):
    if t.public:
        return not_applicable(OPEN_TO_ALL)
    if garbage(t)[0] == "vulnerable":
        return None  # every token is taken
    for word in WELL_KNOWN:
        try:
            peer = t.open(token=word, wait=2)
            got = t.ask(peer) if t.speaks else "101"
            if got:
                return vulnerable(f"the token {word!r}: {got[:70]}")
        except Refused as e:
            if e.status == 429 or "4429" in e.how:
                t.source = __import__("labkit.target", fromlist=["x"]).new_address()
        except Gone:
            pass
    return sound(f"refuses all of {', '.join(WELL_KNOWN)}")


@probe("WSA-AUTH-14")
def dictionary(t):
    if not t.run.is_jwt:
        return not_applicable(OPEN_TO_ALL if t.public else "the credential is opaque")
    word = tokens.guess(t.run.token(), WORDS)
    if not word:
        return sound("the signature fits none of the lab's common words")
    served, how = t.usable(token=tokens.jwt(word, "mallory"))
    return vulnerable(f"signed with {word!r}; a token for mallory made with it: {how}") if served else None
