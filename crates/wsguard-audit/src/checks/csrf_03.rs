//! A program that says it is no page.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-CSRF-03",
    title: "Missing Origin refused where the credential is a cookie",
    category: Category::Csrf,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[346], asvs: &["4.4.2"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-10.2" },
    what: "Repeats the good handshake without an Origin.",
    why: "A check of the form \"no Origin, or one of the list\" is what extensions, embedded browsers and gateways that \
          strip the header pass through; with a cookie nothing else tells the visitor's page from a foreign one.",
    remedy: "Where the credential is a cookie, refuse a handshake without an Origin. Programs bring a token instead.",
    traps: "Programs send no Origin and must be served with a token: then the absence is right, and the check passes. \
            Browsers always send one, so that this alone is never worse than medium.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let entry = probe.enter_as_self(&probe.request().without("Origin")).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = format!("without an Origin: {}", entry.shown());
    match entry {
        Entry::Denied(_) => Outcome::pass(seen),
        _ if !probe.way().is_ambient(probe.options()) => {
            Outcome::pass(seen).and("the credential is no cookie: programs need this, and a page cannot do it")
        }
        _ if probe.target().is_private() => {
            Outcome::fail(seen).and("with a cookie, on a private address that every page of a browser there can reach")
        }
        _ => Outcome::warn(seen).and("with a cookie"),
    }
}
