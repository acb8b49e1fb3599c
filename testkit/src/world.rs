//! A running `wsguard serve`: the built binary, on free ports, in an empty directory, with its log at hand.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "for tests: what cannot be set up is a failed test"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::log_table;
use crate::peer::{Peer, Request, Response};

/// Longest time that anything here waits for an event. Generous: the machine may be busy, and no passing test waits.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The development token.
pub const TOKEN: &str = "test_token";

/// The built binary; built once a test program.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built("wsguard"))
}

/// The binary `name` of the workspace, built as the tests are.
pub fn built(name: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--bin", name, "-j2", "--message-format=json-render-diagnostics"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stderr(Stdio::inherit())
        .output()
        .expect("run cargo");
    assert!(output.status.success(), "build {name}");
    // Where the binary lies depends on the target directory; cargo says.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .expect("cargo names the binary")
}

/// A command of the binary, with none of this process's settings.
pub fn wsguard(directory: &Path) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WSGUARD_") {
            command.env_remove(name);
        }
    }
    command.current_dir(directory).stdin(Stdio::null());
    command
}

/// A directory of its own, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    root: PathBuf,
    path: PathBuf,
}

impl Scratch {
    /// An empty directory.
    #[expect(clippy::new_without_default, reason = "it makes something outside of the program")]
    pub fn new() -> Self {
        Self::at("")
    }

    /// An empty directory at `place` below one that is removed with it.
    pub fn at(place: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wsguard-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(name);
        let path = root.join(place);
        fs::create_dir_all(&path).unwrap();
        Self { root, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is removed.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grown: Condvar,
}

impl Log {
    /// Waits for the first line that `find` takes; `None` when the log ended or nothing came in time.
    fn wait<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let until = Instant::now().checked_add(PATIENCE)?;
        let mut seen = 0;
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(found) = lines.0.iter().skip(seen).find_map(|line| find(line)) {
                return Some(found);
            }
            seen = lines.0.len();
            let left = until.saturating_duration_since(Instant::now());
            if lines.1 || left.is_zero() {
                return None;
            }
            lines = self.grown.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct World {
    child: Child,
    log: Arc<Log>,
    /// The public listener.
    pub endpoint: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// Where it runs; `None` once it was killed.
    scratch: Option<Scratch>,
}

impl World {
    /// `wsguard serve --dev` with `settings` as environment variables over quotas of handshakes that no test meets.
    pub fn dev(settings: &[(&str, &str)]) -> Self {
        let mut all = vec![("WSGUARD_RATE__HANDSHAKES", "100000"), ("WSGUARD_SESSION__PER_SUBJECT", "1000")];
        all.extend_from_slice(settings);
        Self::start(Scratch::new(), &["--dev"], &all)
    }

    /// As [`World::dev`], in a process that may open `files` files.
    pub fn with_files(files: u32, settings: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new();
        let plain = wsguard(scratch.path());
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"]).arg(plain.get_program());
        // What it must not inherit.
        for (name, _) in plain.get_envs() {
            command.env_remove(name);
        }
        command.current_dir(scratch.path()).stdin(Stdio::null()).env("WSGUARD_RATE__HANDSHAKES", "100000");
        Self::run(command, scratch, &["--dev"], settings)
    }

    /// `wsguard serve` in `scratch` with `flags` and `settings`, on free ports.
    pub fn start(scratch: Scratch, flags: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::run(wsguard(scratch.path()), scratch, flags, settings)
    }

    fn run(mut command: Command, scratch: Scratch, flags: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut child = command
            .arg("serve")
            .args(flags)
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .env("WSGUARD_LOG__FORMAT", "json")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start wsguard");
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                writer.lines.lock().unwrap().0.push(line);
                writer.grown.notify_all();
            }
            writer.lines.lock().unwrap().1 = true;
            writer.grown.notify_all();
        });
        let ready = log.wait(|line| (line.trim() == "ready").then_some(()));
        if ready.is_none() {
            let _ = child.kill();
            panic!("wsguard is not ready:\n{}", log.lines.lock().unwrap().0.join("\n"));
        }
        let port = |name| {
            let address = log.wait(|line| Some(line.strip_prefix(name)?.trim().to_owned())).expect(name);
            let place = address.split("://").nth(1).unwrap_or_default().trim_end_matches("/ws");
            let port = place.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
            SocketAddr::from(([127, 0, 0, 1], port))
        };
        let (endpoint, admin) = (port("endpoint"), port("admin"));
        Self { child, log, endpoint, admin, scratch: Some(scratch) }
    }

    /// `http://localhost:PORT`: a page of the server's own.
    pub fn origin(&self) -> String {
        format!("http://localhost:{}", self.endpoint.port())
    }

    /// A proper upgrade request without a credential.
    pub fn upgrade(&self) -> Request {
        Request::upgrade(self.endpoint)
    }

    /// A plain request to the public listener.
    pub fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.endpoint, method, target)
    }

    /// A plain request to the admin listener.
    pub fn ask_admin(&self, target: &str) -> Response {
        Request::new(self.admin, "GET", target).send()
    }

    /// A token of `subject`, from the development route.
    pub fn token(&self, subject: &str, ttl: &str) -> String {
        let body = serde_json::json!({"name": subject, "ttl": ttl}).to_string();
        let response = self.request("POST", "/dev/token").body(&body).send();
        assert_eq!(response.status, 200, "{}", response.body);
        response.json()["token"].as_str().unwrap().to_owned()
    }

    /// A peer that authenticated with a bearer of `subject`, behind its welcome.
    pub fn join(&self, subject: &str) -> Peer {
        let token = if subject == "dev" { TOKEN.to_owned() } else { self.token(subject, "15m") };
        let mut peer = self.upgrade().bearer(&token).open();
        let welcome = peer.welcomed();
        assert_eq!(welcome["subject"], subject);
        peer
    }

    /// The first line of the log that mentions `text`.
    pub fn line(&self, text: &str) -> String {
        let line = self.log.wait(|line| line.contains(text).then(|| line.to_owned()));
        line.unwrap_or_else(|| panic!("{text:?} never came into the log"))
    }

    /// The first record of the log that mentions `text`.
    pub fn logged(&self, text: &str) -> Value {
        self.logged_with(&[text])
    }

    /// The first record of the log that mentions each of `texts`.
    pub fn logged_with(&self, texts: &[&str]) -> Value {
        let line = self.log.wait(|line| texts.iter().all(|text| line.contains(text)).then(|| line.to_owned()));
        let line = line.unwrap_or_else(|| panic!("{texts:?} never came into the log"));
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
    }

    /// The memory that the log takes here, in bytes.
    pub fn log_bytes(&self) -> usize {
        self.log.lines.lock().unwrap().0.iter().map(String::capacity).sum()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that was written to standard error until now.
    pub fn log(&self) -> String {
        self.log.lines.lock().unwrap().0.join("\n")
    }

    /// The directory that it runs in.
    pub fn path(&self) -> &Path {
        self.scratch.as_ref().expect("it runs").path()
    }

    /// Ends the process as a crash does (SIGKILL), and gives its directory, for the next.
    pub fn kill(mut self) -> Scratch {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.scratch.take().expect("it ran")
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.id().to_string()]).status().expect("run kill");
        assert!(sent.success());
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().expect("run kill");
        assert!(killed.success());
    }

    /// Waits for the end of the process.
    pub fn exit(&mut self) -> ExitStatus {
        // The end of standard error is the event to wait for; then the process is there to be reaped.
        let _ = self.log.wait(|_| None::<()>);
        assert!(self.log.lines.lock().unwrap().1, "wsguard did not end within {PATIENCE:?}");
        self.child.wait().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            return;
        }
        // Whatever a test makes the server write is what docs/log.md says.
        let events = log_table::events();
        let lines = self.log.lines.lock().unwrap();
        let fault = lines.0.iter().take(LINES_HELD_MAX).find_map(|line| log_table::fault_of(&events, line));
        drop(lines);
        assert!(fault.is_none(), "{}", fault.unwrap_or_default());
    }
}

/// Lines of a server that are held against the table of events: a flood says the same again and again.
const LINES_HELD_MAX: usize = 5_000;

/// Runs a command of the binary to its end.
pub fn run(directory: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    wsguard(directory).args(arguments).envs(settings.iter().copied()).output().expect("run wsguard")
}
