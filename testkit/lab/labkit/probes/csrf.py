"""F3: what a page of another site can do with a visitor's browser."""
from ..raw import Gone
from ..stack import ORIGIN
from ..target import Refused
from . import informational, not_applicable, probe, sound, vulnerable

HOST = ORIGIN.removeprefix("https://")
FOREIGN = "https://evil.example.net"


def accepted(t, **how):
    """(opened, evidence): opened means that a conversation opens and is answered, or, where the stack says nothing, 101 and a pong."""
    if t.speaks:
        return t.usable(**how)
    try:
        peer = t.open(greet=False, **how)
    except Refused as e:
        return False, e.how
    alive = peer.alive(1.5)
    peer.end()
    return alive is not None, "101" if alive is not None else "101, then closed"


def judged(t, name, **how):
    opened, evidence = accepted(t, **how)
    if not opened:
        return sound(f"{name}: {evidence}")
    if t.ambient:
        return vulnerable(f"{name}, with the cookie: {evidence}")
    return informational(f"{name}: {evidence}; the credential is not one that a browser adds, or there is none")


@probe("WSA-CSRF-01")
def foreign(t):
    return judged(t, f"Origin {FOREIGN}", origin=FOREIGN)


@probe("WSA-CSRF-02")
def null(t):
    return judged(t, "Origin null", origin="null")


@probe("WSA-CSRF-03")
def missing(t):
    return judged(t, "no Origin", origin=None)


def bypass(t, origins):
    """Only where a plainly foreign Origin is refused does a look-alike say something."""
    if accepted(t, origin=FOREIGN)[0]:
        return None
    if not accepted(t, origin=t.origin)[0]:
        return None
    took = [o for o in origins if accepted(t, origin=o)[0]]
    return vulnerable("accepts Origin " + ", ".join(took)) if took else sound("refuses " + ", ".join(origins))


@probe("WSA-CSRF-04")
def lookalikes(t):
    own = f"127.0.0.1:{t.port}"
    if t.origin != ORIGIN:
        return bypass(t, [f"http://{own}.evil.net", f"http://evil{own}", f"http://{own}@evil.net", "http://127.evil.net", f"http://127x0x0x1:{t.port}", f"{t.origin}, {FOREIGN}"])
    return bypass(t, [f"{ORIGIN}.evil.net", f"https://evil{HOST}", f"https://{HOST.replace('.', 'x', 1)}", f"https://{HOST.replace('.', 'x')}", f"https://{HOST}`evil.net", f"https://{HOST}@evil.net", "http://127.evil.net", f"http://{own}.evil.net", f"{ORIGIN}, {FOREIGN}"])


@probe("WSA-CSRF-05")
def scheme(t):
    return bypass(t, [t.origin.replace("http:", "https:") if t.origin != ORIGIN else f"http://{HOST}"])


@probe("WSA-CSRF-06")
def port(t):
    return bypass(t, [f"http://127.0.0.1:{4444 if t.port != 4444 else 4445}" if t.origin != ORIGIN else f"https://{HOST}:4444"])


@probe("WSA-CSRF-07")
def subdomain(t):
    return bypass(t, [f"http://wsgaudit.127.0.0.1:{t.port}"] if t.origin != ORIGIN else [f"https://wsgaudit.{HOST}", "https://example.test"])


@probe("WSA-CSRF-08")
def flags(t):
    if t.credential != "cookie":
        return not_applicable("no session cookie")
    r = t.get("/")
    cookies = r.every("set-cookie") if r else []
    if not cookies:
        return None
    low = cookies[0].lower()
    lacks = [f for f in ("secure", "httponly", "samesite") if f not in low]
    return vulnerable(f"{cookies[0].split('=')[0]} lacks {', '.join(lacks)}") if lacks else sound(cookies[0].split("=")[0] + " has Secure, HttpOnly, SameSite" + (", __Host-" if "__host-" in low else ""))


@probe("WSA-CSRF-09")
def hijack(t):
    if not t.ambient or not t.speaks:
        return not_applicable("a browser adds no credential")
    served, how = t.usable(origin=FOREIGN)
    return vulnerable("foreign Origin with the cookie: " + how) if served and "alice" in how else sound("foreign Origin with the cookie: " + how)


@probe("WSA-CSRF-10")
def rebinding(t):
    opened, evidence = accepted(t, host=f"rebind.invalid:{t.port}", origin=f"http://rebind.invalid:{t.port}")
    if not opened:
        return sound(f"Host rebind.invalid with its Origin: {evidence}")
    if t.ambient or t.public:
        return vulnerable(f"Host rebind.invalid with its Origin: {evidence}")
    return informational(f"Host rebind.invalid with its Origin: {evidence}; but the page has no credential to give")
