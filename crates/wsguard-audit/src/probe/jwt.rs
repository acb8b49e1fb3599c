//! JSON Web Tokens as an attacker sees them: three parts of base64url, to be read and to be forged.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// A token in its parts.
#[derive(Clone, Debug)]
pub(crate) struct Jwt {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    /// Header and claims as they are signed.
    pub(crate) signed: String,
    pub(crate) signature: Vec<u8>,
}

impl Jwt {
    /// Reads a token; `None` when it is not one.
    pub(crate) fn parse(token: &str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let part = |text: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok().filter(Value::is_object)
        };
        Some(Self {
            header: part(header)?,
            claims: part(claims)?,
            signed: signed.to_owned(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// `alg` of the header.
    pub(crate) fn algorithm(&self) -> &str {
        self.header.get("alg").and_then(Value::as_str).unwrap_or_default()
    }

    /// `exp`, in seconds since 1970.
    pub(crate) fn expires(&self) -> Option<u64> {
        self.claims
            .get("exp")
            .and_then(Value::as_f64)
            .map(|exp| std::time::Duration::try_from_secs_f64(exp).map_or(0, |at| at.as_secs()))
    }

    /// `iat`, in seconds since 1970.
    pub(crate) fn issued(&self) -> Option<u64> {
        self.claims.get("iat").and_then(Value::as_u64)
    }

    /// Whether `secret` made the signature (HS256, HS384, HS512).
    pub(crate) fn is_signed_with(&self, secret: &[u8]) -> bool {
        self.hmac().is_some_and(|algorithm| {
            hmac::verify(&hmac::Key::new(algorithm, secret), self.signed.as_bytes(), &self.signature).is_ok()
        })
    }

    /// The algorithm, if it is an HMAC.
    pub(crate) fn hmac(&self) -> Option<hmac::Algorithm> {
        match self.algorithm() {
            "HS256" => Some(hmac::HMAC_SHA256),
            "HS384" => Some(hmac::HMAC_SHA384),
            "HS512" => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }
}

/// Whether a token is a JWT.
pub(crate) fn is_jwt(token: &str) -> bool {
    Jwt::parse(token).is_some()
}

/// A part of a token.
pub(crate) fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token of these parts.
pub(crate) fn join(header: &Value, claims: &Value, signature: &[u8]) -> String {
    format!("{}.{}.{}", encode(header), encode(claims), URL_SAFE_NO_PAD.encode(signature))
}

/// A token of these parts, signed with an HMAC secret.
pub(crate) fn sign(header: &Value, claims: &Value, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokens_are_read_and_made() {
        let token =
            sign(&json!({"alg": "HS256"}), &json!({"sub": "ann", "exp": 1_700_000_000}), hmac::HMAC_SHA256, b"secret");
        let jwt = Jwt::parse(&token).unwrap();
        assert_eq!((jwt.algorithm(), jwt.expires()), ("HS256", Some(1_700_000_000)));
        assert!(jwt.is_signed_with(b"secret") && !jwt.is_signed_with(b"other"));
        for (name, wrong) in [("a word", "test_token"), ("dots", "a.b.c"), ("two parts", "e30.e30"), ("nothing", "")] {
            assert!(!is_jwt(wrong), "{name}");
        }
    }
}
