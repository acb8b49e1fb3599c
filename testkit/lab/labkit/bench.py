"""Runs `wsguard audit` on the stacks and compares what it says with what is true."""
import collections
import concurrent.futures
import datetime
import json
import pathlib
import subprocess
import time

from . import prove
from .coverage import ALL
from .stack import LAB, RUN, LabError
from .target import Target

REPORT = LAB.parent.parent / "docs" / "audit-accuracy.md"
# What the audit can decide only with its longer waits, or with inputs that no option carries.
STATUSES = ("pass", "fail", "warn", "unknown", "skipped")


def arguments(running):
    """The audit's arguments for a running stack: what its operator would give, no more."""
    t, stack = Target(running), running.stack
    scheme = "wss" if t.tls else "ws"
    base = f"{scheme}://127.0.0.1:{running.port}"
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
            out.append(f"--short-token={running.token(lifetime=30)}")
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
    def __init__(self, stack):
        self.stack, self.said, self.evidence, self.problems = stack, {}, {}, []
        self.seconds = 0.0
        self.alive = None
        self.spoken = {}


def audit(binary, stack, seconds):
    """One audit of one stack."""
    result = Result(stack)
    with stack.start(seconds + 60) as running:
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
        result.spoken = report.get("spoken", {})
        # Whether one identity may do what is another's own is asked with a message that is its own; an echo is everybody's.
        if "WSA-AUTH-11" in result.said:
            del result.said["WSA-AUTH-11"]
            if "WSA-AUTH-11" in stack.truth:
                own = [a for a in arguments(running) if not a.startswith(("--send=", "--expect="))]
                own += ['--send={"type":"note","id":"note-a"}', "--expect=for alice only", "--only=WSA-AUTH-11"]
                try:
                    again = subprocess.run([str(binary), "audit", *own, "--json", f"--out={running.dir / 'own'}"], capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
                    for item in json.loads(again.stdout)["checks"]:
                        if item["id"] == "WSA-AUTH-11":
                            result.said[item["id"]], result.evidence[item["id"]] = item["status"], (item.get("evidence") or [""])[0]
                except (subprocess.TimeoutExpired, ValueError, KeyError):
                    result.said["WSA-AUTH-11"], result.evidence["WSA-AUTH-11"] = "unknown", "no report"
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
    return f"{100 * a / b:.1f} %" if b else "-"


def render(results, by):
    f = figures(by)
    died = [r for r in results if r.alive is False and "fail" not in (r.said.get("WSA-RES-10"), r.said.get("WSA-ERR-05"), r.said.get("WSA-IN-01"))]
    done = [r for r in results if r.said]
    out = ["# How accurate the audit is", "",
           "`make audit-bench` runs `wsguard audit`, with its defaults and without `--full` or `--intrusive`, against the real servers of [testkit/lab](../testkit/lab/README.md), and compares each verdict with a truth that was written down and demonstrated on the wire by probes that share no code with the audit. This page is its output.", "",
           f"Run on {datetime.date.today().isoformat()}: {len(done)} of {len(results)} stacks audited, {len(by)} checks, {f['total']} verdicts with a known truth.", "",
           "| | |", "| --- | ---: |",
           f"| vulnerable, and found (`fail` or `warn`) | {f['found']} of {f['vulnerable']} ({percent(f['found'], f['vulnerable'])}) |",
           f"| of those that the audit decided | {f['found']} of {f['decided']} ({percent(f['found'], f['decided'])}) |",
           f"| vulnerable, and called good | {f['denied']} |",
           f"| false alarms | {f['alarms']} of {f['harmless']} ({percent(f['alarms'], f['harmless'])}) |",
           f"| left open (`unknown` or `skipped`) | {f['open']} |",
           f"| slowest audit | {max([r.seconds for r in done] or [0]):.0f} s |",
           f"| targets that did not live on, unreported | {', '.join(r.stack.name for r in died) or 'none'} |", "",
           "## By check", "",
           "`found` and `called good` count stacks where the weakness is there; `passed` and `false alarm` those where it is not; `open` is `unknown` or `skipped` where the truth is known.", "",
           "| check | found | called good | open | passed | false alarm | open |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for check in ALL:
        c = by.get(check)
        if not c:
            continue
        harmless = lambda w: sum(n for (v, x), n in c.items() if v != "vulnerable" and x == w)
        out.append(f"| {check} | {c[('vulnerable', 'found')]} | {c[('vulnerable', 'denied')]} | {c[('vulnerable', 'open')]} | {harmless('right')} | {harmless('false alarm')} | {harmless('open')} |")
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


def bench(binary, stacks, jobs, seconds, report, say, findings):
    binary = pathlib.Path(binary).resolve()
    if not binary.exists():
        raise LabError(f"run {binary}: no such file; build it with cargo build -p wsguard-cli")
    RUN.mkdir(exist_ok=True)
    results = []

    def go(stack):
        stack.install()
        return audit(binary, stack, seconds)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        jobs_of = {pool.submit(go, s): s for s in stacks}
        for job in concurrent.futures.as_completed(jobs_of):
            try:
                r = job.result()
            except LabError as e:
                r = Result(jobs_of[job])
                r.problems.append(str(e).split("\n")[0])
            results.append(r)
            f = figures(count([r]))
            say(f"{r.stack.name:26} {r.seconds:4.0f} s  found {f['found']:2} of {f['vulnerable']:2}  called good {f['denied']:2}  false alarms {f['alarms']:2} of {f['harmless']:2}  {'; '.join(r.problems) or ('alive' if r.alive else 'NOT ALIVE')}")
    by = count(results)
    page = render(results, by)
    if report:
        pathlib.Path(report).write_text(page)
    if findings:
        pathlib.Path(findings).write_text("\n".join(misjudged(results)) + "\n")
    f = figures(by)
    say(f"\nfound {f['found']} of {f['vulnerable']} ({percent(f['found'], f['vulnerable'])}); false alarms {f['alarms']} of {f['harmless']} ({percent(f['alarms'], f['harmless'])}); called good {f['denied']}; open {f['open']}")
    return 0 if all(r.said for r in results) else 1
