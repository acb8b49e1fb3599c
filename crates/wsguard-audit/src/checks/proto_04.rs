//! Requests that are not quite a handshake.

use super::proto::{Reply, reply};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-04",
    title: "Strict request",
    category: Category::Protocol,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[20, 436], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1" },
    what: "Repeats the good handshake as HTTP/1.0, as `POST`, with two versions, with two keys, with a key of 15 bytes, \
           and without a key.",
    why: "What a server reads otherwise than the proxy in front of it is where requests are smuggled.",
    remedy: "Accept `GET`, HTTP/1.1, one version 13, and one key of 16 bytes; answer 400 or 405 to the rest.",
    traps: "A lenient reading of the key opens nothing by itself: `warn`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let good = probe.request();
    let mut post = good.anew().header("Content-Length", "0");
    post.method = "POST".into();
    let mut old = good.anew();
    old.version = "HTTP/1.0".into();
    let changed = [
        ("HTTP/1.0", old, true),
        ("POST", post, true),
        ("two versions", good.anew().header("Sec-WebSocket-Version", "8"), true),
        ("two keys", good.anew().header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="), true),
        ("a key of 15 bytes", good.anew().set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAA"), false),
        ("no key", good.anew().without("Sec-WebSocket-Key"), false),
    ];
    let (mut bad, mut lenient, mut seen) = (Vec::new(), Vec::new(), Vec::new());
    let mut nothing = None;
    for (name, request, is_bad) in changed {
        match reply(probe, &request).await {
            Reply::Accepted if is_bad => {
                bad.push(name);
                // One is enough where handshakes are few.
                if probe.budget().used().limited > 0 {
                    break;
                }
            }
            Reply::Accepted => lenient.push(name),
            Reply::Refused(_, shown) => seen.push(format!("{name}: {shown}")),
            Reply::Nothing(outcome) => nothing = Some(outcome.and(format!("with {name}"))),
        }
    }
    match (nothing, bad.is_empty(), lenient.is_empty()) {
        (_, false, _) => {
            bad.extend(lenient);
            Outcome::fail(format!("101 with {}", bad.join(", "))).and_all(seen)
        }
        (Some(outcome), ..) => outcome.and_all(seen),
        (None, true, false) => Outcome::warn(format!("101 with {}", lenient.join(", "))).and_all(seen),
        (None, true, true) => Outcome::pass(seen.join("; ")),
    }
}
