"""F7: whether identity stays alive after the handshake."""
import json
import secrets
import threading
import time

from .. import tokens
from ..raw import Gone
from ..target import Refused, new_address
from . import informational, not_applicable, probe, sound, vulnerable
from .authentication import OPEN_TO_ALL, WORDS

IDLE_S = 122


@probe("WSA-SESS-01", slow=True)
def idle(t):
    peer, started = t.open(), time.monotonic()
    try:
        t.until(peer, "@@never@@", IDLE_S)
    except Gone as e:
        return sound(f"idle with pongs only: {e.how} after {time.monotonic() - started:.0f} s")
    return vulnerable(f"idle with pongs only: open after {IDLE_S} s")


@probe("WSA-SESS-02", slow=True)
def expiry(t):
    if not t.run.is_jwt or not t.speaks:
        return not_applicable("no token that expires") if not t.run.is_jwt else None
    try:
        peer = t.open(token=t.run.token(lifetime=6))
        if not t.ask(peer):
            return None
        t.until(peer, "@@never@@", 8)
        for wait in (1, 60):
            got = t.ask(peer)
            if not got:
                return sound(f"after expiry: {peer.texts[-1][:60]}")
            if wait == 60:
                return vulnerable(f"a minute after the token expired: {got[:80]}")
            end = time.monotonic() + 60
            while time.monotonic() < end:
                # Traffic, lest something ends it for being idle.
                t.until(peer, "@@never@@", 5)
                t.ask(peer)
    except Gone as e:
        return sound(f"at expiry: {e.how}")
    except Refused:
        return None


def logout(t, token):
    name = f"Cookie: sid={token}" if t.credential == "cookie" else f"Authorization: Bearer {token}"
    r = t.get(t.speak.get("logout", "/logout"), method="POST", headers=[name])
    return r is not None and r.status in (200, 204)


@probe("WSA-SESS-03", "WSA-SESS-04", last=True, slow=True)
def revoked(t):
    if t.public or t.speak.get("logout") == "" or not t.speaks:
        return {i: not_applicable(OPEN_TO_ALL if t.public else "no logout") for i in ("WSA-SESS-03", "WSA-SESS-04")} if t.public else None
    token = t.run.token()
    try:
        peer = t.open(token=token)
        if not t.ask(peer) or not logout(t, token):
            return None
        three = None
        try:
            end = time.monotonic() + 61
            while time.monotonic() < end:
                got = t.ask(peer, wait=2)
                if got is None:
                    three = sound("after logout no reply")
                    break
                t.until(peer, "@@never@@", 5)
            else:
                three = vulnerable(f"61 s after logout: {got[:80]}")
        except Gone as e:
            three = sound(f"after logout: {e.how}")
    except (Refused, Gone):
        return None
    t.source = new_address()
    again, how = t.usable(token=token)
    return {"WSA-SESS-03": three, "WSA-SESS-04": (vulnerable if again else sound)("a new handshake with the logged-out credential: " + how)}


@probe("WSA-SESS-05")
def strength(t):
    if t.public:
        return not_applicable(OPEN_TO_ALL)
    if t.credential == "cookie":
        sids = []
        for _ in range(6):
            r = t.get("/")
            if r and r.every("set-cookie"):
                sids.append(r.every("set-cookie")[0].split(";")[0].split("=", 1)[1])
        if len(sids) < 6:
            return None
        tails = [int(s[-6:]) if s[-6:].isdigit() else None for s in sids]
        if None not in tails and all(b - a in (1, 2, 3) for a, b in zip(tails, tails[1:])):
            return vulnerable(f"session ids count up: {sids[0]}, {sids[1]}, {sids[2]}")
        return sound(f"session ids of {len(sids[0])} letters, no sequence") if min(map(len, sids)) >= 22 else vulnerable(f"session ids of {len(sids[0])} letters")
    if t.run.is_jwt:
        word = tokens.guess(t.run.token(), WORDS)
        return vulnerable(f"the token is signed with {word!r}") if word else sound("the token's secret is 256 random bits; no common word fits")
    return sound("opaque token of 192 random bits")


@probe("WSA-SESS-06")
def tickets(t):
    kind = t.stack.opt("ticket", "none")
    if kind == "none":
        return not_applicable("no tickets")
    r = t.get("/ticket", method="POST", headers=[f"Authorization: Bearer {t.run.token()}"])
    if not r or r.status != 200:
        return None
    ticket = json.loads(r.body())["ticket"]
    out = []
    for _ in range(2):
        try:
            out.append(bool(t.ask(t.open(token=False, greet=False, path=f"{t.path}?ticket={ticket}"))))
        except Refused as e:
            out.append(e.how)
        time.sleep(2.2)
    if out[0] is not True:
        return None
    return vulnerable("a ticket opens a second time, 2 s later") if out[1] is True else sound(f"the second use of a ticket: {out[1]}")


@probe("WSA-SESS-07")
def fixation(t):
    if t.credential != "cookie":
        return not_applicable("no session cookie")
    chosen = "chosen-" + secrets.token_hex(8)
    r = t.get("/login", method="POST", headers=[f"Cookie: sid={chosen}"], body=b'{"user":"alice","pass":"x"}')
    if not r or not r.every("set-cookie"):
        return None
    kept = chosen in r.every("set-cookie")[0]
    served, how = t.usable(token=chosen)
    return vulnerable("a session id chosen by the client lives on after login: " + how) if kept and served else sound("login gives a new session id; the chosen one: " + how)


@probe("WSA-SESS-08")
def resume(t):
    kind = t.stack.opt("resume", "none")
    if kind == "none" or not t.speaks:
        return not_applicable("no resume")
    try:
        a = t.open()
        hello = next((x for x in a.texts if '"welcome"' in x), None) or t.until(a, '"welcome"', 2)
        session = json.loads(hello)["session"]
        b = t.open(token=t.run.token("bob"))
        b.send(1, t.wrap(json.dumps({"type": "resume", "session": session})))
        got = t.until(b, '"resumed"|"error"', 2)
    except (Refused, Gone):
        return None
    return vulnerable("bob resumes alice's session: " + got) if got and "alice" in got else sound(f"bob resumes alice's session: {got}")
