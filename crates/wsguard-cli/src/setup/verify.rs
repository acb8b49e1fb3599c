//! Looks at what was made: the configuration, a start, the health of the endpoint, a first audit.

mod listening;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wsguard_audit::{CHECKS, Category, Meta, Options, Severity, Silent, Status, Turn, health};
use wsguard_core::time::UnixMs;
use wsguard_core::token::{MintClaims, MintError, SigningKey, mint};
use wsguard_server::config::{Config, Overrides};
use wsguard_server::keys::load_signing_key;

use super::apply::Transaction;
use super::child::{ChildError, LOOK_EVERY, Running, without_settings};
use super::interrupt;
use super::plan::{Install, Trial};
use crate::cmd::check_config;

/// From the start of what is tried to its first open port.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Longest time for a build of the page.
const BUILD_PATIENCE: Duration = Duration::from_mins(5);

/// Grave checks that open a dozen connections each: at the audit's pace they would double the time of the first audit.
const DEAR: [&str; 4] = ["WSA-CSRF-04", "WSA-DISC-04", "WSA-IN-11", "WSA-PROTO-03"];

/// Pings, and messages, whose answers the health check times.
const PINGS: u32 = 5;

/// Life of the tokens that the checks are made with.
const TOKEN_MS: u64 = 10 * 60_000;

/// Why what was made is not good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error("use wsguard.toml:\n  {}", .0.join("\n  "))]
    Config(Vec<String>),
    #[error("start {what}: {why}")]
    Start { what: String, why: String },
    #[error("find {0} healthy: {1}")]
    Health(String, String),
    #[error("audit {0}: {1}")]
    Audit(String, String),
    #[error("sign a token for the check: {0}")]
    Token(String),
    #[error(transparent)]
    Child(#[from] ChildError),
}

/// What is looked at.
pub(crate) struct Subject<'a> {
    pub(crate) root: &'a Path,
    pub(crate) trial: &'a Trial,
    pub(crate) install: Option<&'a Install>,
    pub(crate) transaction: &'a Transaction,
}

/// Looks at everything; `told` hears what was found.
pub(crate) fn verify(subject: &Subject<'_>, mut told: impl FnMut(&str)) -> Result<(), VerifyError> {
    let file = subject.root.join("wsguard.toml");
    let wrong = check_config::mistakes(&file);
    if !wrong.is_empty() {
        return Err(VerifyError::Config(wrong));
    }
    told("check-config: wsguard.toml is good");
    if let Some(Install::Node { folder, .. }) = subject.install
        && folder.as_os_str().is_empty()
    {
        build_page(subject)?;
        told("build: the page builds");
    }
    let (running, url) = start(subject)?;
    told(&format!("start: {url}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| VerifyError::Start { what: "the checks".into(), why: error.to_string() })?;
    let options = options(subject.root, &file, &url)?;
    let looked = runtime.block_on(async {
        tokio::select! {
            () = interrupt::wait() => Err(ChildError::Interrupted.into()),
            found = async {
                told(&format!("health: {}", health(options.clone(), &url).await?));
                told(&format!("audit: {}", audit(options, &url).await?));
                Ok(())
            } => found,
        }
    });
    runtime.shutdown_background();
    drop(running);
    looked
}

/// Builds the page into a folder that nobody keeps: what was wired in is then known to fit.
fn build_page(subject: &Subject<'_>) -> Result<(), VerifyError> {
    let scratch = subject.transaction.scratch();
    let mut command = Command::new(subject.root.join("node_modules/.bin/vite"));
    command.args(["build", "--emptyOutDir", "--outDir"]).arg(&scratch).current_dir(subject.root);
    let log = scratch.with_extension("log");
    Ok(Running::start(command, Some(&log))?.finish(BUILD_PATIENCE)?)
}

/// Starts what is tried, on this machine alone, and finds its endpoint.
fn start(subject: &Subject<'_>) -> Result<(Running, String), VerifyError> {
    let Subject { root, trial, transaction, .. } = subject;
    let log = transaction.scratch().with_extension("log");
    let what = match trial {
        Trial::Server => "wsguard serve --dev".to_owned(),
        Trial::Application { program } => program.clone(),
    };
    let failed = |why: String| VerifyError::Start { what: what.clone(), why };
    let mut command = match trial {
        Trial::Server => {
            let mut command = Command::new(std::env::current_exe().map_err(|error| failed(error.to_string()))?);
            without_settings(&mut command);
            command.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config"]);
            command.arg(root.join("wsguard.toml"));
            command
        }
        Trial::Application { program } => {
            let mut command = Command::new(executable(root, program).map_err(failed)?);
            without_settings(&mut command);
            command.env("WSGUARD_DEV", "1");
            command
        }
    };
    command.current_dir(root).env("WSGUARD_STORE__PATH", "memory").env("NO_COLOR", "1");
    let mut running = Running::start(command, Some(&log))?;
    let began = Instant::now();
    loop {
        let url = match trial {
            Trial::Server => announced(&running.said()),
            Trial::Application { .. } => {
                listening::ports(running.id()).into_iter().find(|port| is_endpoint(*port)).map(url_of)
            }
        };
        if let Some(url) = url {
            return Ok((running, url));
        }
        if let Some(status) = running.has_ended() {
            return Err(failed(format!("it ended with {status}\n{}", running.last_words())));
        }
        if interrupt::asked() {
            return Err(ChildError::Interrupted.into());
        }
        if began.elapsed() > START_PATIENCE {
            let limit = START_PATIENCE.as_secs();
            return Err(failed(format!("nothing answers at /ws after {limit} s\n{}", running.last_words())));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The endpoint that `wsguard serve` says it is ready at.
fn announced(said: &str) -> Option<String> {
    let ready = said.lines().any(|line| line == "ready");
    let line = said.lines().find_map(|line| line.strip_prefix("endpoint "))?;
    ready.then(|| line.trim().to_owned())
}

fn url_of(port: u16) -> String {
    format!("ws://localhost:{port}/ws")
}

/// Whether the guard answers at `/ws` of a port: a plain request is refused there in its own words.
fn is_endpoint(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let ask = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.take(4_096).read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.contains("\"ref\":"))
}

/// Where cargo put the program.
fn executable(root: &Path, program: &str) -> Result<PathBuf, String> {
    let mut command = Command::new("cargo");
    command.args(["build", "--bin", program, "--message-format", "json-render-diagnostics"]);
    let output = command.current_dir(root).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message.pointer("/target/name").is_some_and(|name| name == program))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo does not say where it is".to_owned())
}

/// The target of health check and audit, with tokens of the project's own key.
fn options(root: &Path, file: &Path, url: &str) -> Result<Options, VerifyError> {
    let bad = |error: String| VerifyError::Token(error);
    let dev = Overrides { dev: true, ..Overrides::default() };
    let config = Config::load(Some(file), std::iter::empty(), &dev).map_err(|error| bad(error.to_string()))?.config;
    let mut options = Options::new(url, Some("test_token"));
    options.origin = config.origins.first().map(|origin| origin.as_str().to_owned());
    // The key is where its public part is; a clone of the repository has that one alone.
    let private = config.auth.keys.iter().map(|public| public.with_extension("")).find(|path| path.exists());
    if let Some(path) = private.filter(|path| path.starts_with(root)) {
        let key = load_signing_key(&path).map_err(|error| bad(error.to_string()))?;
        let sign = |subject: &str, from_now: i64, audience: Option<&str>| -> Result<Option<String>, VerifyError> {
            let now = u64::try_from(
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis()),
            )
            .unwrap_or(0);
            signed(&key, subject, now.saturating_add_signed(from_now), audience, &config)
                .map(Some)
                .map_err(|error| bad(error.to_string()))
        };
        let life = i64::try_from(TOKEN_MS).unwrap_or(i64::MAX);
        options.token = sign("setup", life, config.auth.audience.as_deref())?;
        options.token_b = sign("setup-other", life, config.auth.audience.as_deref())?;
        options.expired_token = sign("setup", life.saturating_neg(), config.auth.audience.as_deref())?;
        options.foreign_token = sign("setup", life, Some("wsguard-setup-of-another-service"))?;
    }
    Ok(options)
}

fn signed(
    key: &SigningKey,
    subject: &str,
    ends: u64,
    audience: Option<&str>,
    config: &Config,
) -> Result<String, MintError> {
    let claims =
        MintClaims { issuer: config.auth.issuer.as_deref(), audience, ..MintClaims::new(subject, UnixMs(ends)) };
    mint(key, &claims)
}

/// A login, messages and their answers, a lost connection: all but the wait for a heartbeat.
async fn health(options: Options, url: &str) -> Result<String, VerifyError> {
    let bad = |why: String| VerifyError::Health(url.to_owned(), why);
    let found = health::health(options, health::Plan { count: PINGS, wait: 0.0 }, &|_| {})
        .await
        .map_err(|e| bad(e.to_string()))?;
    if found.verdict != health::Verdict::Healthy {
        let failed = found.steps.iter().filter(|step| step.status.0 == Status::Fail);
        let why: Vec<String> = failed
            .map(|step| format!("{}: {}", step.title, step.evidence.first().map_or("", String::as_str)))
            .collect();
        return Err(bad(format!("{}: {}", found.verdict.as_str(), why.join("; "))));
    }
    let passed = found.steps.iter().filter(|step| step.status.0 == Status::Pass).count();
    Ok(format!("healthy; {passed} of {} steps passed, `wsguard health` shows them", found.steps.len()))
}

/// Whether a check belongs to the first audit: what is grave, and what is wrong with messages, as far as it shows within
/// some fifteen seconds. The rest waits, provokes limits, or is about TLS, which is not tried here; it takes two minutes.
fn is_first(check: &Meta) -> bool {
    let is_grave = check.severity >= Severity::High && check.category != Category::Transport;
    let is_of_messages = check.severity >= Severity::Medium && check.category == Category::Input;
    check.turn == Turn::Quiet && (is_grave || is_of_messages) && !DEAR.contains(&check.id)
}

async fn audit(mut options: Options, url: &str) -> Result<String, VerifyError> {
    options.only = CHECKS.iter().filter(|check| is_first(check.meta)).map(|check| check.meta.id.to_owned()).collect();
    let first = options.only.clone();
    let report = wsguard_audit::audit(options, &Silent)
        .await
        .map_err(|error| VerifyError::Audit(url.to_owned(), error.to_string()))?;
    let (mut passed, mut skipped) = (0_usize, 0_usize);
    let (mut warned, mut undecided, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for item in report.checks.iter().filter(|item| first.contains(&item.id)) {
        let named = format!("{} {}", item.id, item.title);
        match item.status.0 {
            Status::Pass => passed = passed.saturating_add(1),
            Status::Skipped => skipped = skipped.saturating_add(1),
            Status::Warn => warned.push(named),
            Status::Unknown => undecided.push(named),
            Status::Fail => failed.push(named),
        }
    }
    if !failed.is_empty() {
        return Err(VerifyError::Audit(url.to_owned(), failed.join("; ")));
    }
    let listed = |word: &str, which: &[String]| {
        if which.is_empty() { String::new() } else { format!(", {} {word} ({})", which.len(), which.join("; ")) }
    };
    Ok(format!(
        "of the {} first checks {passed} passed, {skipped} do not apply{}{}; `wsguard audit` runs all {}",
        first.len(),
        listed("warned", &warned),
        listed("undecided", &undecided),
        CHECKS.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_ready_when_it_says_so() {
        for (said, want) in [
            ("", None),
            ("endpoint   ws://localhost:4000/ws\nadmin      http://127.0.0.1:1\n", None),
            ("endpoint   ws://localhost:4000/ws\nready\n", Some("ws://localhost:4000/ws")),
        ] {
            assert_eq!(announced(said).as_deref(), want, "{said}");
        }
    }

    #[test]
    fn the_first_audit_looks_at_who_comes_in_and_what_is_read() {
        let first: Vec<&str> = CHECKS.iter().filter(|check| is_first(check.meta)).map(|check| check.meta.id).collect();
        for id in ["WSA-AUTH-01", "WSA-AUTH-04", "WSA-CSRF-01", "WSA-CSRF-09", "WSA-IN-02", "WSA-PROTO-13"] {
            assert!(first.contains(&id), "{id}: {first:?}");
        }
        for id in DEAR {
            assert!(CHECKS.iter().any(|check| check.meta.id == id), "{id} is no check");
        }
    }
}
