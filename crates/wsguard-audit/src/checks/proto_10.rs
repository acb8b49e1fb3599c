//! Subprotocols that were offered, and those that were not.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-10",
    title: "Subprotocol choice",
    category: Category::Protocol,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[436], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2" },
    what: "Repeats the good handshake with an invented subprotocol, with none, and with 40 invented names. Where the \
           credential travels as a subprotocol, the invented names stand behind it.",
    why: "A subprotocol that nobody offered makes one side read what the other did not mean; a list without a limit is \
          work that a peer chooses.",
    remedy: "Choose one of the names that were offered and that the server speaks, or none.",
    traps: "A refusal is a right answer. A library that takes the first name offered, whatever it is, has taken an \
            offered one.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let good = probe.request();
    let carries = good
        .value("Sec-WebSocket-Protocol")
        .is_some_and(|held| probe.options().token.as_deref().is_some_and(|token| held.contains(token)));
    let base = if carries { good.clone() } else { good.without("Sec-WebSocket-Protocol") };
    let forty = (0..40).fold(base.anew(), |request, number| request.offer(&format!("wsg-junk-{number}")));
    let changed = [("an invented name", base.anew().offer("wsg-junk")), ("none", base.anew()), ("40 names", forty)];
    let mut seen = Vec::new();
    for (name, request) in changed {
        let shown = match probe.handshake(&request).await {
            Handshake::Opened(socket) => {
                let chosen = socket.subprotocol().map(str::to_owned);
                socket.close().await;
                let offered: Vec<&str> =
                    request.value("Sec-WebSocket-Protocol").unwrap_or_default().split(',').map(str::trim).collect();
                if let Some(chosen) = &chosen
                    && !offered.contains(&chosen.as_str())
                {
                    return Outcome::fail(format!("{name} offered: {chosen:?} was chosen")).and_all(seen);
                }
                if carries { "101".to_owned() } else { format!("101, chosen: {}", chosen.as_deref().unwrap_or("none")) }
            }
            Handshake::Refused(response) => response.to_string(),
            Handshake::Dropped(end) => end.to_string(),
            Handshake::Limited(response) => {
                return Outcome::unknown(format!("the target limits the audit: {response}")).and_all(seen);
            }
            Handshake::Unreached(why) => return Outcome::unknown(why.to_string()).and_all(seen),
        };
        seen.push(format!("{name} offered: {shown}"));
    }
    Outcome::pass(seen.join("; "))
}
