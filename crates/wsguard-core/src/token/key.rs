//! Keys: what verifies, and what signs. A key's kind fixes its algorithm, once, at load.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use base64::Engine as _;

use super::key_file::{Body, KeyFile, PublicNumbers, encode_pem, private_kind, public_numbers};
use super::{Algorithm, BASE64URL, KeyError, KeyFault, jwk, sha256};

/// A key that verifies tokens of one algorithm. Holds no private part; an HS256 secret is mute in `Debug`.
///
/// Parsed once; verifying with it parses nothing again. Cloning is cheap.
#[derive(Clone)]
pub struct Key {
    name: Arc<str>,
    id: Arc<str>,
    thumbprint: Arc<str>,
    algorithm: Algorithm,
    signature_bytes: usize,
    verifier: Verifier,
}

#[derive(Clone)]
enum Verifier {
    Public(ParsedPublicKey),
    // Boxed: its prepared contexts take 1.2 KiB, twenty times a public key.
    Secret(Box<hmac::Key>),
}

/// A key that signs tokens: Ed25519, P-256 or an HS256 secret. Mute in `Debug`.
pub struct SigningKey {
    signer: Signer,
    key: Key,
}

enum Signer {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Secret(Box<hmac::Key>),
}

impl Key {
    /// Reads a key file; of a private key only the public part is kept.
    ///
    /// `name` stands in errors and logs, usually the path. `bytes`: at most [`super::KEY_FILE_BYTES_MAX`], one of:
    /// PEM `PUBLIC KEY` (Ed25519, P-256, RSA of 2,048 to 8,192 bits), PEM `PRIVATE KEY` (PKCS#8 Ed25519, P-256), or
    /// a line `wsguard-hs256:` and base64url of 32 bytes or more. A line `kid: NAME` before it declares an id; without
    /// it the id is the RFC 7638 thumbprint, for secrets a keyed hash that tells nothing a token would not. A file that
    /// begins with `{` is one public JWK (RFC 7517) of the same kinds, whose `kid` is the declared id.
    ///
    /// # Errors
    /// Anything else, with a text that says what was expected and never what the file holds.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, KeyError> {
        let named = |fault| KeyError::new(name, fault);
        if jwk::is_json(bytes) {
            return jwk::key(name, bytes).map_err(named);
        }
        let file = KeyFile::parse(bytes).map_err(named)?;
        match file.body {
            Body::Public(der) => Self::public(name, file.id, &der).map_err(named),
            Body::Private(_) | Body::Secret(_) => {
                SigningKey::from_file(name, file).map_err(named).map(|signing| signing.key)
            }
        }
    }

    /// Returns the name given at [`Key::parse`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the id that minted tokens carry: the declared one, else the thumbprint.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the key's own id, which depends on nothing but the key: the RFC 7638 thumbprint (SHA-256, base64url, 43
    /// characters); for secrets 22 characters of a keyed hash.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Returns the one algorithm of this key.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn shared_id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    pub(super) fn shared_thumbprint(&self) -> Arc<str> {
        Arc::clone(&self.thumbprint)
    }

    pub(super) fn answers_to(&self, id: &str) -> bool {
        *self.id == *id || *self.thumbprint == *id
    }

    /// Returns whether `signature` is this key's over `message`. The length is compared first and exactly, so a DER
    /// signature, a truncated tag and an empty one never reach the arithmetic; secrets compare in constant time.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        signature.len() == self.signature_bytes
            && match &self.verifier {
                Verifier::Public(key) => key.verify_sig(message, signature).is_ok(),
                Verifier::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            }
    }

    fn public(name: &str, id: Option<&str>, der: &[u8]) -> Result<Self, KeyFault> {
        Self::of_numbers(name, id, &public_numbers(der)?)
    }

    /// The key that these numbers are; `aws-lc-rs` judges whether they are one.
    pub(super) fn of_numbers(name: &str, id: Option<&str>, numbers: &PublicNumbers<'_>) -> Result<Self, KeyFault> {
        let (algorithm, signature_bytes, key, jwk) = match *numbers {
            PublicNumbers::Ed25519(point) => {
                (Algorithm::EdDsa, 64, ParsedPublicKey::new(&ED25519, point), ed25519_jwk(point))
            }
            PublicNumbers::P256(point) => {
                (Algorithm::Es256, 64, ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point), p256_jwk(point))
            }
            PublicNumbers::Rsa { der, modulus, exponent } => {
                let jwk = rsa_jwk(modulus, exponent);
                (Algorithm::Rs256, modulus.len(), ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der), jwk)
            }
        };
        let verifier = Verifier::Public(key.map_err(|_| KeyFault::Invalid)?);
        let thumbprint = BASE64URL.encode(sha256(jwk.as_bytes()));
        Ok(Self::assemble(name, id, &thumbprint, algorithm, signature_bytes, verifier))
    }

    fn secret(name: &str, id: Option<&str>, secret: Box<hmac::Key>) -> Self {
        // A plain hash would be one more thing to test guesses against without rate; under the secret itself it tells
        // no more than any token does. Half of it is enough to tell 32 keys apart.
        let tag = hmac::sign(&secret, b"wsguard key id v1");
        let half: Vec<u8> = tag.as_ref().iter().copied().take(16).collect();
        Self::assemble(name, id, &BASE64URL.encode(half), Algorithm::Hs256, 32, Verifier::Secret(secret))
    }

    fn assemble(
        name: &str,
        id: Option<&str>,
        thumbprint: &str,
        algorithm: Algorithm,
        signature_bytes: usize,
        verifier: Verifier,
    ) -> Self {
        let thumbprint: Arc<str> = thumbprint.into();
        let id = id.map_or_else(|| Arc::clone(&thumbprint), Arc::from);
        Self { name: name.into(), id, thumbprint, algorithm, signature_bytes, verifier }
    }
}

impl SigningKey {
    /// Reads a key file that signs: PEM `PRIVATE KEY` (PKCS#8 Ed25519, P-256) or an HS256 secret; see [`Key::parse`].
    ///
    /// # Errors
    /// As [`Key::parse`], and for public keys ([`KeyFault::NotSigning`]).
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, KeyError> {
        let named = |fault| KeyError::new(name, fault);
        if jwk::is_json(bytes) {
            return Err(named(KeyFault::NotSigning));
        }
        Self::from_file(name, KeyFile::parse(bytes).map_err(named)?).map_err(named)
    }

    /// Returns the key that verifies what this one signs.
    pub fn verifying_key(&self) -> &Key {
        &self.key
    }

    /// Returns the algorithm of this key.
    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm
    }

    /// Returns the public part as PEM (`PUBLIC KEY`), `None` for a secret, which has no public part.
    pub fn public_pem(&self) -> Option<String> {
        let der = match &self.signer {
            Signer::Ed25519(pair) => [&ED25519_INFO[..], pair.public_key().as_ref()].concat(),
            Signer::P256(pair) => [&P256_INFO[..], pair.public_key().as_ref()].concat(),
            Signer::Secret(_) => return None,
        };
        Some(encode_pem("PUBLIC KEY", &der).to_string())
    }

    /// Signs `message`; `None` when the library cannot, which for ES256 includes a system without randomness.
    ///
    /// For what is not a token: the caller's messages must never look like the signing input of one, which is two
    /// base64url words joined by a dot.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.signer {
            Signer::Ed25519(pair) => pair.try_sign(message).ok().map(|signature| signature.as_ref().to_vec()),
            Signer::P256(pair) => {
                pair.sign(&SystemRandom::new(), message).ok().map(|signature| signature.as_ref().to_vec())
            }
            Signer::Secret(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
        }
    }

    fn from_file(name: &str, file: KeyFile<'_>) -> Result<Self, KeyFault> {
        let (signer, key) = match file.body {
            Body::Public(_) => return Err(KeyFault::NotSigning),
            Body::Secret(secret) => {
                let secret = Box::new(hmac::Key::new(hmac::HMAC_SHA256, &secret));
                (Signer::Secret(secret.clone()), Key::secret(name, file.id, secret))
            }
            Body::Private(der) => match private_kind(&der)? {
                Algorithm::EdDsa => {
                    let pair = Ed25519KeyPair::from_pkcs8(&der).map_err(|_| KeyFault::Invalid)?;
                    let info = [&ED25519_INFO[..], pair.public_key().as_ref()].concat();
                    (Signer::Ed25519(pair), Key::public(name, file.id, &info)?)
                }
                Algorithm::Es256 => {
                    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
                        .map_err(|_| KeyFault::Invalid)?;
                    let info = [&P256_INFO[..], pair.public_key().as_ref()].concat();
                    (Signer::P256(pair), Key::public(name, file.id, &info)?)
                }
                Algorithm::Rs256 | Algorithm::Hs256 => return Err(KeyFault::RsaPrivate),
            },
        };
        Ok(Self { signer, key })
    }
}

/// What stands before the 32 bytes of an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410 §4).
const ED25519_INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What stands before the 65 bytes of a P-256 point in its `SubjectPublicKeyInfo` (RFC 5480 §2).
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

// The JWK texts that RFC 7638 §3 hashes: required members only, in alphabetical order, no white space.

fn ed25519_jwk(point: &[u8]) -> String {
    format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, BASE64URL.encode(point))
}

fn p256_jwk(point: &[u8]) -> String {
    let coordinates = point.get(1..).unwrap_or_default();
    let (x, y) = coordinates.split_at_checked(32).unwrap_or_default();
    format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, BASE64URL.encode(x), BASE64URL.encode(y))
}

fn rsa_jwk(modulus: &[u8], exponent: &[u8]) -> String {
    format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, BASE64URL.encode(exponent), BASE64URL.encode(modulus))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.key).finish()
    }
}
