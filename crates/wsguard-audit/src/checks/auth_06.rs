//! A token that is meant for somebody else.

use super::auth_05::with_token;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-06",
    title: "Audience of the token compared",
    category: Category::Authentication,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Credential, Need::ForeignToken],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[345], asvs: &["9.2.2", "9.2.3"], url: "https://www.rfc-editor.org/rfc/rfc7519#section-4.1.3" },
    what: "Repeats the good handshake with the token of `--foreign-token`: a good one of the same issuer for another \
           audience, or of another kind, such as an ID token.",
    why: "Where the audience is not compared, every service that is shown a token can use it here.",
    remedy: "Demand the own name in `aud`, and the expected `typ`.",
    traps: "Services that share an audience by design.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let Some(token) = probe.options().foreign_token.clone() else { return Outcome::unknown("needs a foreign token") };
    with_token(probe, &token, "with the foreign token").await
}
