//! Tokens that were tampered with.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::jwt::{Jwt, encode, join, sign};

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-04",
    title: "JWTs verified",
    category: Category::Authentication,
    severity: Severity::Critical,
    needs: &[Need::Baseline, Need::Credential, Need::Jwt],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs {
        cwe: &[347],
        asvs: &["9.1.1", "9.1.2", "9.1.3"],
        url: "https://www.rfc-editor.org/rfc/rfc8725#section-2.1",
    },
    what: "Repeats the good handshake with changed forms of the token: `alg` none, the signature cut off, one bit of it \
           flipped, another subject under the old signature, HS256 with an empty secret, and a signature by a key that \
           the token itself carries (`jwk`).",
    why: "A token whose signature is not verified, or verified with what the token says, is a form that anybody fills in.",
    remedy: "Fix algorithm and key on the server; refuse `none`, `jwk`, `jku`, `x5u` and unknown `crit`.",
    traps: "Tokens that are no JWTs are left alone. A cookie that authenticates beside the token would hide a refusal: \
            only the changed token is sent.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let token = probe.options().token.clone().unwrap_or_default();
    let Some(jwt) = Jwt::parse(&token) else { return Outcome::skipped("the token is not a JWT") };
    let mut refused = Vec::new();
    for (number, (name, forged)) in forgeries(&token, &jwt).into_iter().enumerate() {
        super::auth_13::amends(probe, number).await;
        let entry = probe.enter(&probe.request_as(Some(&forged)), Some(&forged)).await;
        if let Some(outcome) = entry.undecided() {
            return outcome.and_all(refused);
        }
        let seen = format!("{name}: {}", entry.shown());
        match entry {
            Entry::Denied(_) => refused.push(seen),
            Entry::Served { .. } => return Outcome::fail(seen).and_all(refused),
            _ if probe.way().template.is_none() && probe.way().placement.is_in_handshake() => {
                return Outcome::fail(seen).and_all(refused).probable();
            }
            _ => {
                return Outcome::warn(seen)
                    .and("nothing was answered, and the connection was not closed either")
                    .and_all(refused);
            }
        }
    }
    Outcome::pass(format!("{} changed forms refused", refused.len())).and_all(refused)
}

/// Changed forms of a token, none of which a server may take.
fn forgeries(token: &str, jwt: &Jwt) -> Vec<(&'static str, String)> {
    let with = |name: &str, value: Value| {
        let mut header = jwt.header.clone();
        if let Some(members) = header.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
        header
    };
    let mut other = jwt.claims.clone();
    if let Some(members) = other.as_object_mut() {
        members.insert("sub".to_owned(), json!("wsguard-audit"));
    }
    let mut flipped = jwt.signature.clone();
    if let Some(first) = flipped.first_mut() {
        *first ^= 1;
    }
    let none = with("alg", json!("none"));
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let claims = signed.split_once('.').map_or("", |(_, claims)| claims);
    let mut list = vec![
        ("alg none", format!("{}.{claims}.", encode(&none))),
        ("no signature", format!("{signed}.")),
        ("one bit of the signature flipped", format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&flipped))),
        ("another subject, the old signature", {
            let (header, _) = signed.split_once('.').unwrap_or_default();
            format!("{header}.{}.{signature}", encode(&other))
        }),
        ("HS256 with an empty secret", sign(&with("alg", json!("HS256")), &jwt.claims, hmac::HMAC_SHA256, b"")),
    ];
    if let Ok(pair) = Ed25519KeyPair::generate() {
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let mut header = with("alg", json!("EdDSA"));
        if let Some(members) = header.as_object_mut() {
            members.insert("jwk".to_owned(), json!({"kty": "OKP", "crv": "Ed25519", "x": x}));
            members.remove("kid");
        }
        let signed = format!("{}.{}", encode(&header), encode(&jwt.claims));
        list.push((
            "signed by a key that it carries itself",
            join(&header, &jwt.claims, pair.sign(signed.as_bytes()).as_ref()),
        ));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_differs_and_is_a_token() {
        let token = sign(&json!({"alg": "HS256", "typ": "JWT"}), &json!({"sub": "ann"}), hmac::HMAC_SHA256, b"secret");
        let jwt = Jwt::parse(&token).unwrap();
        let list = forgeries(&token, &jwt);
        assert_eq!(list.len(), 6);
        for (name, forged) in list {
            assert_ne!(forged, token, "{name}");
            let parsed = Jwt::parse(&forged).unwrap_or_else(|| panic!("{name}: {forged}"));
            assert!(!(parsed.algorithm() == "HS256" && parsed.is_signed_with(b"secret")), "{name}");
        }
    }
}
