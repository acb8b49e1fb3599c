//! Minting: for `wsguard token`, the development server and tests. The guard itself never signs a JWT.

use base64::Engine as _;
use serde::Serialize;

use super::claims::Payload;
use super::verify::{TOKEN_BYTES_MAX, TokenError};
use super::{BASE64URL, SigningKey};
use crate::json::Tape;
use crate::time::UnixMs;

/// What a new token shall say. Empty lists and `None` leave their claim out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MintClaims<'a> {
    /// `sub`
    pub subject: &'a str,
    /// `exp`, to the millisecond
    pub expires_at: UnixMs,
    /// `nbf`
    pub not_before: Option<UnixMs>,
    /// `iat`
    pub issued_at: Option<UnixMs>,
    /// `jti`
    pub id: Option<&'a str>,
    /// `iss`
    pub issuer: Option<&'a str>,
    /// `aud`, as one string
    pub audience: Option<&'a str>,
    /// `roles`
    pub roles: &'a [String],
    /// `scope`, its parts parted by single spaces
    pub scope: Option<&'a str>,
}

impl<'a> MintClaims<'a> {
    /// Makes the least that [`super::verify`] asks for; set the other fields as needed.
    pub const fn new(subject: &'a str, expires_at: UnixMs) -> Self {
        Self {
            subject,
            expires_at,
            not_before: None,
            issued_at: None,
            id: None,
            issuer: None,
            audience: None,
            roles: &[],
            scope: None,
        }
    }
}

/// Why a token could not be minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// [`super::verify`] would refuse these claims.
    #[error("mint a token: its claims would be refused ({0})")]
    ClaimsRefused(TokenError),
    /// The signature could not be made; for ES256 that includes a system without randomness.
    #[error("mint a token: the signature could not be made")]
    SigningFailed,
}

/// Signs a token that says `claims`. Its header names the key's id.
///
/// The result depends on the arguments alone for EdDSA and HS256. ES256 takes randomness inside the cryptographic
/// library, so every call gives another signature.
///
/// # Errors
/// Claims that [`super::verify`] would refuse by type or size (time and policy are not looked at), and signatures that
/// cannot be made.
pub fn mint(key: &SigningKey, claims: &MintClaims<'_>) -> Result<String, MintError> {
    let header = Header { alg: key.algorithm().as_str(), typ: "JWT", kid: key.verifying_key().id() };
    let payload = Claims {
        iss: claims.issuer,
        sub: claims.subject,
        aud: claims.audience,
        exp: NumericDate::from(claims.expires_at),
        nbf: claims.not_before.map(NumericDate::from),
        iat: claims.issued_at.map(NumericDate::from),
        jti: claims.id,
        roles: claims.roles,
        scope: claims.scope,
    };
    let header = serde_json::to_vec(&header).map_err(|_| MintError::SigningFailed)?;
    let payload = serde_json::to_vec(&payload).map_err(|_| MintError::SigningFailed)?;
    Payload::parse(&payload, &mut Tape::new()).map_err(MintError::ClaimsRefused)?;

    let mut token = BASE64URL.encode(header);
    token.push('.');
    BASE64URL.encode_string(payload, &mut token);
    let signature = key.sign(token.as_bytes()).ok_or(MintError::SigningFailed)?;
    token.push('.');
    BASE64URL.encode_string(signature, &mut token);
    if token.len() > TOKEN_BYTES_MAX {
        return Err(MintError::ClaimsRefused(TokenError::TooLong));
    }
    Ok(token)
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    exp: NumericDate,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<NumericDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<NumericDate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

/// Whole seconds where that is exact, because some readers know no fractions.
#[derive(Serialize)]
#[serde(untagged)]
enum NumericDate {
    Whole(u64),
    Fraction(f64),
}

impl From<UnixMs> for NumericDate {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds up to the year 9999 are exact in a double")]
    fn from(time: UnixMs) -> Self {
        if time.0.is_multiple_of(1_000) { Self::Whole(time.0 / 1_000) } else { Self::Fraction(time.0 as f64 / 1_000.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::fixtures::{ED25519_PRIVATE, HS256_SECRET, P256_PRIVATE};
    use crate::token::{KeyRing, TokenPolicy, verify};

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    #[test]
    fn minted_tokens_verify_and_say_the_same() {
        let roles = ["editor".to_owned(), "r\"é".to_owned()];
        for file in [ED25519_PRIVATE, P256_PRIVATE, HS256_SECRET] {
            let key = SigningKey::parse("test", file.as_bytes()).unwrap();
            let name = key.algorithm();
            let wanted = MintClaims {
                not_before: Some(NOW),
                issued_at: Some(UnixMs(NOW.0 - 1)),
                id: Some("j-1"),
                issuer: Some("https://id.example"),
                audience: Some("chat"),
                roles: &roles,
                scope: Some("read write"),
                ..MintClaims::new("ann", UnixMs(NOW.0 + 60_001))
            };
            let token = mint(&key, &wanted).unwrap();
            let policy = TokenPolicy {
                issuer: Some("https://id.example".into()),
                audience: Some("chat".into()),
                ..TokenPolicy::default()
            };
            let ring = KeyRing::new(vec![key.verifying_key().clone()]).unwrap();
            let claims = verify(&ring, &policy, NOW, &token).unwrap();
            assert_eq!(&*claims.subject, "ann", "{name}");
            assert_eq!(claims.expires_at, wanted.expires_at, "{name}");
            assert_eq!(claims.not_before, wanted.not_before, "{name}");
            assert_eq!(claims.issued_at, wanted.issued_at, "{name}");
            assert_eq!(claims.id.as_deref(), wanted.id, "{name}");
            assert_eq!(claims.roles.iter().map(|role| &**role).collect::<Vec<_>>(), roles, "{name}");
            assert_eq!(claims.scopes.len(), 2, "{name}");
            assert_eq!(&*claims.key_id, key.verifying_key().id(), "{name}");
        }
    }

    #[test]
    fn deterministic_where_the_algorithm_is() {
        for (file, same) in [(ED25519_PRIVATE, true), (HS256_SECRET, true), (P256_PRIVATE, false)] {
            let key = SigningKey::parse("test", file.as_bytes()).unwrap();
            let claims = MintClaims::new("ann", NOW);
            assert_eq!(mint(&key, &claims) == mint(&key, &claims), same, "{}", key.algorithm());
        }
    }

    #[test]
    fn what_would_be_refused_is_not_minted() {
        let key = SigningKey::parse("test", HS256_SECRET.as_bytes()).unwrap();
        let good = MintClaims::new("ann", NOW);
        let roles = vec![String::new()];
        let long = vec!["r".repeat(128); 64];
        for (name, claims, want) in [
            ("no subject", MintClaims { subject: "", ..good.clone() }, TokenError::SubjectInvalid),
            ("line feed", MintClaims { subject: "a\nb", ..good.clone() }, TokenError::SubjectInvalid),
            ("empty role", MintClaims { roles: &roles, ..good.clone() }, TokenError::RolesInvalid),
            ("bad scope", MintClaims { scope: Some("a  b"), ..good.clone() }, TokenError::ScopeInvalid),
            ("end of time", MintClaims { expires_at: UnixMs(u64::MAX), ..good.clone() }, TokenError::TimeInvalid),
            ("too long", MintClaims { roles: &long, ..good }, TokenError::TooLong),
        ] {
            assert_eq!(mint(&key, &claims), Err(MintError::ClaimsRefused(want)), "{name}");
        }
    }
}
