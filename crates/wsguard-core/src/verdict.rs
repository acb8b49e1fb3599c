//! The vocabulary of answers: what a control says, what the peer learns of it, what the operator learns.

use wsguard_protocol::{CloseCode, ErrorCode};

use crate::time::Millis;

/// A control of the guard. The names appear in logs, metrics and on the demo page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ControlId {
    /// The WebSocket frame layer (RFC 6455 section 5).
    Frame,
    /// The strict upgrade request (RFC 6455 section 4.2.1).
    Upgrade,
    /// How often an address prefix may shake hands.
    HandshakeRate,
    /// The allowlist of host names.
    Host,
    /// The allowlist of origins.
    Origin,
    /// The five ways to bring a credential.
    Credential,
    /// Sessions of one subject, and connections of the server.
    SessionCap,
    /// Whether session and token still live.
    Liveness,
    /// Bytes and messages per session, subject, prefix and server.
    Rate,
    /// The strict scan of the text and the envelope.
    Scan,
    /// The CSRF token of the message.
    Csrf,
    /// Message types by role and scope.
    Authorization,
    /// The quota of one message type.
    RateType,
    /// The schema of the message type.
    Schema,
    /// Markup in strings.
    Content,
    /// De-duplication by `id`, and resumed sessions.
    Delivery,
    /// The application behind the guard.
    Application,
    /// Pings, dead peers, deadlines.
    Heartbeat,
    /// The score of what is unusual about a session.
    Anomaly,
    /// The ladder of penalties over all refusals.
    Penalty,
}

impl ControlId {
    /// Every control, in the order in which they run.
    pub const ALL: [Self; 20] = [
        Self::Frame,
        Self::Upgrade,
        Self::HandshakeRate,
        Self::Host,
        Self::Origin,
        Self::Credential,
        Self::SessionCap,
        Self::Liveness,
        Self::Rate,
        Self::Scan,
        Self::Csrf,
        Self::Authorization,
        Self::RateType,
        Self::Schema,
        Self::Content,
        Self::Delivery,
        Self::Application,
        Self::Heartbeat,
        Self::Anomaly,
        Self::Penalty,
    ];

    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Upgrade => "upgrade",
            Self::HandshakeRate => "handshake_rate",
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Credential => "credential",
            Self::SessionCap => "session_cap",
            Self::Liveness => "liveness",
            Self::Rate => "rate",
            Self::Scan => "scan",
            Self::Csrf => "csrf",
            Self::Authorization => "authorization",
            Self::RateType => "rate_type",
            Self::Schema => "schema",
            Self::Content => "content",
            Self::Delivery => "delivery",
            Self::Application => "application",
            Self::Heartbeat => "heartbeat",
            Self::Anomaly => "anomaly",
            Self::Penalty => "penalty",
        }
    }
}

/// Why something was refused: for the operator, never for the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// A stable word such as `origin_foreign`; logs and alerts are built on it.
    pub word: &'static str,
    /// Where in the message or policy, without any text of the peer's beyond names the policy knows.
    pub detail: Option<Box<str>>,
}

impl From<&'static str> for Reason {
    fn from(word: &'static str) -> Self {
        Self { word, detail: None }
    }
}

impl Reason {
    /// A reason with its place.
    pub fn with(word: &'static str, detail: impl Into<Box<str>>) -> Self {
        Self { word, detail: Some(detail.into()) }
    }
}

/// A handshake or message that does not pass; the connection may live on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The control that answered.
    pub control: ControlId,
    /// All that the peer learns.
    pub code: ErrorCode,
    /// All that the operator learns.
    pub reason: Reason,
    /// The wait that the limiter computed.
    pub retry_after: Option<Millis>,
}

impl Refusal {
    /// A refusal that does not say when to come back.
    pub fn new(control: ControlId, code: ErrorCode, reason: impl Into<Reason>) -> Self {
        Self { control, code, reason: reason.into(), retry_after: None }
    }

    /// The same refusal with the time after which a next try can pass.
    #[must_use]
    pub fn retry_after(mut self, wait: Millis) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// The code of the close frame.
    pub code: CloseCode,
    /// The refusal behind it; `None` for an ordinary end.
    pub refusal: Option<Refusal>,
}

/// What a control says to a handshake or a message.
///
/// Exhaustive on purpose: a new variant must break every caller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an ignored verdict is an open door"]
pub enum Verdict {
    /// Every control let it pass: it goes to the application.
    Allow,
    /// The guard itself answered it (`ping`, `auth.refresh`, ...); the application does not see it.
    Answered,
    /// It goes no further; the connection lives on.
    Refuse(Refusal),
    /// The connection ends.
    Close(Closure),
}

impl Verdict {
    /// The word in logs, metrics and on the demo page.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Allow | Self::Answered => "allow",
            Self::Refuse(_) => "refuse",
            Self::Close(_) => "close",
        }
    }
}
