//! Performance and stress of a target, bounded: what `--full` measures behind the checks.
//!
//! Attack: none. It answers how much is left when many come, and stops at the first sign that the target has enough: a
//! refusal, a connection that ends, answers that take ten times as long. More than [`SOCKETS_MAX`] sockets are opened
//! only where the operator says that the target is his.

mod load;
mod storm;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::measure::{Distribution, shown};
use crate::probe::budget::{Budget, Limits, UNPACED};
use crate::probe::entry::Entry;
use crate::probe::frame::Frame;
use crate::probe::session::{Answer, Session};
use crate::probe::socket::Event;
use crate::probe::{Probe, Shared};
use crate::report::Account;

/// As `--only` and `--skip` call it.
pub(crate) const ID: &str = "WSA-PERF";

/// Sockets at a time on a target that need not be one's own.
pub const SOCKETS_MAX: u32 = 64;

/// Sockets at a time with `--i-own-this-target`.
pub const SOCKETS_OWN_MAX: u32 = 512;

/// What it may cost a target, beside the account of the checks.
const LIMITS: Limits = Limits {
    handshakes: 260,
    handshakes_per_10_s: 26,
    sockets: SOCKETS_MAX,
    messages: 6_000,
    frames: 12_000,
    bytes: 64 * 1024 * 1024,
    seconds: 240,
};

/// What it may cost a target of one's own.
const LIMITS_OWN: Limits = Limits {
    handshakes: 2_000,
    handshakes_per_10_s: UNPACED,
    sockets: SOCKETS_OWN_MAX,
    messages: 6_000,
    frames: 24_000,
    bytes: 64 * 1024 * 1024,
    seconds: 240,
};

/// Pings and messages that are timed on a quiet connection.
const TIMED: u32 = 50;

/// Between two of them: ten in a second, so that no quota is met on the way.
const PAUSE_SECONDS: f64 = 0.1;

/// Rounds of pings on all sockets of a step.
const ROUNDS: u32 = 3;

/// Answers that take so many times as long as with one socket end the ramp, if they take [`SLOW_MS`] as well.
const SLOWER: f64 = 10.0;
const SLOW_MS: f64 = 100.0;

/// What was measured. All of it is one run from one place: the network between is in every figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Performance {
    /// From the first byte of TCP to the 101.
    pub handshake: Option<Distribution>,
    /// From a ping to its pong, on a quiet connection.
    pub ping: Option<Distribution>,
    /// From a message to its answer, on a quiet connection.
    pub message: Option<Distribution>,
    /// More and more sockets at a time.
    pub ramp: Ramp,
    /// All of them lost and back at once.
    pub storm: Option<Storm>,
    /// Messages as fast as they are answered.
    pub throughput: Vec<Throughput>,
    /// The target serves a peer afterwards.
    pub alive_after: bool,
    /// What it cost the target, beside the checks.
    pub budget: Account,
}

/// More and more sockets at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ramp {
    /// In order.
    pub steps: Vec<Step>,
    /// Why it went no further.
    pub stopped: String,
}

/// So many sockets at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Open at a time.
    pub sockets: u32,
    /// From a ping to its pong, all sockets at once.
    pub ping: Distribution,
}

/// All sockets lost at once, and as many handshakes at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Storm {
    /// Handshakes at once.
    pub sockets: u32,
    /// Of these let in.
    pub back: u32,
    /// Of these told to come later (429, 503).
    pub limited: u32,
    /// Of these refused, dropped or without an answer.
    pub failed: u32,
    /// Until the last of them had its answer.
    pub seconds: f64,
    /// Of those that were let in.
    pub handshake: Option<Distribution>,
    /// Seconds from the storm until a peer was served again.
    pub served_after: Option<f64>,
}

/// Messages as fast as they are answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Throughput {
    /// `small` or `large`.
    pub name: String,
    /// Of a message, the frame's header not counted.
    pub message_bytes: u64,
    /// Sent.
    pub sent: u64,
    /// Answered.
    pub answered: u64,
    /// From the first byte to the last answer.
    pub seconds: f64,
    /// Answers in a second.
    pub messages_per_second: f64,
    /// In both directions.
    pub mebibytes_per_second: f64,
    /// Why it ended.
    pub stopped: String,
}

/// Measures the target of `run`, to which the way is known, on an account of its own. `None` where nobody is let in any
/// more: the checks of the logout may have ended the credential.
pub(crate) async fn measure(run: &Arc<Shared>, progress: &(dyn Fn(&str) + Send + Sync)) -> Option<Performance> {
    let limits = if run.options.own_target { LIMITS_OWN } else { LIMITS };
    let budget = Budget::new(limits, run.options.pace);
    let shared = Arc::new(Shared::new(run.target.clone(), run.options.clone(), budget));
    let _ = shared.way.set(run.way.get().cloned().unwrap_or_default());
    let probe = Probe::new(Arc::clone(&shared), ID);
    // What the last check provoked is over by then.
    shared.budget.rest(11.0).await;
    progress("performance: round trips");
    probe.session().await.ok()?.close().await;
    let (ping, message) = round_trips(&probe).await;
    progress("performance: more and more sockets");
    let (ramp, held) = ramp(&probe, limits.sockets).await;
    progress("performance: all lost and back at once");
    let storm = storm::storm(&probe, held).await;
    let mut throughput = Vec::new();
    for name in load::NAMES {
        progress("performance: throughput");
        throughput.extend(load::throughput(&probe, name).await);
        // A limit that was met is over before the next begins.
        let is_limited = throughput.last().is_some_and(|last| last.stopped != load::DONE && last.stopped != load::LATE);
        shared.budget.rest(if is_limited { 11.0 } else { 1.0 }).await;
    }
    let alive_after = probe.session().await.is_ok();
    let measured = shared.budget.record().measured();
    Some(Performance {
        handshake: measured.handshake,
        ping,
        message,
        ramp,
        storm,
        throughput,
        alive_after,
        budget: Account::of(limits, shared.budget.used()),
    })
}

/// Pings, then messages, one at a time on one connection each.
async fn round_trips(probe: &Probe) -> (Option<Distribution>, Option<Distribution>) {
    let Ok(mut session) = probe.session().await else { return (None, None) };
    let (mut times, mut lost) = (Vec::new(), 0_u32);
    for _ in 0..TIMED {
        match ping(&mut session).await {
            Ok(Some(took)) => times.push(took),
            Ok(None) => lost = lost.saturating_add(1),
            Err(_) => break,
        }
        probe.wait(PAUSE_SECONDS).await;
    }
    let pings = Distribution::of(&times, lost);
    let Ok(mut session) = probe.session().await else { return (pings, None) };
    let (mut times, mut lost) = (Vec::new(), 0_u32);
    for _ in 0..TIMED {
        let since = Instant::now();
        match session.ask().await {
            Answer::Served(_) => times.push(since.elapsed()),
            Answer::Silent(_) if probe.way().template.is_some() => lost = lost.saturating_add(1),
            _ => break,
        }
        probe.wait(PAUSE_SECONDS).await;
    }
    (pings, Distribution::of(&times, lost))
}

/// One ping, while messages may come.
async fn ping(session: &mut Session) -> Result<Option<Duration>, Event> {
    let payload = crate::probe::random::<8>().to_vec();
    let shared = session.socket.shared();
    let since = Instant::now();
    if session.socket.send(&Frame::ping(payload.clone())).await.is_err() {
        return Err(Event::Quiet);
    }
    let deadline = shared.patience(3.0);
    loop {
        match session.socket.next_until(deadline).await {
            Event::Pong(held) if held == payload => return Ok(Some(since.elapsed())),
            Event::Quiet => return Ok(None),
            event if event.is_end() => return Err(event),
            _ => {}
        }
    }
}

/// Doubles the sockets until the target has enough or `most` are open. The sockets that are open are handed on.
async fn ramp(probe: &Probe, most: u32) -> (Ramp, Vec<Session>) {
    let mut ramp = Ramp::default();
    let mut held: Vec<Session> = Vec::new();
    let credential = probe.options().token.clone();
    let mut target = 1_u32;
    while ramp.stopped.is_empty() {
        while held.len() < target as usize {
            let next = held.len().saturating_add(1);
            match probe.admit(&probe.request(), credential.as_deref()).await {
                Entry::Open { session, .. } | Entry::Served { session, .. } => held.push(*session),
                other => {
                    ramp.stopped = format!("socket {next}: {}", other.shown());
                    return (ramp, held);
                }
            }
        }
        let (step, kept) = together(held, target).await;
        held = kept;
        let first = ramp.steps.first().map_or(step.ping.p95_ms, |first| first.ping.p95_ms);
        let gone = step.sockets.saturating_sub(u32::try_from(held.len()).unwrap_or(u32::MAX));
        if gone > 0 {
            ramp.stopped = format!("{gone} of {target} connections ended");
        } else if step.ping.lost > 0 {
            ramp.stopped = format!(
                "{} of {} pings without an answer",
                step.ping.lost,
                step.ping.count.saturating_add(step.ping.lost)
            );
        } else if step.ping.p95_ms > SLOW_MS && step.ping.p95_ms > first * SLOWER {
            ramp.stopped =
                format!("answers take {:.0} times as long as with one socket", step.ping.p95_ms / first.max(0.001));
        } else if target >= most {
            ramp.stopped = if most >= SOCKETS_OWN_MAX {
                format!("{most} sockets, the most that are opened")
            } else {
                format!("{most} sockets, the most on a target that need not be one's own (--i-own-this-target)")
            };
        }
        ramp.steps.push(step);
        target = target.saturating_mul(2).min(most);
    }
    (ramp, held)
}

/// Pings on all sockets at once, some rounds of it. Those that live on come back.
async fn together(held: Vec<Session>, sockets: u32) -> (Step, Vec<Session>) {
    let mut tasks = JoinSet::new();
    for mut session in held {
        tasks.spawn(async move {
            let (mut times, mut lost) = (Vec::new(), 0_u32);
            for _ in 0..ROUNDS {
                match ping(&mut session).await {
                    Ok(Some(took)) => times.push(took),
                    Ok(None) => lost = lost.saturating_add(1),
                    Err(_) => return (times, lost, None),
                }
            }
            (times, lost, Some(session))
        });
    }
    let (mut times, mut lost, mut kept) = (Vec::new(), 0_u32, Vec::new());
    while let Some(done) = tasks.join_next().await {
        if let Ok((some, missing, session)) = done {
            times.extend(some);
            lost = lost.saturating_add(missing);
            kept.extend(session);
        }
    }
    (Step { sockets, ping: Distribution::of(&times, lost).unwrap_or_default() }, kept)
}

impl Performance {
    /// As people read it: names and values.
    pub fn lines(&self) -> Vec<(String, String)> {
        let of = |times: Option<&Distribution>| match times {
            Some(times) if times.count > 0 => {
                let lost = if times.lost > 0 { format!(", {} lost", times.lost) } else { String::new() };
                format!(
                    "p50 {}, p95 {}, p99 {}, jitter {}, of {}{lost}",
                    shown(times.p50_ms),
                    shown(times.p95_ms),
                    shown(times.p99_ms),
                    shown(times.jitter_ms),
                    times.count
                )
            }
            Some(times) => format!("none of {} was answered", times.lost),
            None => "not measured".to_owned(),
        };
        let mut lines = vec![
            ("Handshake".to_owned(), of(self.handshake.as_ref())),
            ("Ping".to_owned(), of(self.ping.as_ref())),
            ("Message".to_owned(), of(self.message.as_ref())),
        ];
        for step in &self.ramp.steps {
            lines.push((format!("Ping, {} at once", step.sockets), of(Some(&step.ping))));
        }
        lines.push(("The ramp ended".to_owned(), self.ramp.stopped.clone()));
        if let Some(storm) = &self.storm {
            let served = storm.served_after.map_or_else(
                || "no peer was served again while it was waited for".to_owned(),
                |seconds| format!("a peer was served after {seconds:.1} s"),
            );
            lines.push((
                "Reconnect storm".to_owned(),
                format!(
                    "{} handshakes at once: {} let in, {} told to come later, {} failed, in {:.2} s; {served}",
                    storm.sockets, storm.back, storm.limited, storm.failed, storm.seconds
                ),
            ));
        }
        for load in &self.throughput {
            lines.push((
                format!("Throughput, {} messages", load.name),
                format!(
                    "{:.0} messages/s and {:.2} MiB/s: {} of {} messages of {} bytes answered in {}; {}",
                    load.messages_per_second,
                    load.mebibytes_per_second,
                    load.answered,
                    load.sent,
                    load.message_bytes,
                    shown(load.seconds * 1_000.0),
                    load.stopped
                ),
            ));
        }
        let alive = if self.alive_after { "a peer is served" } else { "no peer is served" };
        lines.push(("Afterwards".to_owned(), alive.to_owned()));
        lines
    }
}
