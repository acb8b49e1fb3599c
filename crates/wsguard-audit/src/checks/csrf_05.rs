//! The right page over the wrong scheme.

use super::csrf_01::FOREIGN;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-CSRF-05",
    title: "Scheme of the Origin compared",
    category: Category::Csrf,
    severity: Severity::Medium,
    needs: &[Need::Baseline],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[346], asvs: &["4.4.2"], url: "https://www.rfc-editor.org/rfc/rfc6454#section-5" },
    what: "Repeats the good handshake with the own host and the other scheme: `http://` for `https://`, or the reverse.",
    why: "Whoever carries the visitor's traffic can put a page under `http://` of any name, and its Origin differs from \
          the real one in the scheme alone.",
    remedy: "Put whole origins on the list, scheme included.",
    traps: "Development on `http://` that lists both: then the outcome is `warn` all the same. Where every Origin is \
            let in the check does not apply.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let Some(own) = probe.way().origin.clone() else {
        return Outcome::unknown("the good handshake has no Origin").settled_by("--origin");
    };
    let other = match own.split_once("://") {
        Some(("https", authority)) => format!("http://{authority}"),
        Some((_, authority)) => format!("https://{authority}"),
        None => return Outcome::unknown(format!("{own} has no scheme")).settled_by("--origin"),
    };
    nearly(probe, &other).await
}

/// An origin that differs from the right one in a part: nothing to see where every Origin is let in.
pub(super) async fn nearly(probe: &Probe, origin: &str) -> Outcome {
    let entry = probe.enter_as_self(&probe.request().origin(origin)).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = format!("Origin {origin}: {}", entry.shown());
    if matches!(entry, Entry::Denied(_)) {
        return Outcome::pass(seen);
    }
    let foreign = probe.enter_as_self(&probe.request().origin(FOREIGN)).await;
    match foreign {
        Entry::Denied(denial) => Outcome::warn(seen).and(format!("Origin {FOREIGN}: {denial}")),
        Entry::Limited(_) | Entry::Unreached(_) => Outcome::unknown(seen).and(foreign.shown()),
        _ => Outcome::skipped(format!("every Origin is let in (WSA-CSRF-01): {}", foreign.shown())),
    }
}
