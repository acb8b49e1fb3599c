//! Signs of life, and their absence.

use super::idle::idle;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::notes::Watched;
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-MON-01",
    title: "Heartbeat, and dead peers removed",
    category: Category::Monitoring,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Waiting,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[404], asvs: &["13.2.6"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-5.5.2" },
    what: "Opens two good connections and says nothing. One answers pings and the heartbeats of its language and counts \
           them, the other answers nothing more. Both are watched for 65 s (with `--full` 15 and 10 min).",
    why: "A peer that lost its network says nothing any more: without a heartbeat its place, its memory and its presence \
          stay until the system gives up, for hours.",
    remedy: "Ping every 30 s or so, and close with 4408 when no answer came by the next.",
    traps: "Heartbeats may be messages of the language: Socket.IO's, SockJS's, `ping` and `ka` of GraphQL count. A close \
            for idleness removes dead peers as well, and living ones with them: then, without a heartbeat, `warn`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let (living, dead) = tokio::join!(idle(probe), ignore(probe));
    let (living, dead) = match (living, dead) {
        (Ok(living), Ok(dead)) => (living, dead),
        (Err(outcome), _) | (_, Err(outcome)) => return outcome,
    };
    let beats = match living.beats {
        0 => format!("no heartbeat in {:.0} s", living.age),
        count => format!("{count} heartbeats in {:.0} s", living.age),
    };
    let removed = match &dead.end {
        Event::Quiet => format!("a peer that answers nothing is kept for {:.0} s", dead.age),
        end => format!("a peer that answers nothing is gone after {:.0} s ({end})", dead.age),
    };
    let is_limit = |end: &Event| matches!(end, Event::Close { code: Some(4429 | 1013), .. });
    if is_limit(&living.end) || is_limit(&dead.end) {
        return Outcome::unknown(format!("{beats}; {removed}")).and("that is a limit");
    }
    if dead.end == Event::Quiet && dead.age < seconds(probe) * 0.9 {
        return Outcome::unknown(format!("{beats}; the wait was cut short"));
    }
    match (living.beats > 0, dead.end != Event::Quiet) {
        (true, true) => Outcome::pass(beats).and(removed),
        (false, false) if probe.options().full => Outcome::fail(beats).and(removed),
        (false, false) => Outcome::warn(beats).and(removed).settled_by("--full"),
        (true, false) => Outcome::warn(removed).and(beats),
        (false, true) => Outcome::warn(beats).and(removed).at(Severity::Low),
    }
}

/// Reads and answers nothing.
async fn ignore(probe: &Probe) -> Result<Watched, Outcome> {
    let mut session = probe.session().await?;
    let before = session.socket.age();
    session.socket.answers_pings = false;
    let end = session.socket.until_end(seconds(probe)).await;
    Ok(Watched { end, age: session.socket.age() - before, beats: 0 })
}

/// How long the peer that answers nothing is watched, in seconds.
fn seconds(probe: &Probe) -> f64 {
    if probe.options().full { 600.0 } else { 65.0 }
}
