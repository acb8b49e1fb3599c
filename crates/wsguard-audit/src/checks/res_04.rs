//! A message that never ends.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::Frame;
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-RES-04",
    title: "Deadline for an unfinished message",
    category: Category::Resources,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Waiting,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["13.2.6"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-5.4" },
    what: "Begins a text with a fragment of one byte, answers pings, says nothing more, and waits 63 s (with `--full` \
           5 min) for the server to close.",
    why: "What was begun is held until it ends; peers that never end it hold it for ever.",
    remedy: "Close with 1008 when a message is not whole within 15 s or so.",
    traps: "A deadline for idle connections closes as well, and counts.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let mut session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return outcome,
    };
    let before = session.socket.age();
    if let Err(spent) = session.socket.send(&Frame { fin: false, ..Frame::text("x") }).await {
        return Outcome::unknown(spent.to_string());
    }
    // A little more than the minute that many deadlines for idle connections last.
    let seconds = if probe.options().full { 300.0 } else { 63.0 };
    // Heartbeats of the language are messages, and cannot stand inside this one.
    let end = session.socket.until_end(seconds).await;
    let age = session.socket.age() - before;
    match end {
        Event::Quiet if age >= seconds * 0.9 => {
            Outcome::warn(format!("a message begun and not ended: still open after {seconds} s"))
        }
        Event::Quiet => Outcome::unknown("the wait was cut short"),
        end => Outcome::pass(format!("a message begun and not ended: {end} after {age:.1} s")),
    }
}
