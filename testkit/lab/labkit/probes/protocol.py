"""F9: RFC 6455 to the letter, on bytes."""
import base64
import os
import secrets
import ssl
import time

from .. import raw
from ..raw import Gone, Peer, frame
from ..stack import ORIGIN
from ..target import Refused, new_address
from . import informational, not_applicable, probe, sound, vulnerable


def status(r):
    return r.status if r is not None else "no answer"


def ended(t, data, wait=2.5):
    """(ended, how): whether these bytes end the connection. It goes on when a message after them is answered;
    where the stack says nothing, a ping."""
    t.source = new_address()
    peer = t.open()
    mark = "m" + secrets.token_hex(5)
    try:
        peer.write(data)
        if t.speaks:
            peer.send(1, t.wrap(t.compose(mark)))
            answered = t.until(peer, t.form["expect"].replace("@MARK@", mark), wait) is not None
        else:
            answered = peer.alive(wait)
        # An answer may overtake the refusal of what came before it.
        end = time.monotonic() + 0.7
        while (left := end - time.monotonic()) > 0:
            peer.frame(left)
        return (True, "end of stream") if answered is None else (False, "goes on" if answered else "silence")
    except Gone as e:
        return True, e.how
    finally:
        peer.end()


def verdict(cases):
    """[(name, (ended, how))]: sound when all ended."""
    on = [f"{n}: {how}" for n, (gone, how) in cases if not gone]
    return vulnerable("; ".join(on)) if on else sound("; ".join(f"{n}: {how[:40]}" for n, (_, how) in cases))


@probe("WSA-PROTO-01")
def accept(t):
    key = raw.new_key()
    r = t.handshake(key=key)
    if r is None or r.status != 101:
        return None
    right = r.get("sec-websocket-accept") == raw.accept_of(key)
    return sound("Sec-WebSocket-Accept is the digest of a random key") if right else vulnerable(f"Sec-WebSocket-Accept {r.get('sec-websocket-accept') or 'absent'}")


@probe("WSA-PROTO-02")
def version(t):
    a, b = t.handshake(version="99"), t.handshake(version=None)
    took = [n for n, r in (("version 99", a), ("no version", b)) if r is not None and r.status == 101]
    if took:
        return vulnerable(f"101 with {', '.join(took)}")
    odd = [f"{n}: {status(r)}" for n, r in (("version 99", a), ("no version", b)) if status(r) not in (400, 426, "no answer")]
    return vulnerable("; ".join(odd)) if odd else sound(f"version 99: {status(a)}, none: {status(b)}")


@probe("WSA-PROTO-03")
def drafts(t):
    took = []
    for v in ("0", "7", "8"):
        r = t.handshake(version=v)
        if r is not None and r.status == 101:
            took.append(f"version {v}")
    base = [line for line in t.request(key=False, version=None, upgrade=False).decode().split("\r\n") if line]
    for name, lines in (("Hixie-76", ["Upgrade: WebSocket", "Connection: Upgrade", "Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5", "Sec-WebSocket-Key2: 12998 5 Y3 1  .P00"]), ("Hixie-75", ["Upgrade: WebSocket", "Connection: Upgrade"])):
        r = t.exchange(("\r\n".join(base + lines) + "\r\n\r\n").encode("latin-1") + b"^n:ds[4U", 3)
        if r is not None and r.status == 101:
            took.append(name)
    r = t.handshake(upgrade=False)
    if r is not None and r.status == 101:
        took.append("no Upgrade header")
    return vulnerable("101 for " + ", ".join(took)) if took else sound("versions 0, 7, 8, both Hixie drafts and a request without Upgrade: no 101")


@probe("WSA-PROTO-04")
def strict(t):
    hard = {"POST": dict(method="POST", headers=["Content-Length: 0"]), "HTTP/1.0": dict(http="HTTP/1.0"), "two keys": dict(headers=[f"Sec-WebSocket-Key: {raw.new_key()}"]), "two versions": dict(headers=["Sec-WebSocket-Version: 8"])}
    soft = {"key of 15 bytes": dict(key=base64.b64encode(os.urandom(15)).decode()), "no key": dict(key=False)}
    seen = {}
    for name, how in {**hard, **soft}.items():
        t.source = new_address()
        seen[name] = status(t.handshake(wait=3, **how))
    took = [n for n in hard if seen[n] == 101]
    if took:
        return vulnerable("101 for " + ", ".join(took))
    lenient = [n for n in soft if seen[n] == 101]
    if lenient:
        return informational("101 for " + ", ".join(lenient))
    return sound("; ".join(f"{n}: {s}" for n, s in seen.items()))


@probe("WSA-PROTO-05")
def masking(t):
    if t.speaks:
        peer, mark = t.open(), "m" + secrets.token_hex(5)
        try:
            peer.send(1, t.wrap(t.compose(mark)), masked=False)
            got = t.until(peer, t.form["expect"].replace("@MARK@", mark), 2)
        except Gone as e:
            return sound(f"an unmasked text: {e.how}")
        if got:
            return vulnerable("an unmasked text is answered: " + got[:80])
    gone, how = ended(t, frame(9, b"lab", masked=False))
    if gone:
        return sound(f"an unmasked frame: {how}")
    return vulnerable(f"an unmasked frame: {how}") if how == "goes on" else None


@probe("WSA-PROTO-06")
def reserved(t):
    return verdict([(f"RSV{n}", ended(t, frame(1, "x", rsv=bit))) for n, bit in ((1, 4), (2, 2), (3, 1))])


@probe("WSA-PROTO-07")
def control(t):
    return verdict([("opcode 3", ended(t, frame(3))), ("opcode B", ended(t, frame(11))), ("ping with FIN 0", ended(t, frame(9, b"", fin=False))), ("ping of 126 bytes", ended(t, frame(9, b"x" * 126)))])


@probe("WSA-PROTO-08")
def fragments(t):
    cases = [("stray continuation", ended(t, frame(0, b"x"))), ("text inside a text", ended(t, frame(1, b"x", fin=False) + frame(1, b"y"))), ("bad UTF-8", ended(t, frame(1, bytes.fromhex("cebae1bdb9cf83cebccebdeda08065")))),
             ("bad UTF-8 across fragments", ended(t, frame(1, b"\xf4", fin=False) + frame(0, b"\x90\x80\x80")))]
    if t.dialect == "bytes":
        cases = cases[:2]
    return verdict(cases)


def watched(t, data, seconds, kept):
    """(ended, how): whether the connection ends within so many seconds of these bytes; `kept` is what it does else."""
    t.source = new_address()
    peer = t.open()
    try:
        peer.write(data)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            peer.frame(1)
        return False, kept
    except Gone as e:
        return True, e.how
    finally:
        peer.end()


@probe("WSA-PROTO-09", slow=True)
def lengths(t):
    """Header only: what is declared is never sent."""
    header = lambda length: b"\x82\xff" + length.to_bytes(8, "big") + b"\0\0\0\0"
    seen = [(name, watched(t, header(length), 15.5, "still waiting after 15 s")) for name, length in (("top bit of the length set", 1 << 63), ("2^63-1 declared", (1 << 63) - 1))]
    seen += [(name, watched(t, frame(8, code), 3, "ignored")) for name, code in (("close 1005", b"\x03\xed"), ("close 999", b"\x03\xe7"), ("close of 1 byte", b"\x03"))]
    hard = [s for s in seen if not s[1][0]]
    if hard:
        return vulnerable("; ".join(f"{n}: {how}" for n, (_, how) in hard))
    if any(n == "close 999" and how.startswith("close 999") for n, (_, how) in seen):
        return informational("close 999 is answered with 999; impossible lengths end the connection")
    gone, how = ended(t, b"\x89\xfe\x00\x05" + b"\0\0\0\0" + b"12345")
    if not gone:
        return informational("a length in more bytes than needed is tolerated; impossible lengths end the connection")
    return sound("; ".join(f"{n}: {how[:30]}" for n, (_, how) in seen))


@probe("WSA-PROTO-10")
def subprotocol(t):
    if t.credential == "subprotocol" or t.form.get("protocol"):
        token = t.run.token()
        base = [f"bearer.{token}"] if t.credential == "subprotocol" else []
        if not base:
            r = t.handshake(protocols=[], wait=3)
            if r is not None and r.status == 101 and r.get("sec-websocket-protocol"):
                return vulnerable(f"chooses {r.get('sec-websocket-protocol')}, offered none")
        r = t.handshake(protocols=["junk-lab", *base], token=False)
        chosen = r.get("sec-websocket-protocol") if r is not None and r.status == 101 else ""
        return vulnerable(f"chooses {chosen}, which was not offered") if chosen and chosen not in ("junk-lab", *base) else sound(f"junk offered: {status(r)} {chosen and 'takes it'}")
    out = []
    for offers in ([], ["junk-lab"], [f"p{i}" for i in range(40)]):
        r = t.handshake(protocols=offers)
        if r is not None and r.status >= 500:
            return vulnerable(f"{len(offers)} offers: status {r.status}")
        chosen = r.get("sec-websocket-protocol") if r is not None and r.status == 101 else ""
        if chosen and chosen not in offers:
            return vulnerable(f"chooses {chosen}, which was not offered")
        out.append(f"{len(offers)} offers: {status(r)} {chosen}".strip())
    return sound("; ".join(out))


@probe("WSA-PROTO-11")
def extension(t):
    r = t.handshake()
    if r is not None and r.get("sec-websocket-extensions"):
        return vulnerable(f"chooses {r.get('sec-websocket-extensions')}, offered none")
    bad, took = [], []
    for offer in ("permessage-deflate; client_max_window_bits=7", "permessage-deflate; server_max_window_bits=16", "permessage-deflate; client_max_window_bits; client_max_window_bits", "x-lab-unknown; a=1"):
        t.source = new_address()
        r = t.handshake(extensions=offer)
        if r is None or r.status >= 500:
            bad.append(f"{offer}: {status(r)}")
        elif r.status == 101 and r.get("sec-websocket-extensions"):
            took.append(f"{offer}: chooses {r.get('sec-websocket-extensions')}")
    if bad or any("unknown" in x for x in took):
        return vulnerable("; ".join(bad + took))
    return vulnerable("; ".join(took)) if took else sound("none chosen unoffered, odd parameters and unknown names declined")


@probe("WSA-PROTO-12")
def body(t):
    seen = []
    for name, extra, content in (("Content-Length 4", "Content-Length: 4", b"abcd"), ("chunked", "Transfer-Encoding: chunked", b"0\r\n\r\n")):
        t.source = new_address()
        try:
            r = t.exchange(t.request(headers=[extra]) + content, 4)
        except OSError:
            break  # nobody listens any more
        if r is None or r.status >= 400:
            seen.append((name, True, status(r)))
            continue
        if r.status != 101:
            seen.append((name, True, status(r)))
            continue
        peer = Peer(r.sock, r.rest)
        try:
            if t.speaks:
                t.greet(peer, t.run.token())
                alive = t.ask(peer)
            else:
                alive = peer.alive(2)
        except (Refused, Gone):
            alive = None
        seen.append((name, bool(alive), "101, the body is consumed" if alive else "101, the body is read as frames"))
    # A body that is a frame: who reads it as one answers.
    mark, t.source = b"body", new_address()
    ping = frame(9, mark)
    try:
        r = t.exchange(t.request(headers=[f"Content-Length: {len(ping)}"]) + ping, 4)
        peer = Peer(r.sock, r.rest) if r is not None and r.status == 101 else None
        until = time.monotonic() + 1.5
        while peer and time.monotonic() < until:
            got = peer.frame(max(0.05, until - time.monotonic()))
            if got and got[0] == 10 and got[1] == mark:
                seen.append(("a body that is a ping", False, "101, and a pong answers it"))
                break
    except (OSError, Gone):
        pass
    bad = [f"{n}: {how}" for n, ok, how in seen if not ok]
    time.sleep(0.3)
    gone = "" if t.run.alive() else "; and the server is gone"
    return vulnerable("; ".join(bad) + gone) if bad else sound("; ".join(f"{n}: {how}" for n, _, how in seen))


@probe("WSA-PROTO-13")
def tunnel(t):
    path = t.speak.get("denied")
    r = t.handshake(version="99", wait=4)
    if r is None or r.status == 101:
        return sound(f"a bad version ends the connection ({status(r)})") if r is None else None
    r.body(0.5)
    asked = path or "/no-such-" + secrets.token_hex(4)
    head = f"GET {asked} HTTP/1.1\r\nHost: {t.host}:{t.port}\r\n\r\n".encode()
    second = t.exchange(head, 3, sock=r.sock)
    control = t.exchange(head, 3)
    if second is None:
        return sound(f"after status {r.status} the connection carries nothing more")
    if control is None or second.status != control.status:
        return vulnerable(f"after status {r.status} on the same TCP GET {asked} gives {second.status}; a fresh request gives {status(control)}")
    return sound(f"after status {r.status} GET {asked} gives {second.status}, as on a fresh connection")


def extended_connect(t, token, origin):
    """WebSocket over HTTP/2 (RFC 8441) in bytes: "200", "other", or why it is not offered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    s = context.wrap_socket(t.connect(tls=False), server_hostname="localhost")
    t.open_sockets.append(s)
    if s.selected_alpn_protocol() != "h2":
        return "HTTP/2 is not offered"
    s.settimeout(5)
    h2 = lambda kind, flags, stream, data=b"": len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data
    s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2(4, 0, 0))
    buffer = b""

    def frame_of():
        nonlocal buffer
        while len(buffer) < 9 or len(buffer) < 9 + int.from_bytes(buffer[:3], "big"):
            more = s.recv(16384)
            if not more:
                raise OSError("end of stream")
            buffer += more
        n = int.from_bytes(buffer[:3], "big")
        got, buffer = (buffer[3], buffer[4], int.from_bytes(buffer[5:9], "big"), buffer[9 : 9 + n]), buffer[9 + n :]
        return got

    offered = False
    for _ in range(6):
        kind, flags, _, data = frame_of()
        if kind == 4 and not flags & 1:
            offered = any(data[i : i + 6] == b"\x00\x08\x00\x00\x00\x01" for i in range(0, len(data), 6))
            break
    if not offered:
        return "HTTP/2 without extended CONNECT"
    text = lambda x: bytes([len(x)]) + x if len(x) < 127 else b"\x7f" + varint(len(x) - 127) + x
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", t.path), (":authority", f"{t.host}:{t.port}"), ("sec-websocket-version", "13")]
    if origin:
        fields.append(("origin", origin))
    if token:
        fields.append(("cookie", f"sid={token}") if t.credential == "cookie" else ("authorization", f"Bearer {token}"))
    block = b"".join(b"\x00" + text(k.encode()) + text(v.encode()) for k, v in fields)
    s.sendall(h2(4, 1, 0) + h2(1, 4, 1, block))
    for _ in range(12):
        kind, flags, stream, data = frame_of()
        if stream == 1 and kind == 1:
            while data and data[0] & 0xE0 == 0x20:  # size of the dynamic table
                data = data[1:]
            return "200" if data[:1] == b"\x88" else "other"
        if stream == 1 and kind == 3:
            return "other"
    return "other"


def varint(n):
    out = b""
    while n >= 128:
        out, n = out + bytes([n % 128 + 128]), n // 128
    return out + bytes([n])


@probe("WSA-PROTO-14")
def parity(t):
    if not t.tls:
        return not_applicable("in clear, so without ALPN")
    good = extended_connect(t, t.run.token(), t.origin)
    if good not in ("200", "other"):
        return not_applicable(good)
    if good != "200":
        return None
    seen = {"no credential": extended_connect(t, None, t.origin), "a foreign Origin": extended_connect(t, t.run.token(), "https://evil.example.net")}
    one = t.handshake(token=False), t.handshake(origin="https://evil.example.net")
    weaker = [n for (n, h), r in zip(seen.items(), one) if h == "200" and (r is None or r.status != 101)]
    return vulnerable("HTTP/2 lets in what HTTP/1.1 refuses: " + ", ".join(weaker)) if weaker else sound("extended CONNECT refuses no credential and a foreign Origin as HTTP/1.1 does")


@probe("WSA-PROTO-15")
def target(t):
    seen = {}
    token = t.run.token()
    path = t.path.replace("@RANDOM@", secrets.token_hex(4))
    query = ("&" if "?" in path else "?") + f"token={token}" if t.credential == "query" else ""
    first = path.split("/")[1][:1] or "%2f"
    for name, form in (("absolute form to another host", f"http://wsguard-audit.invalid{path}{query}"), ("double slash", f"/{path}{query}"), ("dot segments", f"/x/..{path}{query}"), ("encoded letter", "/%" + f"{ord(first[0]):02x}" + path[2:] + query)):
        t.source = new_address()
        r = t.handshake(target=form, wait=6)
        seen[name] = status(r)
        if r:
            r.close()
    text = "; ".join(f"{n}: {s}" for n, s in seen.items())
    if any(isinstance(s, int) and s >= 500 for s in seen.values()):
        return vulnerable(text)
    took = [n for n, s in seen.items() if s == 101]
    return informational(text) if took else sound(text)
