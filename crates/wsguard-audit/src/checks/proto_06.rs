//! Reserved bits without an extension.

use super::proto::{After, after};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::Frame;

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-06",
    title: "Reserved bits enforced",
    category: Category::Protocol,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[20], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc6455#section-5.2" },
    what: "Sends one message with RSV1, one with RSV2 and one with RSV3, each on a good connection that negotiated no \
           extension.",
    why: "RSV1 without permessage-deflate is read as compressed by one hop and as plain by the next: a filter between \
          them sees something else than the server.",
    remedy: "Fail the connection with 1002.",
    traps: "RSV1 is left out where the target chose an extension by itself. A frame that is dropped while the connection \
            lives on is a `warn`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let (mut weak, mut seen) = (Vec::new(), Vec::new());
    for (name, reserved) in [("RSV1", 4), ("RSV2", 2), ("RSV3", 1)] {
        let mut session = match probe.session().await {
            Ok(session) => session,
            Err(outcome) => return outcome.and_all(seen),
        };
        if reserved == 4 && session.socket.head.value("Sec-WebSocket-Extensions").is_some() {
            continue;
        }
        let message = session.message();
        let text = message.as_ref().map_or_else(|| "x".to_owned(), |message| message.text.clone());
        if let Err(spent) = session.socket.send(&Frame { reserved, ..Frame::text(&text) }).await {
            return Outcome::unknown(spent.to_string()).and_all(seen);
        }
        let after = after(&mut session, message.as_ref(), 2.0).await;
        let shown = format!("{name}: {}", after.shown());
        match after {
            After::Answered(_) => return Outcome::fail(shown).and_all(seen),
            After::LivesOn(_) => weak.push(shown),
            After::Ended(_) => seen.push(shown),
            After::Stuck | After::Nothing(_) => return Outcome::unknown(shown).and_all(seen),
        }
    }
    match (weak.is_empty(), seen.is_empty()) {
        (false, _) => Outcome::warn(weak.join("; ")).and_all(seen),
        (true, false) => Outcome::pass(seen.join("; ")),
        (true, true) => Outcome::unknown("nothing was sent"),
    }
}
