#!/usr/bin/env python3
"""Runs the fuzzing client of Autobahn|Testsuite against a WebSocket echo server and judges the result.

Without arguments: builds `conformance-echo`, starts it on a free port, runs the cases of groups 1 to 7, 9 and 10,
writes docs/conformance.md and fails if any case failed. Compression (12, 13) is left out: wsguard does not negotiate it.

The test suite needs Python 2.7 (looked for on PATH and in pyenv). It is installed from PyPI into .cache/autobahn of
this repository when it is missing.

Exit codes: 0 nothing failed, 1 a case failed, 2 wrong usage, 3 suite or server could not be run.
"""
import argparse
import glob
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "autobahn"
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
SUITE_VERSION = "25.10.1"
GROUPS = {
    "1": "Framing",
    "2": "Pings and pongs",
    "3": "Reserved bits",
    "4": "Opcodes",
    "5": "Fragmentation",
    "6": "UTF-8",
    "7": "Close handshake",
    "9": "Limits and performance",
    "10": "Automatic fragmentation",
}
# In the order of the table; the suite's own words.
VERDICTS = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"]
# What is wrong in either the behaviour or the close of the connection. `WRONG CODE` and `UNCLEAN` only occur in the
# latter.
FAILURES = {"FAILED", "WRONG CODE", "UNCLEAN", "FAILED BY CLIENT"}
SUITE_SECONDS_MAX = 540


def say(text):
    print(text, file=sys.stderr, flush=True)


def give_up(text):
    say(f"conformance: {text}")
    sys.exit(3)


def python27():
    """A Python 2.7 that runs. The shim of pyenv exists also where its version is not selected, so each is tried."""
    roots = [os.environ.get("PYENV_ROOT"), os.path.expanduser("~/.pyenv")]
    found = [path for root in roots if root for path in sorted(glob.glob(f"{root}/versions/2.7*/bin/python2.7"))]
    for path in [*found, shutil.which("python2.7")]:
        if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            return path
    give_up("no Python 2.7 found; install it with `pyenv install 2.7.18`")


def suite():
    """The command that runs the suite and its environment; installs what is missing."""
    python = python27()
    # A user base of its own is a prefix that Python 2.7 knows without virtualenv.
    environment = {**os.environ, "PYTHONUSERBASE": str(CACHE), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python, "-W", "ignore", "-m", "autobahntestsuite.wstest"]
    probe = f"import autobahntestsuite as a; assert a.version == '{SUITE_VERSION}', a.version"
    if subprocess.run([python, "-c", probe], env=environment, capture_output=True).returncode != 0:
        say(f"installing Autobahn|Testsuite {SUITE_VERSION} into {CACHE.relative_to(REPOSITORY)}")
        install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-warn-script-location",
                   "--user", "--ignore-installed", "--constraint", str(CONSTRAINTS), f"autobahntestsuite=={SUITE_VERSION}"]
        if subprocess.run(install, env=environment, stdout=sys.stderr).returncode != 0:
            give_up("the suite could not be installed")
    return command, environment


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    for _ in range(200):
        if process.poll() is not None:
            give_up(f"the server ended with {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    give_up("the server does not listen")


def run_suite(port, agent, cases):
    """Runs the cases and returns {case: {behavior, behaviorClose, ...}}."""
    command, environment = suite()
    reports = CACHE / "reports"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    spec = CACHE / "fuzzingclient.json"
    spec.write_text(json.dumps({
        "outdir": str(reports),
        "servers": [{"agent": agent, "url": f"ws://127.0.0.1:{port}"}],
        "cases": cases, "exclude-cases": [], "exclude-agent-cases": {},
    }))
    say(f"running cases {', '.join(cases)} against {agent}")
    with open(CACHE / "suite.log", "w") as log:
        try:
            # The suite keeps its key for wss servers in the working directory.
            subprocess.run([*command, "--mode", "fuzzingclient", "--spec", str(spec)], cwd=CACHE, env=environment,
                           stdout=log, stderr=subprocess.STDOUT, timeout=SUITE_SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired:
            give_up(f"the suite took longer than {SUITE_SECONDS_MAX} s")
    index = reports / "index.json"
    if not index.exists():
        give_up(f"the suite wrote no report; see {(CACHE / 'suite.log').relative_to(REPOSITORY)}")
    return json.loads(index.read_text())[agent]


def verdict(case):
    """The suite's verdict, where a close that went wrong makes a case fail however well it began."""
    if case["behaviorClose"] in FAILURES or case["behavior"] in FAILURES:
        return "FAILED"
    return case["behavior"]


def count(results):
    """{group: {verdict: number}} and the failed cases in the order of their numbers."""
    table, failed = {}, []
    for name, case in results.items():
        row = table.setdefault(name.split(".")[0], dict.fromkeys(VERDICTS, 0))
        row[verdict(case)] = row.get(verdict(case), 0) + 1
        if verdict(case) == "FAILED":
            failed.append((name, case["behavior"], case["behaviorClose"]))
    in_order = lambda name: [int(part) for part in name.split(".")]
    return dict(sorted(table.items(), key=lambda item: int(item[0]))), sorted(failed, key=lambda f: in_order(f[0]))


def markdown(table):
    lines = ["| group | " + " | ".join(v.capitalize() for v in VERDICTS) + " | all |", "|---|" + "--:|" * (len(VERDICTS) + 1)]
    for group, row in table.items():
        cells = [row[v] for v in VERDICTS]
        lines.append(f"| {group} {GROUPS.get(group, '')} | " + " | ".join(map(str, [*cells, sum(cells)])) + " |")
    cells = [sum(row[v] for row in table.values()) for v in VERDICTS]
    lines.append("| **all** | " + " | ".join(f"**{n}**" for n in [*cells, sum(cells)]) + " |")
    return "\n".join(lines)


def document(table, failed):
    version = re.search(r'^version = "(.+)"', (REPOSITORY / "Cargo.toml").read_text(), re.M).group(1)
    outcome = "No case failed." if not failed else "Failed: " + ", ".join(name for name, _, _ in failed) + "."
    return f"""# Conformance to RFC 6455

`make conformance` writes this page: the fuzzing client of Autobahn|Testsuite {SUITE_VERSION} against `conformance-echo`
of wsguard {version}, which is the driver with a policy that passes every message. {outcome}

{markdown(table)}

A case counts as failed if its behaviour or the close of its connection failed. *Non-strict* cases are right by the RFC
but not as early as they could be; *informational* cases have no wrong answer. Groups 12 and 13 test compression, which
wsguard does not negotiate; group 8 is empty in the suite.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="COMMAND", help="another echo server; {port} and {address} are replaced; "
                        "the page is not written")
    parser.add_argument("--cases", default=",".join(f"{group}.*" for group in GROUPS), help="default: %(default)s")
    arguments = parser.parse_args()

    if arguments.server is None:
        build = ["cargo", "build", "--release", "--package", "testkit", "--bin", "conformance-echo"]
        say("building: " + " ".join(build))
        if subprocess.run(build, cwd=REPOSITORY).returncode != 0:
            give_up("conformance-echo could not be built")
        target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
        command = [str(REPOSITORY / target / "release" / "conformance-echo"), "{address}"]
    else:
        command = arguments.server.split()
    port = free_port()
    words = [word.format(port=port, address=f"127.0.0.1:{port}") for word in command]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        results = run_suite(port, "wsguard" if arguments.server is None else Path(words[0]).name, arguments.cases.split(","))
        if server.poll() is not None:
            give_up(f"the server ended with {server.returncode} during the run")
    finally:
        server.kill()
        server.wait()

    table, failed = count(results)
    missing = {pattern.split(".")[0] for pattern in arguments.cases.split(",")} - table.keys()
    if missing:
        give_up(f"no case of group {', '.join(sorted(missing))} was run")
    print(markdown(table))
    for name, behaviour, close in failed:
        report = glob.glob(str(CACHE / "reports" / f"*_case_{name.replace('.', '_')}.html"))
        print(f"FAILED {name}: behaviour {behaviour}, close {close}; {os.path.relpath(report[0], REPOSITORY) if report else ''}")
    if arguments.server is None:
        (REPOSITORY / "docs").mkdir(exist_ok=True)
        (REPOSITORY / "docs" / "conformance.md").write_text(document(table, failed))
    passed = sum(sum(row.values()) for row in table.values()) - len(failed)
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
