//! What is compressed together.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-RES-05",
    title: "Compression keeps no context",
    category: Category::Resources,
    severity: Severity::Low,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[310], asvs: &[], url: "https://www.rfc-editor.org/rfc/rfc7692#section-8" },
    what: "Repeats the good handshake with an offer of `permessage-deflate` and reads what the target makes of it.",
    why: "Where messages share a compression context, a secret and what an attacker had echoed are compressed together, \
          and the length tells him what he guessed right (CRIME). Each context also holds memory.",
    remedy: "Leave compression off, or answer with `server_no_context_takeover`.",
    traps: "Compression alone is no such leak: it takes TLS and input that comes back. Without both it is worth a word.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let offer = "permessage-deflate; client_max_window_bits";
    let request = probe.request().without("Sec-WebSocket-Extensions").header("Sec-WebSocket-Extensions", offer);
    let socket = match probe.handshake(&request).await {
        Handshake::Opened(socket) => socket,
        Handshake::Refused(response) => return Outcome::pass(format!("compression offered: {response}")),
        Handshake::Limited(response) => return Outcome::unknown(format!("the target limits the audit: {response}")),
        Handshake::Dropped(end) => return Outcome::unknown(end.to_string()),
        Handshake::Unreached(why) => return Outcome::unknown(why.to_string()),
    };
    let chosen = socket.head.value("Sec-WebSocket-Extensions").unwrap_or_default().to_ascii_lowercase();
    socket.close().await;
    if !chosen.contains("deflate") {
        return Outcome::pass("compression offered, and not chosen");
    }
    let seen = format!("compression offered, chosen: {chosen:?}");
    if chosen.contains("server_no_context_takeover") {
        return Outcome::pass(seen);
    }
    // A template's answer holds what was sent: the input comes back.
    if probe.target().tls && probe.way().template.is_some() {
        Outcome::warn(seen).and("over TLS, and what is sent comes back in answers")
    } else {
        Outcome::warn(seen).at(Severity::Info).and("without TLS or without input that comes back nothing leaks by it")
    }
}
