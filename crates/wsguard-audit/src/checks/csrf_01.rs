//! A page of a stranger.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-CSRF-01",
    title: "Foreign Origin refused",
    category: Category::Csrf,
    severity: Severity::High,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[1385], asvs: &["4.4.2"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-10.2" },
    what: "Repeats the good handshake with an Origin that the server cannot know, `https://wsguard-audit.invalid`, and \
           looks whether it is refused, closed soon after, or served.",
    why: "Browsers send cookies, and reach servers of the local network, from any page. Where the Origin is not \
          compared, any page can open a socket as the visitor (cross-site WebSocket hijacking).",
    remedy: "Compare Origin with an exact allowlist before the upgrade, and answer 403 to every other.",
    traps: "A credential that script must add makes a foreign Origin harmless by itself: then `warn`, not `fail`. A \
            server that looks at the Origin after the upgrade closes late: an open socket is watched for 2 s. A server \
            that is meant for every page: `--public`.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    foreign(probe, FOREIGN).await
}

/// A name that resolves nowhere (RFC 6761 section 6.4), so that no list has it.
pub(super) const FOREIGN: &str = "https://wsguard-audit.invalid";

/// The good handshake from a page of `origin`, judged by what a page could do with it.
pub(super) async fn foreign(probe: &Probe, origin: &str) -> Outcome {
    let entry = probe.enter_as_self(&probe.request().origin(origin)).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = format!("Origin {origin}: {}", entry.shown());
    let baseline = format!("good handshake: {}", probe.way().baseline.clone().unwrap_or_default());
    match entry {
        Entry::Denied(_) => Outcome::pass(seen).and(baseline),
        _ if probe.way().is_ambient(probe.options()) => {
            Outcome::fail(seen).and("the credential is a cookie, which a browser sends from any page").and(baseline)
        }
        _ if probe.way().asks_credential => Outcome::warn(seen)
            .and("the credential is one that a foreign page cannot send, so that this opens nothing by itself")
            .and(baseline),
        _ if probe.options().public => Outcome::skipped("the target is meant for everybody (--public)").and(seen),
        // Nothing but the network keeps a stranger out, and the visitor's browser is inside of it.
        _ if probe.target().is_private() => Outcome::fail(seen)
            .and("the target asks for no credential and is on a private address, which any page reaches from a browser there")
            .and(baseline),
        _ => Outcome::warn(seen).and("the target asks for no credential: everybody can use it anyway").and(baseline),
    }
}
