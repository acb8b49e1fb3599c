"""F10: what a server tells a stranger."""
import json
import re
import secrets
import time

from ..raw import Gone, Peer
from ..target import Refused, new_address
from . import informational, not_applicable, probe, sound, vulnerable
from .csrf import FOREIGN


@probe("WSA-DISC-01")
def banners(t):
    seen = {}
    for how in (dict(), dict(version="99"), dict(path="/no-such-path-lab")):
        r = t.handshake(**how)
        if r:
            for name in ("server", "x-powered-by", "via"):
                for v in r.every(name):
                    if v:
                        seen[f"{name}: {v}"] = r.status
            r.close()
    return vulnerable(", ".join(seen)) if seen else sound("no Server, X-Powered-By or Via on 101, bad version, 404")


# Below these versions a package has a hole that is published, the latest that the lab knows of.
MENDED = {"AutobahnPython": ("CVE-2020-35678", (20, 12, 3)), "TornadoServer": ("CVE-2025-47287", (6, 5, 0)), "aiohttp": ("CVE-2024-52304", (3, 10, 11)), "websockets": ("CVE-2021-33880", (9, 1, 0))}
# What Node drops of a request with more headers.
HEADERS_MAX = 2000


def banner(t):
    """The version that a Server header tells, where it is that of what was installed."""
    for how in (dict(), dict(version="99"), dict(path="/no-such-path-lab")):
        r = t.handshake(**how)
        if r is None:
            continue
        r.close()
        for value in r.every("server"):
            told = re.search(r"(%s)/(\d[\d.]*)" % "|".join(MENDED), value)
            if told and told[2] in t.stack.spec["version"]:
                return told[1], told[2]
    return None


def ws_by_refusal(t):
    """Which releases of ws refuse like this one; None where it is not ws."""
    r = t.handshake(version="99")
    if r is None or r.status != 400:
        return None
    body = r.body().decode("latin-1").strip()
    r.close()
    if "Missing or invalid Sec-WebSocket-Version header" in body:
        return "ws from 8.18.3" if r.every("sec-websocket-version") else "ws 8.7.0 to 8.18.2"
    return "ws below 8.7.0" if body == "Bad Request" and "ws" in t.stack.spec["library"].split(", ") else None


@probe("WSA-DISC-02", last=True)
def fingerprint(t):
    """CVE-2024-37890 shows by itself: Node drops headers above a number, and ws below 8.17.1 then ends for want of `Upgrade`."""
    installed = f"{t.stack.spec['library']} {t.stack.spec['version']}"
    told = ws_by_refusal(t)
    if told in ("ws below 8.7.0", "ws 8.7.0 to 8.18.2"):
        many = "".join(f"{chr(97 + n // 676)}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}:\r\n" for n in range(HEADERS_MAX))
        own, _, upgrade = t.request().decode("latin-1").partition("Upgrade:")
        t.exchange(f"{own}{many}Upgrade:{upgrade}".encode("latin-1"), 3)
        time.sleep(0.5)
        if not t.run.alive():
            return vulnerable(f"{told} by its refusal; a handshake with more than {HEADERS_MAX} headers ends the server: CVE-2024-37890")
        return informational(f"{told} by its refusal, {installed} installed; a handshake with more than {HEADERS_MAX} headers does not end it")
    name, version = banner(t) or (None, "")
    if name:
        hole, mended = MENDED[name]
        if tuple(int(part) for part in version.split(".")) >= mended:
            return sound(f"{name}/{version} says the Server header: above {hole}, the last hole of it that the lab knows")
        return informational(f"{name}/{version} says the Server header: below the version that mends {hole}, which is not shown here")
    return informational(f"{installed}, by what was installed; only a candidate from outside")


@probe("WSA-DISC-03")
def opening(t):
    peer = t.open()
    try:
        t.until(peer, "@@never@@", 0.8)
    except Gone:
        pass
    first = [x for x in peer.texts if '"ready"' not in x and "ack" not in x[:30]]
    if not first:
        return not_applicable("no packet of its own on opening")
    if re.search(r"internal|user_?id|\b10\.\d+\.\d+\.\d+", first[0]):
        return vulnerable(first[0][:120])
    return sound("the opening packet: " + first[0][:90])


@probe("WSA-DISC-04")
def developer(t):
    paths = ["/_next/webpack-hmr", "/sockjs-node", "/webpack-dev-server", "/cable", "/exec"]
    control = t.handshake(path="/no-such-" + secrets.token_hex(4))
    if control and control.status == 101:
        return informational("every path answers 101, so a path says nothing")
    took = []
    for path in paths:
        if path == t.path:
            continue
        r = t.handshake(path=path, token=False)
        if r and r.status == 101:
            took.append(path)
        if r:
            r.close()
    return vulnerable("101 without a credential on " + ", ".join(took)) if took else sound("no 101 on " + ", ".join(paths))


@probe("WSA-DISC-05")
def early(t):
    try:
        peer = t.open(token=False, greet=False)
        t.until(peer, "@@never@@", 1.5)
        seen = peer.texts
    except Refused as e:
        return sound("nothing is sent before authentication: " + e.how)
    except Gone:
        seen = peer.texts
    hit = [x for x in seen if re.search(r"AKIA[0-9A-Z]{16}|[\w.]+@[\w-]+\.\w+|eyJ[\w-]+\.eyJ", x)]
    return vulnerable("before authentication: " + hit[0][:130]) if hit else sound(f"{len(seen)} frames before authentication, none sensitive")


@probe("WSA-DISC-06")
def cors(t):
    paths = [p.replace("@RANDOM@", "0") for p in (t.speak.get("polling"), t.speak.get("info")) if p and "xhr" not in p] + ["/", "/health"]
    for path in paths:
        r = t.get(path, headers=[f"Origin: {FOREIGN}"])
        if r and r.get("access-control-allow-origin") == FOREIGN and r.get("access-control-allow-credentials") == "true":
            return vulnerable(f"GET {path}: Access-Control-Allow-Origin {FOREIGN} with credentials")
    if t.dialect.startswith("graphql"):
        try:
            peer = t.open()
            kind = "subscribe" if t.dialect == "graphql-transport-ws" else "start"
            peer.send(1, json.dumps({"id": "i", "type": kind, "payload": {"query": "{__schema{queryType{name}}}"}}))
            got = t.until(peer, "queryType|rror", 2)
            if got and '"queryType":{' in got:
                return vulnerable("introspection answers: " + got[:90])
        except (Refused, Gone):
            return None
    return sound("no Origin is reflected with credentials on " + ", ".join(paths))
