//! One security event.

use std::net::IpAddr;

use wsguard_core::effect::Record;
use wsguard_core::time::UnixMs;
use wsguard_core::verdict::ControlId;

use super::render::{DETAIL_CHARS_MAX, STRING_CHARS_MAX};

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
    /// What happened, in lower case: `handshake_refused` (`event.action`).
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
    /// The close code, where the connection ended (`wsguard.close_code`).
    pub close_code: Option<u16>,
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
            close_code: None,
            status: None,
            path: None,
            origin: None,
            detail: None,
        }
    }
}

impl Entry {
    /// Takes what the guard recorded at `at`. A refusal is a failure; everything else was done.
    pub fn from_record(at: UnixMs, record: Record) -> Self {
        let Record {
            action,
            control,
            refusal,
            reference,
            client,
            session,
            subject,
            message_type,
            // The peer's own words: they are in its error, not in the log.
            message_id: _,
            bytes,
            close_code,
            note,
        } = record;
        let outcome = if refusal.is_some() { Outcome::Failure } else { Outcome::Success };
        let mut entry = Self {
            reference: reference.map(|reference| reference.to_string()),
            source: client,
            subject: subject.map(Into::into),
            session,
            message_type: message_type.map(Into::into),
            bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            close_code,
            control: control.map(ControlId::as_str),
            ..Self::new(at.0, action, outcome)
        };
        if let Some(refusal) = refusal {
            entry.control = Some(refusal.control.as_str());
            entry.code = Some(refusal.code.as_str());
            entry.reason = Some(refusal.reason.word);
            entry.detail = refusal.reason.detail.map(Into::into);
        } else if let Some(note) = note {
            entry.reason = Some(note.word);
            entry.detail = note.detail.map(Into::into);
        }
        entry
    }

    /// Cuts what no line will show, so that a full queue has a size: one character more than is shown stays, and says that
    /// there was more.
    pub(super) fn cut(&mut self) {
        let strings = [
            &mut self.reference,
            &mut self.subject,
            &mut self.session,
            &mut self.message_type,
            &mut self.path,
            &mut self.origin,
        ];
        for text in strings.into_iter().flatten() {
            cut(text, STRING_CHARS_MAX);
        }
        if let Some(detail) = &mut self.detail {
            cut(detail, DETAIL_CHARS_MAX);
        }
    }
}

/// A character takes four bytes at most.
fn cut(text: &mut String, chars_max: usize) {
    let bytes_max = chars_max.saturating_add(1).saturating_mul(4);
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.shrink_to_fit();
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

#[cfg(test)]
mod tests {
    use super::*;
    use wsguard_core::verdict::{ControlId, Refusal};
    use wsguard_protocol::ErrorCode;

    #[test]
    fn a_record_keeps_all_it_says() {
        let record = Record {
            refusal: Some(Refusal::new(ControlId::Origin, ErrorCode::Forbidden, "origin_foreign")),
            client: "203.0.113.9".parse().ok(),
            session: Some("s-1".to_owned()),
            subject: Some("ann".into()),
            message_type: Some("chat".into()),
            bytes: Some(12),
            close_code: Some(4_403),
            ..Record::new("handshake_refused")
        };
        let want = Entry {
            control: Some("origin"),
            code: Some("forbidden"),
            reason: Some("origin_foreign"),
            source: "203.0.113.9".parse().ok(),
            session: Some("s-1".to_owned()),
            subject: Some("ann".to_owned()),
            message_type: Some("chat".to_owned()),
            bytes: Some(12),
            close_code: Some(4_403),
            ..Entry::new(7, "handshake_refused", Outcome::Failure)
        };
        assert_eq!(Entry::from_record(UnixMs(7), record), want);
        assert_eq!(Entry::from_record(UnixMs(7), Record::new("opened")), Entry::new(7, "opened", Outcome::Success));
    }

    #[test]
    fn long_strings_are_cut_before_they_wait() {
        for (name, text, want) in [
            ("short", "a".repeat(1_028), 1_028),
            ("long", "a".repeat(1_029), 1_028),
            ("three bytes a character", "€".repeat(10_000), 1_026),
        ] {
            let mut entry = Entry { origin: Some(text), ..Entry::new(0, "a", Outcome::Failure) };
            entry.cut();
            let origin = entry.origin.unwrap();
            assert_eq!(origin.len(), want, "{name}");
            assert!(origin.capacity() <= 2_048, "{name}");
        }
    }
}
