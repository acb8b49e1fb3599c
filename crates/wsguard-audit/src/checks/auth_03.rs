//! Somebody with a token of his own invention.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-03",
    title: "Invented token refused",
    category: Category::Authentication,
    severity: Severity::Critical,
    needs: &[Need::Baseline, Need::Token, Need::Credential],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[287], asvs: &["7.2.1"], url: "https://cwe.mitre.org/data/definitions/287.html" },
    what: "Repeats the good handshake with a token of the same shape in the same place whose letters and digits are \
           drawn by lot.",
    why: "Servers have been seen that only look whether a token is there.",
    remedy: "Verify the token, in full, before the connection counts as authenticated.",
    traps: "A server that ignores tokens altogether shows no difference without one either: then the check needs a \
            target that asks for a credential, and WSA-AUTH-01 is the one that fails.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let Some(token) = probe.options().token.clone() else { return Outcome::unknown("needs a token") };
    let invented = invented(&token);
    let entry = probe.enter(&probe.request_as(Some(&invented)), Some(&invented)).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = format!("with an invented token: {}", entry.shown());
    match entry {
        Entry::Denied(_) => Outcome::pass(seen),
        Entry::Served { .. } => Outcome::fail(seen),
        // Without an answer to compare, that the socket stays open is all that the good token gets as well.
        _ if probe.way().template.is_none() && probe.way().placement.is_in_handshake() => {
            Outcome::fail(seen).probable()
        }
        _ => Outcome::warn(seen).and("nothing was answered, and the connection was not closed either"),
    }
}

/// A word of the same shape: each letter and digit another one by lot.
pub(super) fn invented(token: &str) -> String {
    let pick = |alphabet: &[u8]| {
        let lot = usize::from(u16::from_be_bytes(crate::probe::random::<2>()));
        alphabet.get(lot.checked_rem(alphabet.len()).unwrap_or(0)).copied().map_or('x', char::from)
    };
    token
        .chars()
        .map(|letter| match letter {
            'a'..='z' => pick(b"abcdefghijklmnopqrstuvwxyz"),
            'A'..='Z' => pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            '0'..='9' => pick(b"0123456789"),
            other => other,
        })
        .collect()
}
