//! Tokens: none passes that our key did not sign, and what passes means to `jsonwebtoken` what it means to us.
//!
//! Input: a byte that chooses what is done, then a token as it arrives (0), or a header and a payload with a line break
//! between them, signed with our secret (1), our Ed25519 key (2), or a stranger's secret (3).

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken as judge;
use serde_json::Value as Tree;
use wsguard_core::time::UnixMs;
use wsguard_core::token::{Key, KeyRing, SigningKey, TokenPolicy, verify};

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const SECRET: &str = "wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const STRANGER: &str = "wsguard-hs256:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// RFC 8037 §A.1: published, and worth nothing.
const ED25519: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";

struct Keys {
    ring: KeyRing,
    ours: [SigningKey; 2],
    stranger: SigningKey,
    judges: [(judge::Algorithm, judge::DecodingKey); 2],
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let signing = |text: &str| SigningKey::parse("fuzz", text.as_bytes()).expect("a good key");
    let verifying = |text: &str| Key::parse("fuzz", text.as_bytes()).expect("a good key");
    let ours = [signing(SECRET), signing(ED25519)];
    let public = ours[1].public_pem().expect("a key pair");
    let secret = URL_SAFE_NO_PAD.decode(&SECRET[14..]).expect("base64url");
    Keys {
        ring: KeyRing::new(vec![verifying(SECRET), verifying(ED25519)]).expect("a good ring"),
        ours,
        stranger: signing(STRANGER),
        judges: [
            (judge::Algorithm::HS256, judge::DecodingKey::from_secret(&secret)),
            (judge::Algorithm::EdDSA, judge::DecodingKey::from_ed_pem(public.as_bytes()).expect("a good key")),
        ],
    }
});

/// Panics where a promise of the verification does not hold for `data`.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let token = match (choice % 4, &KEYS.ours) {
        (0, _) => {
            let Ok(token) = std::str::from_utf8(rest) else { return };
            token.to_owned()
        }
        (1, [secret, _]) => sign(secret, rest),
        (2, [_, pair]) => sign(pair, rest),
        (_, _) => sign(&KEYS.stranger, rest),
    };
    let Ok(claims) = verify(&KEYS.ring, &TokenPolicy::default(), NOW, &token) else { return };

    assert_ne!(choice % 4, 3, "a stranger's token passed");
    assert!(claims.expires_at.0 + 5_000 > NOW.0, "an expired token passed");
    let read = KEYS.judges.iter().find_map(|(algorithm, key)| {
        let mut rules = judge::Validation::new(*algorithm);
        rules.validate_exp = false;
        rules.validate_aud = false;
        judge::decode::<Tree>(&token, key, &rules).ok()
    });
    let read = read.expect("accepted by us alone").claims;
    assert_eq!(read["sub"].as_str(), Some(&*claims.subject), "another subject");
    assert!(read["exp"].is_number(), "no expiry");
    let roles: Vec<&str> = read["roles"].as_array().into_iter().flatten().filter_map(Tree::as_str).collect();
    assert!(claims.roles.iter().map(|role| &**role).eq(roles), "other roles");
}

/// A token of whatever header and payload, with a good signature of `key`.
fn sign(key: &SigningKey, parts: &[u8]) -> String {
    let at = parts.iter().position(|byte| *byte == b'\n').unwrap_or(parts.len());
    let (header, payload) = parts.split_at(at);
    let message =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload.get(1..).unwrap_or_default()));
    let signature = key.sign(message.as_bytes()).expect("a signature");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
