"""F4: whether anything counts."""
import time

from ..raw import Gone
from ..target import Refused, new_address
from . import informational, not_applicable, probe, sound, vulnerable


def flood(t, peer, most=120, wait=0.6):
    """Sends up to `most` messages: (replies, how it ended, limit signal)."""
    answered, signal = 0, ""
    try:
        for i in range(most):
            mark = f"f{i:04d}"
            peer.send(1, t.wrap(t.compose(mark)))
            got = t.until(peer, f"{mark}|limit|429|retry", wait)
            if got is None:
                return answered, "silence", f"no answer to message {i + 1}"
            if mark not in got:
                return answered, "signal", got[:100]
            answered += 1
    except Gone as e:
        return answered, "signal" if e.code in (1008, 1013, 4008, 4429) or e.reason else "drop", e.how
    return answered, "none", ""


def message_limit(t):
    if not t.speaks:
        return None
    try:
        return flood(t, t.open())
    except Refused:
        return None


def handshake_limit(t, most=30, **how):
    """The number of the first refused handshake of `most` in a row, with the reply, or (None, None)."""
    for i in range(most):
        r = t.handshake(**how)
        if r is None or r.status != 101:
            return i + 1, r
        r.close()
    return None, None


@probe("WSA-RATE-01", "WSA-RATE-06", last=True)
def messages(t):
    got = message_limit(t)
    if got is None:
        return None
    answered, ended, signal = got
    if ended == "none":
        number, r = handshake_limit(t)
        six = not_applicable("no limit was met")
        if number:
            said = r is not None and r.status == 429
            six = (sound if said and r.get("retry-after") else informational if said else vulnerable)(f"handshake {number} is refused with {r.status if r else 'nothing'}{', Retry-After' if said and r.get('retry-after') else ''}")
        return {"WSA-RATE-01": vulnerable(f"{answered} of 120 messages in a row are answered"), "WSA-RATE-06": six}
    six = (sound if ended == "signal" else vulnerable)(f"after {answered} messages: {signal}")
    if six[0] == "sound":
        # The limit of handshakes, where there is one, must say as much.
        number, r = handshake_limit(t)
        if number and r is not None and r.status == 429 and not r.get("retry-after"):
            six = informational(f"after {answered} messages: {signal}; handshake {number} is refused with 429, without Retry-After")
    return {"WSA-RATE-01": sound(f"after {answered} messages: {signal}"), "WSA-RATE-06": six}


@probe("WSA-RATE-02", last=True)
def handshakes(t):
    started = time.monotonic()
    number, r = handshake_limit(t)
    if number:
        return sound(f"handshake {number} in {time.monotonic() - started:.1f} s gets {r.status if r else 'no answer'}")
    return vulnerable(f"30 handshakes in {time.monotonic() - started:.1f} s all open")


@probe("WSA-RATE-03", last=True)
def concurrent(t):
    held = []
    try:
        for i in range(8):
            held.append(t.open())
    except Refused as e:
        return sound(f"socket {len(held) + 1} of the same identity: {e.how}")
    finally:
        time.sleep(0)
    alive = sum(1 for p in held if (t.ask(p) if t.speaks else p.alive(1.5)))
    return vulnerable("8 sockets of one identity all open and answer") if alive == 8 else sound(f"8 opened, {alive} still answer")


@probe("WSA-RATE-04", last=True)
def forwarded(t):
    number, _ = handshake_limit(t, 40)
    if number is None:
        got = message_limit(t)
        if got is None or got[1] == "none":
            return not_applicable("no limit was met")
        # A message limit by address: the same peer again, with and without a forwarded address.
        try:
            plain = t.open()
            again = t.ask(plain, wait=1)
        except (Gone, Refused):
            again = None
        if again:
            return None  # the limit ended with the connection
        try:
            peer = t.open(headers=["X-Forwarded-For: 203.0.113.77", "X-Real-IP: 203.0.113.77"])
            got = t.ask(peer, wait=1)
        except (Gone, Refused):
            got = None
        return vulnerable("a limited peer is served again with X-Forwarded-For") if got else sound("a limited peer stays limited with X-Forwarded-For and X-Real-IP")
    status = lambda **how: getattr(t.handshake(**how), "status", 0)
    for i, name in enumerate(("X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP", "True-Client-IP")):
        # Between controls, three times over: a limit that ends by itself is no proof.
        opened = 0
        for turn in range(3):
            before = status()
            value = f"203.0.113.{10 * i + turn + 1}"
            with_name = status(headers=[f"{name}: for={value}" if name == "Forwarded" else f"{name}: {value}"])
            opened += with_name == 101 and before != 101 and status() != 101
            if not opened:
                break
        if opened == 3:
            return vulnerable(f"limited after {number - 1} handshakes; {name} opens it again and again")
    return sound(f"limited after {number - 1} handshakes; X-Forwarded-For, X-Real-IP, Forwarded, CF-Connecting-IP, True-Client-IP change nothing")


@probe("WSA-RATE-05", last=True)
def prefix(t):
    from ..prefix import apart
    if t.stack.opt("handshakes") and "on_ws.js" in t.stack.spec["start"][-1]:
        return apart(t.stack)
    return None


@probe("WSA-RATE-07", last=True, slow=True)
def progressive(t):
    span = (t.stack.opt("handshakes") or t.stack.opt("messages") or [0, 0])[1] / 1000
    if not t.stack.opt("handshakes"):
        return not_applicable("no limit on handshakes") if handshake_limit(t, 40)[0] is None else None
    waits = []
    for _ in range(2):
        if handshake_limit(t, 60)[0] is None:
            return None
        started = time.monotonic()
        while time.monotonic() - started < span * 5 + 5:
            time.sleep(1)
            r = t.handshake()
            if r and r.status == 101:
                break
        waits.append(time.monotonic() - started)
    return sound(f"locked out {waits[0]:.0f} s, then {waits[1]:.0f} s") if waits[1] > waits[0] * 1.5 else informational(f"locked out {waits[0]:.0f} s, then {waits[1]:.0f} s")


@probe("WSA-RATE-08", last=True)
def control_frames(t):
    if not t.open().alive():
        return None  # no pongs to count
    peer = t.open()
    pongs = 0
    try:
        for i in range(60):
            peer.send(9, b"%02d" % i)
        for _ in range(20):
            peer.send(10, b"")
        while (got := peer.frame(1.0)) is not None:
            pongs += got[0] == 10
    except Gone as e:
        return sound(f"{e.how} after {pongs} pongs")
    if pongs >= 60:
        return informational("60 pings in a burst are all answered, as the RFC asks")
    return sound(f"{pongs} of 60 pings in a burst are answered")
