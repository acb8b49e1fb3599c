//! Whether the target outlived what it was sent.

use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

/// How the target is after a probe.
pub(super) enum After {
    /// A new good connection is served.
    Serves(String),
    /// It lives and serves no more as it did.
    Hurt(Outcome),
    /// Nothing was learnt.
    Unclear(Outcome),
}

/// Opens a new good connection, and a second time after a rest where the first is not served.
pub(super) async fn after(probe: &Probe, what: &str) -> After {
    let mut entry = probe.enter_as_self(&probe.request()).await;
    if !is_served(probe, &entry) {
        probe.wait(5.0).await;
        entry = probe.enter_as_self(&probe.request()).await;
    }
    let shown = format!("{what}; then a good connection: {}", entry.shown());
    match entry {
        entry if is_served(probe, &entry) => After::Serves(shown),
        Entry::Unreached(why) if !why.contains("used up") && !why.contains("again and again") => {
            After::Hurt(Outcome::fail(shown))
        }
        Entry::Open { .. } => After::Hurt(Outcome::fail(shown).probable()),
        _ => After::Unclear(Outcome::unknown(shown).settled_by("another run, later")),
    }
}

fn is_served(probe: &Probe, entry: &Entry) -> bool {
    match entry {
        Entry::Served { .. } => true,
        Entry::Open { .. } => probe.way().template.is_none(),
        _ => false,
    }
}
