#!/usr/bin/env python3
"""Real WebSocket servers, old and new, good and bad, for judging `wsguard audit`. See README.md beside this file."""
import argparse
import concurrent.futures
import os
import signal
import sys
import threading
import time

from labkit import prove
from labkit.stack import LabError, Stack, names, stop_all

_print = threading.Lock()


def say(*words):
    with _print:
        print(*words, flush=True)


def chosen(args):
    return [Stack(n) for n in (args.name or names())]


def cmd_list(args):
    for s in chosen(args):
        kinds = [v[0] for v in s.truth.values()]
        say(f"{s.name:28} {s.spec['library']} {s.spec['version']:12} {kinds.count('vulnerable'):3} vulnerable {kinds.count('sound'):3} sound   {s.spec['title']}")
    return 0


def cmd_install(args):
    for s in chosen(args):
        if not s.installed():
            say(f"lab: installing what {s.name} needs, under testkit/lab only")
            s.install()
    return 0


def cmd_start(args):
    from labkit.bench import arguments
    stack = Stack(args.name[0])
    stack.install()
    with stack.start(args.life) as running:
        say("wsguard audit " + " ".join(_quoted(a) for a in arguments(running)))
        say(f"ends after {args.life} s or with Ctrl-C")
        while running.alive():
            time.sleep(0.5)
    return 0


def _quoted(word):
    import shlex
    return shlex.quote(word)


def cmd_prove(args):
    failed = 0

    def go(stack):
        started = time.monotonic()
        stack.install()
        shown = prove.show(stack, args.only, args.quick)
        return stack, shown, time.monotonic() - started

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        jobs = {pool.submit(go, s): s for s in chosen(args)}
        for job in concurrent.futures.as_completed(jobs):
            try:
                stack, shown, took = job.result()
            except LabError as e:
                say(f"{jobs[job].name}: {e}")
                failed += 1
                continue
            if args.verbose:
                for check in sorted(shown):
                    say(f"  {stack.name:24} {check:14} {shown[check][0]}: {prove.steady(shown[check][1])}")
            if args.record:
                prove.record(stack, shown, args.only)
                say(f"{stack.name}: {sum(1 for v in shown.values() if v[0])} shown in {took:.0f} s")
                continue
            wrong = prove.compare(stack, shown, args.quick, args.only)
            failed += bool(wrong)
            for check, truth, got in wrong:
                say(f"  {stack.name:24} {check:14} written {truth}, shown {prove.steady(got)}")
            say(f"{stack.name}: {len(stack.truth)} written, {len(wrong)} not demonstrated, {took:.0f} s")
    return 1 if failed else 0


def cmd_coverage(args):
    from labkit.coverage import table
    text, gaps = table([Stack(n) for n in names()])
    say(text)
    return 0


def cmd_prefix(args):
    import json
    from labkit.prefix import inside
    say(json.dumps(inside(args.name[0], args.binary)))
    return 0


def cmd_bench(args):
    from labkit.bench import accuracy, bench
    failed = bench(args.binary, chosen(args), args.jobs, args.seconds, say)
    if args.report:
        accuracy([Stack(n) for n in names()], args.report, say)
    return failed


def cmd_alone(args):
    from labkit.bench import alone
    alone(args.binary, chosen(args), args.seconds, say)
    return 0


def cmd_accuracy(args):
    from labkit.bench import accuracy
    return accuracy(chosen(args), args.report, say)


def main():
    top = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)

    def command(name, run, text):
        p = commands.add_parser(name, help=text)
        p.set_defaults(run=run)
        p.add_argument("name", nargs="*", help="stacks; all when none is named")
        return p

    command("list", cmd_list, "the stacks")
    command("install", cmd_install, "installs the stacks' packages into ignored folders here")
    p = command("start", cmd_start, "starts one stack and prints how to audit it")
    p.add_argument("--life", type=int, default=600, help="seconds until it is ended")
    p = command("prove", cmd_prove, "holds the written truth against the independent probes")
    p.add_argument("--quick", action="store_true", help="without the probes that wait")
    p.add_argument("--only", nargs="*", default=None, help="check ids")
    p.add_argument("--jobs", type=int, default=3)
    p.add_argument("--verbose", action="store_true")
    p.add_argument("--record", action="store_true", help="writes what was shown as the truth, to be read line by line")
    command("coverage", cmd_coverage, "which check is vulnerable in one stack and sound in another")
    p = command("prefix", cmd_prefix, "WSA-RATE-05, on a network that has two addresses of one prefix; `prove` and `bench` make it")
    p.add_argument("--binary")
    p = command("bench", cmd_bench, "runs `wsguard audit` on every stack and compares")
    p.add_argument("--binary", required=True)
    p.add_argument("--jobs", type=int, default=3)
    p.add_argument("--seconds", type=int, default=120)
    p.add_argument("--report", help="where to write the page afterwards")
    p = command("alone", cmd_alone, "asks alone what the last audits had no time for, where no stack has shown it")
    p.add_argument("--binary", required=True)
    p.add_argument("--seconds", type=int, default=120)
    p = command("accuracy", cmd_accuracy, "what the last audit of each stack comes to, and its misjudgements")
    p.add_argument("--report", help="where to write the page")
    args = top.parse_args()

    def leave(number, _):
        stop_all()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    try:
        return args.run(args)
    except LabError as e:
        print(f"lab: could not {args.command}: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
