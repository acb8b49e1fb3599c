//! Yesterday's token.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-05",
    title: "Expired token refused",
    category: Category::Authentication,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Credential, Need::ExpiredToken],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[613], asvs: &["9.2.1"], url: "https://www.rfc-editor.org/rfc/rfc7519#section-4.1.4" },
    what: "Repeats the good handshake with the token of `--expired-token` in the place of the good one.",
    why: "A token that never ends is one that a thief keeps.",
    remedy: "Compare `exp` with the clock at the handshake, with a leeway of seconds.",
    traps: "Clocks differ: a token that ended within the last 5 min proves nothing.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let Some(token) = probe.options().expired_token.clone() else {
        return Outcome::unknown("needs a token that has ended");
    };
    if let Some(jwt) = crate::probe::jwt::Jwt::parse(&token)
        && let Some(exp) = jwt.expires()
    {
        let now = crate::probe::tls::now().as_secs();
        if exp.saturating_add(300) > now {
            return Outcome::unknown("the token of --expired-token has not ended for 5 min yet")
                .settled_by("--expired-token");
        }
    }
    with_token(probe, &token, "with the ended token").await
}

/// The good handshake with another token, which must be refused.
pub(super) async fn with_token(probe: &Probe, token: &str, name: &str) -> Outcome {
    let entry = probe.enter(&probe.request_as(Some(token)), Some(token)).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = format!("{name}: {}", entry.shown());
    match entry {
        Entry::Denied(_) => Outcome::pass(seen),
        Entry::Served { .. } => Outcome::fail(seen),
        _ if probe.way().template.is_none() && probe.way().placement.is_in_handshake() => {
            Outcome::fail(seen).probable()
        }
        _ => Outcome::warn(seen).and("nothing was answered, and the connection was not closed either"),
    }
}
