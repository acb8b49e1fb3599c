//! The second offence.

use super::rate::{HANDSHAKES, Stop, burst, lockout, lockout_max, no_limit, unlimited};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-RATE-07",
    title: "Penalty grows",
    category: Category::RateLimiting,
    severity: Severity::Info,
    needs: &[Need::Baseline],
    turn: Turn::Provoking,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[799], asvs: &["2.4.1"], url: "https://cwe.mitre.org/data/definitions/799.html" },
    what: "Compares how long the target kept the audit out after the first and after the second burst of handshakes that \
           met its limit; provokes what of that no other check did.",
    why: "A limit that forgets at once is a price, not an end: who keeps hammering pays the same for each window for ever.",
    remedy: "Keep a peer out longer each time it runs into its limit, and forget that slowly.",
    traps: "Two rounds are few, and a penalty may begin with the third: `warn`, and for information only. Longer means by \
            half and by 2 s at least.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    if let Some(outcome) = unlimited(probe) {
        return outcome;
    }
    loop {
        let known = probe.shared().notes().lockouts.clone();
        if let [first, second, ..] = *known.as_slice() {
            let seen = format!("kept out for {first:.0} s, then for {second:.0} s");
            let is_longer = second > first * 1.5 && second - first >= 2.0;
            return if is_longer { Outcome::pass(seen) } else { Outcome::warn(seen) };
        }
        match burst(probe, HANDSHAKES, None).await {
            Stop::Limited { number, shown } => {
                if lockout(probe).await.is_none() {
                    let most = lockout_max(probe);
                    return Outcome::unknown(format!("handshake {number}: {shown}; not let in again within {most} s"))
                        .settled_by(if probe.options().full { "another run, later" } else { "--full" });
                }
            }
            Stop::Free => return no_limit(HANDSHAKES),
            Stop::Nothing(outcome) => return outcome,
        }
    }
}
