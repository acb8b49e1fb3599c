#!/usr/bin/env python3
"""scripts/profile.py [--varied] [--acknowledged] [--json]: where the instructions of one secured chat go, by control.

Runs the release `wsguard serve --dev` under callgrind twice, with 8 connections of 8 messages in flight and few or many
messages each. The difference, by the source file that each instruction is of, divided by the messages, is what a message
costs; start, handshake and end fall out. What gathers entropy when the cryptography starts is left out, since that is
another number in each run. Needs `cargo build --release -p wsguard-cli -p testkit`, valgrind and binutils. The counts are
of user space and repeat to the per cent.
"""
import argparse
import collections
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
CONNECTIONS, IN_FLIGHT = 8, 8
FEW, MANY = 250, 3_000

# The largest quotas, so that all messages pass and every bucket is charged: as in `make bench`.
ENVIRONMENT = {
    "WSGUARD_RATE__MODE": "shadow",
    "WSGUARD_RATE__MESSAGES_PER_SECOND": "100000",
    "WSGUARD_RATE__BURST": "100000",
    "WSGUARD_RATE__BYTES_PER_SECOND": "1GiB",
    "WSGUARD_RATE__PREFIX_FACTOR": "1024",
    "WSGUARD_RATE__HANDSHAKES": "100000",
    "WSGUARD_RATE__GLOBAL_MESSAGES_PER_SECOND": "100000000",
    "WSGUARD_SERVER__WORKERS": "1",
}

# The first that a file's path holds names what it is counted as.
PARTS = [
    ("frames: header, mask, UTF-8", ["wsguard-core/src/frame", "simdutf8"]),
    ("scan: strings, skeleton, values", ["wsguard-core/src/json", "wsguard-core/src/vectors", "fearless_simd", "memchr"]),
    ("schema and what is remembered of it", ["wsguard-core/src/schema", "control/schema", "wsguard-core/src/plan"]),
    ("envelope", ["control/envelope"]),
    ("rate: server, subject, prefixes, session, type", ["control/rate"]),
    ("penalties", ["control/penalty", "guard/penalty", "control/order"]),
    ("CSRF token", ["control/csrf", "token/csrf", "subtle"]),
    ("authorization", ["control/authorization"]),
    ("content", ["control/content", "wsguard-core/src/markup"]),
    ("delivery: numbers, replay, ids", ["control/delivery", "guard/resume"]),
    ("anomaly", ["control/anomaly", "guard/anomaly"]),
    ("policy, verdicts, effects, time", ["wsguard-core/src/policy", "wsguard-core/src/verdict", "wsguard-core/src/effect", "wsguard-core/src/time"]),
    ("what joins the controls", ["wsguard-core/src/guard.rs", "wsguard-core/src/guard/clock", "wsguard-core/src/probe"]),
    ("frames that are written", ["guard/reply", "guard/digits", "guard/own", "wsguard/src/handler"]),
    ("session, counters", ["wsguard/src/session", "wsguard/src/stats", "wsguard/src/connections"]),
    ("driver", ["wsguard/src/driver", "wsguard/src/mailbox", "wsguard/src/clock", "atomic-waker"]),
    ("built-in application", ["wsguard-server/src/app"]),
    ("runtime", ["tokio", "mio"]),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def token_of(port):
    body = json.dumps({"name": "profile", "ttl": "1h"}).encode()
    headers = {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{port}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/dev/token", data=body, headers=headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["token"]


def wait_until_it_listens(server, port):
    for _ in range(600):
        if server.poll() is not None:
            sys.exit(f"profile: wsguard ended with {server.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"profile: nobody listens on port {port}")


def counted(messages, words):
    """Instructions by object and address of a whole run."""
    port, admin = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "callgrind.out"
        server = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--dump-instr=yes", f"--callgrind-out-file={out}", PROGRAMS / "wsguard", "serve", "--dev",
             "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"],
            env={**os.environ, **ENVIRONMENT}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until_it_listens(server, port)
            load = [PROGRAMS / "load", "--url", f"ws://127.0.0.1:{port}/ws", "--token", token_of(port), "--connections",
                    str(CONNECTIONS), "--in-flight", str(IN_FLIGHT), "--messages", str(messages), "--warm-up", "0"]
            subprocess.run([*load, *words], check=True, stdout=subprocess.DEVNULL)
        finally:
            server.terminate()
            server.wait()
        return by_address(out.read_text(errors="replace").splitlines())


def by_address(lines):
    """Own cost by object and address; the line behind `calls` is the callee's. Addresses may be relative to the last one."""
    names, costs = {}, collections.Counter()
    at, address, is_call = "", 0, False
    for line in lines:
        if named := re.match(r"ob=\((\d+)\)(?: (.*))?$", line):
            number, name = named.groups()
            if name:
                names[number] = name
            at = names.get(number, "")
        elif line.startswith("calls="):
            is_call = True
        elif cost := re.match(r"(0x[0-9a-f]+|[+-]\d+|\*) \S+ (\d+)$", line):
            where, count = cost.groups()
            if where.startswith("0x"):
                address = int(where, 16)
            elif where != "*":
                address += int(where)
            if not is_call:
                costs[at, address] += int(count)
            is_call = False
    return costs


def files_of(program, addresses):
    """For each address the files of the functions that it is of, the innermost first (`addr2line` of binutils)."""
    asked = "\n".join(f"{address:#x}" for address in addresses)
    told = subprocess.run(["addr2line", "-a", "-i", "-e", program], input=asked, capture_output=True, text=True, check=True)
    files, at = {}, None
    for line in told.stdout.splitlines():
        if line.startswith("0x"):
            at = files.setdefault(int(line, 16), [])
        else:
            at.append(line.split(":")[0])
    return files


def part_of(files):
    """What was inlined out of the standard library is of the function that it was inlined into."""
    for path in files:
        for part, places in PARTS:
            if any(place in path for place in places):
                return part
    return "libraries, allocator, libc"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--varied", action="store_true", help="each message of another length than the one before")
    parser.add_argument("--acknowledged", action="store_true", help="messages with an id")
    parser.add_argument("--files", action="store_true", help="by file instead of by part")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    words = (["--varied"] if args.varied else []) + ([] if args.acknowledged else ["--no-id"])
    few, many = counted(FEW, words), counted(MANY, words)
    each = {place: (many[place] - few[place]) / ((MANY - FEW) * CONNECTIONS) for place in many.keys() | few.keys()}
    program = str(PROGRAMS / "wsguard")
    files = files_of(program, sorted(address for (place, address), cost in each.items() if place == program and cost))
    parts = collections.Counter()
    for (place, address), cost in each.items():
        of = files.get(address, []) if place == program else []
        if any("jitterentropy" in path for path in of):
            continue
        own = next((path for path in of if "/crates/" in path), of[0] if of else place)
        parts[own if args.files else part_of(of)] += cost
    if args.json:
        print(json.dumps({part: round(cost, 1) for part, cost in parts.most_common()}))
        return
    print("| what | instructions |\n| --- | --: |")
    for part, cost in parts.most_common():
        if abs(cost) >= 0.5:
            print(f"| {part} | {cost:,.0f} |")
    print(f"| together | {sum(parts.values()):,.0f} |")


if __name__ == "__main__":
    main()
