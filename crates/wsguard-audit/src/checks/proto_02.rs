//! A version that does not exist.

use super::proto::{Reply, reply};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-02",
    title: "Wrong version refused",
    category: Category::Protocol,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[20], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc6455#section-4.4" },
    what: "Repeats the good handshake with `Sec-WebSocket-Version: 99`, and without a version.",
    why: "A server that does not look at the version speaks a protocol with a peer, or with a proxy between them, that \
          may mean another one.",
    remedy: "Answer 426 with `Sec-WebSocket-Version: 13`.",
    traps: "The credential is sent, so that a refusal is one of the version. A refusal with another status than 400 or \
            426 is a `warn`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let good = probe.request();
    let changed = [
        ("version 99", good.anew().set("Sec-WebSocket-Version", "99")),
        ("no version", good.anew().without("Sec-WebSocket-Version")),
    ];
    let (mut odd, mut seen) = (false, Vec::new());
    for (name, request) in changed {
        match reply(probe, &request).await {
            Reply::Accepted => return Outcome::fail(format!("{name}: 101")).and_all(seen),
            Reply::Nothing(outcome) => return outcome.and_all(seen),
            Reply::Refused(status, shown) => {
                odd |= !matches!(status, Some(400 | 426));
                seen.push(format!("{name}: {shown}"));
            }
        }
    }
    let seen = seen.join("; ");
    if odd { Outcome::warn(seen) } else { Outcome::pass(seen) }
}
