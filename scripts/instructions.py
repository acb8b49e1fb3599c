#!/usr/bin/env python3
"""Counts the instructions of parts of the message path and compares them with testkit/instructions.json.

Fails (exit 1) when a count differs by more than 3 per cent in either direction: what became slower must be mended, what
became faster must be written down, or the next slip hides in the gain. `--update` writes the counts of this run;
`--profile PART` prints the functions of one part instead, the dearest first.

Counts depend on the compiler and on the vectors that the processor has under valgrind: the file says for which they hold,
and others are told and not compared.
Without valgrind nothing is counted, and that is a failure; scripts/setup.sh installs it.
"""
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "testkit/instructions.json"
TOLERANCE = 0.03

# Part: how often it is done in the two runs, and the messages, frames or texts of one time.
PARTS = {
    "scan": (2_000, 6_000, 1),
    "scan_of_escapes": (2_000, 6_000, 1),
    "scan_and_schema_of_8_kib": (100, 300, 1),
    "judge": (2_000, 42_000, 1),
    "path_of_8_chats": (200, 3_200, 8),
}
# Counted on request (`--profile`) but not guarded: the order in which a room's members are met is another in each run.
UNGUARDED = {"chat_to_100_members": (20, 220, 100)}


def fail(text, code=1):
    print(f"instructions: {text}", file=sys.stderr)
    sys.exit(code)


def basis():
    """What the counts depend on beside the code. Valgrind has no AVX-512, so that AVX2 is the most."""
    text = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout
    cpu = pathlib.Path("/proc/cpuinfo")
    vectors = "avx2" if cpu.exists() and re.search(r"\bavx2\b", cpu.read_text()) else platform.machine()
    return {"rustc": text.split()[1], "vectors": vectors}


def build():
    environment = dict(os.environ, CARGO_PROFILE_RELEASE_LTO="off")
    command = ["cargo", "build", "--release", "--locked", "--package", "testkit", "--bin", "instructions"]
    if subprocess.run(command, cwd=ROOT, env=environment).returncode != 0:
        fail("the counted program was not built", 3)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/instructions"


def run(program, part, times, out):
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", str(program), part, str(times)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0 or not pathlib.Path(out).exists():
        fail(f"{part} was not counted: {ran.stderr.strip()[-500:]}", 3)


def repeatable(out):
    """Instructions of a run without those that gather entropy from the processor's jitter: where the cryptography starts,
    these are millions more or less, as it happens."""
    names, at, is_call, total = {}, "", False, 0
    for line in pathlib.Path(out).read_text(errors="replace").splitlines():
        if named := re.match(r"(c?)f[lie]=\((\d+)\)(?: (.*))?$", line):
            called, number, name = named.groups()
            if name:
                names[number] = name
            if not called:
                at = names.get(number, "")
        elif line.startswith("calls="):
            is_call = True
        elif cost := re.match(r"(?:[+-]?\d+|\*) (\d+)$", line):
            # The line behind `calls` is the callee's.
            if not is_call and "jitterentropy" not in at:
                total += int(cost[1])
            is_call = False
    return total


def count(program, part):
    few, many, units = PARTS[part]
    totals = []
    with tempfile.TemporaryDirectory() as scratch:
        for times in (few, many):
            out = f"{scratch}/{times}"
            run(program, part, times, out)
            totals.append(repeatable(out))
    return round((totals[1] - totals[0]) / (many - few) / units)


def profile(program, part):
    """Own instructions of each function, a time: the difference of two runs."""
    few, many, units = (PARTS | UNGUARDED)[part]
    sums = []
    with tempfile.TemporaryDirectory() as scratch:
        for times in (few, many):
            out = f"{scratch}/{times}"
            run(program, part, times, out)
            command = ["callgrind_annotate", "--threshold=100", out]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            own = {}
            for line in text.splitlines():
                found = re.match(r"^\s*([\d,]+) \([ \d.]+%\)\s+[^\s:]+:(.+?)(?: \[[^]]*\])?$", line)
                if found:
                    own[found[2]] = own.get(found[2], 0) + int(found[1].replace(",", ""))
            sums.append(own)
    each = {name: (total - sums[0].get(name, 0)) / (many - few) / units for name, total in sums[1].items()}
    for name, own in sorted(each.items(), key=lambda item: -item[1]):
        if own >= 5:
            print(f"{own:8.0f}  {name}")


def main():
    if not shutil.which("valgrind"):
        fail("valgrind is missing: scripts/setup.sh installs it", 3)
    program = build()
    arguments = sys.argv[1:]
    if arguments[:1] == ["--profile"]:
        return profile(program, *(arguments[1:] or ["path_of_8_chats"]))
    counts = {part: count(program, part) for part in PARTS}
    if "--update" in arguments:
        TABLE.write_text(json.dumps(basis() | {"instructions": counts}, indent=2) + "\n")
        return
    table = json.loads(TABLE.read_text())
    known = {name: table.get(name) for name in basis()}
    if known != basis():
        for part, now in counts.items():
            print(f"{part}: {now:,}")
        told = [" with ".join(of.values()) for of in ({k: str(v) for k, v in known.items()}, basis())]
        print(f"instructions: counts were written for rustc {told[0]}, this is {told[1]}: NOT COMPARED.",
              "Look at them, then run scripts/instructions.py --update", file=sys.stderr)
        return
    if set(counts) != set(table["instructions"]):
        fail("testkit/instructions.json has other parts: run with --update")
    bad = []
    for part, expected in table["instructions"].items():
        change = counts[part] / expected - 1
        print(f"{part}: {counts[part]:,}, {change:+.1%} of {expected:,}")
        if abs(change) > TOLERANCE:
            bad.append(part)
    if bad:
        fail(f"changed by more than {TOLERANCE:.0%}: {', '.join(bad)}; mend it, or say why and run with --update")


main()
