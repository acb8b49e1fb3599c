"""F11: limits on what one peer may make a server hold."""
import json
import os
import re
import secrets
import socket
import time
import zlib

from ..raw import Gone, Peer, frame, read_reply
from ..target import Refused, new_address
from . import informational, not_applicable, probe, sound, vulnerable


def wait_end(peer, seconds):
    """(ended, how, after)."""
    started = time.monotonic()
    try:
        while time.monotonic() - started < seconds:
            peer.frame(1)
    except Gone as e:
        return True, e.how, time.monotonic() - started
    return False, "open", seconds


@probe("WSA-RES-01", slow=True)
def declared(t):
    peer = t.open()
    if t.speaks:
        t.ask(peer)  # some servers end whoever is quicker than their application
    try:
        peer.send(2 if not t.speaks else 1, b"", declare=1 << 30, width=64)
    except Gone as e:
        return sound(f"1 GiB declared: {e.how}")
    gone, how, after = wait_end(peer, 31)
    if gone and after <= 6:
        return sound(f"1 GiB declared, nothing sent: {how} after {after:.1f} s")
    return vulnerable(f"1 GiB declared, nothing sent: {how} after {after:.0f} s")


@probe("WSA-RES-02", slow=True)
def reassembled(t):
    peer = t.open()
    mark = "m" + secrets.token_hex(5)
    # The whole is a message that would be answered, so that nothing but its size is wrong.
    whole = t.wrap(t.compose(mark, text='"' + mark + "x" * (2 << 20) + '"')).encode() if t.speaks else b"x" * (2 << 20)
    try:
        for at in range(0, len(whole), 65536):
            piece, last = whole[at : at + 65536], at + 65536 >= len(whole)
            peer.write(frame((1 if t.speaks else 2) if at == 0 else 0, piece, fin=last))
        if t.speaks:
            got = t.until(peer, mark, 12)
            if got:
                return vulnerable("fragments of 64 KiB up to 2 MiB are taken and answered")
            return sound(f"2 MiB of fragments: {peer.texts[-1][:60]}") if peer.texts[-1:] and "error" in peer.texts[-1] else None
        alive = peer.alive(8)
        return vulnerable("fragments of 64 KiB up to 2 MiB are taken and the connection goes on") if alive else sound("at up to 2 MiB of fragments: end of stream") if alive is None else None
    except Gone as e:
        return sound(f"at up to 2 MiB of fragments: {e.how}")


@probe("WSA-RES-03")
def count(t):
    seen = []
    for name in ("empty", "one-byte"):
        t.source = new_address()
        peer = t.open()
        mark = "m" + secrets.token_hex(5)
        whole = t.wrap(t.compose(mark, text='"' + mark + "x" * 2048 + '"')).encode() if t.speaks else b"x" * 2048
        kind = 1 if t.speaks else 2
        if name == "empty":
            data = frame(kind, whole[:1], fin=False) + b"".join(frame(0, b"", fin=False) for _ in range(2048)) + frame(0, whole[1:])
        else:
            data = frame(kind, whole[:1], fin=False) + b"".join(frame(0, whole[i : i + 1], fin=False) for i in range(1, len(whole) - 1)) + frame(0, whole[-1:])
        try:
            peer.write(data)
            if t.speaks:
                taken = t.until(peer, mark, 5) is not None
            else:
                taken = peer.alive(4) is not None
            seen.append((name, not taken, "answered" if taken else "no answer"))
        except Gone as e:
            seen.append((name, True, e.how))
        peer.end()
    on = [n for n, gone, _ in seen if not gone]
    return vulnerable(f"a message of 2048 {' and one of 2048 '.join(on)} continuations is answered") if on else sound("; ".join(f"2048 {n} continuations: {how}" for n, _, how in seen))


@probe("WSA-RES-04", slow=True)
def unfinished(t):
    peer = t.open()
    peer.send(1, b"{", fin=False)
    gone, how, after = wait_end(peer, 61)
    return sound(f"an unfinished message: {how} after {after:.0f} s") if gone else vulnerable("an unfinished message is awaited beyond 61 s")


def chosen(t, offer="permessage-deflate; client_max_window_bits"):
    r = t.handshake(extensions=offer)
    return (r, r.get("sec-websocket-extensions")) if r is not None and r.status == 101 else (r, "")


@probe("WSA-RES-05")
def posture(t):
    _, ext = chosen(t)
    if not ext:
        return sound("permessage-deflate is not taken")
    if "server_no_context_takeover" in ext:
        return sound(f"takes {ext}")
    text = f"takes {ext}: the context lives on between messages"
    # What CRIME needs: TLS, one context for what is secret and what the attacker chose, and input that comes back.
    return vulnerable(text + ", under TLS, and input is echoed") if t.tls and t.speaks else informational(text)


@probe("WSA-RES-06", slow=True)
def inflated(t):
    if not t.speaks:
        return None
    _, ext = chosen(t)
    if not ext:
        return not_applicable("no permessage-deflate")

    def attempt(compressed, size=3 << 20):
        t.source = new_address()
        mark = "m" + secrets.token_hex(5)
        peer = t.open(extensions="permessage-deflate; client_max_window_bits") if compressed else t.open()
        text = t.wrap(t.compose(mark, text='"' + mark + "\\u0041" * 0 + "x" * size + '"')).encode()
        if compressed:
            z = zlib.compressobj(9, zlib.DEFLATED, -15)
            data = (z.compress(text) + z.flush(zlib.Z_SYNC_FLUSH))[:-4]
        else:
            data = text
        try:
            peer.write(frame(1, data, rsv=4 if compressed else 0))
            end = time.monotonic() + 12
            got = b""
            while time.monotonic() < end:
                f = peer.frame(end - time.monotonic())
                if f is None:
                    return "silence", len(data)
                if f[0] in (0, 1, 2):
                    head = f[1][:80]
                    return ("error" if b'"error"' in head else "reply"), len(data)
        except Gone as e:
            return e.how, len(data)
        return "silence", len(data)

    plain, _ = attempt(False)
    packed, wire = attempt(True)
    if packed in ("reply", "error") and plain not in ("reply", "error"):
        return vulnerable(f"3 MiB in clear: {plain}; the same as {wire} deflated bytes: {packed}")
    if packed in ("reply", "error"):
        return None  # no plain limit below 3 MiB, so nothing was bypassed
    return sound(f"{wire} bytes that inflate to 3 MiB: {packed}") if packed != "silence" else None


@probe("WSA-RES-07")
def headers(t):
    seen = {}
    for name, extra in (("100 headers", [f"X-Lab-{i}: 1" for i in range(100)]), ("16 KiB", ["X-Long: " + "a" * 16384]), ("64 KiB", ["X-Long: " + "a" * 65536])):
        # Some count only what came in pieces: whether a limit holds is seen on the fifth try at the latest.
        for _ in range(5 if name == "64 KiB" else 1):
            t.source = new_address()
            r = t.handshake(headers=extra, wait=6)
            seen[name] = r.status if r else "refused"
            if r:
                r.close()
            if seen[name] == 101:
                break
    text = "; ".join(f"{n}: {s}" for n, s in seen.items())
    return vulnerable(text) if seen["64 KiB"] == 101 else sound(text)


def drip(sock, data):
    """(ended, how, after): a byte each 3 s, for 34 s."""
    started = time.monotonic()
    sock.settimeout(3)
    try:
        for b in data:
            sock.sendall(bytes([b]))
            try:
                # What belongs to the connection, a ping or a greeting, is no answer to what is not finished.
                while got := sock.recv(4096):
                    if got.startswith(b"HTTP/") or got[0] == 0x88:
                        return True, got[:30], time.monotonic() - started
                return True, "end of stream", time.monotonic() - started
            except TimeoutError:
                pass
            if time.monotonic() - started > 34:
                break
    except OSError:
        return True, "reset", time.monotonic() - started
    return False, "still awaited", time.monotonic() - started


@probe("WSA-RES-08", slow=True)
def slow(t):
    seen = []
    for name in ("a handshake", "a frame"):
        if name == "a handshake":
            sock, data = t.connect(), t.request()
        else:
            t.source = new_address()
            sock, data = t.open().sock, frame(1, "x" * 100)
        ended, how, after = drip(sock, data)
        text = f"{name} of one byte each 3 s: {how} after {after:.0f} s"
        if not ended or after > 31:
            return vulnerable(text)
        seen.append(text)
    return sound("; ".join(seen))


def resident(t):
    total = 0
    for pid in t.run.pids:
        try:
            total += int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])
        except OSError:
            pass
    return total / 1024


@probe("WSA-RES-09", last=True)
def unread(t):
    """A peer that asks much and reads nothing, seen from both ends: the socket, and the server's resident memory."""
    if not t.speaks:
        return None
    size = min(t.stack.speak.get("chunk", 30000), 60000)
    peer = t.open()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    before, sent = resident(t), 0
    peer.sock.settimeout(8)
    try:
        for i in range(2000):
            m = f"m{i:06d}"
            data = frame(1, t.wrap(t.compose(m, text='"' + m + "x" * size + '"')))
            peer.sock.sendall(data)
            sent += len(data)
    except TimeoutError:
        how = "the server stops reading"
    except OSError:
        how = "the server ends the connection"
    else:
        how = "the server takes all of it"
    time.sleep(0.5)
    grown = resident(t) - before
    evidence = f"{sent >> 20} MiB asked for, none read: {how}, resident memory grows {grown:.0f} MiB"
    if 35 < grown < 52:
        return None  # between the two, too near to noise
    return vulnerable(evidence) if grown > 45 and how != "the server ends the connection" else sound(evidence)


@probe("WSA-RES-10", last=True)
def triggers(t):
    """What ended real servers though it is harmless: each is followed by an honest handshake."""
    def incomplete():
        s = t.connect()
        s.sendall(t.request()[:-10])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        s.close()

    def reset_after():
        s = t.connect()
        s.sendall(t.request())
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        s.close()

    cases = [("incomplete upgrade, then reset", incomplete), ("upgrade, then reset", reset_after), ("illegal characters in the subprotocol", lambda: t.handshake(headers=["Sec-WebSocket-Protocol: a b;\"c"], wait=1.5)),
             ("Sec-WebSocket-Extensions: constructor", lambda: t.handshake(extensions="constructor", wait=1.5)), ("Sec-WebSocket-Extensions: __proto__", lambda: t.handshake(extensions="__proto__", wait=1.5))]
    for name, act in cases:
        t.source = new_address()
        try:
            act()
        except (OSError, Refused, Gone):
            pass
        time.sleep(0.3)
        t.source = new_address()
        try:
            ok, how = t.usable()
        except OSError as e:
            ok, how = False, str(e)
        if not ok:
            return vulnerable(f"after {name}: {how}; process {'lives' if t.run.alive() else 'is gone'}")
    return sound("honest conversations succeed after " + ", ".join(n for n, _ in cases))
