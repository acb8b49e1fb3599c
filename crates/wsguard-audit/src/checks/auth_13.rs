//! Tokens that everybody knows.

use super::auth_03::invented;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-13",
    title: "Well-known tokens refused",
    category: Category::Authentication,
    severity: Severity::Critical,
    needs: &[Need::Baseline, Need::Credential],
    turn: Turn::Alone,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[1392, 798], asvs: &["6.3.2"], url: "https://cwe.mitre.org/data/definitions/1392.html" },
    what: "Repeats the good handshake with tokens that examples, tutorials and development modes use: `test_token`, \
           `admin`, `changeme` and a few more.",
    why: "What was put in for development stays in, and everybody has read the same tutorial.",
    remedy: "Make tokens per account, from a generator; let development modes exist on loopback alone.",
    traps: "A target that takes any token shows nothing (WSA-AUTH-03 says so): an invented one must be refused first.",
};

/// Few, since each costs the target a refusal.
const WELL_KNOWN: [&str; 7] = ["test_token", "admin", "changeme", "test", "token", "secret", "dev"];

pub(super) async fn run(probe: &Probe) -> Outcome {
    if let Some(own) = probe.options().token.as_deref().filter(|own| WELL_KNOWN.contains(own)) {
        let entry = probe.enter_as_self(&probe.request()).await;
        if let Some(outcome) = entry.undecided() {
            return outcome;
        }
        // The word is no secret, and the report masks what `--token` was.
        return match entry {
            Entry::Denied(denial) => Outcome::unknown(format!("the token of --token was refused: {denial}")),
            entry => Outcome::fail(format!(
                "the token of --token is one that everybody knows (number {} of the list), and is taken: {}",
                position(own),
                entry.shown()
            )),
        };
    }
    let control = invented("test_token");
    let entry = probe.enter(&probe.request_as(Some(&control)), Some(&control)).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    if let Entry::Served { .. } = entry {
        return Outcome::unknown("an invented token is taken as well (WSA-AUTH-03)");
    }
    let control_is_in = entry.is_in();
    for (number, token) in WELL_KNOWN.into_iter().enumerate() {
        // The invented one is bad as well.
        amends(probe, number.saturating_add(1)).await;
        let entry = probe.enter(&probe.request_as(Some(token)), Some(token)).await;
        if let Some(outcome) = entry.undecided() {
            return outcome;
        }
        let seen = format!("token {token:?}: {}", entry.shown());
        match entry {
            Entry::Denied(_) => {}
            Entry::Served { .. } => return Outcome::fail(seen),
            _ if !control_is_in => return Outcome::fail(seen).probable(),
            _ => {}
        }
    }
    if control_is_in {
        return Outcome::unknown("neither an invented nor a well-known token is refused or answered")
            .settled_by("--send and --expect");
    }
    Outcome::pass(format!("{} well-known tokens refused", WELL_KNOWN.len()))
}

/// A good handshake after every two bad ones: what counts failed attempts in a row begins anew, before the third strike,
/// and the rest of the run is not locked out.
pub(super) async fn amends(probe: &Probe, bad: usize) {
    if bad > 0 && bad.is_multiple_of(2) {
        let credential = probe.options().token.clone();
        if let Entry::Open { session, .. } = probe.admit(&probe.request(), credential.as_deref()).await {
            session.close().await;
        }
    }
}

fn position(token: &str) -> usize {
    WELL_KNOWN.iter().position(|known| *known == token).map_or(0, |at| at.saturating_add(1))
}
