//! A peer that asks and does not read.

use std::time::Duration;

use super::input::Form;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::discover::dialect::is_refusal;
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::link::Offered;
use crate::probe::session::{Answer, Session};
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-RES-09",
    title: "Answers nobody reads are limited",
    category: Category::Resources,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Template, Need::Full],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["2.4.1"], url: "https://cwe.mitre.org/data/definitions/770.html" },
    what: "With `--full` alone: asks on a connection with small buffers for 24 MiB of answers without reading one, measures \
           a second connection meanwhile, and reads on after 12 s.",
    why: "Answers that are queued for a peer that does not read fill the memory of the server, as much as the peer likes \
          to ask for.",
    remedy: "Read no more from a peer whose queue is full, and close it with 1013 when it stays full.",
    traps: "The buffers of systems and proxies take megabytes, so that less than this proves nothing. More than they hold \
            is a `warn` when all of it comes back, since the memory itself is not seen from outside. A limit of messages \
            refuses most of what is asked: refusals and heartbeats are no answers, and what is answered all the same has \
            to be little.",
};

/// Asked for, in bytes: what two systems on the way buffer is less.
const ASKED_BYTES: usize = 24 << 20;

/// Most that those systems buffer, in bytes.
const BUFFERED_BYTES: usize = 8 << 20;

/// Nothing is read for so long, in seconds; many servers give up after ten.
const HOLD_SECONDS: f64 = 12.0;

/// Padding of a message, in bytes, the largest that is answered.
const PADDING: [usize; 3] = [48_000, 12_000, 2_000];

pub(super) async fn run(probe: &Probe) -> Outcome {
    judge(probe).await.unwrap_or_else(|outcome| outcome)
}

async fn judge(probe: &Probe) -> Result<Outcome, Outcome> {
    let mut witness = probe.session().await?;
    let before = latency(&mut witness).await.ok_or_else(|| Outcome::unknown("the good message is not answered"))?;
    let mut session = narrow(probe).await?;
    let padding = padding(&mut session).await?;
    // Everything from here on stays unread.
    let (mut asked, mut bytes) = (0_u64, 0_usize);
    let shown = |bytes: usize| format!("{} KiB asked for, none read", bytes / 1024);
    while bytes < ASKED_BYTES {
        let Some(text) = padded(&mut session, padding) else { break };
        let frame = session.frame(&text).encode();
        match session.socket.offer(&frame, 5.0).await.map_err(|spent| Outcome::unknown(spent.to_string()))? {
            Offered::Taken => {
                asked = asked.saturating_add(1);
                bytes = bytes.saturating_add(frame.len());
            }
            Offered::Stalled(part) => {
                let line = format!("{}: the target takes no more", shown(bytes.saturating_add(part)));
                return Ok(Outcome::pass(line).and(after_all(&mut witness, before).await));
            }
            Offered::Ended(end) => {
                return Ok(Outcome::pass(format!("{}: {end}", shown(bytes))).and(after_all(&mut witness, before).await));
            }
        }
    }
    let during = latency(&mut witness).await;
    probe.wait(HOLD_SECONDS).await;
    let came = came(&mut session, asked, padding).await;
    let Came { answers, refused, ref end, .. } = came;
    let line = format!(
        "{}; read on after {HOLD_SECONDS} s: {answers} of {asked} answers with {} KiB, {refused} refusals, then {end}",
        shown(bytes),
        came.bytes / 1024
    );
    let slow = during.is_some_and(|during| during > Duration::from_millis(50) && during > before.saturating_mul(5));
    let beside = format!(
        "a second connection beside it: {before:?} before, {} meanwhile",
        during.map_or("no answer".into(), |time| format!("{time:?}"))
    );
    Ok(match (end.is_end(), slow) {
        (true, _) if answers < asked => Outcome::pass(line),
        (_, true) => Outcome::warn(beside.clone()).and(line).probable(),
        _ if answers == asked => Outcome::warn(line).probable(),
        // More can be asked for when the limit is over, but not at once.
        _ if came.is_all(asked) && came.bytes < BUFFERED_BYTES => Outcome::pass(line).probable(),
        _ => Outcome::unknown(line),
    }
    .and(beside))
}

/// A session on a connection that holds little on the way.
async fn narrow(probe: &Probe) -> Result<Session, Outcome> {
    let credential = probe.options().token.clone();
    let handshake = probe.handshake_narrow(&probe.request()).await;
    match probe.admit_behind(handshake, probe.way(), credential.as_deref()).await {
        Entry::Open { session, .. } | Entry::Served { session, .. } => Ok(*session),
        other => Err(Outcome::unknown(format!("the good handshake was not let in: {}", other.shown()))),
    }
}

/// How much may be put into the good message.
async fn padding(session: &mut Session) -> Result<usize, Outcome> {
    for size in PADDING {
        let Some(message) = session.message() else { break };
        let Some(text) = Form::of(&message).with_text(&"x".repeat(size)) else {
            return Err(Outcome::unknown("the message that the target answers has no text to fill")
                .settled_by("--send with {marker} in a text"));
        };
        match session.ask_marked(&text, &message).await {
            Answer::Served(reply) if reply.len() > size / 2 => return Ok(size),
            Answer::Served(_) => return Err(Outcome::unknown("answers do not grow with what is asked")),
            Answer::Refused(_) => {}
            other => {
                return Err(Outcome::unknown(format!("a message with {size} bytes of padding: {}", other.shown())));
            }
        }
    }
    Err(Outcome::unknown("messages with 2 KB of padding are refused"))
}

fn padded(session: &mut Session, padding: usize) -> Option<String> {
    let message = session.message()?;
    Form::of(&message).with_text(&"x".repeat(padding))
}

/// The median of three answers.
async fn latency(session: &mut Session) -> Option<Duration> {
    let mut times = Vec::new();
    for _ in 0..3 {
        let started = std::time::Instant::now();
        match session.ask().await {
            Answer::Served(_) => times.push(started.elapsed()),
            _ => return None,
        }
    }
    times.sort();
    times.get(1).copied()
}

async fn after_all(witness: &mut Session, before: Duration) -> String {
    match latency(witness).await {
        Some(time) => format!("a second connection beside it: {before:?} before, {time:?} meanwhile"),
        None => format!("a second connection beside it: {before:?} before, no answer meanwhile"),
    }
}

/// What came back.
struct Came {
    answers: u64,
    /// Texts that say no.
    refused: u64,
    /// Of all that came.
    bytes: usize,
    /// What came then.
    end: Event,
}

impl Came {
    /// Everything that was asked for was answered or refused.
    fn is_all(&self, asked: u64) -> bool {
        self.answers.saturating_add(self.refused) >= asked
    }
}

/// Reads until everything was answered or refused, the connection ended, or nothing comes any more.
async fn came(session: &mut Session, asked: u64, padding: usize) -> Came {
    let mut came = Came { answers: 0, refused: 0, bytes: 0, end: Event::Quiet };
    while !came.is_all(asked) {
        let deadline = session.socket.shared().patience(3.0);
        let (size, is_no) = match session.hear_until(deadline).await {
            Event::Text(text) => (text.len(), is_refusal(&text)),
            Event::Binary(bytes) => (bytes.len(), false),
            Event::Quiet => return came,
            end if end.is_end() => return Came { end, ..came },
            _ => continue,
        };
        came.bytes = came.bytes.saturating_add(size);
        came.answers = came.answers.saturating_add(u64::from(size > padding / 2));
        came.refused = came.refused.saturating_add(u64::from(size <= padding / 2 && is_no));
    }
    let end = session.until_end(0.3).await;
    Came { end, ..came }
}
