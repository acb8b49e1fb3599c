//! The Node and the Python example against the real server: two strangers to Rust who chat with each other, also over a
//! connection that is cut. What the React example does is `examples/react/e2e.test.mjs`; the axum ones have tests of
//! their own beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use testkit::proxy::Proxy;
use testkit::world::{PATIENCE, TOKEN, World};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// One of the examples, with a keyboard and a screen.
struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Receiver<String>,
}

impl Terminal {
    fn open(program: &str, script: &str, url: &str, token: &str) -> Self {
        let mut child = Command::new(program)
            .arg(root().join("examples").join(script))
            .args([url, token])
            .env("PYTHONPATH", root().join(".cache/peers"))
            // The server is on this machine whatever the environment says.
            .env("NO_PROXY", "localhost,127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect(program);
        let (line_of, screen) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| line_of.send(line)));
        Self { keyboard: child.stdin.take(), child, screen }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.keyboard.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for `line`; what comes before it is passed over.
    fn shows(&self, line: &str) {
        let mut seen = Vec::new();
        while let Ok(next) = self.screen.recv_timeout(PATIENCE) {
            if next == line {
                return;
            }
            seen.push(next);
        }
        panic!("{line:?} never came, but {seen:?}");
    }

    fn shows_refusal(&self, code: &str) {
        let line = self.screen.recv_timeout(PATIENCE).unwrap();
        assert!(line.starts_with(&format!("! not sent: {code} (ref ")), "{line}");
    }

    /// It ends, badly, without having been let in; the last that it shows begins with `last`.
    fn is_refused(&mut self, last: &str) {
        let shown: Vec<String> = std::iter::from_fn(|| self.screen.recv_timeout(PATIENCE).ok()).collect();
        assert!(shown.iter().all(|line| line.starts_with("! ")), "it was let in: {shown:?}");
        assert!(shown.last().map_or("", String::as_str).starts_with(last), "{shown:?}");
        assert_eq!(self.child.wait().unwrap().code(), Some(1));
    }

    /// The end of its input ends it.
    fn leaves(mut self) {
        drop(self.keyboard.take());
        // The end of its output is the event to wait for.
        while self.screen.recv_timeout(PATIENCE).is_ok() {}
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn install(script: &str) {
    let installed = Command::new("bash").arg(root().join(script)).status().unwrap();
    assert!(installed.success(), "{script} failed");
}

#[test]
fn node_and_python_chat_with_each_other_over_a_network_that_fails() {
    // setup.sh packs the client anew; alone, this test needs it once.
    if !root().join("examples/node/node_modules/@wsguard/client").exists() {
        install("examples/node/install.sh");
    }
    install("testkit/peers/install.sh");
    let world = World::dev(&[]);
    let proxy = Proxy::start(world.endpoint);
    let url = format!("ws://localhost:{}/ws", world.endpoint.port());
    let unsteady = format!("ws://localhost:{}/ws", proxy.address().port());
    let mut node = Terminal::open("node", "node/chat.mjs", &url, &world.token("nora", "15m"));
    let mut python = Terminal::open("python3", "python/chat.py", &unsteady, &world.token("pia", "15m"));
    node.shows("connected as nora");
    python.shows("connected as pia");

    python.types("1 < 2 && 3 > 2");
    node.shows("pia: '1 < 2 && 3 > 2'");
    python.shows("pia: '1 < 2 && 3 > 2'");
    node.types("<img src=x onerror=alert(1)>");
    for terminal in [&node, &python] {
        terminal.shows("nora: '&lt;img src=x onerror=alert(1)>'");
    }
    node.types(&"x".repeat(4_001));
    node.shows_refusal("invalid_message");
    python.types(&"x".repeat(4_001));
    python.shows_refusal("invalid_message");

    // What was said while Python was away arrives once it is back, and what it typed meanwhile is sent.
    proxy.down();
    node.types("are you there?");
    node.shows("nora: 'are you there?'");
    python.types("yes, and nothing is lost");
    proxy.restore();
    python.shows("nora: 'are you there?'");
    node.shows("pia: 'yes, and nothing is lost'");
    python.shows("pia: 'yes, and nothing is lost'");

    node.leaves();
    python.leaves();
    Terminal::open("node", "node/chat.mjs", &url, "not-the-token").is_refused("! closed: unauthenticated (ref ");
    // What ends a program of Python goes to standard error.
    Terminal::open("python3", "python/chat.py", &url, "not the token").is_refused("");
    let mut guest = Terminal::open("python3", "python/chat.py", &url, TOKEN);
    guest.shows("connected as dev");
    guest.types("bye");
    guest.shows("dev: 'bye'");
    guest.leaves();
}
