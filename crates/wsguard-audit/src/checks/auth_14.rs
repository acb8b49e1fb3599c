//! A secret that can be guessed at home.

use serde_json::json;

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::jwt::{Jwt, sign};
use crate::probe::secrets;

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-14",
    title: "Signing secret not in the dictionary",
    category: Category::Authentication,
    severity: Severity::Critical,
    needs: &[Need::Jwt],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[521, 331], asvs: &["7.2.3"], url: "https://www.rfc-editor.org/rfc/rfc8725#section-3.5" },
    what: "Tries common secrets on the signature of the given token, without the network. Where one fits, sends a token \
           for another subject and one that ended an hour ago, signed with it.",
    why: "Whoever holds one token can try secrets at home, millions a second, and then write tokens for everybody.",
    remedy: "Sign with a random key of 32 bytes or more, or with a key pair; change the key now and let the old tokens end.",
    traps: "Only HMAC tokens have such a secret: the check does not apply to others. That no word of a small dictionary \
            fits proves no strength: the pass says how many were tried.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let token = probe.options().token.clone().unwrap_or_default();
    let Some(jwt) = Jwt::parse(&token) else { return Outcome::skipped("the token is not a JWT") };
    let Some(algorithm) = jwt.hmac() else {
        return Outcome::skipped(format!("the token is signed with {}, which has no secret to guess", jwt.algorithm()));
    };
    let (count, found) = secrets::search(&jwt);
    let Some(secret) = found else {
        return Outcome::pass(format!("none of {count} common secrets signs the token"));
    };
    let shown: String = secret.chars().take(2).collect();
    let mut outcome = Outcome::fail(format!(
        "one of {count} common secrets signs the token: {} characters, beginning with {shown:?}",
        secret.chars().count()
    ));
    let now = probe_now();
    for (name, change) in [
        ("a token for another subject", json!({"sub": "wsguard-audit"})),
        ("a token that ended an hour ago", json!({"exp": now.saturating_sub(3_600), "iat": now.saturating_sub(7_200)})),
    ] {
        let mut claims = jwt.claims.clone();
        if let (Some(claims), Some(change)) = (claims.as_object_mut(), change.as_object()) {
            claims.extend(change.clone());
        }
        let forged = sign(&jwt.header, &claims, algorithm, secret.as_bytes());
        let entry = probe.enter(&probe.request_as(Some(&forged)), Some(&forged)).await;
        let what = if matches!(entry, Entry::Served { .. } | Entry::Open { .. }) { "taken" } else { "not taken" };
        outcome = outcome.and(format!("{name}, signed with it: {what} ({})", entry.shown()));
    }
    outcome
}

fn probe_now() -> u64 {
    crate::probe::tls::now().as_secs()
}
