//! A connection on which nothing happens.

use super::idle::{idle, seconds, watch};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::notes::Watched;
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-SESS-01",
    title: "Idle sessions ended",
    category: Category::Session,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Waiting,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[613], asvs: &["7.3.1"], url: "https://cwe.mitre.org/data/definitions/613.html" },
    what: "Opens two good connections 7 s after each other, answers pings and heartbeats, says nothing, and waits 65 s (with \
           `--full` 15 min) for the server to close both after the same time. Where few connections are let in at a time, \
           one.",
    why: "A session that nobody uses is one that nobody watches: a tab left open, a device that was sold.",
    remedy: "Close connections that sent no message for a while, and say so in the close.",
    traps: "Something else may end connections meanwhile: both must live as long as each other, not end at the same \
            moment. A feed that only sends has no idle peers: there a long time is right, which is why this is `warn` and \
            never `fail`.",
};

/// Between the two, in seconds.
const APART: f64 = 7.0;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let seconds = seconds(probe);
    // Where connections are few, one that lives says as much as two; what ended one is not known then.
    let later = async {
        probe.wait(APART).await;
        match probe.budget().cap() {
            None => Some(watch(probe).await),
            Some(_) => None,
        }
    };
    let (first, second) = match tokio::join!(idle(probe), later) {
        (Ok(first), Some(Ok(second))) => (first, second),
        (Ok(first), None) if first.end == Event::Quiet => (first.clone(), first),
        (Ok(Watched { end, age, .. }), None) => {
            return Outcome::unknown(format!(
                "idle: {end} after {age:.0} s; so few connections are let in at a time that none was opened beside it"
            ))
            .settled_by("--only WSA-SESS-01");
        }
        (Err(outcome), _) | (_, Some(Err(outcome))) => return outcome,
    };
    let ((end, age), (other, other_age)) = ((first.end, first.age), (second.end, second.age));
    let seen = format!("idle: {end} after {age:.0} s; the second: {other} after {other_age:.0} s");
    match (&end, &other) {
        (Event::Close { code: Some(4429 | 1013), .. }, _) | (_, Event::Close { code: Some(4429 | 1013), .. }) => {
            Outcome::unknown(seen).and("that is a limit")
        }
        (Event::Quiet, Event::Quiet) if age >= seconds * 0.9 && other_age >= seconds * 0.9 => {
            let outcome = Outcome::warn(format!("idle connections are still open after {seconds:.0} s"));
            if probe.options().full { outcome } else { outcome.settled_by("--full") }
        }
        (Event::Quiet, _) | (_, Event::Quiet) => {
            Outcome::unknown(seen).settled_by(if probe.options().full { "another run" } else { "--full" })
        }
        _ if (age - other_age).abs() <= (age * 0.1).max(3.0) => Outcome::pass(seen),
        _ => Outcome::unknown(seen).and("they did not live equally long: it was not idleness that ended them"),
    }
}
