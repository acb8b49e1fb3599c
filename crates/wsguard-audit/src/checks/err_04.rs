//! The end of a connection.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::frame::Frame;
use crate::probe::link::End;
use crate::probe::socket::Event;
use std::time::Duration;
use tokio::time::Instant;

pub(super) const META: Meta = Meta {
    id: "WSA-ERR-04",
    title: "Connections closed properly",
    category: Category::Errors,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Waiting,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[404], asvs: &["16.5.3"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-7.1.1" },
    what: "Closes a good connection with 1000, waits for the answer and for the end of the connection below it, at most 30 s.",
    why: "A server that does not end what was closed keeps a place and memory for every peer that left.",
    remedy: "Answer a close with its code, and end the connection at once.",
    traps: "A proxy may hold the connection below for a while: from 5 s on it is `warn`, from 30 s on `fail`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let mut socket = match probe.open().await {
        Ok(socket) => socket,
        Err(outcome) => return outcome,
    };
    if let Err(spent) = socket.send(&Frame::close(1000, "")).await {
        return Outcome::unknown(spent.to_string());
    }
    let since = Instant::now();
    let mut echo = None;
    let end = loop {
        match socket.until_end(30.0).await {
            Event::Close { code, .. } if echo.is_none() => echo = Some(code),
            end => break end,
        }
    };
    let took = since.elapsed();
    let seconds = probe.in_seconds(took);
    let answered = match echo {
        Some(Some(code)) => format!("our 1000 is answered with {code}"),
        Some(None) => "our 1000 is answered with a close without a code".into(),
        None => "our 1000 is not answered".into(),
    };
    match end {
        Event::Quiet => Outcome::fail(format!("the connection is still open after {seconds:.0} s")).and(answered),
        Event::Ended(how) => {
            let lines = format!("{answered}; {how} after {seconds:.1} s");
            // A busy machine is no slow server.
            let is_late = seconds > 5.0 && took > Duration::from_millis(1_500);
            let is_proper = echo == Some(Some(1000)) || (echo == Some(None) && how == End::Fin);
            if is_proper && !is_late { Outcome::pass(lines) } else { Outcome::warn(lines) }
        }
        other => Outcome::fail(format!("after the close came {other}")).and(answered),
    }
}
