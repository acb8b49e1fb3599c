//! Who is behind it.

use std::fmt::Write as _;

use super::libraries::recognised;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::response::Response;
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-DISC-02",
    title: "No known holes by fingerprint",
    category: Category::Disclosure,
    severity: Severity::Info,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[1104], asvs: &["15.2.1"], url: "https://cwe.mitre.org/data/definitions/1104.html" },
    what: "Compares the answers to the good handshake, to version 99 and to a missing key, headers in their order and \
           bodies, with those of known libraries, and lists published holes of the versions that this can be.",
    why: "Whoever looks for a target of a published hole looks like this.",
    remedy: "Update the library; see for each hole named whether the version in use has it.",
    traps: "Distributions mend old versions without a new number, and answers can be changed: never a failure, and at most \
            `candidate`. A library whose version does not show is `unknown`, with the versions that would settle it.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let changed = [
        probe.request(),
        probe.request().set("Sec-WebSocket-Version", "99"),
        probe.request().without("Sec-WebSocket-Key"),
    ];
    let mut answers = Vec::new();
    for request in changed {
        match probe.handshake(&request).await {
            Handshake::Opened(socket) => {
                answers.push(written(&socket.head));
                socket.close().await;
            }
            Handshake::Refused(response) => answers.push(written(&response)),
            Handshake::Limited(response) => {
                return Outcome::unknown(format!("the target limits the audit: {response}"))
                    .settled_by("another run, later");
            }
            Handshake::Dropped(_) => {}
            Handshake::Unreached(why) => return Outcome::unknown(why.to_string()),
        }
    }
    if answers.is_empty() {
        return Outcome::unknown("no answer came to any handshake");
    }
    let Some(found) = recognised(&answers) else {
        return Outcome::pass(format!("{} answers, none like that of a known library", answers.len()));
    };
    let shown = found.shown();
    let (sure, open) = found.holes();
    if !sure.is_empty() {
        return Outcome::warn(format!("looks like {shown}: {}", sure.join(", "))).candidate().and_all(open);
    }
    if open.is_empty() {
        return Outcome::pass(format!("looks like {shown}: none of the holes that are known here"));
    }
    Outcome::unknown(format!("looks like {shown}: {}", open.join(", "))).settled_by("the version that is installed")
}

/// Status, headers in their order with names in lower case, body.
fn written(response: &Response) -> String {
    let mut text = format!("{}\n", response.status);
    for (name, value) in &response.headers {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}: {value}", name.to_ascii_lowercase());
    }
    text.push('\n');
    text.push_str(&response.text());
    text
}
