//! How long answers take, by the protocol's pings and by the application's messages.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{MESSAGE, Notes, PING};
use crate::discover::Way;
use crate::discover::dialect::{Dialect, Template};
use crate::measure::{Distribution, shown};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::frame::Frame;
use crate::probe::session::{Answer, Session};
use crate::probe::socket::{Event, Socket};

/// Between two pings, and between two messages: ten in a second stay below any quota worth the name.
const INTERVAL_SECONDS: f64 = 0.1;

/// An answer that has not come by then is lost, in seconds.
pub(super) const PATIENCE_SECONDS: f64 = 3.0;

/// Times pings on one connection and messages on another, beside each other.
pub(super) async fn measure(probe: &Probe, mut session: Box<Session>, count: u32, notes: &mut Notes) {
    let (ping, (message, outcome)) = tokio::join!(pings(&mut session.socket, count), messages(probe, count));
    notes.note(PING, judged(ping.0.as_ref(), ping.1, "pong"));
    notes.latency.ping = ping.0;
    notes.note(MESSAGE, outcome.unwrap_or_else(|end| judged(message.as_ref(), end, "answer")));
    notes.latency.message = message;
    session.close().await;
}

fn judged(times: Option<&Distribution>, end: Option<String>, what: &str) -> Outcome {
    let Some(times) = times else { return Outcome::unknown("nothing was sent") };
    let tried = times.count.saturating_add(times.lost);
    let outcome = match (times.count, times.lost) {
        (0, _) => Outcome::fail(format!("no {what} to {tried} tries")),
        (_, 0) => Outcome::pass(told(times)),
        (_, lost) => Outcome::warn(format!("{lost} not answered; {}", told(times))),
    };
    match end {
        Some(end) => outcome.and(end),
        None => outcome,
    }
}

fn told(times: &Distribution) -> String {
    format!(
        "p50 {}, p95 {}, jitter {}, longest {}, {} of {}",
        shown(times.p50_ms),
        shown(times.p95_ms),
        shown(times.jitter_ms),
        shown(times.max_ms),
        times.count,
        times.count.saturating_add(times.lost)
    )
}

/// Times `count` pings. The text says how the connection ended, if it did.
async fn pings(socket: &mut Socket, count: u32) -> (Option<Distribution>, Option<String>) {
    let (mut times, mut lost, mut end) = (Vec::new(), 0_u32, None);
    for _ in 0..count {
        let since = Instant::now();
        match ping(socket).await {
            Ok(Some(took)) => times.push(took),
            Ok(None) => lost = lost.saturating_add(1),
            Err(how) => {
                lost = lost.saturating_add(1);
                end = Some(how);
                break;
            }
        }
        rest(socket, since).await;
    }
    (Distribution::of(&times, lost), end)
}

/// One ping: how long its pong took, `None` when none came.
///
/// # Errors
/// With how the connection ended.
pub(super) async fn ping(socket: &mut Socket) -> Result<Option<Duration>, String> {
    let payload = crate::probe::random::<8>().to_vec();
    let shared = socket.shared();
    let since = Instant::now();
    socket.send(&Frame::ping(payload.clone())).await.map_err(|spent| spent.to_string())?;
    let deadline = shared.soon(PATIENCE_SECONDS);
    loop {
        match socket.next_until(deadline).await {
            Event::Pong(held) if held == payload => return Ok(Some(since.elapsed())),
            Event::Quiet => return Ok(None),
            event if event.is_end() => return Err(event.to_string()),
            _ => {}
        }
    }
}

async fn rest(socket: &Socket, since: Instant) {
    let shared = socket.shared();
    let next = since.checked_add(shared.pace.seconds(INTERVAL_SECONDS)).unwrap_or(since);
    sleep_until(next).await;
}

type Judged = Result<Outcome, Option<String>>;

/// Times `count` messages; the outcome where that says it all, else how the connection ended.
async fn messages(probe: &Probe, count: u32) -> (Option<Distribution>, Judged) {
    let way = spoken(probe.way());
    if way.template.is_none() {
        let outcome =
            Outcome::unknown("no message was found that the server answers").settled_by("--send and --expect");
        return (None, Ok(outcome));
    }
    let credential = probe.options().token.clone();
    let mut session = match probe.admit_by(&way, &probe.request(), credential.as_deref()).await {
        Entry::Open { session, .. } | Entry::Served { session, .. } => session,
        other => return (None, Ok(Outcome::unknown(format!("the second connection: {}", other.shown())))),
    };
    let (mut times, mut lost, mut end) = (Vec::new(), 0_u32, None);
    for _ in 0..count {
        let since = Instant::now();
        match session.ask().await {
            Answer::Served(_) => times.push(since.elapsed()),
            Answer::Silent(_) => lost = lost.saturating_add(1),
            answer => {
                lost = lost.saturating_add(1);
                end = Some(answer.shown());
                break;
            }
        }
        rest(&session.socket, since).await;
    }
    session.close().await;
    (Distribution::of(&times, lost), Err(end))
}

/// The way, with the message that stands for all. wsguard answers an application ping whatever its application is.
pub(super) fn spoken(way: &Way) -> Way {
    let mut way = way.clone();
    if way.dialect == Dialect::Wsguard {
        // The order of members is the server's affair.
        way.template = Some(Template::new(
            r#"{"type":"ping","payload":{"t":"{marker}"}}"#,
            r#""type":"pong".*{marker}|{marker}.*"type":"pong""#,
        ));
    }
    way
}
