//! Somebody who says nothing.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::session::Session;
use crate::probe::socket::Event;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-09",
    title: "Deadline for the credential",
    category: Category::Authentication,
    severity: Severity::Medium,
    needs: &[Need::Baseline, Need::Credential],
    turn: Turn::Waiting,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[770], asvs: &["7.3.1"], url: "https://cwe.mitre.org/data/definitions/770.html" },
    what: "Opens a connection without a credential, answers pings, says nothing, and waits 35 s (with `--full` 125 s) \
           for the server to close it.",
    why: "A connection that nobody has authenticated costs the server memory and a place; without a deadline a stranger \
          collects as many as he likes.",
    remedy: "Close a connection that has not authenticated within 5 to 10 s.",
    traps: "A server that asks in the handshake has no such connection: it refuses, and the check passes. An idle \
            deadline for everybody has the same effect: it counts.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let socket = match probe.handshake(&probe.request_as(None)).await {
        Handshake::Opened(socket) => socket,
        Handshake::Refused(response) => return Outcome::pass(format!("asked for in the handshake: {response}")),
        Handshake::Dropped(end) => return Outcome::pass(format!("asked for in the handshake: {end}")).probable(),
        Handshake::Limited(response) => return Outcome::unknown(format!("the target limits the audit: {response}")),
        Handshake::Unreached(why) => return Outcome::unknown(why.to_string()),
    };
    let seconds = if probe.options().full { 125.0 } else { 35.0 };
    // Heartbeats are answered, those of the language too: what closes the connection is that nobody logs in.
    let mut session = Session::unready(socket, probe.way());
    let end = session.until_end(seconds).await;
    let age = session.socket.age();
    let seen = format!("without a credential, after {age:.1} s: {end}");
    match end {
        Event::Quiet if probe.options().full => Outcome::fail(seen),
        Event::Quiet => Outcome::warn(seen).and("not closed within 35 s").settled_by("--full"),
        _ if age <= 32.0 => Outcome::pass(seen),
        _ => Outcome::warn(seen).and("later than 30 s"),
    }
}
