//! Many handshakes at once.

use super::rate::{HANDSHAKES, Stop, burst, lockout, lockout_max};
use super::rate_04;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::{Outcome, Status};
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-RATE-02",
    title: "Handshake rate limited",
    category: Category::RateLimiting,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Provoking,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["2.4.1"], url: "https://cwe.mitre.org/data/definitions/770.html" },
    what: "Sends 45 good handshakes one after the other as fast as they are answered, closing each, and stops at the \
           first that is limited.",
    why: "A handshake costs the server a signature check and often a question to a database; without a limit a single \
          address keeps it busy.",
    remedy: "Limit handshakes by address prefix before the credential is looked at; answer 429 with Retry-After.",
    traps: "A limit above 45 is not seen: then `warn`, never `fail`. A server that broke down, or a firewall that drops \
            the auditor altogether, is no limit: without a 429 or 503 the target must let the audit in again within 25 s.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    match burst(probe, HANDSHAKES, None).await {
        Stop::Free => Outcome::warn(format!("{HANDSHAKES} handshakes without a limit")),
        Stop::Nothing(outcome) => outcome,
        Stop::Limited { number, shown } => {
            let seen = format!("handshake {number}: {shown}");
            // Another check has its question at the limit, and need not go there again.
            if probe.options().wants("WSA-RATE-04") {
                let limit = format!("limited at handshake {number} ({shown})");
                let forwarded = rate_04::at_the_limit(probe, &limit).await;
                probe.shared().notes().forwarded = (forwarded.status != Status::Unknown).then_some(forwarded);
            }
            match lockout(probe).await {
                Some(seconds) => {
                    let outcome = Outcome::pass(&seen).and(format!("let in again after {seconds:.0} s"));
                    if is_limit(&seen) { outcome } else { outcome.probable() }
                }
                None if is_limit(&seen) => {
                    Outcome::pass(seen).and(format!("not let in again within {} s", lockout_max(probe)))
                }
                None => Outcome::unknown(seen).and(format!(
                    "and not let in again within {} s: more than a limit of handshakes",
                    lockout_max(probe)
                )),
            }
        }
    }
}

fn is_limit(seen: &str) -> bool {
    seen.contains("HTTP 429") || seen.contains("HTTP 503")
}
