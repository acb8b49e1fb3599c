//! Opcodes that mean nothing, and control frames that are too large or in parts.

use super::proto::{After, after};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::{Frame, Opcode};

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-07",
    title: "Opcodes and control frames enforced",
    category: Category::Protocol,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[20], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc6455#section-5.5" },
    what: "Sends the reserved opcodes 3 and 11, a ping without FIN and a ping of 126 bytes, each on a good connection.",
    why: "A parser that takes what the protocol forbids was not written against hostile peers, and reads frames \
          otherwise than what stands in front of it.",
    remedy: "Fail the connection with 1002.",
    traps: "A connection that stays open and answers nothing any more is neither refusal nor acceptance: `unknown`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let frames = [
        ("opcode 3", Frame::new(Opcode(3), "x")),
        ("opcode 11", Frame::new(Opcode(11), "x")),
        ("a ping without FIN", Frame { fin: false, ..Frame::ping("x") }),
        ("a ping of 126 bytes", Frame::ping(vec![b'x'; 126])),
    ];
    let (mut bad, mut seen, mut nothing) = (Vec::new(), Vec::new(), None);
    for (name, frame) in frames {
        let mut session = match probe.session().await {
            Ok(session) => session,
            Err(outcome) => return outcome.and_all(bad).and_all(seen),
        };
        if let Err(spent) = session.socket.send(&frame).await {
            return Outcome::unknown(spent.to_string()).and_all(bad).and_all(seen);
        }
        let after = after(&mut session, None, 1.0).await;
        let shown = format!("{name}: {}", after.shown());
        match after {
            After::Ended(_) => seen.push(shown),
            After::Answered(_) | After::LivesOn(_) => bad.push(shown),
            After::Stuck | After::Nothing(_) => nothing = Some(shown),
        }
    }
    match nothing {
        _ if !bad.is_empty() => Outcome::fail(bad.join("; ")).and_all(seen),
        Some(shown) => Outcome::unknown(shown).and_all(seen),
        None => Outcome::pass(seen.join("; ")),
    }
}
