//! What a server does to protect itself, as far as it shows without attacking it.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::latency::spoken;
use crate::discover::dialect::{Dialect, is_refusal};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::frame::{Frame, Length, Opcode};
use crate::probe::session::{Session, is_limit};
use crate::probe::socket::Event;

/// A page that no server can know.
const FOREIGN: &str = "https://wsguard-health.invalid";

/// The good handshake from a foreign page.
pub(super) async fn origin(probe: &Probe) -> Outcome {
    let credential = probe.options().token.clone();
    let entry = probe.enter(&probe.request().origin(FOREIGN), credential.as_deref()).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = format!("from {FOREIGN}: {}", entry.shown());
    match entry {
        Entry::Denied(_) => match probe.session().await {
            Ok(session) => {
                session.close().await;
                Outcome::pass(seen)
            }
            Err(outcome) => Outcome::unknown(format!("{seen}; but the good handshake is refused by now as well"))
                .and_all(outcome.evidence),
        },
        _ if probe.way().is_ambient(probe.options()) => Outcome::fail(seen)
            .and("a browser adds the cookie whatever page asks: any page opens a socket as the visitor"),
        _ if probe.options().public => {
            Outcome::warn(seen).and("any page may use this server from its visitors' browsers")
        }
        _ => Outcome::warn(seen).and("harmless only while the credential is one that a foreign page cannot send"),
    }
}

/// The token that a message must carry: whether there is one, and whether a message without it is refused.
pub(super) async fn csrf(probe: &Probe) -> Outcome {
    let mut session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    if probe.way().dialect != Dialect::Wsguard {
        let offered = session.greeting.iter().any(|text| names_token(text));
        session.close().await;
        return if offered {
            Outcome::unknown("a CSRF token is offered, in a form whose use is not known").settled_by("wsguard audit")
        } else if probe.way().is_ambient(probe.options()) {
            Outcome::unknown("no CSRF token is offered in a known form: all rests on the Origin")
        } else {
            Outcome::unknown(
                "no CSRF token is offered in a known form; the credential is none that a browser adds by itself",
            )
        };
    }
    if session.csrf.is_empty() {
        return Outcome::fail("the welcome brings no csrfToken");
    }
    let mut told = Vec::new();
    for (what, token) in [("without a token", None), ("with a wrong token", Some("wrong"))] {
        let mut message = serde_json::json!({"type": "echo", "payload": "health"});
        if let (Some(token), Some(envelope)) = (token, message.as_object_mut()) {
            envelope.insert("csrfToken".to_owned(), Value::from(token));
        }
        if let Err(spent) = session.say(&message.to_string()).await {
            return Outcome::unknown(spent.to_string());
        }
        match session.hear(super::latency::PATIENCE_SECONDS).await {
            Event::Text(text) if text.contains("\"csrf_invalid\"") => told.push(format!("{what}: csrf_invalid")),
            Event::Text(text) if is_limit(&text) => return Outcome::unknown(crate::probe::shortened(&text)),
            Event::Text(text) => {
                return Outcome::fail(format!("a message {what} is answered: {}", crate::probe::shortened(&text)));
            }
            other => return Outcome::unknown(format!("a message {what}: {other}")),
        }
    }
    session.close().await;
    Outcome::pass("offered in the welcome, and enforced").and_all(told)
}

/// A greeting that brings a token of this kind.
fn names_token(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("\"csrf") || lower.contains("\"xsrf")
}

/// Lengths that are announced to a server which names no limit of its own, the largest first, and their names.
const LENGTHS: [(u64, &str); 4] = [(1 << 30, "1 GiB"), (16 << 20, "16 MiB"), (1 << 20, "1 MiB"), (64 << 10, "64 KiB")];

/// A server that takes more than this in one message is worth a warning.
const LENGTH_MAX: u64 = 16 << 20;

/// Headers of frames that announce too much; not a byte of them follows.
pub(super) async fn size(probe: &Probe) -> Outcome {
    let session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let announced = session.greeting.iter().find_map(|text| announced(text));
    if let Some(limit) = announced {
        let length = limit.saturating_add(1);
        return match announce(session, length).await {
            Some(end) => Outcome::pass(format!("{limit} bytes announced; a frame of {length}: {end}")),
            None => Outcome::fail(format!("{limit} bytes announced, but a frame of {length} is waited for")),
        };
    }
    session.close().await;
    let mut refused: Option<(u64, &str, String)> = None;
    for (length, name) in LENGTHS {
        let session = match probe.session().await {
            Ok(session) => session,
            Err(outcome) => return outcome,
        };
        match announce(session, length.saturating_add(1)).await {
            Some(end) => refused = Some((length, name, end)),
            None => {
                return match refused {
                    None => {
                        Outcome::fail(format!("a frame of more than {name} is waited for, and no limit is announced"))
                    }
                    Some((above, above_name, end)) => {
                        let seen = format!("takes more than {name}; more than {above_name}: {end}");
                        let told = "no limit is announced in a known form";
                        if above > LENGTH_MAX { Outcome::warn(seen) } else { Outcome::pass(seen) }.and(told)
                    }
                };
            }
        }
    }
    let (_, name, end) = refused.unwrap_or((0, "nothing", String::new()));
    Outcome::pass(format!("more than {name}: {end}")).and("no limit is announced in a known form")
}

/// The limit that a greeting names, in bytes.
fn announced(text: &str) -> Option<u64> {
    let body = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let value: Value = serde_json::from_str(body).ok()?;
    value.pointer("/payload/maxMessageBytes").or_else(|| value.get("maxPayload"))?.as_u64()
}

/// Announces a frame of `length` bytes. The answer is how it was refused; `None`: it is waited for.
async fn announce(mut session: Session, length: u64) -> Option<String> {
    let frame = Frame { length: Length::Eight(length), ..Frame::new(Opcode::TEXT, "") };
    if session.socket.send(&frame).await.is_err() {
        return None;
    }
    // Whatever is sent from here on belongs to the frame, the answer to a ping too.
    session.socket.answers_pings = false;
    let shared = session.socket.shared();
    let deadline = shared.soon(2.0);
    loop {
        let event = session.socket.next_until(deadline).await;
        if event.is_end() {
            return Some(event.to_string());
        }
        if event == Event::Quiet {
            return None;
        }
    }
}

/// Messages sent at once, and how many of these batches at most: our own quota is 60 and 20 more a second.
const BATCH: u32 = 20;
const BATCHES_MAX: u32 = 10;

/// Messages until one is limited.
pub(super) async fn rate(probe: &Probe) -> Outcome {
    let way = spoken(probe.way());
    if way.template.is_none() {
        return Outcome::unknown("no message was found that the server answers").settled_by("--send and --expect");
    }
    let credential = probe.options().token.clone();
    let mut session = match probe.admit_by(&way, &probe.request(), credential.as_deref()).await {
        Entry::Open { session, .. } | Entry::Served { session, .. } => session,
        Entry::Limited(how) => return Outcome::pass(format!("handshakes are limited: {how}")),
        other => return Outcome::unknown(other.shown()),
    };
    // Never so short that a busy machine counts as a server that drops messages.
    let shared = probe.shared();
    let patience = probe.in_seconds(shared.pace.seconds(1.5).max(Duration::from_millis(600)));
    let since = Instant::now();
    let (mut sent, mut answered) = (0_u32, 0_u32);
    for _ in 0..BATCHES_MAX {
        let mut waiting = Vec::new();
        for _ in 0..BATCH {
            let Some(message) = session.message() else { break };
            if session.say(&message.text).await.is_err() {
                return Outcome::unknown("the budget for messages is used up");
            }
            sent = sent.saturating_add(1);
            waiting.push(message);
        }
        let mut left = waiting.len();
        while left > 0 {
            match session.hear(patience).await {
                Event::Text(text) if is_limit(&text) => return signalled(&text, answered, since.elapsed()),
                Event::Text(text) if is_refusal(&text) => {
                    return Outcome::warn(format!("after {answered} answers: {}", crate::probe::shortened(&text)))
                        .and("a refusal that does not say that it is about the rate");
                }
                Event::Text(text) => {
                    let position = waiting.iter().position(|one| one.template.is_answer(&text, &one.id, &one.marker));
                    if let Some(position) = position {
                        waiting.swap_remove(position);
                        left = left.saturating_sub(1);
                        answered = answered.saturating_add(1);
                    }
                }
                Event::Binary(_) => {
                    left = left.saturating_sub(1);
                    answered = answered.saturating_add(1);
                }
                Event::Quiet => {
                    return Outcome::warn(format!(
                        "of {sent} messages {answered} were answered, and the rest not a word"
                    ))
                    .and("dropped in silence: a client cannot tell a limit from a loss");
                }
                end @ Event::Close { code: Some(1008 | 1013 | 4429), .. } => {
                    return Outcome::pass(format!("after {answered} answers: {end}"));
                }
                end if end.is_end() => return Outcome::warn(format!("after {answered} answers: {end}")),
                _ => {}
            }
        }
    }
    session.close().await;
    let took = since.elapsed().as_secs_f64();
    Outcome::warn(format!("{answered} messages in {took:.1} s, all answered: no limit up to here"))
}

fn signalled(text: &str, answered: u32, took: Duration) -> Outcome {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let wait = value.pointer("/payload/retryAfterMs").or_else(|| value.get("retryAfterMs")).and_then(Value::as_u64);
    let place = format!("after {answered} answers in {:.1} s", took.as_secs_f64());
    match wait {
        Some(wait) => Outcome::pass(format!("{place}, and says when to come back: retryAfterMs {wait}"))
            .and(crate::probe::shortened(text)),
        None => Outcome::pass(format!("{place}: {}", crate::probe::shortened(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_greetings_announce() {
        for (text, size, token) in [
            (r#"{"type":"welcome","payload":{"maxMessageBytes":65536,"csrfToken":"a"}}"#, Some(65_536), true),
            (r#"0{"sid":"a","maxPayload":1000000}"#, Some(1_000_000), false),
            (r#"{"xsrfToken":"a"}"#, None, true),
            ("hello csrf", None, false),
        ] {
            assert_eq!((announced(text), names_token(text)), (size, token), "{text}");
        }
    }
}
