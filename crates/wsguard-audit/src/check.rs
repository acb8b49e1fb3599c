//! What a check is: its description, what it needs, when it runs, and the function that does it.

use std::fmt;
use std::pin::Pin;

use serde::Serialize;

use crate::outcome::Outcome;
use crate::probe::Probe;

/// How bad it is when a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Helps an attacker a little.
    Low,
    /// Helps an attacker, or hurts under conditions.
    Medium,
    /// Hurts by itself.
    High,
    /// Gives an attacker what the server protects.
    Critical,
}

impl Severity {
    /// Every severity, worst first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Info];

    /// As it stands in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Info => "info",
        }
    }

    /// The severity of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == name)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a check is about. The order is the order of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// TLS and certificates.
    Transport,
    /// Who may come in.
    Authentication,
    /// Which page may come in as the visitor.
    Csrf,
    /// RFC 6455 and HTTP.
    Protocol,
    /// How often.
    RateLimiting,
    /// What messages may hold.
    Input,
    /// How much of the server a peer can hold.
    Resources,
    /// How long an identity lasts.
    Session,
    /// What a failure says.
    Errors,
    /// What the server tells without being asked.
    Disclosure,
    /// Signs of life and what watches them.
    Monitoring,
}

impl Category {
    /// Every category, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::Transport,
        Self::Authentication,
        Self::Csrf,
        Self::Protocol,
        Self::RateLimiting,
        Self::Input,
        Self::Resources,
        Self::Session,
        Self::Errors,
        Self::Disclosure,
        Self::Monitoring,
    ];

    /// As it stands in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Authentication => "authentication",
            Self::Csrf => "csrf",
            Self::Protocol => "protocol",
            Self::RateLimiting => "rate-limiting",
            Self::Input => "input",
            Self::Resources => "resources",
            Self::Session => "session",
            Self::Errors => "errors",
            Self::Disclosure => "disclosure",
            Self::Monitoring => "monitoring",
        }
    }
}

/// What a check cannot do without. Where it is missing, the outcome is `unknown` and says what would settle it; where
/// it cannot apply to this target at all, `skipped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A good handshake that stays open.
    Baseline,
    /// A message that the baseline answers: found by itself, or `--send`.
    Template,
    /// That the server asks for a credential, and which one.
    Credential,
    /// A token (`--token`) that the server asks for.
    Token,
    /// That the token is a JWT; otherwise the check does not apply.
    Jwt,
    /// A second identity: `--token-b`.
    TokenB,
    /// A token that has ended: `--expired-token`.
    ExpiredToken,
    /// A good token that is meant for another service: `--foreign-token`.
    ForeignToken,
    /// A message that was given: `--send`.
    SendGiven,
    /// A cookie: `--cookie`.
    Cookie,
    /// An address that ends the session: `--logout-url`.
    LogoutUrl,
    /// An address that gives tickets: `--ticket-url`.
    TicketUrl,
    /// A target that speaks TLS; otherwise the check does not apply.
    Tls,
    /// A target whose messages are JSON; otherwise the check does not apply.
    Json,
    /// The time of `--full`.
    Full,
}

/// When a check runs, and beside what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Waits on sockets of its own and hardly sends: begins first, beside everything but [`Turn::Alone`].
    Waiting,
    /// Hurts nobody: runs beside others.
    Quiet,
    /// May weigh on the target: runs after the others and alone, so that it cannot be mistaken for the evidence of
    /// another.
    Alone,
    /// Provokes limits: as [`Turn::Alone`], and after those.
    Provoking,
    /// Sends little or nothing and looks at what all others made the target say: runs at the end.
    Last,
    /// Might end a weak server with `--intrusive`: runs behind all that have their answers by then, and as
    /// [`Turn::Alone`] without.
    Perilous,
    /// Ends the session of the credential that it is given: begins first where that is one of its own
    /// (`--logout-token`), and otherwise runs when nobody needs the credential any more.
    Ending,
}

/// Where a check comes from.
#[derive(Clone, Copy, Debug)]
pub struct Refs {
    /// CWE numbers.
    pub cwe: &'static [u16],
    /// OWASP ASVS 5.0 requirements.
    pub asvs: &'static [&'static str],
    /// The text that asks for it.
    pub url: &'static str,
}

/// The description of a check.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// `WSA-CSRF-01`.
    pub id: &'static str,
    /// What holds when it passes.
    pub title: &'static str,
    /// What it is about.
    pub category: Category,
    /// How bad a failure is.
    pub severity: Severity,
    /// What it cannot do without.
    pub needs: &'static [Need],
    /// When it runs.
    pub turn: Turn,
    /// Might hurt a weak server: runs with `--intrusive` alone.
    pub intrusive: bool,
    /// The version that brought it.
    pub since: &'static str,
    /// Where it comes from.
    pub refs: Refs,
    /// What it does.
    pub what: &'static str,
    /// Which attack stands behind it.
    pub why: &'static str,
    /// What to do about a failure.
    pub remedy: &'static str,
    /// What could be mistaken for a failure, and what is done about it.
    pub traps: &'static str,
}

/// The future of a running check.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A check of the registry.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its description.
    pub meta: &'static Meta,
    /// Its work.
    pub(crate) run: for<'a> fn(&'a Probe) -> Running<'a>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.meta.id)
    }
}
