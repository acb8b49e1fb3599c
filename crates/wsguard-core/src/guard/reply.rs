//! The frames that the guard itself writes.

use std::fmt::Write as _;

use super::{Session, digits};
use crate::control::csrf::Csrf;
use crate::control::delivery::Encoded;
use crate::effect::{frame_into, write_number};
use crate::frame::{self, Opcode};
use crate::json::{self, Value};
use crate::policy::Policy;
use crate::time::{Now, UnixMs};
use crate::verdict::Refusal;

/// Writes an application frame that was encoded for many: `{"seq":N` and its tail.
pub(super) fn write_application(out: &mut Vec<u8>, seq: u64, frame: &Encoded) {
    let _ = write_numbered(out, seq, frame.tail(), [], b"");
}

/// Writes an application frame: `{"seq":N` and its tail, which is `opening`, `parts` and `closing`. Returns the length of the
/// tail.
#[inline]
pub(super) fn write_numbered<const N: usize>(
    out: &mut Vec<u8>,
    seq: u64,
    opening: &[u8],
    parts: [&[u8]; N],
    closing: &[u8],
) -> usize {
    let mut tail_bytes = opening.len().saturating_add(closing.len());
    for part in parts {
        tail_bytes = tail_bytes.saturating_add(part.len());
    }
    begin_numbered(out, seq, tail_bytes);
    out.extend_from_slice(opening);
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(closing);
    tail_bytes
}

/// How every application frame begins.
const SEQ: &[u8] = br#"{"seq":"#;

/// Writes header and number of an application frame with `tail_bytes` behind them.
#[inline]
fn begin_numbered(out: &mut Vec<u8>, seq: u64, tail_bytes: usize) {
    // Nearly all of them, with one look at the room in `out`.
    if let Some((digits, count)) = digits::few(seq)
        && let length = tail_bytes.saturating_add(SEQ.len()).saturating_add(count)
        && let Some(header) = frame::long_header(Opcode::Text, length)
    {
        let mut beginning = *b"....{\"seq\":........";
        if let Some(place) = beginning.first_chunk_mut() {
            *place = header;
        }
        if let Some(place) = beginning.last_chunk_mut() {
            *place = digits;
        }
        let end = out.len().saturating_add(beginning.len()).saturating_sub(digits.len()).saturating_add(count);
        out.extend_from_slice(&beginning);
        return out.truncate(end);
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(seq).as_bytes();
    let length = tail_bytes.saturating_add(SEQ.len()).saturating_add(digits.len());
    out.extend_from_slice(&frame::encode_header(true, Opcode::Text, length));
    out.extend_from_slice(SEQ);
    out.extend_from_slice(digits);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_parts_is_that_of_its_whole() {
        let seqs = [0, 1, 9, 10, 99_999_999, 100_000_000, u64::MAX];
        let around = |edge: usize| edge.saturating_sub(40)..edge.saturating_add(3);
        let lengths = [0..3, around(125), around(65_535)].into_iter().flatten().chain([70_000]);
        for length in lengths {
            let part = "x".repeat(length);
            let parts = [&b""[..], part.as_bytes()];
            for seq in seqs {
                let (mut written, mut whole) = (b"before".to_vec(), b"before".to_vec());
                let tail_bytes = write_numbered(&mut written, seq, b",", parts, b"}");
                frame::write_frame(&mut whole, Opcode::Text, format!("{{\"seq\":{seq},{part}}}").as_bytes());
                assert!(written == whole, "seq {seq}, a part of {length} bytes");
                assert_eq!(tail_bytes, length.saturating_add(2));
            }
        }
    }
}
