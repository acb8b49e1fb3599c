"""Runs `wsguard audit` on the stacks and compares what it says with what is true."""
import collections
import concurrent.futures
import contextlib
import datetime
import hashlib
import json
import pathlib
import shutil
import subprocess
import time

from . import prefix, prove
from .coverage import ALL
from .stack import LAB, RUN, LabError
from .target import Target

KEPT = LAB / ".results"


def arguments(running):
    """The audit's arguments for a running stack: what its operator would give, no more."""
    t, stack = Target(running), running.stack
    scheme = "wss" if t.tls else "ws"
    base = f"{scheme}://{f'[{t.host}]' if ':' in t.host else t.host}:{running.port}"
    path = t.path.replace("@RANDOM@", "4c1f")
    out, token = [], running.token()
    if t.credential == "query":
        path += ("&" if "?" in path else "?") + "token={token}"
    out += [f"--url={base}{path}", f"--origin={t.origin}"]
    if t.credential == "cookie":
        out.append("--cookie=sid={token}")
    if t.public:
        out += ["--public", "--token=none-needed"]
    else:
        out += [f"--token={token}", f"--token-b={running.token('bob')}"]
        if running.is_jwt:
            out.append(f"--expired-token={running.token(lifetime=-3600)}")
            out.append(f"--foreign-token={running.token(aud='billing')}")
            out.append(f"--short-token={running.token(lifetime=20)}")
    if t.credential == "subprotocol":
        out += ["--subprotocol=lab.v1", "--subprotocol=bearer.{token}"]
    elif t.form.get("protocol"):
        out.append(f"--subprotocol={t.form['protocol']}")
    if t.credential == "first" and t.dialect in ("json", "rpc"):
        out.append('--login={"type":"auth","token":"{token}"}')
    if t.speaks:
        send = t.compose("{marker}").replace('"id":"{marker}"', '"id":"{id}"')
        out += [f"--send={send}", "--expect=" + t.form["expect"].replace("@MARK@", "{marker}")]
    web = base.replace("ws", "http", 1)
    if t.speaks and not t.public and stack.speak.get("logout", "/logout"):
        out += [f"--logout-url={web}/logout", f"--logout-token={running.farewell_token()}"]
    if t.credential == "cookie":
        out += [f"--login-url={web}/login", '--login-data={"user":"alice","pass":"x"}']
    if stack.opt("login", "none") != "none":
        out += ['--bad-login={"type":"login","user":"{user}","pass":"{password}"}', "--known-user=alice"]
    if stack.opt("resume", "none") != "none":
        out.append("--resume=" + t.wrap('{"type":"resume","session":"{session}"}'))
    if stack.opt("ticket", "none") != "none":
        out.append(f"--ticket-url={web}/ticket")
    if t.tls and stack.tls.get("kind") != "self-signed":
        out.append(f"--ca={running.certificate.ca}")
    if t.tls:
        out.append("--insecure")
    return out


class Result:
    """What one audit of one stack said, kept until the next."""

    FIELDS = ("build", "day", "at", "said", "evidence", "problems", "seconds", "alive")

    def __init__(self, stack, build):
        self.stack, self.build, self.day, self.at = stack, build, datetime.date.today().isoformat(), time.time()
        self.said, self.evidence, self.problems = {}, {}, []
        self.seconds = 0.0
        self.alive = None

    def keep(self):
        KEPT.mkdir(exist_ok=True)
        (KEPT / f"{self.stack.name}.json").write_text(json.dumps({f: getattr(self, f) for f in self.FIELDS}))

    @classmethod
    def kept(cls, stack):
        """The last one of that stack, or None."""
        path = KEPT / f"{stack.name}.json"
        if not path.exists():
            return None
        result = cls(stack, "")
        for field, value in json.loads(path.read_text()).items():
            setattr(result, field, value)
        return result


def audit(binary, build, stack, seconds):
    """One audit of one stack."""
    result = Result(stack, build)
    with stack.start(3 * seconds) as running:
        command = [str(binary), "audit", *arguments(running), "--json", f"--out={running.dir / 'reports'}"]
        started = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            result.problems.append(f"not done after {seconds} s")
            result.seconds = seconds
            return result
        result.seconds = time.monotonic() - started
        try:
            report = json.loads(done.stdout)
        except ValueError:
            result.problems.append(f"no report, exit {done.returncode}: {done.stderr.strip()[-300:]}")
            return result
        for item in report["checks"]:
            result.said[item["id"]] = item["status"]
            result.evidence[item["id"]] = (item.get("evidence") or [""])[0]
        def apart(check, more, less=()):
            """A check whose answer needs other arguments than the rest."""
            if not result.said.pop(check, None) or check not in stack.truth:
                return
            # A server that the audit ended is started anew.
            with contextlib.nullcontext(running) if running.alive() else stack.start(3 * seconds) as own:
                ask(own, check, more, less)

        def ask(running, check, more, less):
            own = [a for a in arguments(running) if not a.startswith(tuple(less))] + [f"--only={check}", *more]
            try:
                again = subprocess.run([str(binary), "audit", *own, "--json", f"--out={running.dir / 'own'}"], capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
                found = next(c for c in json.loads(again.stdout)["checks"] if c["id"] == check)
                result.said[check], result.evidence[check] = found["status"], (found.get("evidence") or [""])[0]
            except (subprocess.TimeoutExpired, ValueError, StopIteration):
                result.said[check], result.evidence[check] = "unknown", "no report"

        # Whether one identity may do what is another's own is asked with a message that is its own; an echo is everybody's.
        apart("WSA-AUTH-11", ['--send={"type":"note","id":"note-a"}', "--expect=for alice only"], ("--send=", "--expect="))
        # It asks for more than a stranger's server is asked by default. A limit that was met before must pass.
        if "WSA-RES-09" in stack.truth:
            time.sleep(12 if stack.opt("handshakes") or stack.opt("messages") else 0)
        apart("WSA-RES-09", ["--full"])
        # Two addresses of one prefix are there on a network of their own.
        if result.said.pop("WSA-RATE-05", None) and "WSA-RATE-05" in stack.truth:
            result.said["WSA-RATE-05"], result.evidence["WSA-RATE-05"] = prefix.apart(stack, f"--binary={binary}") or ("unknown", "no such network")
        # The audit may end a server only where it says so.
        # A limit that it met may keep honest peers out for a while.
        for _ in range(35):
            time.sleep(1)
            try:
                result.alive = running.alive() and Target(running).usable()[0]
            except OSError:
                result.alive = False
            if result.alive:
                break
        # What ends real servers, though it is harmless, comes last.
        apart("WSA-RES-10", ["--intrusive"])
    return result


def judge(verdict, status):
    """What an audit's status is worth, given the truth."""
    if verdict == "vulnerable":
        return "found" if status in ("fail", "warn") else "denied" if status == "pass" else "open"
    if verdict == "sound":
        return "right" if status == "pass" else "false alarm" if status in ("fail", "warn") else "open"
    if verdict == "informational":
        return "false alarm" if status == "fail" else "right"
    return "false alarm" if status in ("fail", "warn") else "right"


def count(results, known=None):
    """{check: Counter of (verdict, worth)}."""
    by = collections.defaultdict(collections.Counter)
    known = known or {check for r in results for check in r.said}
    for r in results:
        for check, (verdict, _) in prove.written(r.stack).items():
            if check in known:
                # An audit that gave no report left everything open.
                by[check][(verdict, judge(verdict, r.said.get(check, "unknown")))] += 1
    return by


def figures(by):
    """Totals over all checks."""
    t = collections.Counter()
    for c in by.values():
        t.update(c)
    vulnerable = sum(n for (v, _), n in t.items() if v == "vulnerable")
    harmless = sum(n for (v, w), n in t.items() if v != "vulnerable")
    found, denied = t[("vulnerable", "found")], t[("vulnerable", "denied")]
    alarms = sum(n for (v, w), n in t.items() if w == "false alarm")
    decided = found + denied
    opened = sum(n for (v, w), n in t.items() if w == "open")
    return dict(vulnerable=vulnerable, found=found, denied=denied, decided=decided, harmless=harmless, alarms=alarms, open=opened, total=sum(t.values()))


def percent(a, b):
    return f"{100 * a / b:.{1 if a * 1000 >= b or not a else 2}f} %" if b else "-"


def when(results):
    """When."""
    days = sorted({r.day for r in results})
    return f"Run on {days[0]}" if len(days) == 1 else f"Run from {days[0]} to {days[-1]}"


def builds(results):
    """Which of them the last build of the audit made, where not all."""
    last = max(results, key=lambda r: r.at).build
    anew = sorted(r.stack.name for r in results if r.build == last)
    if len(anew) == len(results):
        return ""
    return f" {len(anew)} of the stacks were audited by the last build ({', '.join(anew)}), the other {len(results) - len(anew)} by builds before it."


KINDS = {"found": (("vulnerable",), ("fail", "warn")), "passed": (("sound",), ("pass",))}
# Checks that say of what is allowed that it could be better.
REMARKS = ("WSA-RATE-07", "WSA-RATE-08")


def kind_of(check, kind):
    verdicts, statuses = KINDS[kind]
    return (("informational",), statuses) if kind == "found" and check in REMARKS else (verdicts, statuses)


def alone(binary, stacks, seconds, say):
    """Asks the checks alone that no run of all checks has made fail, or pass, for lack of time."""
    results = [r for r in map(Result.kept, stacks) if r]
    kept = KEPT / "alone"
    shown = json.loads(kept.read_text()) if kept.exists() else {}
    for check in ALL:
        for kind in KINDS:
            verdicts, statuses = kind_of(check, kind)
            if example(results, check, kind, shown) != "-":
                continue
            for stack in [s for s in stacks if s.truth.get(check, ("",))[0] in verdicts][:4]:
                with stack.start(2 * seconds) as running:
                    command = [str(binary), "audit", *arguments(running), f"--only={check}", "--json", f"--out={running.dir / 'alone'}"]
                    try:
                        report = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL).stdout)
                    except (subprocess.TimeoutExpired, ValueError):
                        continue
                said = next(c for c in report["checks"] if c["id"] == check)
                say(f"{check} alone on {stack.name}: {said['status']} ({(said.get('evidence') or [''])[0][:100]})")
                if said["status"] in statuses:
                    shown[f"{check} {kind}"] = stack.name
                    break
    kept.write_text(json.dumps(shown))


def example(results, check, kind, shown):
    """A stack of which the audit said so and rightly, the plainest first; one that was asked this alone; or a dash."""
    verdicts, statuses = kind_of(check, kind)
    fits = [(verdicts.index(r.stack.truth[check][0]), statuses.index(r.said[check]), r.stack.name)
            for r in results if check in r.stack.truth and r.stack.truth[check][0] in verdicts and r.said.get(check) in statuses]
    return min(fits)[2] if fits else shown.get(f"{check} {kind}", "-")


def render(results, by):
    f = figures(by)
    shown = json.loads((KEPT / "alone").read_text()) if (KEPT / "alone").exists() else {}
    died = [r for r in results if r.alive is False and "fail" not in (r.said.get("WSA-RES-10"), r.said.get("WSA-ERR-05"), r.said.get("WSA-IN-01"))]
    done = [r for r in results if r.said]
    out = ["# How accurate the audit is", "",
           "`make audit-bench` runs `wsguard audit`, with its defaults, against the real servers of [testkit/lab](../testkit/lab/README.md), and compares each verdict with a truth that was written down and demonstrated on the wire by probes that share no code with the audit. This page is its output. Four checks are asked apart: WSA-AUTH-11 with a message that only its owner may send, WSA-RATE-05 on a network with two addresses of one prefix, WSA-RES-09 with `--full` and WSA-RES-10 with `--intrusive`, without which they do not run.", "",
           f"{when(results)}: {len(done)} of {len(results)} stacks audited, {len(by)} checks, {f['total']} verdicts with a known truth.{builds(results)}", "",
           "| | |", "| --- | ---: |",
           f"| vulnerable, and found (`fail` or `warn`) | {f['found']} of {f['vulnerable']} ({percent(f['found'], f['vulnerable'])}) |",
           f"| of those that the audit decided | {f['found']} of {f['decided']} ({percent(f['found'], f['decided'])}) |",
           f"| vulnerable, and called good | {f['denied']} |",
           f"| false alarms | {f['alarms']} of {f['harmless']} ({percent(f['alarms'], f['harmless'])}) |",
           f"| left open (`unknown` or `skipped`) | {f['open']} |",
           f"| slowest audit | {max([r.seconds for r in done] or [0]):.0f} s |",
           f"| targets that did not live on, unreported | {', '.join(r.stack.name for r in died) or 'none'} |", "",
           "## By check", "",
           "`found` and `called good` count stacks where the weakness is there; `passed` and `false alarm` those where it is not; `open` is `unknown` or `skipped` where the truth is known. Then a real server that made the check `fail` or `warn`, and one that made it pass, asked alone where the run of all checks had no time left.", "",
           "| check | found | called good | open | passed | false alarm | open | found in | passed by |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |"]
    for check in ALL:
        c = by.get(check)
        if not c:
            continue
        harmless = lambda w: sum(n for (v, x), n in c.items() if v != "vulnerable" and x == w)
        bad, good = (example(results, check, kind, shown) for kind in KINDS)
        out.append(f"| {check} | {c[('vulnerable', 'found')]} | {c[('vulnerable', 'denied')]} | {c[('vulnerable', 'open')]} | {harmless('right')} | {harmless('false alarm')} | {harmless('open')} | {bad} | {good} |")
    said = {check for r in results for check in r.said}
    for text, some in (("Not in the audit: ", [c for c in ALL if c not in said]), ("In the audit, and shown of no stack: ", [c for c in ALL if c in said and c not in by])):
        if some:
            out += ["", text + ", ".join(some) + "."]
    out += ["", "## By stack", "", "| stack | library | seconds | vulnerable found | false alarms | lives on |", "| --- | --- | ---: | ---: | ---: | --- |"]
    for r in sorted(results, key=lambda r: r.stack.name):
        own = figures(count([r], set(by)))
        lives = "not audited: " + prove.steady(r.problems[0]).replace("|", " ")[:80] if r.problems else "yes" if r.alive else "no"
        out.append(f"| {r.stack.name} | {r.stack.spec['library']} {r.stack.spec['version']} | {r.seconds:.0f} | {own['found']} of {own['vulnerable']} | {own['alarms']} of {own['harmless']} | {lives} |")
    return "\n".join(out) + "\n"


def misjudged(results):
    """One line each: stack, check, said, truth, evidence."""
    for r in sorted(results, key=lambda r: r.stack.name):
        for p in r.problems:
            yield f"{r.stack.name}: {p}"
        if r.said and r.alive is False:
            yield f"{r.stack.name}: the target does not serve an honest peer after the audit"
        for check, (verdict, shown) in sorted(prove.written(r.stack).items()):
            worth = judge(verdict, r.said[check]) if check in r.said else None
            if worth in ("denied", "false alarm") or (worth == "open" and verdict == "vulnerable"):
                yield f"{r.stack.name}: {check} said {r.said[check]} ({prove.steady(r.evidence[check])[:120]}), truth {verdict} ({shown[:120]})"


def bench(binary, stacks, jobs, seconds, say):
    """Audits the stacks and keeps what was said of each."""
    binary = pathlib.Path(binary).resolve()
    if not binary.exists():
        raise LabError(f"run {binary}: no such file; build it with cargo build --workspace --bins")
    # The binary may be built anew meanwhile: the run keeps its own.
    RUN.mkdir(exist_ok=True)
    build = hashlib.sha256(binary.read_bytes()).hexdigest()[:16]
    own = RUN / f"wsguard-{build}"
    if not own.exists():
        shutil.copy2(binary, own)
    results = []

    def go(stack):
        stack.install()
        return audit(own, build, stack, seconds)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        jobs_of = {pool.submit(go, s): s for s in stacks}
        for job in concurrent.futures.as_completed(jobs_of):
            try:
                r = job.result()
            except LabError as e:
                r = Result(jobs_of[job], build)
                r.problems.append(str(e).split("\n")[0])
            r.keep()
            results.append(r)
            f = figures(count([r]))
            lines = [f"{r.stack.name:26} {r.seconds:4.0f} s  found {f['found']:2} of {f['vulnerable']:2}  called good {f['denied']:2}  false alarms {f['alarms']:2} of {f['harmless']:2}  {'; '.join(r.problems) or ('alive' if r.alive else 'NOT ALIVE')}"]
            say("\n".join(lines + ["    " + line for line in misjudged([r])]))
    say("\n" + summary(results))
    return 0 if all(r.said for r in results) else 1


def accuracy(stacks, report, say):
    """The page, from what the last audit of each stack said."""
    kept = [Result.kept(s) for s in stacks]
    missing = [s.name for s, r in zip(stacks, kept) if r is None]
    if missing:
        raise LabError(f"not audited yet: {', '.join(missing)}")
    for line in misjudged(kept):
        say(line)
    if report:
        pathlib.Path(report).write_text(render(kept, count(kept)))
    say("\n" + summary(kept))
    return 0


def summary(results):
    f = figures(count(results))
    return f"found {f['found']} of {f['vulnerable']} ({percent(f['found'], f['vulnerable'])}); false alarms {f['alarms']} of {f['harmless']} ({percent(f['alarms'], f['harmless'])}); called good {f['denied']}; open {f['open']}; slowest {max([r.seconds for r in results] or [0]):.0f} s; not alive: {', '.join(r.stack.name for r in results if not r.alive) or 'none'}"
