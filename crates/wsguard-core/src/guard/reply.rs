//! The frames that the guard itself writes.

use std::fmt::Write as _;

use super::Session;
use crate::control::csrf::Csrf;
use crate::control::delivery::Encoded;
use crate::effect::{frame_into, write_number};
use crate::json::{self, Value};
use crate::policy::Policy;
use crate::time::{Now, UnixMs};
use crate::verdict::Refusal;

/// The rest of an application frame after `{"seq":N`, the same for every receiver; `write` appends the payload.
#[inline(always)]
#[expect(clippy::inline_always, reason = "where the type is a constant, nothing of it is looked at")]
pub(crate) fn write_tail(kind: &str, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        out.extend_from_slice(br#","type":""#);
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(br#"","payload":"#);
    } else {
        out.extend_from_slice(br#","type":"#);
        json::write_string(kind, out);
        out.extend_from_slice(br#","payload":"#);
    }
    write(out);
    out.push(b'}');
}

/// Writes an application frame that was encoded for many: `{"seq":N` and its tail.
pub(super) fn write_application(out: &mut Vec<u8>, seq: u64, frame: &Encoded) {
    let tail = frame.tail();
    write_numbered(out, seq, tail.len(), |out| out.extend_from_slice(tail));
}

/// Writes an application frame whose tail `write` appends, about `expected` bytes.
#[inline(always)]
#[expect(clippy::inline_always, reason = "where the type is a constant, nothing of it is looked at")]
pub(super) fn write_numbered(out: &mut Vec<u8>, seq: u64, expected: usize, write: impl FnOnce(&mut Vec<u8>)) {
    frame_into(out, expected.saturating_add(12), |out| {
        out.extend_from_slice(br#"{"seq":"#);
        write_number(out, seq);
        write(out);
    });
}

/// Writes `welcome`.
pub(super) fn write_welcome(
    out: &mut Vec<u8>,
    now: Now,
    session: &Session,
    policy: &Policy,
    resume_token: Option<&str>,
    resumed: bool,
) {
    let (claims, csrf) = (&session.identity.claims, &session.csrf);
    frame_into(out, 464, |out| {
        out.extend_from_slice(br#"{"type":"welcome","payload":{"session":""#);
        let mut hex = String::with_capacity(32);
        let _ = write!(hex, "{}", session.id);
        out.extend_from_slice(hex.as_bytes());
        out.extend_from_slice(br#"","subject":"#);
        json::write_string(&claims.subject, out);
        out.extend_from_slice(br#","csrfToken":""#);
        out.extend_from_slice(csrf.token().as_bytes());
        for (name, value) in [
            (&br#"","csrfExpiresAt":"#[..], csrf.expires_at(now).0),
            (br#","authExpiresAt":"#, claims.expires_at.0),
            (br#","heartbeatMs":"#, policy.heartbeat.interval.0),
            (br#","maxMessageBytes":"#, policy.frames.message_bytes_max as u64),
        ] {
            out.extend_from_slice(name);
            write_number(out, value);
        }
        if let Some(token) = resume_token {
            out.extend_from_slice(br#","resumeToken":""#);
            out.extend_from_slice(token.as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(br#","resumed":"#);
        out.extend_from_slice(if resumed { b"true" } else { b"false" });
        out.extend_from_slice(b"}}");
    });
}

/// Writes `ack`.
pub(super) fn write_ack(out: &mut Vec<u8>, id: &str) {
    frame_into(out, 30usize.saturating_add(id.len()), |out| {
        out.extend_from_slice(br#"{"type":"ack","id":"#);
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(br#","payload":{}}"#);
    });
}

/// Writes `csrf`.
pub(super) fn write_csrf(out: &mut Vec<u8>, now: Now, csrf: &Csrf) {
    frame_into(out, 110, |out| {
        out.extend_from_slice(br#"{"type":"csrf","payload":{"csrfToken":""#);
        out.extend_from_slice(csrf.token().as_bytes());
        out.extend_from_slice(br#"","csrfExpiresAt":"#);
        write_number(out, csrf.expires_at(now).0);
        out.extend_from_slice(b"}}");
    });
}

/// Writes `pong`.
pub(super) fn write_pong(out: &mut Vec<u8>, id: Option<Value<'_>>, t: Option<Value<'_>>, server_time: UnixMs) {
    frame_into(out, 80, |out| {
        out.extend_from_slice(br#"{"type":"pong""#);
        write_id(out, id);
        out.extend_from_slice(br#","payload":{"#);
        if let Some(t) = t {
            out.extend_from_slice(br#""t":"#);
            json::write_canonical(t, out);
            out.push(b',');
        }
        out.extend_from_slice(br#""serverTime":"#);
        write_number(out, server_time.0);
        out.extend_from_slice(b"}}");
    });
}

pub(super) fn write_id(out: &mut Vec<u8>, id: Option<Value<'_>>) {
    if let Some(id) = id {
        out.extend_from_slice(br#","id":"#);
        json::write_canonical(id, out);
    }
}

pub(super) fn write_auth(out: &mut Vec<u8>, kind: &str, expires_at: UnixMs) {
    frame_into(out, 80, |out| {
        out.extend_from_slice(br#"{"type":""#);
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(br#"","payload":{"authExpiresAt":"#);
        write_number(out, expires_at.0);
        out.extend_from_slice(b"}}");
    });
}

pub(super) fn write_error(out: &mut Vec<u8>, id: Option<&str>, refusal: &Refusal, reference: &str) {
    frame_into(out, 124, |out| {
        out.extend_from_slice(br#"{"type":"error""#);
        if let Some(id) = id {
            out.extend_from_slice(br#","id":"#);
            out.extend_from_slice(id.as_bytes());
        }
        out.extend_from_slice(br#","payload":{"code":""#);
        out.extend_from_slice(refusal.code.as_str().as_bytes());
        out.extend_from_slice(br#"","message":""#);
        out.extend_from_slice(refusal.code.message().as_bytes());
        out.extend_from_slice(br#"","ref":""#);
        out.extend_from_slice(reference.as_bytes());
        out.push(b'"');
        if let Some(wait) = refusal.retry_after {
            out.extend_from_slice(br#","retryAfterMs":"#);
            write_number(out, wait.0);
        }
        out.extend_from_slice(b"}}");
    });
}
