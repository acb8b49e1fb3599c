//! Frames as text: what the server says, and what this client says beside the application's messages.
//!
//! Reading is tolerant of members that this version does not know, so that a newer server can add some.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use wsguard_protocol::ErrorCode;
use wsguard_protocol::frames::{Auth, AuthRefresh, ClientAck, Ping, PingValue};

use crate::error::{Code, Error};
use crate::message::{Id, Message};

/// A frame of the server.
#[derive(Debug)]
pub(super) enum Frame {
    Welcome(Welcome),
    Ack(Option<Id>),
    Error { id: Option<Id>, error: Error },
    Csrf(String),
    Expiring,
    Refreshed,
    Pong(Option<u64>),
    Draining { reconnect_after: Duration },
    Message(Message),
}

/// The members of `welcome` that this client needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Welcome {
    pub(super) csrf_token: String,
    pub(super) max_message_bytes: usize,
    #[serde(default)]
    pub(super) session: String,
    #[serde(default)]
    pub(super) subject: String,
    #[serde(default)]
    pub(super) heartbeat_ms: u64,
    #[serde(default)]
    pub(super) resume_token: Option<String>,
    #[serde(default)]
    pub(super) resumed: bool,
}

/// The members of `error` that this client needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    /// Whatever it is: what is not a number is not waited for.
    #[serde(default, borrow)]
    retry_after_ms: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CsrfToken {
    csrf_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReconnectAfter {
    reconnect_after_ms: f64,
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    t: Option<PingValue>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    id: Option<Id>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
}

/// Reads a frame of the server.
///
/// # Errors
/// `protocol` where it is not an envelope, or lacks a member without which it would do harm.
pub(super) fn read(text: &str) -> Result<Frame, Error> {
    let Envelope { kind, id, seq, payload } =
        serde_json::from_str(text).map_err(|_| fault("the server sent something that is not an envelope"))?;
    let frame = match &*kind {
        "welcome" => Frame::Welcome(part(payload, "the server sent a broken welcome frame")?),
        "ack" => Frame::Ack(id),
        "error" => Frame::Error { id, error: refusal(part(payload, "the server sent a broken error frame")?) },
        "csrf" => Frame::Csrf(part::<CsrfToken>(payload, "the server sent a broken csrf frame")?.csrf_token),
        "auth.expiring" => Frame::Expiring,
        "auth.refreshed" => Frame::Refreshed,
        "pong" => Frame::Pong(match payload.map(|payload| serde_json::from_str(payload.get())) {
            Some(Ok(Answered { t: Some(PingValue::Integer(t)) })) => Some(t),
            _ => None,
        }),
        "draining" => {
            let ReconnectAfter { reconnect_after_ms } = part(payload, "the server sent a broken draining frame")?;
            Frame::Draining { reconnect_after: millis(reconnect_after_ms) }
        }
        _ => {
            let payload = payload.map_or_else(null, RawValue::to_owned);
            Frame::Message(Message::new(kind.into_owned(), id, seq, payload))
        }
    };
    Ok(frame)
}

fn part<'a, T: Deserialize<'a>>(payload: Option<&'a RawValue>, what: &'static str) -> Result<T, Error> {
    payload.and_then(|payload| serde_json::from_str(payload.get()).ok()).ok_or_else(|| fault(what))
}

fn refusal(Refusal { code, message, reference, retry_after_ms }: Refusal<'_>) -> Error {
    let known = ErrorCode::ALL.into_iter().find(|known| known.as_str() == code);
    let generic = known.map_or("The server refused.", ErrorCode::message);
    let retry_after = retry_after_ms.and_then(|ms| serde_json::from_str(ms.get()).ok()).map(millis);
    Error::new(known.map_or(Code::Refused, Code::Server), message.map_or(Cow::Borrowed(generic), Cow::Owned))
        .with_reference(reference)
        .with_retry_after(retry_after)
}

/// Milliseconds from the wire: what is negative or not finite is none, and no wait is longer than a day.
fn millis(ms: f64) -> Duration {
    const DAY_S: f64 = 86_400.0;
    Duration::try_from_secs_f64((ms / 1_000.0).min(DAY_S)).unwrap_or_default()
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

fn fault(what: &'static str) -> Error {
    Error::new(Code::Protocol, what)
}

/// `auth`: the first frame where the credential travels in one.
pub(super) fn auth(token: &str, resume_token: Option<&str>, last_seq: u64) -> String {
    frame(
        "auth",
        &Auth {
            token: Some(token.to_owned()),
            resume_token: resume_token.map(str::to_owned),
            last_seq: Some(last_seq),
        },
    )
}

/// `auth.refresh`.
pub(super) fn refresh(token: &str) -> String {
    frame("auth.refresh", &AuthRefresh { token: token.to_owned() })
}

/// `ping`.
pub(super) fn ping(t: u64) -> String {
    frame("ping", &Ping { t: Some(PingValue::Integer(t)) })
}

/// `ack`.
pub(super) fn ack(seq: u64) -> String {
    frame("ack", &ClientAck { seq })
}

fn frame<T: Serialize>(kind: &'static str, payload: &T) -> String {
    #[derive(Serialize)]
    struct Control<'a, T> {
        #[serde(rename = "type")]
        kind: &'static str,
        payload: &'a T,
    }
    // Strings and numbers can always be written.
    serde_json::to_string(&Control { kind, payload }).unwrap_or_default()
}

/// Bytes that the CSRF member adds to a message besides the token itself: `"csrfToken":"",`.
const CSRF_MEMBER_BYTES: usize = 15;

/// How long a message is on the wire.
pub(super) fn message_bytes(body: &str, csrf_token_json: &str) -> usize {
    // The token as JSON has its quotes already.
    body.len().saturating_add(CSRF_MEMBER_BYTES).saturating_add(csrf_token_json.len()).saturating_sub(2)
}

/// A message of the application with its CSRF token, which is JSON already.
pub(super) fn message(body: &str, csrf_token_json: &str) -> String {
    let mut text = String::with_capacity(message_bytes(body, csrf_token_json));
    let _ = write!(text, "{{\"csrfToken\":{csrf_token_json},");
    // The body is an object that this crate wrote: the first character is its brace.
    text.push_str(body.strip_prefix('{').unwrap_or(body));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn broken_frames_are_faults_and_unknown_members_are_not() {
        for (name, text, want) in [
            ("no JSON", "{", false),
            ("no object", "[]", false),
            ("no type", "{}", false),
            ("a type that is no string", r#"{"type":1}"#, false),
            ("a bare message", r#"{"type":"chat"}"#, true),
            ("an unknown member", r#"{"type":"chat","later":1,"payload":{}}"#, true),
            ("welcome without its token", r#"{"type":"welcome","payload":{"maxMessageBytes":1}}"#, false),
            ("welcome without a limit", r#"{"type":"welcome","payload":{"csrfToken":"c"}}"#, false),
            ("the least of a welcome", r#"{"type":"welcome","payload":{"csrfToken":"c","maxMessageBytes":1}}"#, true),
            ("error without a code", r#"{"type":"error","payload":{}}"#, false),
            ("error without a payload", r#"{"type":"error"}"#, false),
            ("the least of an error", r#"{"type":"error","payload":{"code":"internal"}}"#, true),
            ("csrf without its token", r#"{"type":"csrf","payload":{}}"#, false),
            ("draining without a time", r#"{"type":"draining","payload":{}}"#, false),
            ("draining with a text", r#"{"type":"draining","payload":{"reconnectAfterMs":"1"}}"#, false),
            ("pong without t", r#"{"type":"pong","payload":{"serverTime":1}}"#, true),
        ] {
            match read(text) {
                Ok(frame) => assert!(want, "{name}: {frame:?}"),
                Err(error) => {
                    assert!(!want, "{name}");
                    assert_eq!(error.code(), Code::Protocol, "{name}");
                }
            }
        }
    }

    #[test]
    fn waits_from_the_wire_are_bounded() {
        for (ms, want) in [(0.0, 0), (1_500.0, 1_500), (-5.0, 0), (1e300, 86_400_000)] {
            let text = json!({"type": "draining", "payload": {"reconnectAfterMs": ms}}).to_string();
            let Frame::Draining { reconnect_after } = read(&text).unwrap() else { panic!("{text}") };
            assert_eq!(reconnect_after, Duration::from_millis(want), "{ms}");
        }
        for (json, want) in [("1500", Some(1_500)), ("\"soon\"", None), ("null", None), ("-1", Some(0))] {
            let text = format!(r#"{{"type":"error","payload":{{"code":"rate_limited","retryAfterMs":{json}}}}}"#);
            let Frame::Error { error, .. } = read(&text).unwrap() else { panic!("{text}") };
            assert_eq!(error.retry_after(), want.map(Duration::from_millis), "{json}");
        }
    }

    #[test]
    fn messages_get_their_token_and_are_as_long_as_was_said() {
        let token = serde_json::to_string("a\"b").unwrap();
        let body = r#"{"type":"echo","id":1}"#;
        let text = message(body, &token);
        assert_eq!(text.len(), message_bytes(body, &token));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, json!({"csrfToken": "a\"b", "type": "echo", "id": 1}));
    }

    #[test]
    fn control_frames_have_the_wire_form() {
        for (text, want) in [
            (auth("t", None, 0), json!({"type": "auth", "payload": {"token": "t", "lastSeq": 0}})),
            (
                auth("t", Some("r"), 3),
                json!({"type": "auth", "payload": {"token": "t", "resumeToken": "r", "lastSeq": 3}}),
            ),
            (refresh("t"), json!({"type": "auth.refresh", "payload": {"token": "t"}})),
            (ping(1), json!({"type": "ping", "payload": {"t": 1}})),
            (ack(9), json!({"type": "ack", "payload": {"seq": 9}})),
        ] {
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), want);
        }
    }
}
