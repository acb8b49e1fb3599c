//! Extensions that were offered, and those that were not.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-11",
    title: "Extension choice",
    category: Category::Protocol,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[20], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc7692#section-7.1" },
    what: "Repeats the good handshake without an extension, with `permessage-deflate` whose window is 7 or 16 bits or \
           given twice, and with an extension that does not exist.",
    why: "An extension that only one side knows of turns frames into rubbish, and parameters that nobody checks reach a \
          decompressor.",
    remedy: "Decline an offer with unknown, doubled or impossible parameters; answer with offered extensions only.",
    traps: "A refusal of the handshake with 400 is a right answer too; a 5xx is none.",
};

const OFFERS: [(&str, &str); 5] = [
    ("none", ""),
    ("an unknown one", "wsg-unknown; a=1"),
    ("a window of 7 bits", "permessage-deflate; server_max_window_bits=7"),
    ("a window of 16 bits", "permessage-deflate; server_max_window_bits=16"),
    ("a parameter twice", "permessage-deflate; client_max_window_bits; client_max_window_bits"),
];

pub(super) async fn run(probe: &Probe) -> Outcome {
    let good = probe.request().without("Sec-WebSocket-Extensions");
    let (mut odd, mut seen) = (Vec::new(), Vec::new());
    for (name, offer) in OFFERS {
        let request = match offer {
            "" => good.anew(),
            offer => good.anew().header("Sec-WebSocket-Extensions", offer),
        };
        match probe.handshake(&request).await {
            Handshake::Opened(socket) => {
                let chosen = socket.head.value("Sec-WebSocket-Extensions").unwrap_or_default().to_owned();
                socket.close().await;
                let first = chosen.split([';', ',']).next().unwrap_or_default().trim();
                if first.is_empty() {
                    seen.push(format!("{name}: 101 and none chosen"));
                } else if !offer.starts_with(first) || first.starts_with("wsg-") {
                    return Outcome::fail(format!("{name} offered: {chosen:?} was chosen")).and_all(seen);
                } else {
                    odd.push(format!("{name} offered: {chosen:?} was chosen"));
                }
            }
            Handshake::Refused(response) if response.status >= 500 => {
                return Outcome::fail(format!("{name} offered: {response}")).and_all(seen);
            }
            Handshake::Refused(response) => seen.push(format!("{name}: {response}")),
            Handshake::Dropped(end) => seen.push(format!("{name}: {end}")),
            Handshake::Limited(response) => {
                return Outcome::unknown(format!("the target limits the audit: {response}")).and_all(seen);
            }
            Handshake::Unreached(why) => return Outcome::unknown(why.to_string()).and_all(seen),
        }
    }
    if odd.is_empty() { Outcome::pass(seen.join("; ")) } else { Outcome::warn(odd.join("; ")).and_all(seen) }
}
