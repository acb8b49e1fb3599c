//! Shell blocks as somebody types them: one folder a document, and the servers that are started in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{LazyLock, Mutex};

use regex::Regex;
use serde_json::Value;
use testkit::peer::Request;
use testkit::program::Program;
use testkit::world::{Scratch, World, binary, built, run};

use super::{Block, fixtures, root, said};

/// Commands that need a server: without one that the document started, a development server is.
const NEED_SERVER: [&str; 5] =
    ["localhost:300", "127.0.0.1:300", "wsguard revoke", "wsguard sessions", "wsguard connections"];

/// The checks that an audit of the documents is narrowed to: one of each kind that takes no wait, so that a whole audit,
/// which is two minutes, becomes seconds. All else of the command stays as it is written. `net_audit` runs the rest.
const QUICK: [&str; 5] = ["WSA-AUTH-01", "WSA-AUTH-03", "WSA-CSRF-01", "WSA-IN-01", "WSA-PROTO-02"];

/// What a command says of its target, which is ours here.
static URL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"--url[= ]\S+").unwrap());
static ORIGIN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"--origin[= ]\S+").unwrap());
static OUT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"--out[= ](\S+)").unwrap());
static CARGO_RUN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^cargo run (?:--release )?-p (\S+)(?: -- (.*))?$").unwrap());

/// What a line of a block asks for.
enum Step {
    /// Anything else, run by bash as it stands.
    Shell,
    /// `wsguard serve`: goes on in the background, on free ports.
    Serve(Vec<String>),
    /// `wsguard audit`, `wsguard health`: look at a server of the test.
    Look(String),
    /// `wsguard setup`, in an empty folder.
    SetUp(String),
    /// A program of the workspace, by its package.
    Program(String),
}

impl Step {
    fn of(line: &str) -> Self {
        let command = line.split('#').next().unwrap_or_default().trim().trim_end_matches('&').trim_end();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        if let Some(flags) = command.strip_prefix("wsguard serve") {
            return Self::Serve(words(flags));
        }
        if ["wsguard audit ", "wsguard health "].iter().any(|look| command.starts_with(look)) {
            return Self::Look(command.to_owned());
        }
        if command.starts_with("wsguard setup") {
            return Self::SetUp(command.to_owned());
        }
        if let Some(found) = CARGO_RUN.captures(command) {
            // Built as the tests are built, not once more.
            let arguments = found.get(2).map_or("", |arguments| arguments.as_str());
            return match (&found[1], arguments.strip_prefix("serve")) {
                ("wsguard-cli", Some(flags)) => Self::Serve(words(flags)),
                (package, _) => Self::Program(package.to_owned()),
            };
        }
        // A target that runs a program is its last line; what it makes before has tests of its own.
        if let Some(target) = command.strip_prefix("make ") {
            let mut make = Command::new("make");
            // Cargo tells those that it starts where it is, and make those that it starts that they are within it.
            for inherited in ["CARGO", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
                make.env_remove(inherited);
            }
            make.args(["--just-print", "--no-print-directory", target]).current_dir(root());
            let plan = make.output().unwrap();
            assert!(plan.status.success(), "{command}: {}", said(&plan));
            let plan = String::from_utf8(plan.stdout).unwrap();
            let last = plan.lines().last().unwrap_or_default();
            assert!(CARGO_RUN.is_match(last), "{command} runs no program: {plan}");
            return Self::of(last);
        }
        Self::Shell
    }
}

/// One document's folder, and what runs in it.
pub(super) struct Session<'a> {
    folder: Option<Scratch>,
    world: Option<World>,
    programs: Vec<Program>,
    /// What is looked at, by one at a time: two would be each other's rate limit.
    target: &'a Mutex<World>,
}

impl<'a> Session<'a> {
    pub(super) fn new(document: &str, target: &'a Mutex<World>) -> Self {
        // What an example's README says is said in its folder, beside the packages.
        let example = document.strip_suffix("/README.md").filter(|place| place.starts_with("examples/"));
        let folder = Scratch::at(example.unwrap_or_default());
        fixtures(folder.path());
        let link = |from: &Path, to: &Path| std::os::unix::fs::symlink(fs::canonicalize(from).unwrap(), to).unwrap();
        if let Some(example) = example {
            link(&root().join("packages"), &folder.root().join("packages"));
            for entry in fs::read_dir(root().join(example)).unwrap() {
                let entry = entry.unwrap();
                // Folders are sources, or were installed: then it is for the document to install them.
                if entry.file_type().unwrap().is_file() {
                    fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
                }
            }
        }
        link(binary(), &folder.path().join("wsguard"));
        Self { folder: Some(folder), world: None, programs: Vec::new(), target }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.world.as_ref().map_or_else(|| self.folder.as_ref().unwrap().path(), World::path).to_owned()
    }

    fn serve(&mut self, flags: &[&str]) {
        let folder = self.folder.take().unwrap_or_else(|| self.world.take().unwrap().kill());
        // A document may show a configuration without the command that makes its key.
        let configured = folder.path().join("wsguard.toml").exists();
        if configured && !folder.path().join("issuer.key.pub").exists() {
            assert!(run(folder.path(), &["keygen", "--out", "issuer.key"], &[]).status.success());
        }
        // Changes over the admin listener need the key.
        self.world = Some(World::start(folder, flags, &[("WSGUARD_ADMIN__KEY_FILE", "admin.key")]));
    }

    /// Runs `script` as it is; 3000 and 3001 are the ports of the server.
    fn shell(&self, script: &str) -> Output {
        let path = self.path();
        let mut script = script.to_owned();
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WSGUARD_")) {
            command.env_remove(name);
        }
        if let Some(world) = &self.world {
            let (port, admin) = (world.endpoint.port(), world.admin.port());
            for host in ["localhost", "127.0.0.1"] {
                script = script.replace(&format!("{host}:3000"), &format!("{host}:{port}"));
                script = script.replace(&format!("{host}:3001"), &format!("{host}:{admin}"));
            }
            command.env("WSGUARD_ADMIN_URL", format!("http://127.0.0.1:{admin}"));
            command.env("WSGUARD_ADMIN__KEY_FILE", "admin.key");
        }
        let search = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{search}", path.display())).env("NO_PROXY", "localhost,127.0.0.1");
        // `pip install` finds what it is to install where setup.sh put it, and may not fetch it into the system.
        command.env("PYTHONPATH", root().join(".cache/peers"));
        command.env("PIP_NO_INDEX", "1").env("PIP_BREAK_SYSTEM_PACKAGES", "1");
        command
            .env("TOKEN", testkit::world::TOKEN)
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(&path)
            .stdin(Stdio::null());
        command.output().unwrap()
    }

    /// The same, for what has to end well.
    fn shell_well(&self, script: &str, block: &Block) -> Output {
        let output = self.shell(script);
        assert!(output.status.success(), "{}: {}\n{script}\n{}", block.place(), output.status, said(&output));
        output
    }

    /// Looks at the target of the test, and finds it good.
    fn look(&self, command: &str, block: &Block) {
        let target = self.target.lock().unwrap();
        let mut script =
            URL.replace(command, format!("--url=ws://localhost:{}/ws", target.endpoint.port())).into_owned();
        assert_ne!(script, command, "{}: {command} looks at no --url", block.place());
        script = ORIGIN.replace(&script, format!("--origin={}", target.origin())).into_owned();
        let is_audit = command.starts_with("wsguard audit");
        if is_audit {
            script = format!("{script} --only {}", QUICK.join(","));
        } else if command.contains("--watch") {
            script = format!("{script} --count 3");
        } else {
            script = format!("{script} --count 3 --wait 0");
        }
        let output = self.shell_well(&format!("timeout 120 {script}"), block);
        if !is_audit {
            return;
        }
        let out = OUT.captures(command).map_or("reports/websocket-security", |found| found.get(1).unwrap().as_str());
        let report = fs::read_to_string(self.path().join(out).join("report.json")).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        for id in QUICK {
            let passed =
                report["checks"].as_array().unwrap().iter().any(|item| item["id"] == id && item["status"] == "pass");
            assert!(passed, "{}: {id} did not pass\n{}", block.place(), said(&output));
        }
    }

    /// Sets an empty folder up, with the packed client in the place of the published one.
    fn set_up(&self, command: &str, block: &Block) {
        let client = fs::canonicalize(root().join("examples/node/vendor/wsguard-client.tgz")).unwrap();
        let script = format!("cd \"$(mktemp -d -p .)\"; WSGUARD_SETUP_CLIENT=file:{} {command}", client.display());
        let output = self.shell_well(&script, block);
        let made = if command.contains("--dry-run") { "+++ b/wsguard.toml" } else { "good  audit: " };
        assert!(said(&output).contains(made), "{}: {command}\n{}", block.place(), said(&output));
    }

    /// Starts a program of the workspace, and comes in with the document's key.
    fn start(&mut self, package: &str, block: &Block) {
        let program = Program::start(built(package).to_str().unwrap(), &self.path());
        let token = self.shell_well("wsguard token --key issuer.key --sub ann", block).stdout;
        let token = String::from_utf8(token).unwrap();
        let mut ann = Request::upgrade(program.address).bearer(token.trim()).open();
        assert_eq!(ann.welcomed()["subject"], "ann", "{}", block.place());
        self.programs.push(program);
    }

    pub(super) fn run(&mut self, block: &Block) {
        let mut script = String::new();
        for line in block.text.lines() {
            let step = Step::of(line);
            if matches!(step, Step::Shell) {
                script = format!("{script}{line}\n");
                continue;
            }
            self.flush(&mut script, block);
            match step {
                Step::Shell => {}
                Step::Look(command) => self.look(&command, block),
                Step::SetUp(command) => self.set_up(&command, block),
                Step::Program(package) => self.start(&package, block),
                Step::Serve(flags) => {
                    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                    for own in ["--listen", "--admin"] {
                        if let Some(place) = flags.iter().position(|flag| *flag == own) {
                            flags.drain(place..place + 2);
                        }
                    }
                    self.serve(&flags);
                }
            }
        }
        self.flush(&mut script, block);
    }

    /// Runs the lines that were gathered.
    fn flush(&mut self, script: &mut String, block: &Block) {
        let script = std::mem::take(script);
        if script.trim().is_empty() {
            return;
        }
        if self.world.is_none() && NEED_SERVER.iter().any(|word| script.contains(word)) {
            self.serve(&["--dev"]);
        }
        self.shell_well(&script, block);
    }
}

/// The commands of a `console` block, and what each is said to print, after a server has logged and ended.
pub(super) fn consoles(blocks: &[Block]) {
    let figures = Regex::new(r"\d+").unwrap();
    let shape = |text: &str| figures.replace_all(text.trim(), "N").into_owned();
    let scratch = Scratch::new();
    let mut world = World::start(
        scratch,
        &["--dev"],
        &[("WSGUARD_LOG__SECURITY", "security.jsonl"), ("WSGUARD_LOG__CHECKPOINTS", "shipped.jsonl")],
    );
    world.join("dev").leave();
    assert_eq!(world.upgrade().bearer("bad").send().status, 401);
    world.terminate();
    assert!(world.exit().success());
    for block in blocks {
        let mut parts = block.text.split("$ ").skip(1).peekable();
        assert!(parts.peek().is_some(), "{}: no command", block.place());
        for part in parts {
            let (command, want) = part.split_once('\n').unwrap_or((part, ""));
            let script = command.replacen("wsguard", binary().to_str().unwrap(), 1);
            let output = Command::new("bash").args(["-c", &script]).current_dir(world.path()).output().unwrap();
            assert!(output.status.success(), "{}: {command}\n{}", block.place(), said(&output));
            // Its figures are those of another log.
            assert_eq!(shape(&String::from_utf8_lossy(&output.stdout)), shape(want), "{}", block.place());
        }
    }
}
