//! Nobody.

use super::auth_02::before_login;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::{Outcome, Status};
use crate::probe::Probe;
use crate::probe::entry::{Denial, Entry};

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-01",
    title: "Anonymous use refused",
    category: Category::Authentication,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[306], asvs: &["4.4.3"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-10.5" },
    what: "Repeats the good handshake without any credential, then sends the message that the good connection gets an \
           answer to.",
    why: "A WebSocket is a door of its own: the login of the page around it protects nothing behind it.",
    remedy: "Authenticate each connection, in the handshake or by its first message, before anything is handled.",
    traps: "A 101 alone is no failure, since many servers authenticate by the first message: only an answer is. A \
            server that is meant for everybody: `--public`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    if probe.options().public {
        return Outcome::skipped("the target is meant for everybody (--public)");
    }
    let entry = probe.enter(&probe.request_as(None), None).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = format!("without a credential: {}", entry.shown());
    match entry {
        // Refused in the greeting: a peer that leaves the greeting out may still be served.
        Entry::Denied(Denial::Message(..) | Denial::Closed(_)) if probe.way().template.is_some() => {
            let rude = before_login(probe).await;
            if rude.status == Status::Fail { rude.and(seen) } else { Outcome::pass(seen).and_all(rude.evidence) }
        }
        Entry::Denied(_) => Outcome::pass(seen),
        Entry::Served { .. } => Outcome::fail(seen),
        _ if probe.way().template.is_none() => Outcome::unknown(seen)
            .and("whether the open connection is of use was not found out")
            .settled_by("--send and --expect"),
        _ => Outcome::warn(seen).and("nothing was answered, and the connection was not closed either"),
    }
}
