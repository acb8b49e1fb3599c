//! Protocols that came before RFC 6455.

use super::proto::{Reply, reply};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-03",
    title: "Drafts and missing Upgrade refused",
    category: Category::Protocol,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[444], asvs: &["4.2.1"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-4.2.1" },
    what: "Repeats the good handshake with the draft versions 0, 7 and 8, with the headers of Hixie-76, without \
           `Upgrade`, and without `Connection`.",
    why: "Draft parsers are old and unlooked-after code with other framing; and a 101 to a request that no proxy takes \
          for an upgrade lets a peer smuggle bytes past it.",
    remedy: "Speak version 13 alone, and ask for `Upgrade: websocket` and `Connection: Upgrade`.",
    traps: "Proxies in front may add `Upgrade` and `Connection` themselves: such a 101 is `probable` only.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let good = probe.request();
    let draft = |version: &str| good.anew().set("Sec-WebSocket-Version", version);
    let mut hixie = good
        .anew()
        .without("Sec-WebSocket-Version")
        .without("Sec-WebSocket-Key")
        .set("Upgrade", "WebSocket")
        .header("Sec-WebSocket-Key1", "18x 6]8vM;54 *(5:  {   U1]8  z [  8")
        .header("Sec-WebSocket-Key2", "1_ tx7X d  <  nf  334J702) 7]o}` 0");
    hixie.tail = b"Tm[K T2u".to_vec();
    let changed = [
        ("version 8", draft("8"), false),
        ("version 7", draft("7"), false),
        ("version 0", draft("0"), false),
        ("Hixie-76", hixie, false),
        ("no Upgrade", good.anew().without("Upgrade"), true),
        ("no Connection", good.anew().without("Connection"), true),
    ];
    let (mut accepted, mut sure, mut seen) = (Vec::new(), false, Vec::new());
    for (name, request, by_proxy) in changed {
        match reply(probe, &request).await {
            Reply::Accepted => {
                accepted.push(name);
                sure |= !by_proxy;
                // One is enough where handshakes are few.
                if sure && probe.budget().used().limited > 0 {
                    break;
                }
            }
            Reply::Refused(_, shown) => seen.push(format!("{name}: {shown}")),
            // A server that waits for more has not answered 101: with Hixie's bytes in place of a body that happens.
            Reply::Nothing(outcome) if accepted.is_empty() => return outcome.and(format!("with {name}")).and_all(seen),
            Reply::Nothing(_) => break,
        }
    }
    if accepted.is_empty() {
        return Outcome::pass(seen.join("; "));
    }
    let outcome = Outcome::fail(format!("101 with {}", accepted.join(", "))).and_all(seen);
    if sure { outcome } else { outcome.probable() }
}
