//! A gibibyte that is announced.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::{Frame, Length, Opcode};
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-RES-01",
    title: "Declared length refused early",
    category: Category::Resources,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Waiting,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770, 789], asvs: &["2.2.1"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-10.4" },
    what: "Sends the header of a frame of 1 GiB on a good connection, no byte of it, and waits 30 s.",
    why: "A server that waits for what is announced gathers it in memory, or reserves it at once: a few peers are enough \
          to end it.",
    remedy: "Compare the announced length with the limit before reading on, and close with 1009.",
    traps: "A proxy in front may gather frames itself: its refusal counts.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let mut session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let frame = Frame { length: Length::Eight(1 << 30), ..Frame::new(Opcode::TEXT, "") };
    let before = session.socket.age();
    if let Err(spent) = session.socket.send(&frame).await {
        return Outcome::unknown(spent.to_string());
    }
    // Everything that is sent now belongs to the frame, the answer to a ping too.
    session.socket.answers_pings = false;
    let end = session.socket.until_end(30.0).await;
    let after = session.socket.age() - before;
    match end {
        Event::Quiet => Outcome::fail("1 GiB announced: the target still waits for it after 30 s"),
        end if after <= 5.0 => Outcome::pass(format!("1 GiB announced: {end} after {after:.1} s")),
        end => Outcome::warn(format!("1 GiB announced: {end}, but only after {after:.1} s")),
    }
}
