//! The servers that are measured: how each is started, told to be alone on its ports, and ended.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;
use serde_json::Value;
use testkit::world::Scratch;
use wsguard_core::time::{Millis, UnixMs};
use wsguard_core::token::{MintClaims, SigningKey, mint};

use crate::counted::instructions_of;

/// How long a server may take to listen; under valgrind it takes a while.
const START_MAX: Duration = Duration::from_mins(1);
/// How long a server may take to end after SIGTERM before it is killed: longer than its drain.
const END_MAX: Duration = Duration::from_secs(40);

/// Half of what `session.per_subject` allows, since a session that closes may still count for a moment.
const SESSIONS_PER_SUBJECT: u32 = 16;

/// Every control is on. Quotas are the largest that the configuration permits, so that messages pass them as they do in
/// service; what exceeds even these is let pass. One thread serves, so that the numbers are those of the work.
const WSGUARD_ENVIRONMENT: [(&str, &str); 8] = [
    ("WSGUARD_RATE__MODE", "shadow"),
    ("WSGUARD_RATE__MESSAGES_PER_SECOND", "100000"),
    ("WSGUARD_RATE__BURST", "100000"),
    ("WSGUARD_RATE__BYTES_PER_SECOND", "1GiB"),
    ("WSGUARD_RATE__PREFIX_FACTOR", "1024"),
    ("WSGUARD_RATE__HANDSHAKES", "100000"),
    ("WSGUARD_RATE__GLOBAL_MESSAGES_PER_SECOND", "100000000"),
    ("WSGUARD_SERVER__WORKERS", "1"),
];

/// Subjects that the connections of a run with messages take in turn: one each, or a few would share a quota.
pub(crate) const SUBJECTS: u32 = 8;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// `bare-loop`: waits, reads, unmasks and writes, and checks nothing.
    Bare,
    /// `conformance-echo`: the driver of wsguard with a policy that passes everything.
    Raw,
    /// `wsguard serve --dev`.
    Wsguard,
    /// `benches/node-stack`.
    Node,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Raw => "raw",
            Self::Wsguard => "wsguard",
            Self::Node => "node",
        }
    }

    /// Whether it speaks wsguard.v1, judges messages and sends frames of its own. The others send back what they got.
    pub(crate) fn is_guarded(self) -> bool {
        matches!(self, Self::Wsguard | Self::Node)
    }
}

/// Sessions of the one development token: the most that the configuration permits.
pub(crate) const TLS_CONNECTIONS_MAX: u32 = 4_096;

/// A running server. Dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    child: Child,
    url: String,
    address: SocketAddr,
    tokens: Vec<String>,
    log: PathBuf,
    place: Option<Place>,
    /// What signs tokens, where the server was given a key of its own.
    signing: Option<SigningKey>,
    /// How often tokens were signed: no subject comes twice.
    signed: u32,
}

/// The folder of what a server has of its own.
#[derive(Debug)]
enum Place {
    Certificate(Scratch),
    Key(Scratch),
}

impl Place {
    /// The file of the certificate.
    fn certificate(&self) -> Option<PathBuf> {
        match self {
            Self::Certificate(folder) => Some(folder.path().join("cert.pem")),
            Self::Key(_) => None,
        }
    }
}

/// What signs tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    Hs256,
    EdDsa,
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl Server {
    /// Starts the server on free ports and waits until it listens. `counted`: under callgrind.
    pub(crate) fn start(kind: Kind, programs: &Path, repository: &Path, counted: bool) -> Result<Self, String> {
        let mut server = Self::start_with(kind, programs, repository, counted, None)?;
        server.tokens = match kind {
            Kind::Bare | Kind::Raw => Vec::new(),
            Kind::Wsguard => {
                (0..SUBJECTS).map(|subject| development_token(server.address, subject)).collect::<Result<_, _>>()?
            }
            Kind::Node => vec![server.announced_token()?],
        };
        Ok(server)
    }

    /// Starts wsguard with TLS, a certificate of its own and the development token alone.
    pub(crate) fn start_tls(programs: &Path, repository: &Path) -> Result<Self, String> {
        let folder = Scratch::new();
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).map_err(|e| e.to_string())?;
        for (name, pem) in [("cert.pem", certified.cert.pem()), ("key.pem", certified.signing_key.serialize_pem())] {
            fs::write(folder.path().join(name), pem).map_err(|e| e.to_string())?;
        }
        let mut server =
            Self::start_with(Kind::Wsguard, programs, repository, false, Some(Place::Certificate(folder)))?;
        server.tokens = vec!["test_token".to_owned()];
        Ok(server)
    }

    /// Starts wsguard with a key of `algorithm` for tokens that the benchmark signs itself.
    pub(crate) fn start_with_key(programs: &Path, repository: &Path, algorithm: Algorithm) -> Result<Self, String> {
        let folder = Scratch::new();
        let key = folder.path().join("app.key");
        let made = Command::new(programs.join("wsguard"))
            .args(["keygen", "--alg", algorithm.name(), "--out"])
            .arg(&key)
            .stdout(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            return Err(format!("wsguard keygen made no {} key", algorithm.name()));
        }
        let file = fs::read(&key).map_err(|e| format!("{}: {e}", key.display()))?;
        let signing = SigningKey::parse("app.key", &file).map_err(|e| e.to_string())?;
        let mut server = Self::start_with(Kind::Wsguard, programs, repository, false, Some(Place::Key(folder)))?;
        server.signing = Some(signing);
        Ok(server)
    }

    /// Signs new tokens, of as many subjects.
    pub(crate) fn sign(&mut self, count: u32) -> Result<(), String> {
        let signing = self.signing.as_ref().ok_or("the server was started without a key of its own")?;
        let since = SystemTime::UNIX_EPOCH.elapsed().map_err(|e| e.to_string())?;
        let ends = UnixMs(u64::try_from(since.as_millis()).map_err(|e| e.to_string())?).after(Millis(3_600_000));
        self.signed += 1;
        let name = |number: u32| format!("bench-{}-{number}", self.signed);
        self.tokens = (0..count)
            .map(|number| mint(signing, &MintClaims::new(&name(number), ends)).map_err(|e| e.to_string()))
            .collect::<Result<_, _>>()?;
        Ok(())
    }

    fn start_with(
        kind: Kind,
        programs: &Path,
        repository: &Path,
        counted: bool,
        place: Option<Place>,
    ) -> Result<Self, String> {
        let listen = free_address()?;
        let log = std::env::temp_dir().join(format!("wsguard-bench-{}-{}.log", std::process::id(), kind.name()));
        let mut words: Vec<String> = Vec::new();
        if counted {
            let profile = profile_beside(&log).to_string_lossy().into_owned();
            words.extend(["valgrind", "--tool=callgrind"].map(str::to_owned));
            words.push(format!("--callgrind-out-file={profile}"));
        }
        let program = |name: &str| programs.join(name).to_string_lossy().into_owned();
        match kind {
            Kind::Bare => words.extend([program("bare-loop"), listen.to_string()]),
            Kind::Raw => words.extend([program("conformance-echo"), listen.to_string()]),
            Kind::Wsguard => {
                words.extend([program("wsguard"), "serve".to_owned(), "--dev".to_owned()]);
                words.extend(["--listen".to_owned(), listen.to_string()]);
                words.extend(["--admin".to_owned(), free_address()?.to_string()]);
            }
            Kind::Node => {
                let script = repository.join("benches/node-stack/server.mjs");
                words.extend(["node".to_owned(), script.to_string_lossy().into_owned(), listen.port().to_string()]);
            }
        }
        let stderr = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        // Ten thousand connections need more files than a shell allows by default.
        let mut command = Command::new("sh");
        command.args(["-c", r#"ulimit -n "$(ulimit -H -n)"; exec "$@""#, "sh"]).args(&words);
        match &place {
            Some(Place::Certificate(folder)) => {
                command.env("WSGUARD_TLS__CERT", folder.path().join("cert.pem"));
                command.env("WSGUARD_TLS__KEY", folder.path().join("key.pem"));
                command.env("WSGUARD_SESSION__PER_SUBJECT", TLS_CONNECTIONS_MAX.to_string());
            }
            Some(Place::Key(folder)) => {
                command.env("WSGUARD_AUTH__KEYS", folder.path().join("app.key"));
            }
            None => {}
        }
        command.envs(WSGUARD_ENVIRONMENT).stdin(Stdio::null()).stderr(stderr);
        command.stdout(if kind == Kind::Node { Stdio::piped() } else { Stdio::null() });
        let child = command.spawn().map_err(|e| format!("{}: {e}", kind.name()))?;
        let path = if kind.is_guarded() { "ws" } else { "" };
        let scheme = if place.as_ref().and_then(Place::certificate).is_some() { "wss" } else { "ws" };
        let url = format!("{scheme}://{listen}/{path}");
        let mut server =
            Self { kind, child, url, address: listen, tokens: Vec::new(), log, place, signing: None, signed: 0 };
        server.wait_until_it_listens(listen)?;
        Ok(server)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of a server with TLS.
    pub(crate) fn certificate(&self) -> Option<PathBuf> {
        self.place.as_ref().and_then(Place::certificate)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tokens for the connections to take in turn.
    pub(crate) fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Gets the tokens of as many subjects as `connections` need: wsguard limits the sessions of each subject. The
    /// Node stack has no such limit.
    pub(crate) fn admit(&mut self, connections: u32) -> Result<(), String> {
        if self.kind == Kind::Wsguard {
            let subjects = 0..connections.div_ceil(SESSIONS_PER_SUBJECT);
            self.tokens = subjects.map(|subject| development_token(self.address, subject)).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Ends a counted server and returns how many instructions it executed.
    pub(crate) fn stop_and_count(mut self) -> Result<u64, String> {
        self.end();
        let log = fs::read_to_string(&self.log).map_err(|e| e.to_string())?;
        let last_lines = || log.lines().rev().take(3).collect::<Vec<_>>().join(" / ");
        let place = profile_beside(&self.log);
        let profile = fs::read(&place).map_err(|e| format!("{}: {e}: {}", place.display(), last_lines()))?;
        fs::remove_file(&place).map_err(|e| format!("{}: {e}", place.display()))?;
        let counted = instructions_of(&String::from_utf8_lossy(&profile));
        counted.ok_or_else(|| format!("callgrind counted nothing: {}", last_lines()))
    }

    fn wait_until_it_listens(&mut self, address: SocketAddr) -> Result<(), String> {
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline {
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("{} ended with {status} before it listened: {}", self.kind.name(), log.trim()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} does not listen on {address}", self.kind.name()))
    }

    fn announced_token(&mut self) -> Result<String, String> {
        let stdout = self.child.stdout.take().ok_or("the Node stack has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(|e| e.to_string())?;
        token_in(&line).ok_or_else(|| format!("the Node stack announced no token: {line}"))
    }

    /// SIGTERM, so that a server can end by itself, as callgrind needs; SIGKILL where that does not help.
    fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + END_MAX;
        while asked.is_ok() && Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _already_gone = self.child.kill();
        let _already_gone = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        let _never_written = fs::remove_file(&self.log);
    }
}

/// A token that has to be verified like one of production: `test_token` is only looked up.
fn development_token(address: SocketAddr, subject: u32) -> Result<String, String> {
    let body = format!(r#"{{"name":"bench-{subject}","ttl":"1h"}}"#);
    let request = format!(
        "POST /dev/token HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    TcpStream::connect(address)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(START_MAX))?;
            stream.write_all(request.as_bytes())?;
            stream.read_to_string(&mut answer)
        })
        .map_err(|e| format!("POST /dev/token: {e}"))?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    token_in(body)
        .ok_or_else(|| format!("POST /dev/token gave no token: {}", answer.lines().next().unwrap_or_default()))
}

fn token_in(json: &str) -> Option<String> {
    let value: Value = serde_json::from_str(json).ok()?;
    value.get("token")?.as_str().map(str::to_owned)
}

/// Where callgrind writes of the server whose log is `log`.
fn profile_beside(log: &Path) -> PathBuf {
    log.with_extension("callgrind")
}

fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|probe| probe.local_addr()).map_err(|e| format!("no free port: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_from_json() {
        assert_eq!(token_in(r#"{"port":1,"token":"abc"}"#), Some("abc".to_owned()));
        assert_eq!(token_in(r#"{"error":{"code":"forbidden"}}"#), None);
    }
}
