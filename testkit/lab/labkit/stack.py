"""Stacks: what is installed, how it is started, how one speaks to it, and that it ends."""
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib

from . import certificates, tokens

LAB = pathlib.Path(__file__).resolve().parent.parent
STACKS = LAB / "stacks"
DEBIAN = LAB / ".debian"
RUN = LAB / ".run"
ORIGIN = "https://app.example.test"
LIFE_S = 900  # no server outlives this


class LabError(Exception):
    pass


_ports, _ports_guard = set(), threading.Lock()


def free_port():
    """A port that nothing listens on, and that this program has not given to another server."""
    with _ports_guard:
        while True:
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            if port not in _ports:
                _ports.add(port)
                return port


def names():
    return sorted(p.parent.name for p in STACKS.glob("*/stack.toml"))


class Stack:
    """One directory under stacks/, read."""

    def __init__(self, name):
        self.name, self.dir = name, STACKS / name
        try:
            self.spec = tomllib.loads((self.dir / "stack.toml").read_text())
        except FileNotFoundError:
            raise LabError(f"no stack is called {name}; lab.py list shows them") from None
        self.options = self.spec.get("options", {})
        self.speak = self.spec.get("speak", {})
        self.truth = self.spec.get("truth", {})
        self.tls = self.spec.get("tls")
        self.base = STACKS / self.spec["from"] if "from" in self.spec else self.dir

    def opt(self, name, default=None):
        return self.options.get(name, default)

    # Installing

    def installed(self):
        if (self.base / "package.json").exists() and not (self.base / "node_modules").exists():
            return False
        if (self.base / "requirements.txt").exists() and not (self.base / ".packages").exists():
            return False
        return all((DEBIAN / "have" / p).exists() for p in self.spec.get("debian", []))

    def install(self):
        if self.installed():
            return
        if (self.base / "package.json").exists() and not (self.base / "node_modules").exists():
            verb = "ci" if (self.base / "package-lock.json").exists() else "install"
            run(["npm", verb, "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], self.base)
        if (self.base / "requirements.txt").exists() and not (self.base / ".packages").exists():
            part = self.base / ".packages.part"
            shutil.rmtree(part, ignore_errors=True)
            run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile", "--root-user-action=ignore",
                 "--no-deps", "--target", str(part), "-r", "requirements.txt"], self.base)
            part.rename(self.base / ".packages")
        for package in self.spec.get("debian", []):
            install_debian(package)

    # Starting

    def start(self, life=LIFE_S, host="127.0.0.1"):
        if not self.installed():
            raise LabError(f"{self.name} is not installed: lab.py install {self.name}")
        return Running(self, life, host)


def run(command, where):
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"{' '.join(command[:4])} in {where.name}: {done.stderr[-800:]}")


def install_debian(package):
    """Unpacks a Debian package and what the machine lacks of its dependencies into an ignored folder; nothing is installed."""
    have = DEBIAN / "have" / package
    if have.exists():
        return
    (DEBIAN / "have").mkdir(parents=True, exist_ok=True)
    (DEBIAN / "archives").mkdir(exist_ok=True)
    plan = subprocess.run(["apt-get", "install", "--no-install-recommends", "--simulate", package], capture_output=True, text=True)
    wanted = re.findall(r"^Inst (\S+) .*?\((\S+)", plan.stdout, re.M)
    if not wanted:
        raise LabError(f"apt-get knows no {package}: run apt-get update first ({plan.stderr[-200:]})")
    # Services' start scripts never run: the archives are unpacked, not installed.
    run(["apt-get", "download", *[f"{n}={v}" for n, v in wanted]], DEBIAN / "archives")
    for archive in (DEBIAN / "archives").glob("*.deb"):
        run(["dpkg-deb", "-x", str(archive), str(DEBIAN / "root")], DEBIAN)
        archive.unlink()
    have.touch()


def debian_environment():
    root = DEBIAN / "root"
    libraries = [root / "usr/lib/x86_64-linux-gnu", root / "usr/lib", root / "lib/x86_64-linux-gnu", root / "usr/lib/varnish", root / "usr/lib/x86_64-linux-gnu/varnish"]
    found = list(root.glob("usr/lib/*-linux-gnu"))
    path = ":".join(str(p) for p in [root / "usr/sbin", root / "usr/bin"])
    return {"LD_LIBRARY_PATH": ":".join(str(p) for p in [*found, *libraries]), "PATH": f"{path}:{os.environ['PATH']}", "DEBIAN_ROOT": str(root)}


_running = set()


def stop_all():
    """Ends every server that this program started."""
    for r in list(_running):
        r.stop()


class Running:
    """A started stack: processes, port, credentials. Use as a context."""

    def __init__(self, stack, life, host):
        self.stack, self.host, self.processes, self.logs = stack, host, [], []
        self.dir = RUN / f"{stack.name}-{secrets.token_hex(4)}"
        self.dir.mkdir(parents=True)
        # A good secret is new with every start; a weak one is the point of the stack.
        self.secret = stack.opt("secret") or secrets.token_hex(32)
        self.sids = {"alice": stack.opt("sid_alice") or secrets.token_urlsafe(24), "bob": stack.opt("sid_bob") or secrets.token_urlsafe(24)}
        # A further session of alice, to be ended.
        self.farewell = secrets.token_urlsafe(24)
        self.life = life
        _running.add(self)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        spec = self.stack.spec
        self.tls = self.stack.tls
        if self.tls:
            self.certificate = certificates.make(self.dir, self.tls)
        back = None
        if "backend" in spec:
            back = self._launch(spec["backend"], self.stack.base, None)
        self.port = self._launch(spec["start"], self.stack.base, back)

    def environment(self):
        options = {k: v for k, v in self.stack.options.items() if k not in ("secret", "sid_alice", "sid_bob")}
        sids = {self.sids["alice"]: "alice", self.sids["bob"]: "bob", self.farewell: "alice"}
        env = {
            **os.environ, "LAB_OPTIONS": json.dumps(options), "LAB_SECRET": self.secret, "LAB_SESSIONS": json.dumps(sids), "LAB_ORIGIN": ORIGIN,
            "LAB_DIR": str(self.dir), "LAB_APP": str(LAB / "app"), "NODE_PATH": str(LAB / "app"),
            "PYTHONPATH": f"{self.stack.base / '.packages'}:{LAB / 'app'}", "PYTHONDONTWRITEBYTECODE": "1",
            # Not "production", as a program on a developer's machine would be, unless the stack says so.
            **self.stack.spec.get("environment", {}),
        }
        if self.stack.spec.get("debian"):
            env.update(debian_environment())
        if self.tls:
            env.update(LAB_CERT=str(self.certificate.chain), LAB_KEY=str(self.certificate.key))
        return env

    def _launch(self, command, where, back):
        env, port = self.environment(), free_port()
        env["LAB_PORT"], env["LAB_BACK"], env["LAB_HOST"] = str(port), str(back or ""), self.host
        fill = {"@PORT@": str(port), "@BACK@": str(back or ""), "@DIR@": str(self.dir), "@LAB@": str(LAB), "@PYTHON@": sys.executable}
        for template in self.stack.dir.glob("*.in"):
            text = template.read_text()
            for k, v in {**fill, "@CERT@": env.get("LAB_CERT", ""), "@KEY@": env.get("LAB_KEY", ""), "@PEM@": str(self.dir / "both.pem"), "@ROOT@": env.get("DEBIAN_ROOT", "")}.items():
                text = text.replace(k, v)
            (self.dir / template.stem).write_text(text)
        for k in self.stack.spec.get("environment", {}):
            for was, now in fill.items():
                env[k] = env[k].replace(was, now)
        words = []
        for word in command:
            for k, v in fill.items():
                word = word.replace(k, v)
            words.append(word)
        log = open(self.dir / f"log-{len(self.processes)}", "w")
        # `timeout` is the watchdog: it ends the server though this program were killed.
        process = subprocess.Popen(["timeout", "--kill-after=2", str(self.life), *words], cwd=where, env=env, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.processes.append(process)
        self.logs.append(self.dir / f"log-{len(self.processes) - 1}")
        return self._await(process, port)

    def _await(self, process, port):
        until, log = time.monotonic() + 40, self.logs[-1]
        while time.monotonic() < until:
            said = re.search(r"^listening (\d+)", log.read_text(errors="replace"), re.M)
            if said:
                port = int(said[1])
            if process.poll() is not None:
                raise LabError(f"{self.stack.name} ended at once:\n{log.read_text(errors='replace')[-1500:]}")
            try:
                socket.create_connection((self.host, port), 1).close()
                time.sleep(0.05)
                if process.poll() is None:  # somebody else's port would answer too
                    return port
            except OSError:
                time.sleep(0.05)
        raise LabError(f"{self.stack.name} did not listen within 40 s:\n{log.read_text(errors='replace')[-1500:]}")

    @property
    def pids(self):
        """The servers' own processes (the watchdogs' children)."""
        found = []
        for p in self.processes:
            try:
                found += [int(x) for x in pathlib.Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().split()]
            except OSError:
                pass
        return found

    def alive(self):
        return all(p.poll() is None for p in self.processes)

    def log(self):
        return "\n".join(p.read_text(errors="replace") for p in self.logs)

    # Credentials

    def token(self, user="alice", **how):
        if self.stack.opt("credential", "header") == "none":
            return ""
        if self.stack.opt("credential") == "cookie" or self.stack.opt("token") == "opaque":
            return self.sids[user]
        return tokens.jwt(self.secret, user, **how)

    def farewell_token(self):
        """A credential of alice that nothing else uses."""
        return self.token(lifetime=3000) if self.is_jwt else self.farewell

    @property
    def is_jwt(self):
        return self.token().count(".") == 2

    def stop(self):
        _running.discard(self)
        for p in reversed(self.processes):
            for sig in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(p.pid, sig)
                except ProcessLookupError:
                    break
                try:
                    p.wait(1.5)
                except subprocess.TimeoutExpired:
                    continue
        if not os.environ.get("LAB_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
