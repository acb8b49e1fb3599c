"""WSA-RATE-05 needs two addresses of one IPv6 prefix. They exist on a network of our own, which ends with the program."""
import json
import subprocess
import sys

from .stack import LAB, Stack
from .target import Target

SERVER, FIRST, SECOND = (f"fd00:1ab::{n}" for n in (1, 2, 3))
NETWORK = "ip link set lo up && " + " && ".join(f"ip -6 addr add {a}/64 dev lo nodad" for a in (SERVER, FIRST, SECOND)) + ' && exec "$@"'


def apart(stack, *more):
    """What `lab.py prefix` says in such a network; None where the machine allows none."""
    command = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", NETWORK, "sh", sys.executable, str(LAB / "lab.py"), "prefix", stack.name, *more]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        return json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def inside(name, binary):
    """In that network: the verdict and its evidence, or what the audit says."""
    with Stack(name).start(100, SERVER) as running:
        if binary:
            from .bench import arguments
            command = [binary, "audit", *arguments(running), f"--source-b={SECOND}", "--only=WSA-RATE-05", "--json", f"--out={running.dir / 'reports'}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)
            found = next(c for c in json.loads(done.stdout)["checks"] if c["id"] == "WSA-RATE-05")
            return [found["status"], (found.get("evidence") or [""])[0]]
        return probe(running)


def probe(running):
    first, second = Target(running), Target(running)
    first.source, second.source = FIRST, SECOND

    def opens(target):
        reply = target.handshake()
        if reply is None:
            return False
        reply.close()
        return reply.status == 101

    if not opens(second):
        return [None, "the second address is not let in to begin with"]
    number = next((n for n in range(1, 60) if not opens(first)), None)
    if number is None:
        return ["not_applicable", "no limit was met"]
    other, still = opens(second), not opens(first)
    for t in (first, second):
        t.done()
    seen = f"after handshake {number} of one address another of its /64 is "
    if other:
        return ["vulnerable", seen + "let in, and the first still not"] if still else [None, "the limit ended meanwhile"]
    return ["sound", seen + "refused as well"]
