//! Tokens: strict verification of compact JWS JWTs; keys and time are given from outside.
//!
//! Attacks: algorithm `none` and algorithm confusion (CWE-347: a public key used as an HMAC secret), keys named or
//! carried by the token itself (`jku`, `x5u`, `jwk`, `x5c`), unprotected extensions (`crit`, `b64`), claims that two
//! parsers read differently (duplicate members), encodings that decode to the same bytes (padding, spare bits), and
//! tokens meant for somebody else (`iss`, `aud`).
//!
//! The rules that make these fail, whatever the token says:
//!
//! - The key fixes the algorithm ([`Key`]); the header's `alg` must repeat it, byte for byte.
//! - Nothing of the payload is decoded before the signature over it holds.
//! - Every member is read once, by one parser that refuses duplicates, and every length has a limit.
//! - What the token's bearer learns is never more than "no": the cause ([`TokenError`]) is for the operator's log.
//!
//! Signatures come from `aws-lc-rs` directly. The usual library above it, `jsonwebtoken`, reads the system clock when
//! it validates, lets an unknown `crit` or a duplicate member pass, and parses the key anew for each token; here keys
//! are parsed once, at load. It stays as an independent judge in the tests.
//!
//! # One token, many spellings
//! An ECDSA signature `(r, s)` has a twin `(r, n - s)` that anybody can compute, so an ES256 token can be respelled
//! without the key. [`fingerprint`] names a spelling, not a token: bind caches and sessions with it, but revoke by
//! subject, `jti` or time of issue, never by fingerprint. The other algorithms have one spelling a signature.
//!
//! # Example
//! ```
//! use wsguard_core::time::UnixMs;
//! use wsguard_core::token::{Key, KeyRing, MintClaims, SigningKey, TokenError, TokenPolicy, mint, verify};
//!
//! let file = b"wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";
//! let token = mint(&SigningKey::parse("demo.key", file)?, &MintClaims::new("ann", UnixMs(1_700_000_900_000)))?;
//!
//! let ring = KeyRing::new(vec![Key::parse("demo.key", file)?])?;
//! let policy = TokenPolicy::default();
//! let claims = verify(&ring, &policy, UnixMs(1_700_000_000_000), &token)?;
//! assert_eq!(&*claims.subject, "ann");
//! assert_eq!(verify(&ring, &policy, UnixMs(1_700_001_000_000), &token), Err(TokenError::Expired));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Specification
//! RFC 7515 (JWS), RFC 7518 (algorithms), RFC 7519 (JWT), RFC 8037 (EdDSA), RFC 8725 (best practice), RFC 9068 §2.1
//! (`at+jwt`); OWASP ASVS 5.0 9.1.1 to 9.2.3

mod cache;
mod claims;
mod csrf;
mod jwk;
mod key;
mod key_file;
mod mint;
mod ring;
mod strict;
mod verify;

#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::digest;
use base64::engine::general_purpose::{GeneralPurpose, URL_SAFE_NO_PAD};

pub use cache::{CACHED_TOKEN_BYTES_MAX, VERIFIED_MAX, Verified};
pub use claims::{
    AUDIENCES_MAX, CLAIM_CHARS_MAX, Claims, ROLE_CHARS_MAX, ROLES_MAX, SCOPE_CHARS_MAX, SCOPES_MAX, SUBJECT_CHARS_MAX,
};
pub use csrf::{CSRF_TOKEN_CHARS, CsrfKey, CsrfToken};
pub use jwk::{KEY_SET_BYTES_MAX, KEY_SET_KEYS_MAX, KeySet};
pub use key::{Key, SigningKey};
pub use key_file::{
    KEY_FILE_BYTES_MAX, KEY_ID_CHARS_MAX, KeyError, KeyFault, SECRET_BYTES_MAX, SECRET_BYTES_MIN, encode_private_pem,
    encode_secret,
};
pub use mint::{MintClaims, MintError, mint};
pub use ring::{KEYS_MAX, KEYS_TRIED_MAX, KeyRing, KeyRingError};
pub use verify::{HEADER_CHARS_MAX, Leeway, LeewayTooLong, TOKEN_BYTES_MAX, TokenError, TokenPolicy, verify};

/// Base64url as JWS wants it (RFC 7515 §2): no padding, no other alphabet, no white space, spare bits zero.
/// Anything laxer would give one token many spellings.
const BASE64URL: GeneralPurpose = URL_SAFE_NO_PAD;

/// The signature algorithms that wsguard knows. A key has exactly one of them; a token cannot choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037 §3.1). The default of `wsguard keygen`.
    EdDsa,
    /// ECDSA over P-256 with SHA-256, signature as the fixed 64 bytes `r || s` (RFC 7518 §3.4).
    Es256,
    /// HMAC with SHA-256 (RFC 7518 §3.2), secrets of [`SECRET_BYTES_MIN`] bytes or more.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3), moduli of 2,048 to 8,192 bits. To verify only.
    Rs256,
}

impl Algorithm {
    /// Returns the name as it stands in a token's `alg`: `EdDSA`, `ES256`, `HS256`, `RS256`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
        }
    }

    /// Returns the algorithm of this exact name; names are case-sensitive (RFC 7515 §4.1.1), so `none`, `NONE` and
    /// `eddsa` are all unknown.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::EdDsa, Self::Es256, Self::Hs256, Self::Rs256].into_iter().find(|known| known.as_str() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns the SHA-256 of the token's text: what sessions and CSRF tokens are bound to, so that no token is kept.
///
/// Not an identity for revocation: see "One token, many spellings" in the module's documentation.
pub fn fingerprint(token: &str) -> [u8; 32] {
    sha256(token.as_bytes())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // SHA-256 is 32 bytes long, so the zip covers all of both.
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    out
}
