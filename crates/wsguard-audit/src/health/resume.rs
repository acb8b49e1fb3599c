//! A connection that is lost: whether another comes, and whether the session goes on in it.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Notes, RECONNECT, RESUME};
use crate::discover::dialect::Dialect;
use crate::measure::{millis, shown};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::request::Request;
use crate::probe::session::Session;
use crate::probe::socket::Event;

/// Tries to come back; the pause before each doubles, from a quarter of a second.
const TRIES: u32 = 5;

/// Loses a good connection and comes back.
pub(super) async fn lose(probe: &Probe, notes: &mut Notes) {
    let is_own = probe.way().dialect == Dialect::Wsguard;
    let request = if is_own { announcing(probe.request()) } else { probe.request() };
    let mut session = match admitted(probe, &request).await {
        Ok(session) => session,
        Err(why) => {
            notes.note(RECONNECT, Outcome::unknown(format!("no connection to lose: {why}")));
            notes.note(RESUME, Outcome::unknown(format!("no connection to lose: {why}")));
            return;
        }
    };
    let left = if is_own { left_behind(&mut session).await } else { None };
    let has_recovery = session.greeting.iter().any(|text| text.starts_with("40") && text.contains("\"pid\""));
    let request = match &left {
        Some(left) => request.offer(&format!("{}.{}.{}", wsguard_protocol::SUBPROTOCOL_RESUME, left.token, left.last)),
        None => probe.request(),
    };
    let request = if left.is_some() { without_announcement(request) } else { request };
    // Without a close frame: as a network does it.
    drop(session);
    let since = Instant::now();
    let mut pause = Duration::ZERO;
    let mut last = String::new();
    for attempt in 1..=TRIES {
        sleep(pause).await;
        pause = probe.shared().pace.seconds(0.25).saturating_mul(1_u32.checked_shl(attempt).unwrap_or(1) / 2);
        match admitted(probe, &request).await {
            Ok(session) => {
                let took = shown(millis(since.elapsed()));
                let tries = if attempt == 1 { String::new() } else { format!(", at try {attempt}") };
                notes.note(RECONNECT, Outcome::pass(format!("back after {took}{tries}")));
                let outcome = match left {
                    Some(left) => resumed(session, &left).await,
                    None if is_own => {
                        Outcome::unknown("the welcome brings no resume token: the server has resume switched off")
                    }
                    None if has_recovery => Outcome::unknown(
                        "the server offers the connection state recovery of Socket.IO; what it recovers was not looked at",
                    ),
                    None => Outcome::unknown("this language knows no resume: the new connection begins anew"),
                };
                notes.note(RESUME, outcome);
                return;
            }
            Err(why) => last = why,
        }
    }
    notes.note(RECONNECT, Outcome::fail(format!("not back after {TRIES} tries: {last}")));
    notes.note(RESUME, Outcome::unknown("the connection did not come back"));
}

async fn admitted(probe: &Probe, request: &Request) -> Result<Box<Session>, String> {
    let credential = probe.options().token.clone();
    match probe.admit(request, credential.as_deref()).await {
        Entry::Open { session, .. } | Entry::Served { session, .. } => Ok(session),
        other => Err(other.shown()),
    }
}

/// The handshake of a client that will resume.
fn announcing(request: Request) -> Request {
    let list = request.value("Sec-WebSocket-Protocol").unwrap_or_default().to_owned();
    let names = |name: &str| list.split(',').any(|entry| entry.trim() == name);
    let request =
        if names(wsguard_protocol::SUBPROTOCOL) { request } else { request.offer(wsguard_protocol::SUBPROTOCOL) };
    request.offer(wsguard_protocol::SUBPROTOCOL_RESUME)
}

/// A resume announces the next one by itself.
fn without_announcement(request: Request) -> Request {
    let list = request.value("Sec-WebSocket-Protocol").unwrap_or_default().to_owned();
    let kept: Vec<&str> =
        list.split(',').map(str::trim).filter(|entry| *entry != wsguard_protocol::SUBPROTOCOL_RESUME).collect();
    request.set("Sec-WebSocket-Protocol", &kept.join(", "))
}

/// What a client has when its connection is lost.
struct Left {
    session: String,
    token: String,
    /// The last frame that it says to have.
    last: u64,
    /// The frame after it, which it keeps quiet about: it must come again.
    missed: Option<u64>,
}

/// Reads the welcome, and makes the server send a frame that counts, if it knows `echo`.
async fn left_behind(session: &mut Session) -> Option<Left> {
    let welcome = session.greeting.iter().find_map(|text| welcome_of(text))?;
    let word = |name: &str| welcome.pointer(&format!("/payload/{name}")).and_then(Value::as_str).map(str::to_owned);
    let mut left = Left { session: word("session")?, token: word("resumeToken")?, last: 0, missed: None };
    let text = serde_json::json!({"type": "echo", "csrfToken": session.csrf, "payload": "health"}).to_string();
    if session.say(&text).await.is_ok() {
        for _ in 0..4 {
            let Event::Text(text) = session.hear(2.0).await else { break };
            let frame: Value = serde_json::from_str(&text).unwrap_or_default();
            if let Some(seq) = frame.get("seq").and_then(Value::as_u64) {
                left.last = seq.saturating_sub(1);
                left.missed = Some(seq);
                break;
            }
            if frame.get("type").and_then(Value::as_str) == Some("error") {
                break;
            }
        }
    }
    Some(left)
}

fn welcome_of(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    (value.get("type")?.as_str()? == "welcome").then_some(value)
}

/// Whether the session of `left` goes on in `session`.
async fn resumed(mut session: Box<Session>, left: &Left) -> Outcome {
    let Some(welcome) = session.greeting.iter().find_map(|text| welcome_of(text)) else {
        return Outcome::fail("no welcome on the new connection");
    };
    let is_resumed = welcome.pointer("/payload/resumed").and_then(Value::as_bool) == Some(true);
    let is_same = welcome.pointer("/payload/session").and_then(Value::as_str) == Some(&left.session);
    if !is_resumed || !is_same {
        return Outcome::fail("the server offers a resume, but the new connection got a new session");
    }
    let Some(missed) = left.missed else {
        return Outcome::pass("the same session goes on")
            .and("no frame could be missed on purpose: `echo` is not served");
    };
    // Replayed frames follow the welcome at once.
    for _ in 0..8 {
        match session.hear(2.0).await {
            Event::Text(text) => {
                let frame: Value = serde_json::from_str(&text).unwrap_or_default();
                if frame.get("seq").and_then(Value::as_u64) == Some(missed) {
                    session.close().await;
                    return Outcome::pass(format!(
                        "the same session goes on, and frame {missed}, which was missed, came again"
                    ));
                }
            }
            Event::Ping(_) => {}
            other => {
                return Outcome::fail(format!(
                    "the same session goes on, but frame {missed}, which was missed, did not come: {other}"
                ));
            }
        }
    }
    Outcome::fail(format!("the same session goes on, but frame {missed}, which was missed, did not come"))
}
