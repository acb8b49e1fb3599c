//! How a WebSocket server is, from outside: whether it is there, lets one in, answers, comes back, and protects itself.
//!
//! The audit's peer and its knowledge of languages do the work; the guard has no part in it. Nothing here is a probe for
//! holes: what [`health`] sends, a client with a bad day would send.

mod features;
mod heartbeat;
mod latency;
mod reach;
mod resume;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::Instant;

pub use watch::{Beat, Watch, WatchError};

use crate::discover::{Way, discover};
use crate::measure::Distribution;
use crate::outcome::{Outcome, Status};
use crate::probe::budget::{Budget, Limits};
use crate::probe::{Probe, Shared};
use crate::report::{Named, Spoken, Tool, masked, rfc3339};
use crate::runner::{find_token, without_secrets};
use crate::target::{Options, Target, TargetError};

/// The version of the JSON form; `docs/health-report.schema.json` describes it.
pub const SCHEMA_VERSION: &str = "1.0";

/// Most that a look at the health of a server costs it. The pace of handshakes is the audit's.
const LIMITS: Limits = Limits {
    handshakes: 80,
    handshakes_per_10_s: 26,
    sockets: 6,
    messages: 1_500,
    frames: 3_000,
    bytes: 1024 * 1024,
    seconds: 300,
};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// `size-limit`.
    pub id: &'static str,
    /// `connection`, `authentication`, `latency`, `reconnection`, `security`.
    pub group: &'static str,
    /// What holds when it passes.
    pub title: &'static str,
}

macro_rules! steps {
    ($($name:ident = $group:literal, $id:literal, $title:literal;)+) => {
        $(const $name: Step = Step { id: $id, group: $group, title: $title };)+
        /// Every step, in the order of the report.
        pub const STEPS: &[Step] = &[$($name),+];
    };
}

steps! {
    NAME = "connection", "name", "Name has an address";
    TCP = "connection", "tcp", "TCP connects";
    TLS = "connection", "tls", "TLS with a certificate to trust";
    UPGRADE = "connection", "upgrade", "Upgraded to a WebSocket";
    CREDENTIAL = "authentication", "credential", "Credential accepted, and needed";
    REFUSAL = "authentication", "refusal", "Wrong credential refused";
    PING = "latency", "ping", "Protocol pings answered";
    MESSAGE = "latency", "message", "Messages answered";
    RECONNECT = "reconnection", "reconnect", "Lost connection comes back";
    RESUME = "reconnection", "resume", "Session goes on after the loss";
    CSRF = "security", "csrf", "CSRF token offered and enforced";
    RATE = "security", "rate-limit", "Rate limit signalled";
    ORIGIN = "security", "origin", "Foreign Origin refused";
    SIZE = "security", "size-limit", "Size limit announced and enforced";
    HEARTBEAT = "security", "heartbeat", "Heartbeat";
}

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Pings, and messages, whose answers are timed.
    pub count: u32,
    /// Longest wait for a sign of life of the server, in seconds.
    pub wait: f64,
}

impl Plan {
    /// Twenty of each, and a heartbeat of up to half a minute.
    pub const DEFAULT: Self = Self { count: 20, wait: 30.0 };

    /// Most pings, and most messages: what the budget allows beside the other steps.
    pub const COUNT_MAX: u32 = 1_000;
}

/// How a server is. Its serde form is the JSON form.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// [`SCHEMA_VERSION`].
    pub schema_version: &'static str,
    /// Who looked.
    pub tool: Tool,
    /// The URL, without its query.
    pub target: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// How long it took.
    pub duration_ms: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// How many steps ended how.
    pub summary: BTreeMap<&'static str, usize>,
    /// How the server was spoken to, where it came to that.
    pub spoken: Option<Spoken>,
    /// How long each part of a connection took.
    pub connection: Connection,
    /// How long answers took.
    pub latency: Latency,
    /// Every step, in the order of [`STEPS`].
    pub steps: Vec<Item>,
}

/// The whole in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No step failed.
    Healthy,
    /// A step failed.
    Unhealthy,
    /// There was no connection.
    Unreached,
}

impl Verdict {
    /// As it stands in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unreached => "unreached",
        }
    }
}

/// How long each part of a connection took, in milliseconds; none where there was none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The address that answered.
    pub address: Option<String>,
    /// To find the address of the name; none where the URL holds an address.
    pub dns_ms: Option<f64>,
    /// Until TCP was connected.
    pub tcp_ms: Option<f64>,
    /// For the TLS handshake on it.
    pub tls_ms: Option<f64>,
    /// From the request to the 101.
    pub upgrade_ms: Option<f64>,
    /// `TLSv1_3`.
    pub tls_version: Option<String>,
}

/// How long answers took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// From a ping to its pong.
    pub ping: Option<Distribution>,
    /// From a message to its answer.
    pub message: Option<Distribution>,
}

/// How a step ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Of the [`Step`].
    pub id: &'static str,
    /// Of the [`Step`].
    pub group: &'static str,
    /// Of the [`Step`].
    pub title: &'static str,
    /// `pass`, `fail`, `warn` or `unknown`.
    pub status: Named<Status>,
    /// What was seen, or why nothing was; the decisive line first.
    pub evidence: Vec<String>,
    /// What would settle an `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
    /// Another step failed before this one could be looked at.
    #[serde(skip)]
    pub is_blocked: bool,
}

/// Looks at the health of a server.
///
/// `progress` is told what is being done.
///
/// # Errors
/// When the URL is none. A server that cannot be reached is a report.
pub async fn health(
    mut options: Options,
    plan: Plan,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Health, TargetError> {
    find_token(&mut options);
    let mut notes = Notes::new(&options);
    progress("finding the address of the name");
    let since = Instant::now();
    match Target::find(&options.url).await {
        Ok(target) => {
            notes.found(&target, since.elapsed());
            look(target, options, plan, &mut notes, progress).await;
        }
        Err(TargetError::Name(host, error)) => {
            notes.note(NAME, Outcome::fail(format!("{host}: {error}")));
            notes.verdict = Some(Verdict::Unreached);
        }
        Err(error) => return Err(error),
    }
    Ok(notes.report())
}

/// The steps in their order; returns early where nothing more can be learnt.
async fn look(
    target: Target,
    options: Options,
    plan: Plan,
    notes: &mut Notes,
    progress: &(dyn Fn(&str) + Send + Sync),
) {
    let budget = Budget::new(LIMITS, options.pace);
    let mut shared = Arc::new(Shared::new(target, options, budget));
    progress("connecting");
    let Some(trusted) = reach::connect(&shared, notes).await else { return };
    if !trusted {
        shared = without_secrets(&shared, LIMITS, "");
    }
    progress("finding out how the server is spoken to");
    let way = discover(&shared).await;
    let (is_unreached, trouble) = (way.is_unreached, way.trouble.clone());
    let _ = shared.way.set(way.clone());
    let probe = Probe::new(Arc::clone(&shared), "health");
    if is_unreached {
        notes.note(UPGRADE, Outcome::fail(trouble));
        return;
    }
    notes.spoken = Some(way);
    progress("authenticating");
    let Some(session) = reach::enter(&probe, notes, trusted).await else { return };
    let beating = tokio::spawn(heartbeat::listen(probe.clone(), plan.wait));
    notes.note(REFUSAL, reach::refusal(&probe).await);
    progress("timing answers");
    latency::measure(&probe, session, plan.count, notes).await;
    progress("losing the connection");
    resume::lose(&probe, notes).await;
    progress("looking at what protects the server");
    notes.note(ORIGIN, features::origin(&probe).await);
    notes.note(CSRF, features::csrf(&probe).await);
    notes.note(SIZE, features::size(&probe).await);
    notes.note(RATE, features::rate(&probe).await);
    progress("waiting for a heartbeat");
    let beat = beating.await.unwrap_or_else(|error| Outcome::unknown(format!("the wait itself broke: {error}")));
    notes.note(HEARTBEAT, beat);
}

/// What is known so far.
struct Notes {
    started_at: SystemTime,
    started: Instant,
    secrets: Vec<String>,
    target: String,
    outcomes: BTreeMap<&'static str, Outcome>,
    spoken: Option<Way>,
    connection: Connection,
    latency: Latency,
    verdict: Option<Verdict>,
}

impl Notes {
    fn new(options: &Options) -> Self {
        Self {
            started_at: SystemTime::now(),
            started: Instant::now(),
            secrets: options.secrets(),
            target: options.url.split('?').next().unwrap_or_default().to_owned(),
            outcomes: BTreeMap::new(),
            spoken: None,
            connection: Connection::default(),
            latency: Latency::default(),
            verdict: None,
        }
    }

    fn note(&mut self, step: Step, outcome: Outcome) {
        self.outcomes.insert(step.id, outcome);
    }

    fn found(&mut self, target: &Target, took: Duration) {
        self.target = target.shown();
        let list = target.addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
        if target.host.parse::<std::net::IpAddr>().is_ok() {
            self.note(NAME, Outcome::pass("the URL holds an address: nothing to look up"));
        } else {
            let ms = crate::measure::millis(took);
            self.connection.dns_ms = Some(ms);
            self.note(NAME, Outcome::pass(format!("{list} after {}", crate::measure::shown(ms))));
        }
    }

    fn report(mut self) -> Health {
        let clean = |text: &str| masked(text, &self.secrets);
        let verdict = self.verdict.unwrap_or_else(|| {
            let has_failed = self.outcomes.values().any(|outcome| outcome.status == Status::Fail);
            if has_failed { Verdict::Unhealthy } else { Verdict::Healthy }
        });
        let blocked_by = STEPS
            .iter()
            .find(|step| self.outcomes.get(step.id).is_some_and(|outcome| outcome.status == Status::Fail))
            .map_or_else(|| "no peer was let in".to_owned(), |step| format!("\"{}\" failed", step.title));
        let why = format!("not looked at: {blocked_by}");
        let steps: Vec<Item> = STEPS
            .iter()
            .map(|step| {
                let known = self.outcomes.remove(step.id);
                let is_blocked = known.is_none();
                let outcome = known.unwrap_or_else(|| Outcome::unknown(why.clone()));
                Item {
                    id: step.id,
                    group: step.group,
                    title: step.title,
                    status: Named(outcome.status),
                    evidence: outcome.evidence.iter().map(|line| clean(line)).collect(),
                    settled_by: outcome.settle,
                    is_blocked,
                }
            })
            .collect();
        let count = |status: Status| steps.iter().filter(|item| item.status.0 == status).count();
        let summary = [Status::Pass, Status::Fail, Status::Warn, Status::Unknown]
            .into_iter()
            .map(|status| (status.as_str(), count(status)))
            .collect();
        Health {
            schema_version: SCHEMA_VERSION,
            tool: Tool { name: "wsguard health".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            target: clean(&self.target),
            started_at: rfc3339(self.started_at),
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            verdict,
            summary,
            spoken: self.spoken.as_ref().map(|way| Spoken::of(way, &self.secrets)),
            connection: self.connection,
            latency: self.latency,
            steps,
        }
    }
}
