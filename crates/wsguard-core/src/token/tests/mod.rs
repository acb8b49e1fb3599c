//! Tests of the whole path: tokens made elsewhere, and tokens made to deceive.

pub(super) mod fixtures;
mod forms;
mod keys;
mod noise;
mod signatures;

use aws_lc_rs::hmac;
use base64::Engine as _;

use self::fixtures as fx;
use super::*;
use crate::time::UnixMs;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const PAYLOAD: &str = r#"{"sub":"ann","exp":1700000900}"#;

fn ring(files: &[&str]) -> KeyRing {
    KeyRing::new(files.iter().map(|file| Key::parse("test", file.as_bytes()).unwrap()).collect()).unwrap()
}

/// One key of each algorithm.
fn full_ring() -> KeyRing {
    ring(&[fx::ED25519_PUBLIC, fx::P256_PUBLIC, fx::RSA_PUBLIC, fx::HS256_SECRET])
}

fn outcome(ring: &KeyRing, token: &str) -> Result<Claims, TokenError> {
    verify(ring, &TokenPolicy::default(), NOW, token)
}

fn secret() -> Vec<u8> {
    BASE64URL.decode(fx::HS256_SECRET.trim_end().rsplit_once(':').unwrap().1).unwrap()
}

/// Signs any header and payload with any HMAC key, as an attacker or a careless issuer would.
fn hs256(secret: &[u8], header: &str, payload: &str) -> String {
    let message = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", BASE64URL.encode(tag))
}

fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn algorithm_names_are_exact() {
    for (name, want) in [
        ("EdDSA", Some(Algorithm::EdDsa)),
        ("ES256", Some(Algorithm::Es256)),
        ("HS256", Some(Algorithm::Hs256)),
        ("RS256", Some(Algorithm::Rs256)),
        ("none", None),
        ("hs256", None),
        ("HS256 ", None),
        ("PS256", None),
        ("", None),
    ] {
        assert_eq!(Algorithm::from_name(name), want, "{name:?}");
    }
}

#[test]
fn fingerprint_is_sha256_of_the_text() {
    // FIPS 180-2, appendix B.1.
    let want = [
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03,
        0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
    ];
    assert_eq!(fingerprint("abc"), want);
}
