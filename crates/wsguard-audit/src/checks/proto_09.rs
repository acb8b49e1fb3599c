//! Lengths that lie, and close frames that say what must not be said.

use tokio::join;

use super::proto::{After, after};
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::{Frame, Length, Opcode};
use crate::probe::socket::Event;

pub(super) const META: Meta = Meta {
    id: "WSA-PROTO-09",
    title: "Lengths and close codes enforced",
    category: Category::Protocol,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Waiting,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[190, 1284], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc6455#section-5.2" },
    what: "Sends the header alone of a frame of 2^63-1 bytes and of one with the top bit of its length set, and waits \
           16 s; a ping whose length is written in two bytes; and closes with 1005, with 999 and with a \
           single byte. Each on a good connection.",
    why: "Such lengths overflow the arithmetic of parsers that trust them: endless loops and dead processes came of it.",
    remedy: "Refuse a length as soon as it is read: 1009 above the limit, 1002 where the top bit is set or the form is \
             not the shortest. Answer a wrong close frame with 1002.",
    traps: "Only headers are sent, one connection each. A long form that is accepted is a `warn`.",
};

const WAIT_SECONDS: f64 = 16.0;

pub(super) async fn run(probe: &Probe) -> Outcome {
    let (most, top, form) = join!(header(probe, (1 << 63) - 1), header(probe, 1 << 63), long_form(probe));
    let (mut bad, mut weak, mut seen, mut nothing) = (Vec::new(), Vec::new(), Vec::new(), None);
    for (name, result) in [("2^63-1 bytes announced", most), ("the top bit of the length set", top)] {
        match result {
            Ok((Event::Quiet, _)) => bad.push(format!("{name}: still waiting for them after {WAIT_SECONDS} s")),
            Ok((end, age)) if age > 5.0 => weak.push(format!("{name}: {end} after {age:.1} s")),
            Ok((end, _)) => seen.push(format!("{name}: {end}")),
            Err(outcome) => nothing = Some(outcome),
        }
    }
    match form {
        After::Ended(end) => seen.push(format!("a length of two bytes where one is enough: {end}")),
        After::Nothing(outcome) => nothing = Some(outcome),
        After::Stuck => nothing = Some(Outcome::unknown("after a length of two bytes nothing is answered any more")),
        lives => weak.push(format!("a length of two bytes where one is enough: {}", lives.shown())),
    }
    for (name, payload) in [("1005", &b"\x03\xed"[..]), ("999", b"\x03\xe7"), ("a single byte", b"\x03")] {
        match close(probe, payload).await {
            Ok(Event::Quiet) => weak.push(format!("close with {name}: not answered")),
            Ok(Event::Close { code: Some(code @ (999 | 1005)), .. }) => {
                weak.push(format!("close with {name}: answered with {code}"));
            }
            Ok(end) => seen.push(format!("close with {name}: {end}")),
            Err(outcome) => nothing = Some(outcome),
        }
    }
    match nothing {
        _ if !bad.is_empty() => Outcome::fail(bad.join("; ")).and_all(weak).and_all(seen),
        Some(outcome) => outcome.and_all(weak).and_all(seen),
        None if !weak.is_empty() => Outcome::warn(weak.join("; ")).and_all(seen),
        None => Outcome::pass(seen.join("; ")),
    }
}

/// Announces so many bytes and sends none. The end and after how many seconds it came.
async fn header(probe: &Probe, length: u64) -> Result<(Event, f64), Outcome> {
    let mut session = probe.session().await?;
    let frame = Frame { length: Length::Eight(length), ..Frame::new(Opcode::BINARY, "") };
    let before = session.socket.age();
    session.socket.send(&frame).await.map_err(|spent| Outcome::unknown(spent.to_string()))?;
    // Heartbeats cannot be answered: everything that is sent now belongs to the frame.
    session.socket.answers_pings = false;
    let end = session.socket.until_end(WAIT_SECONDS).await;
    let age = session.socket.age();
    Ok((end, age - before))
}

async fn long_form(probe: &Probe) -> After {
    let mut session = match probe.session().await {
        Ok(session) => session,
        Err(outcome) => return After::Nothing(outcome),
    };
    let frame = Frame { length: Length::Two(1), ..Frame::ping("x") };
    if let Err(spent) = session.socket.send(&frame).await {
        return After::Nothing(Outcome::unknown(spent.to_string()));
    }
    after(&mut session, None, 1.0).await
}

async fn close(probe: &Probe, payload: &[u8]) -> Result<Event, Outcome> {
    let mut session = probe.session().await?;
    let frame = Frame::new(Opcode::CLOSE, payload);
    session.socket.send(&frame).await.map_err(|spent| Outcome::unknown(spent.to_string()))?;
    Ok(session.socket.until_end(5.0).await)
}
