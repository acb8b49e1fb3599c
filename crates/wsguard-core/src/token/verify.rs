//! The verification itself: form, header, key, signature, and only then the claims.

use base64::Engine as _;

use super::claims::{Claims, Payload};
use super::key_file::key_id;
use super::ring::{Candidates, KeyRing};
use super::strict::{members, object, text};
use super::{Algorithm, BASE64URL, Key};
use crate::control::revocation::Revoked;
use crate::fault::{self, Fault};
use crate::json::Tape;
use crate::time::{Millis, UnixMs};

/// Longest token in bytes. It must fit into a header field and into the first message.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Longest encoded header in characters. Three short members are all that it needs.
pub const HEADER_CHARS_MAX: usize = 1024;

const HEADER_BYTES_MAX: usize = HEADER_CHARS_MAX / 4 * 3;

/// The longest signature, of an RSA key of 8,192 bits.
const SIGNATURE_BYTES_MAX: usize = 1024;

/// How far the clocks of issuer and guard may differ: at most five seconds, the same at the handshake and on the open
/// socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leeway(Millis);

/// A leeway beyond [`Leeway::MAX`]: it would lengthen every token's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("use a leeway of {0}: at most {max} is allowed", max = Leeway::MAX.0)]
pub struct LeewayTooLong(Millis);

impl Leeway {
    /// No leeway at all.
    pub const NONE: Self = Self(Millis(0));

    /// Five seconds, the most that is allowed, and the default.
    pub const MAX: Self = Self(Millis(5_000));

    /// Makes a leeway of `length`.
    ///
    /// # Errors
    /// `length` exceeds [`Leeway::MAX`].
    pub const fn new(length: Millis) -> Result<Self, LeewayTooLong> {
        if length.0 > Self::MAX.0.0 { Err(LeewayTooLong(length)) } else { Ok(Self(length)) }
    }

    /// Returns the length.
    pub const fn as_millis(self) -> Millis {
        self.0
    }
}

impl Default for Leeway {
    fn default() -> Self {
        Self::MAX
    }
}

/// What a token must fulfil beyond its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPolicy {
    /// The one issuer whose tokens are accepted (`iss`, compared byte for byte). `None`: `iss` is not looked at.
    pub issuer: Option<Box<str>>,
    /// This service's name, which `aud` must hold. `None`: a token that has an `aud` is meant for somebody else and
    /// refused (RFC 7519 §4.1.3).
    pub audience: Option<Box<str>>,
    /// Tolerance for `exp`, `nbf` and `iat`.
    pub leeway: Leeway,
    /// Longest token in bytes; values above [`TOKEN_BYTES_MAX`] count as that.
    pub token_bytes_max: usize,
}

impl Default for TokenPolicy {
    /// Any issuer, no audience, five seconds of leeway, 8 KiB.
    fn default() -> Self {
        Self { issuer: None, audience: None, leeway: Leeway::default(), token_bytes_max: TOKEN_BYTES_MAX }
    }
}

/// Why a token was refused. For the operator alone; the peer gets one answer for every cause.
///
/// Holds no part of the token, so it can be logged as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than the policy allows, or its header longer than [`HEADER_CHARS_MAX`].
    TooLong,
    /// Not three parts with two dots.
    NotThreeParts,
    /// The header is not strict base64url.
    HeaderEncoding,
    /// The header is not one strict JSON object, or `alg`, `kid` or `typ` has a wrong type or size.
    HeaderInvalid,
    /// The header brings a key or an address of one: `jku`, `jwk`, `x5u`, `x5c`.
    HeaderBringsKey,
    /// The header asks for an extension: `crit`, `b64`, `zip`.
    HeaderExtension,
    /// `typ` is neither absent nor `JWT` nor `at+jwt`: some other kind of token.
    TypeRefused,
    /// `alg` is `none`, missing, or no algorithm that wsguard knows.
    AlgorithmUnknown,
    /// `alg` is not the algorithm of the key: the attempt to swap it.
    AlgorithmNotOfKey,
    /// No key has this `kid`.
    KeyUnknown,
    /// Without a `kid` too many keys would have to be tried.
    KeyIdMissing,
    /// The signature is not strict base64url, or longer than any.
    SignatureEncoding,
    /// The signature does not hold.
    SignatureInvalid,
    /// The payload is not strict base64url (under a good signature: the issuer's mistake).
    PayloadEncoding,
    /// The payload is not one strict JSON object, duplicates included (again the issuer's mistake).
    PayloadNotJson,
    /// No `sub`.
    SubjectMissing,
    /// `sub` is no string, empty, too long, or has control characters.
    SubjectInvalid,
    /// No `exp`.
    ExpiryMissing,
    /// `exp`, `nbf` or `iat` is not a number of seconds between 1970 and 9999.
    TimeInvalid,
    /// `exp` has passed.
    Expired,
    /// `nbf` lies ahead.
    NotYetValid,
    /// `iat` lies ahead: the issuer's clock or ours is wrong.
    IssuedInFuture,
    /// `iss` is missing, malformed, or another one.
    IssuerRefused,
    /// `aud` is missing, malformed, or does not hold our name.
    AudienceRefused,
    /// The token has an `aud`, but no `auth.audience` is configured to compare it with.
    AudienceNotConfigured,
    /// `jti` is no string, empty, too long, or has control characters.
    IdInvalid,
    /// `roles` is not an array of strings within its limits.
    RolesInvalid,
    /// `scope` is not a string of scopes parted by single spaces, within its limits.
    ScopeInvalid,
    /// Good in itself, but revoked. [`verify`] does not know of revocations; who asks for an identity is told.
    Revoked(Revoked),
}

impl TokenError {
    /// Returns the cause as a stable lower-case word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "token_too_long",
            Self::NotThreeParts => "token_not_three_parts",
            Self::HeaderEncoding => "token_header_encoding",
            Self::HeaderInvalid => "token_header_invalid",
            Self::HeaderBringsKey => "token_header_brings_key",
            Self::HeaderExtension => "token_header_extension",
            Self::TypeRefused => "token_type_refused",
            Self::AlgorithmUnknown => "token_algorithm_unknown",
            Self::AlgorithmNotOfKey => "token_algorithm_not_of_key",
            Self::KeyUnknown => "token_key_unknown",
            Self::KeyIdMissing => "token_key_id_missing",
            Self::SignatureEncoding => "token_signature_encoding",
            Self::SignatureInvalid => "token_signature_invalid",
            Self::PayloadEncoding => "token_payload_encoding",
            Self::PayloadNotJson => "token_payload_not_json",
            Self::SubjectMissing => "token_subject_missing",
            Self::SubjectInvalid => "token_subject_invalid",
            Self::ExpiryMissing => "token_expiry_missing",
            Self::TimeInvalid => "token_time_invalid",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::IssuedInFuture => "token_issued_in_future",
            Self::IssuerRefused => "token_issuer_refused",
            Self::AudienceRefused => "token_audience_refused",
            Self::AudienceNotConfigured => "token_audience_not_configured",
            Self::IdInvalid => "token_id_invalid",
            Self::RolesInvalid => "token_roles_invalid",
            Self::ScopeInvalid => "token_scope_invalid",
            Self::Revoked(revoked) => revoked.as_str(),
        }
    }
}

impl std::fmt::Display for TokenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for TokenError {}

/// Verifies a token and returns what it says.
///
/// `now`: wall clock of the event; see [`Claims::ends_at`] for the exact end. Cost: one signature check (up to
/// [`super::KEYS_TRIED_MAX`] for a token without `kid`), so charge the rate bucket first. Allocates for the claims.
///
/// # Errors
/// The first fault found, in the order form, header, key, signature, claims. Nothing of the payload is decoded, and no
/// claim can be the cause, unless the signature holds.
///
/// # Specification
/// RFC 7515 §5.2, RFC 7519 §7.2, RFC 8725 §3
pub fn verify(ring: &KeyRing, policy: &TokenPolicy, now: UnixMs, token: &str) -> Result<Claims, TokenError> {
    let (key, payload) = authenticate(ring, policy.token_bytes_max, token)?;
    let payload = BASE64URL.decode(payload).map_err(|_| TokenError::PayloadEncoding)?;
    Payload::parse(&payload, &mut Tape::new())?.check(policy, now, key)
}

/// Finds the key whose signature the token carries; returns it with the payload, still encoded.
pub(super) fn authenticate<'a, 't>(
    ring: &'a KeyRing,
    token_bytes_max: usize,
    token: &'t str,
) -> Result<(&'a Key, &'t str), TokenError> {
    if token.len() > token_bytes_max.min(TOKEN_BYTES_MAX) {
        return Err(TokenError::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::NotThreeParts)?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::NotThreeParts)?;
    if payload.contains('.') {
        return Err(TokenError::NotThreeParts);
    }

    let mut header_bytes = [0; HEADER_BYTES_MAX];
    if header.len() > HEADER_CHARS_MAX {
        return Err(TokenError::TooLong);
    }
    let header = decode(header, &mut header_bytes).ok_or(TokenError::HeaderEncoding)?;
    let Header { algorithm, key_id } = Header::parse(header)?;
    let candidates = match ring.candidates(algorithm, key_id.as_deref()) {
        Candidates::Some(keys) => keys,
        Candidates::UnknownId => return Err(TokenError::KeyUnknown),
        Candidates::OtherAlgorithm => return Err(TokenError::AlgorithmNotOfKey),
        Candidates::IdNeeded => return Err(TokenError::KeyIdMissing),
    };

    let mut signature_bytes = [0; SIGNATURE_BYTES_MAX];
    let signature = decode(signature, &mut signature_bytes).ok_or(TokenError::SignatureEncoding)?;
    let key = candidates
        .into_iter()
        .find(|key| key.verifies(message.as_bytes(), signature) || fault::is_on(Fault::SignatureUnchecked))
        .ok_or(TokenError::SignatureInvalid)?;
    Ok((key, payload))
}

/// What the header may decide: which key, among ours. The algorithm is only compared.
struct Header {
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        let mut tape = Tape::new();
        let mut algorithm = None;
        let mut key_id_found = None;
        for (name, value) in members(object(bytes, &mut tape).ok_or(TokenError::HeaderInvalid)?) {
            let text = || text(value).ok_or(TokenError::HeaderInvalid);
            match &*name {
                "alg" => algorithm = Algorithm::from_name(&text()?),
                "kid" => key_id_found = Some(key_id(&text()?).ok_or(TokenError::HeaderInvalid)?.to_owned()),
                // Media types have no case (RFC 7515 §4.1.9). A logout or security event token, signed by the same
                // issuer, says another type and must not open a socket (RFC 8725 §3.11).
                "typ" if is_accepted_type(&text()?) => {}
                "typ" => return Err(TokenError::TypeRefused),
                // Present is enough, whatever the value: a `null` here may mean something to another reader.
                "jku" | "jwk" | "x5u" | "x5c" => return Err(TokenError::HeaderBringsKey),
                "crit" | "b64" | "zip" => return Err(TokenError::HeaderExtension),
                // Everything else must be ignored (RFC 7515 §4).
                _ => {}
            }
        }
        Ok(Self { algorithm: algorithm.ok_or(TokenError::AlgorithmUnknown)?, key_id: key_id_found })
    }
}

fn is_accepted_type(kind: &str) -> bool {
    ["JWT", "at+jwt"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

/// Decodes strict base64url into `buffer`; `None` if it is not, or does not fit.
fn decode<'b>(text: &str, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = BASE64URL.decode_slice(text, buffer).ok()?;
    buffer.get(..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leeway_has_an_upper_end() {
        assert_eq!(Leeway::new(Millis(5_000)), Ok(Leeway::MAX));
        assert_eq!(Leeway::new(Millis(5_001)), Err(LeewayTooLong(Millis(5_001))));
        assert_eq!(LeewayTooLong(Millis(6_000)).to_string(), "use a leeway of 6s: at most 5s is allowed");
    }

    #[test]
    fn causes_have_words_of_their_own() {
        let every = [
            TokenError::TooLong,
            TokenError::NotThreeParts,
            TokenError::HeaderEncoding,
            TokenError::HeaderInvalid,
            TokenError::HeaderBringsKey,
            TokenError::HeaderExtension,
            TokenError::TypeRefused,
            TokenError::AlgorithmUnknown,
            TokenError::AlgorithmNotOfKey,
            TokenError::KeyUnknown,
            TokenError::KeyIdMissing,
            TokenError::SignatureEncoding,
            TokenError::SignatureInvalid,
            TokenError::PayloadEncoding,
            TokenError::PayloadNotJson,
            TokenError::SubjectMissing,
            TokenError::SubjectInvalid,
            TokenError::ExpiryMissing,
            TokenError::TimeInvalid,
            TokenError::Expired,
            TokenError::NotYetValid,
            TokenError::IssuedInFuture,
            TokenError::IssuerRefused,
            TokenError::AudienceRefused,
            TokenError::AudienceNotConfigured,
            TokenError::IdInvalid,
            TokenError::RolesInvalid,
            TokenError::ScopeInvalid,
        ];
        let words: std::collections::BTreeSet<_> = every.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(words.len(), every.len());
        assert!(words.iter().all(|word| word.starts_with("token_")));
    }
}
