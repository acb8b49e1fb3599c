"""Runs the probes against a stack and holds the written truth against what they showed."""
import concurrent.futures
import json
import re
import time

from .probes import PROBES
from .raw import Gone
from .stack import Stack
from .target import Refused, Target

VERDICTS = ("vulnerable", "sound", "not_applicable", "informational")


def one(probe, running):
    """{check id: (verdict, evidence)}; ids without an entry were not shown."""
    target = Target(running)
    try:
        got = probe.run(target)
    except (Refused, Gone, OSError, ValueError, KeyError, AttributeError) as e:
        return {i: (None, f"{type(e).__name__}: {e}") for i in probe.ids}
    finally:
        target.done()
    if got is None:
        return {}
    return got if isinstance(got, dict) else {probe.ids[0]: got}


def show(stack, only=None, quick=False):
    """Demonstrates every check that can be shown on this stack: {check id: (verdict, evidence)}.

    Slow probes run beside each other on a server of their own; those that use up a limit or may end
    the server get one each.
    """
    chosen = [p for p in PROBES.values() if not only or set(p.ids) & set(only)]
    if quick:
        chosen = [p for p in chosen if not p.slow]
    found = {}

    def alone(probe):
        with stack.start() as running:
            return one(probe, running)

    def together():
        out, running = {}, None
        try:
            for p in (p for p in chosen if not p.slow and not p.last):
                for attempt in range(2):
                    if running is None or not running.alive():
                        if running:
                            running.stop()
                        running = stack.start()
                    got = one(p, running)
                    if not any("refused" in str(e) for v, e in got.values() if v is None):
                        break
                    # The probe before this one ended the server: once more, on a new one.
                    time.sleep(0.5)
                out.update(got)
        finally:
            if running:
                running.stop()
        return out

    def waiting():
        out, slow = {}, [p for p in chosen if p.slow and not p.last]
        if not slow:
            return out
        # Beside each other they would meet that limit, or wait for each other's handshakes.
        if stack.opt("concurrent") or stack.spec.get("one_at_a_time"):
            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                for got in pool.map(alone, slow):
                    out.update(got)
            return out
        with stack.start() as running, concurrent.futures.ThreadPoolExecutor(len(slow)) as pool:
            for got in pool.map(lambda p: one(p, running), slow):
                out.update(got)
        return out

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(waiting), pool.submit(together)]
        jobs += [pool.submit(alone, p) for p in sorted((p for p in chosen if p.last), key=lambda p: not p.slow)]
        for job in jobs:
            found.update(job.result())
    return found


def written(stack):
    """{check id: (verdict, evidence)} of stack.toml."""
    return {k: (v[0], v[1]) for k, v in stack.truth.items()}


def compare(stack, shown, quick=False, only=None):
    """What is wrong: [(check id, written, shown)]."""
    wrong = []
    for check, (verdict, _) in written(stack).items():
        if only and check not in only:
            continue
        if quick and any(p.slow and check in p.ids for p in PROBES.values()):
            continue
        got = shown.get(check, (None, "not shown"))
        if got[0] != verdict:
            wrong.append((check, verdict, f"{got[0]}: {got[1]}"))
    return wrong


def record(stack, shown, only=None):
    """Writes what was shown into stack.toml as its truth. For authors, who then read every line of it."""
    path = stack.dir / "stack.toml"
    text = path.read_text().split("\n[truth]\n")[0].rstrip() + "\n\n[truth]\n"
    if only:
        kept = {k: v for k, v in written(Stack(stack.name)).items() if k not in {i for p in PROBES.values() if set(p.ids) & set(only) for i in p.ids}}
        shown = {**kept, **shown}
    for check in sorted(shown):
        verdict, evidence = shown[check]
        # What comes out differently from time to time is no truth to judge by.
        if verdict in VERDICTS and check not in stack.spec.get("unsteady", []):
            text += f"{check} = [{json.dumps(verdict)}, {json.dumps(steady(evidence))}]\n"
    path.write_text(text)


def steady(evidence):
    """Evidence without what changes from run to run."""
    text = re.sub(r"127\.\d+\.\d+\.\d+:\d{4,5}|127\.0\.0\.1:\d+", "127.0.0.1:PORT", str(evidence))
    text = re.sub(r"eyJ[\w.-]{20,}", "TOKEN", text)
    text = re.sub(r"/[\w./-]*/testkit/lab", "LAB", text)
    text = re.sub(r"/(root|home|usr|work|opt)/[\w./-]+", "PATH", text)
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "?", text)[:200]
