"""F8: heartbeats, health, metrics, clock."""
import email.utils
import os
import time

from ..raw import Gone
from ..target import Refused
from . import informational, not_applicable, probe, sound, vulnerable


@probe("WSA-MON-01", slow=True)
def heartbeat(t):
    watched = t.open()
    dead = t.open()
    dead.pong = False
    started, gone = time.monotonic(), None
    try:
        t.until(watched, "@@never@@", 65)
        pinged = watched.pings
    except Gone as e:
        pinged, gone = watched.pings, f"{e.how} after {time.monotonic() - started:.0f} s"
    beats = pinged or any(x in ("3", "h") for x in watched.texts) or any('"ping"' in x or '"ka"' in x for x in watched.texts)
    try:
        while time.monotonic() - started < 120:
            t.until(dead, "@@never@@", 5)
        removed = False
    except Gone:
        removed = True
    took = f"{time.monotonic() - started:.0f} s"
    if beats and removed:
        return sound(f"{pinged or 'its own'} heartbeats in 65 s; a peer that answers none is gone after {took}")
    if beats:
        return informational(f"{pinged or 'its own'} heartbeats in 65 s; a peer that answers none is still there after {took}")
    if removed:
        return informational(f"no heartbeat, but a silent peer is removed after {took}")
    return vulnerable("no heartbeat in 65 s; a silent peer is kept beyond 120 s")


@probe("WSA-MON-02")
def pong(t):
    peer, bad = t.open(), []
    for size in (0, 8, 125):
        data = os.urandom(size)
        got = None
        try:
            peer.send(9, data)
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                f = peer.frame(end - time.monotonic())
                if f and f[0] == 10:
                    got = f[1]
                    break
        except Gone as e:
            bad.append(f"{size} bytes: {e.how}")
            break
        if got != data:
            bad.append(f"{size} bytes: {'no pong' if got is None else 'other payload'}")
    return vulnerable("; ".join(bad)) if bad else sound("pings of 0, 8 and 125 bytes come back the same")


def page(t, path):
    r = t.get(path)
    if r is None:
        return 0, ""
    return r.status, r.body(1).decode("latin-1")


@probe("WSA-MON-03")
def health(t):
    for path in ("/health", "/healthz", "/ready", "/status"):
        status, body = page(t, path)
        if status == 200 and any(w in body for w in ('"version"', '"build"', "dependencies")):
            return vulnerable(f"GET {path}: {body[:90]}")
    return sound("/health, /healthz, /ready, /status are absent or say only a status")


@probe("WSA-MON-04")
def metrics(t):
    for path in ("/metrics", "/debug/pprof/", "/actuator", "/server-status", "/nginx_status", "/stats"):
        status, body = page(t, path)
        if status == 200 and any(w in body for w in ("# HELP", "# TYPE", "pprof", '"_links"', "Active connections", "Apache Server Status", "Statistics Report")):
            return vulnerable(f"GET {path}: {' '.join(body.split())[:80]}")
    return sound("/metrics, /debug/pprof, /actuator, /server-status give nothing")


@probe("WSA-MON-05")
def clock(t):
    r = t.get("/") or t.handshake()
    date = r.get("date") if r else ""
    skew = abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) if date else None
    if skew is not None and skew > 300:
        return vulnerable(f"Date is {skew:.0f} s off")
    contact = page(t, "/.well-known/security.txt")[0] == 200
    if contact and skew is not None:
        return sound("Date is right, security.txt present")
    return informational(f"Date {'absent' if skew is None else 'right'}, security.txt {'present' if contact else 'absent'}")
