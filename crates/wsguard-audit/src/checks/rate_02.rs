//! Many handshakes at once.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-RATE-02",
    title: "Handshake rate limited",
    category: Category::RateLimiting,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["2.4.1"], url: "https://cwe.mitre.org/data/definitions/770.html" },
    what: "Sends 45 good handshakes one after the other as fast as they are answered, closing each, and stops at the \
           first that is limited.",
    why: "A handshake costs the server a signature check and often a question to a database; without a limit a single \
          address keeps it busy.",
    remedy: "Limit handshakes by address prefix before the credential is looked at; answer 429 with Retry-After.",
    traps: "A limit above 45 is not seen: then `warn`, never `fail`. A firewall that drops the auditor altogether is no \
            limit: the target must answer again after a rest.",
};

const HANDSHAKES: u32 = 45;

pub(super) async fn run(probe: &Probe) -> Outcome {
    for count in 1..=HANDSHAKES {
        let outcome = match probe.handshake_at_once(&probe.request().anew()).await {
            Handshake::Opened(socket) => {
                socket.close().await;
                continue;
            }
            Handshake::Limited(response) => {
                let retry = response.value("Retry-After").unwrap_or("none").to_owned();
                Outcome::pass(format!("handshake {count}: {response}, Retry-After: {retry}"))
            }
            Handshake::Refused(response) => Outcome::pass(format!("handshake {count}: {response}")).probable(),
            Handshake::Dropped(end) => Outcome::pass(format!("handshake {count}: {end}")).probable(),
            Handshake::Unreached(why) => Outcome::unknown(format!("handshake {count}: {why}")),
        };
        probe.wait(11.0).await;
        return outcome;
    }
    probe.wait(11.0).await;
    Outcome::warn(format!("{HANDSHAKES} handshakes without a limit"))
}
