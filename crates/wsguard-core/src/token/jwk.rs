//! Public keys as JSON (RFC 7517): one JWK in a key file, or the set that an issuer publishes.
//!
//! Attacks: a set that carries a secret, so that whoever can read it signs (a symmetric `oct` key is never taken from
//! JSON); one key under two algorithms (`alg` must be that of its kind, the key fixes the algorithm as everywhere
//! here); a key for encryption taken for one that verifies (`use`, `key_ops`); a certificate (`x5c`, `x5u`) that says
//! something else than the numbers beside it (never read); sets without end (bytes, keys and nodes are limited).

use base64::Engine as _;

use super::key_file::{PublicNumbers, encode_rsa, key_id, rsa_public};
use super::strict::{object, text};
use super::{Algorithm, BASE64URL, KEY_FILE_BYTES_MAX, Key, KeyError, KeyFault};
use crate::json::{Kind, Tape, Value};

/// Longest JWK set in bytes. Issuers publish two to ten keys of 0.4 to 2 KiB each, some with certificates.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;

/// Most entries of a JWK set, also of kinds that are not used here.
pub const KEY_SET_KEYS_MAX: usize = 64;

/// The keys of a JWK set that verify tokens here.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KeySet {
    /// The usable keys, in the set's order.
    pub keys: Vec<Key>,
    /// Entries that are of another kind, for another purpose, or damaged: RFC 7517 §5 asks to ignore them.
    pub ignored: usize,
}

impl KeySet {
    /// Reads a JWK set. `name` stands in errors and logs, usually the address. Duplicates of a key are dropped.
    ///
    /// # Errors
    /// What is not a set at all, what exceeds [`KEY_SET_BYTES_MAX`] or [`KEY_SET_KEYS_MAX`], and a set that publishes a
    /// private key or a secret: its other keys are no longer the issuer's alone.
    ///
    /// # Specification
    /// RFC 7517 §5
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, KeyError> {
        Self::read(name, bytes).map_err(|fault| KeyError::new(name, fault))
    }

    fn read(name: &str, bytes: &[u8]) -> Result<Self, KeyFault> {
        if bytes.len() > KEY_SET_BYTES_MAX {
            return Err(KeyFault::SetTooLong);
        }
        let mut tape = Tape::new();
        let set = object(bytes, &mut tape).ok_or(KeyFault::JwkSetInvalid)?;
        let entries = set.get("keys").filter(|keys| keys.kind() == Kind::Array && keys.len() <= KEY_SET_KEYS_MAX);
        let mut keys: Vec<Key> = Vec::new();
        let mut ignored = 0_usize;
        for entry in entries.ok_or(KeyFault::JwkSetInvalid)?.items() {
            match of_value(name, entry) {
                Ok(key) if keys.iter().any(|known| known.thumbprint() == key.thumbprint()) => {}
                Ok(key) => keys.push(key),
                Err(KeyFault::JwkPrivate) => return Err(KeyFault::JwkPrivate),
                Err(_) => ignored = ignored.saturating_add(1),
            }
        }
        Ok(Self { keys, ignored })
    }
}

/// Whether a key file is JSON: no other form begins with a brace.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'{')
}

/// Reads a key file that holds one JWK.
pub(super) fn key(name: &str, bytes: &[u8]) -> Result<Key, KeyFault> {
    if bytes.len() > KEY_FILE_BYTES_MAX {
        return Err(KeyFault::TooLong);
    }
    let mut tape = Tape::new();
    of_value(name, object(bytes, &mut tape).ok_or(KeyFault::JwkInvalid)?)
}

fn of_value(name: &str, jwk: Value<'_>) -> Result<Key, KeyFault> {
    if !jwk.is_object() {
        return Err(KeyFault::JwkInvalid);
    }
    let string = |member| match jwk.get(member) {
        None => Ok(None),
        Some(value) => text(value).map(Some).ok_or(KeyFault::JwkInvalid),
    };
    // Before anything else: such a set must not be taken in part.
    if jwk.get("d").is_some() || jwk.get("k").is_some() {
        return Err(KeyFault::JwkPrivate);
    }
    let number = |member| {
        let number = string(member)?.ok_or(KeyFault::JwkInvalid)?;
        BASE64URL.decode(number.as_bytes()).map_err(|_| KeyFault::JwkInvalid)
    };
    let id = match string("kid")? {
        None => None,
        Some(id) => Some(key_id(&id).ok_or(KeyFault::KeyId)?.to_owned()),
    };
    if string("use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(KeyFault::JwkPurpose);
    }
    if jwk.get("key_ops").is_some_and(|ops| !ops.items().any(|op| op.str_eq("verify"))) {
        return Err(KeyFault::JwkPurpose);
    }
    let key = match (string("kty")?.as_deref(), string("crv")?.as_deref()) {
        (Some("OKP"), Some("Ed25519")) => {
            let point = number("x")?;
            if point.len() != 32 {
                return Err(KeyFault::Invalid);
            }
            Key::of_numbers(name, id.as_deref(), &PublicNumbers::Ed25519(&point))?
        }
        (Some("EC"), Some("P-256")) => {
            let (x, y) = (number("x")?, number("y")?);
            // RFC 7518 §6.2.1.2: the full size of the field, leading zeros too.
            if x.len() != 32 || y.len() != 32 {
                return Err(KeyFault::Invalid);
            }
            Key::of_numbers(name, id.as_deref(), &PublicNumbers::P256(&[&[4], &*x, &*y].concat()))?
        }
        (Some("RSA"), _) => {
            let der = encode_rsa(&number("n")?, &number("e")?).ok_or(KeyFault::Invalid)?;
            Key::of_numbers(name, id.as_deref(), &rsa_public(&der)?)?
        }
        _ => return Err(KeyFault::Unsupported),
    };
    match string("alg")? {
        Some(alg) if Algorithm::from_name(&alg) != Some(key.algorithm()) => Err(KeyFault::JwkPurpose),
        _ => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixtures as fx;
    use super::*;

    /// The JWK of a public PEM, with more members.
    fn jwk(pem: &str, more: &str) -> String {
        let key = Key::parse("test", pem.as_bytes()).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        let members = match super::super::key_file::public_numbers(&der).unwrap() {
            PublicNumbers::Ed25519(x) => format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, BASE64URL.encode(x)),
            PublicNumbers::P256(point) => format!(
                r#""kty":"EC","crv":"P-256","x":"{}","y":"{}""#,
                BASE64URL.encode(&point[1..33]),
                BASE64URL.encode(&point[33..])
            ),
            PublicNumbers::Rsa { modulus, exponent, .. } => {
                format!(r#""kty":"RSA","n":"{}","e":"{}""#, BASE64URL.encode(modulus), BASE64URL.encode(exponent))
            }
        };
        format!(r#"{{{members},"kid":"kid-{}"{more}}}"#, key.algorithm())
    }

    #[test]
    fn a_jwk_is_the_same_key_as_its_pem() {
        for pem in [fx::ED25519_PUBLIC, fx::P256_PUBLIC, fx::RSA_PUBLIC] {
            let (want, text) = (Key::parse("pem", pem.as_bytes()).unwrap(), jwk(pem, r#","use":"sig""#));
            let key = Key::parse("jwk", text.as_bytes()).unwrap();
            assert_eq!((key.thumbprint(), key.algorithm()), (want.thumbprint(), want.algorithm()));
            assert_eq!(key.id(), format!("kid-{}", want.algorithm()));
        }
    }

    #[test]
    fn a_jwk_that_is_unfit_is_refused() {
        use KeyFault as F;
        let rsa = |more: &str| jwk(fx::RSA_PUBLIC, more);
        let ed = |more: &str| jwk(fx::ED25519_PUBLIC, more);
        let short = |member: &str| {
            let text = jwk(fx::P256_PUBLIC, "");
            let (before, value) = text.split_once(&format!("\"{member}\":\"")).unwrap();
            let rest: String = value.chars().skip(4).collect();
            format!("{before}\"{member}\":\"{rest}")
        };
        for (name, text, want) in [
            ("RSA", rsa(""), None),
            ("alg of its kind", rsa(r#","alg":"RS256""#), None),
            ("key_ops verify", ed(r#","key_ops":["verify"]"#), None),
            ("unknown member", ed(r#","x5t":"abc""#), None),
            ("certificate beside", ed(r#","x5c":["MIIB"]"#), None),
            ("alg of another kind", rsa(r#","alg":"HS256""#), Some(F::JwkPurpose)),
            ("alg with a longer hash", rsa(r#","alg":"RS512""#), Some(F::JwkPurpose)),
            ("alg none", ed(r#","alg":"none""#), Some(F::JwkPurpose)),
            ("for encryption", rsa(r#","use":"enc""#), Some(F::JwkPurpose)),
            ("key_ops encrypt", rsa(r#","key_ops":["encrypt"]"#), Some(F::JwkPurpose)),
            ("key_ops no array", rsa(r#","key_ops":"verify""#), Some(F::JwkPurpose)),
            ("private", ed(r#","d":"AAAA""#), Some(F::JwkPrivate)),
            ("private by escape", ed(r#","\u0064":"AAAA""#), Some(F::JwkPrivate)),
            ("secret", r#"{"kty":"oct","k":"AAAA"}"#.to_owned(), Some(F::JwkPrivate)),
            ("kid number", ed(r#","use":"sig""#).replace(r#""kid-EdDSA""#, "7"), Some(F::JwkInvalid)),
            ("kid with a space", ed("").replace("kid-EdDSA", "a b"), Some(F::KeyId)),
            ("member twice", ed(r#","kty":"OKP""#), Some(F::JwkInvalid)),
            ("other curve", ed("").replace("Ed25519", "X25519"), Some(F::Unsupported)),
            ("no kty", r#"{"n":"AQAB"}"#.to_owned(), Some(F::Unsupported)),
            ("RSA exponent 1", rsa("").replace(r#""e":"AQAB""#, r#""e":"AQ""#), Some(F::Invalid)),
            ("RSA leading zero", rsa("").replace(r#""e":"AQAB""#, r#""e":"AAEAAQ""#), Some(F::Invalid)),
            ("RSA of 1,024 bits", rsa_of(128), Some(F::RsaSize)),
            ("RSA of 2,040 bits", rsa_of(255), Some(F::RsaSize)),
            ("RSA of 8,192 bits", rsa_of(1_024), None),
            ("RSA of 8,200 bits", rsa_of(1_025), Some(F::RsaSize)),
            ("padded number", rsa("").replace(r#""e":"AQAB""#, r#""e":"AQAB==""#), Some(F::JwkInvalid)),
            ("short x", short("x"), Some(F::Invalid)),
            ("short y", short("y"), Some(F::Invalid)),
            ("two objects", format!("{}{{}}", ed("")), Some(F::JwkInvalid)),
        ] {
            assert_eq!(Key::parse("jwk", text.as_bytes()).err().map(|error| error.fault()), want, "{name}");
        }
        let long = format!("{}{}", ed(""), " ".repeat(KEY_FILE_BYTES_MAX));
        assert_eq!(Key::parse("jwk", long.as_bytes()).unwrap_err().fault(), F::TooLong);
        let signing = super::super::SigningKey::parse("jwk", ed("").as_bytes()).unwrap_err();
        assert_eq!(signing.fault(), F::NotSigning);
    }

    /// An odd modulus of `bytes` bytes with its first bit set.
    fn rsa_of(bytes: usize) -> String {
        format!(r#"{{"kty":"RSA","n":"{}","e":"AQAB"}}"#, BASE64URL.encode(vec![0xa5; bytes]))
    }

    #[test]
    fn a_set_keeps_what_verifies() {
        use KeyFault as F;
        let (ed, rsa) = (jwk(fx::ED25519_PUBLIC, ""), jwk(fx::RSA_PUBLIC, r#","use":"sig","alg":"RS256""#));
        let set = |keys: &[&str]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let many = vec!["{}"; KEY_SET_KEYS_MAX + 1];
        for (name, text, want) in [
            ("two", set(&[&ed, &rsa]), Ok((2, 0))),
            ("none", set(&[]), Ok((0, 0))),
            ("other kinds", set(&[&ed, r#"{"kty":"EC","crv":"P-384","x":"","y":""}"#, "7", "{}"]), Ok((1, 3))),
            ("the same twice", set(&[&ed, &ed]), Ok((1, 0))),
            ("more members", format!(r#"{{"keys":[{ed}],"issuer":"x"}}"#), Ok((1, 0))),
            ("with a secret", set(&[&ed, r#"{"kty":"oct","k":"AAAA"}"#]), Err(F::JwkPrivate)),
            ("not an object", format!("[{ed}]"), Err(F::JwkSetInvalid)),
            ("no keys", "{}".to_owned(), Err(F::JwkSetInvalid)),
            ("keys an object", r#"{"keys":{}}"#.to_owned(), Err(F::JwkSetInvalid)),
            ("too many", set(&many), Err(F::JwkSetInvalid)),
            ("HTML", "<!doctype html>".to_owned(), Err(F::JwkSetInvalid)),
            ("too long", format!("{}{}", set(&[&ed]), " ".repeat(KEY_SET_BYTES_MAX)), Err(F::SetTooLong)),
        ] {
            let got = KeySet::parse("set", text.as_bytes()).map(|set| (set.keys.len(), set.ignored));
            assert_eq!(got.map_err(|error| error.fault()), want, "{name}");
        }
    }

    #[test]
    fn keys_of_a_set_verify_tokens_of_another_implementation() {
        let text = format!(r#"{{"keys":[{},{}]}}"#, jwk(fx::RSA_PUBLIC, ""), jwk(fx::P256_PUBLIC, ""));
        let ring = super::super::KeyRing::new(KeySet::parse("set", text.as_bytes()).unwrap().keys).unwrap();
        let now = crate::time::UnixMs(1_700_000_000_000);
        for (token, id) in [(fx::PYTHON_RS256, "kid-RS256"), (fx::PYTHON_ES256, "kid-ES256")] {
            let claims = super::super::verify(&ring, &super::super::TokenPolicy::default(), now, token).unwrap();
            assert_eq!(&*claims.key_id, id);
        }
    }
}
