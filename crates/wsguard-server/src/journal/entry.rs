//! One security event.

use std::net::IpAddr;

/// How the event ended (ECS `event.outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for was done.
    Success,
    /// It was refused, or it failed.
    Failure,
    /// Neither can be said.
    Unknown,
}

/// One security event, owned, so that it can wait in the queue.
///
/// There is deliberately no field for a token, a cookie or a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in milliseconds since 1970-01-01T00:00:00Z (`@timestamp`).
    pub unix_ms: u64,
    /// What happened, in lower case with hyphens: `handshake-refused` (`event.action`).
    pub action: &'static str,
    /// How it ended (`event.outcome`).
    pub outcome: Outcome,
    /// The control that answered (`wsguard.control`).
    pub control: Option<&'static str>,
    /// The code that the peer got: an error code or a close code's name (`event.code`).
    pub code: Option<&'static str>,
    /// What only the operator learns (`event.reason`).
    pub reason: Option<&'static str>,
    /// The `ref` that the peer got, which finds this line (`wsguard.ref`).
    pub reference: Option<String>,
    /// The client's address (`source.ip`).
    pub source: Option<IpAddr>,
    /// Who, once that is known (`user.name`).
    pub subject: Option<String>,
    /// The session's id, which opens nothing by itself (`wsguard.session`).
    pub session: Option<String>,
    /// The type of the message (`wsguard.message_type`).
    pub message_type: Option<String>,
    /// The size of the message (`wsguard.message_bytes`).
    pub bytes: Option<u64>,
    /// The status of a refused handshake (`http.response.status_code`).
    pub status: Option<u16>,
    /// The request's path without its query, which may hold a credential (`url.path`).
    pub path: Option<String>,
    /// The request's Origin, as it was sent (`wsguard.origin`).
    pub origin: Option<String>,
    /// More for the operator, in words (`message`).
    pub detail: Option<String>,
}

impl Entry {
    /// Makes an entry that says no more than this; set the other fields as they are known.
    pub const fn new(unix_ms: u64, action: &'static str, outcome: Outcome) -> Self {
        Self {
            unix_ms,
            action,
            outcome,
            control: None,
            code: None,
            reason: None,
            reference: None,
            source: None,
            subject: None,
            session: None,
            message_type: None,
            bytes: None,
            status: None,
            path: None,
            origin: None,
            detail: None,
        }
    }
}

impl Outcome {
    /// The word of ECS.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }
}
