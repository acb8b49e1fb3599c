//! What a limit says.

use super::rate::{HANDSHAKES, burst, lockout};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::notes::Signal;

pub(super) const META: Meta = Meta {
    id: "WSA-RATE-06",
    title: "Limits signalled",
    category: Category::RateLimiting,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Provoking,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[799], asvs: &["2.4.1"], url: "https://www.rfc-editor.org/rfc/rfc6585#section-4" },
    what: "Looks at how the limits answered that other checks of this category met; where none did, sends messages and \
           handshakes up to a limit itself.",
    why: "A client that cannot tell a limit from a failure comes back at once, and all of them together; an operator \
          cannot tell it from an outage.",
    remedy: "Refuse a handshake with 429 and Retry-After; answer a message with an error of its own code and a time to \
             wait, or close with 1008, 1013 or a code of your own.",
    traps: "One limit may be told and another not: the silent one decides. A limit that was not met is not judged.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    if !probe.shared().notes().flooded && probe.way().template.is_some() {
        let _ = super::rate_01::flood(probe).await;
    }
    let was_tried = probe.shared().notes().burst.is_some();
    if !was_tried {
        burst(probe, HANDSHAKES, None).await;
        let is_limited = probe.shared().notes().burst.is_some_and(|burst| burst.is_limited);
        if is_limited {
            lockout(probe).await;
        }
    }
    let more = if probe.options().full { "a target that limits what was sent" } else { "--full" };
    judge(probe.shared().notes().signals.clone(), more)
}

fn judge(signals: Vec<Signal>, more: &str) -> Outcome {
    let (told, silent): (Vec<Signal>, Vec<Signal>) = signals.into_iter().partition(|signal| signal.is_told);
    let mut lines = silent.iter().chain(&told).map(|signal| signal.shown.clone());
    match (lines.next(), silent.is_empty()) {
        (None, _) => Outcome::unknown("no limit was met").settled_by(more),
        (Some(first), true) => Outcome::pass(first).and_all(lines),
        (Some(first), false) => Outcome::warn(first).and_all(lines),
    }
}
