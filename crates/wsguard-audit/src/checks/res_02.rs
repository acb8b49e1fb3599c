//! A message of many large parts.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::{Frame, Opcode};
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-RES-02",
    title: "Size of a message limited",
    category: Category::Resources,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["2.2.1"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-10.4" },
    what: "Sends one text in fragments of 64 KiB, never finished, up to 2 MiB (with `--full` 32 MiB), and a ping behind.",
    why: "A limit for frames alone leaves the message that they make up without one; memory fills with what never ends.",
    remedy: "Count the bytes of the message that is being put together, and close with 1009 above the limit.",
    traps: "2 MiB may be meant: `warn`; only 32 MiB are a failure. A connection that takes no more bytes and says nothing \
            is `unknown`.",
};

const FRAGMENT_BYTES: usize = 64 * 1024;

pub(super) async fn run(probe: &Probe) -> Outcome {
    match fragments(probe, Opcode::TEXT).await {
        // Whoever takes no text says nothing about its size.
        outcome if outcome.evidence.iter().any(|line| line.contains("close 1003")) => {
            fragments(probe, Opcode::BINARY).await.and("in binary frames: texts are refused")
        }
        outcome => outcome,
    }
}

async fn fragments(probe: &Probe, opcode: Opcode) -> Outcome {
    let mut session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let fragments = if probe.options().full { 512_u32 } else { 32 };
    for number in 1..=fragments {
        let opcode = if number == 1 { opcode } else { Opcode::CONTINUATION };
        let frame = Frame { fin: false, ..Frame::new(opcode, vec![b'a'; FRAGMENT_BYTES]) };
        if let Err(spent) = session.socket.send(&frame).await {
            return Outcome::unknown(spent.to_string());
        }
        let end = session.socket.until_end(0.05).await;
        if end.is_end() {
            return Outcome::pass(format!("after {} KiB: {end}", number.saturating_mul(64)));
        }
    }
    let sent = format!("{} MiB in fragments", fragments / 16);
    if let Err(spent) = session.socket.send(&Frame::ping("taken")).await {
        return Outcome::unknown(spent.to_string());
    }
    let shared = probe.shared();
    let deadline = shared.patience(10.0);
    loop {
        match session.socket.next_until(deadline).await {
            // The pong can overtake the close.
            Event::Pong(_) => match session.socket.until_end(0.7).await {
                end if end.is_end() => return Outcome::pass(format!("after {sent}: {end}")),
                _ if probe.options().full => return Outcome::fail(format!("{sent} are taken")),
                _ => return Outcome::warn(format!("{sent} are taken")),
            },
            Event::Quiet => {
                return Outcome::unknown(format!("after {sent} the target neither closes nor answers a ping"));
            }
            end if end.is_end() => return Outcome::pass(format!("after {sent}: {end}")),
            _ => {}
        }
    }
}
