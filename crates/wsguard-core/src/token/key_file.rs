//! The formats of key files, read strictly: one key a file, and never a guess about its kind.
//!
//! Attack: a loader that takes an unknown file as an HMAC secret turns a public key, which everybody has, into the
//! secret that signs (algorithm confusion, CWE-347). So a secret must say that it is one.
//!
//! A key file is text. Empty lines and lines that begin with `#` are skipped, and it holds exactly one of:
//!
//! - a PEM block `PUBLIC KEY` (`SubjectPublicKeyInfo`): Ed25519, P-256 with an uncompressed point, or RSA of 2,048 to
//!   8,192 bits;
//! - a PEM block `PRIVATE KEY` (unencrypted PKCS#8): Ed25519 or P-256;
//! - one public JWK (RFC 7517) of these kinds, if the file begins with `{`: see [`super::jwk`];
//! - a line `wsguard-hs256:` and, right behind it, base64url without padding of [`SECRET_BYTES_MIN`] to
//!   [`SECRET_BYTES_MAX`] random bytes.
//!
//! A line `kid: NAME` before the key says by which name the issuer's tokens call it; the key's own thumbprint always
//! works as well.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Algorithm, BASE64URL};

/// Longest key file in bytes. An RSA key of 8,192 bits takes about 1,500.
pub const KEY_FILE_BYTES_MAX: usize = 16 * 1024;

/// Shortest HS256 secret in bytes: the size of the hash (RFC 7518 §3.2). A shorter one is guessed offline from a token.
pub const SECRET_BYTES_MIN: usize = 32;

/// Longest HS256 secret in bytes. HMAC hashes what exceeds 64 bytes, so more adds nothing.
pub const SECRET_BYTES_MAX: usize = 1024;

/// Longest key id in characters, in a key file and in a token's header.
pub const KEY_ID_CHARS_MAX: usize = 128;

const SECRET_PREFIX: &str = "wsguard-hs256:";
const KEY_ID_PREFIX: &str = "kid:";

/// Why a key file is not usable. Names the file, never its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read key {name}: {fault}")]
pub struct KeyError {
    name: Box<str>,
    fault: KeyFault,
}

impl KeyError {
    pub(super) fn new(name: &str, fault: KeyFault) -> Self {
        Self { name: name.into(), fault }
    }

    /// Returns the name that the caller gave, usually the path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what is wrong with the file.
    pub fn fault(&self) -> KeyFault {
        self.fault
    }
}

/// What is wrong with a key file; the text says what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// Longer than [`KEY_FILE_BYTES_MAX`].
    #[error("it is longer than {KEY_FILE_BYTES_MAX} bytes")]
    TooLong,
    /// Not text: DER, a key store, raw random bytes.
    #[error("it is not text; expected PEM, or {SECRET_PREFIX} and base64url for an HS256 secret")]
    NotText,
    /// Text that is none of the formats.
    #[error(
        "it is not a key; expected a PEM block PUBLIC KEY or PRIVATE KEY, a public JWK, or {SECRET_PREFIX} and base64url for an HS256 secret"
    )]
    NotAKey,
    /// More than one key, or text behind the key.
    #[error("it holds more than one key; give each key a file of its own")]
    MoreThanOne,
    /// A PEM block without its end, or with a body that is not base64.
    #[error("its PEM block is damaged")]
    PemDamaged,
    /// `RSA PRIVATE KEY`, `EC PRIVATE KEY`, `ENCRYPTED PRIVATE KEY`.
    #[error("it is a private key in an old or encrypted form; convert it with: openssl pkcs8 -topk8 -nocrypt")]
    PrivateKeyForm,
    /// `CERTIFICATE`.
    #[error("it is a certificate; take its public key with: openssl x509 -pubkey -noout")]
    Certificate,
    /// A PEM block with some other label.
    #[error("its PEM block is neither PUBLIC KEY nor PRIVATE KEY")]
    PemLabel,
    /// A key of another kind or curve, or a P-256 point in compressed form.
    #[error("its kind is not supported; expected Ed25519, P-256 (uncompressed, named curve) or RSA")]
    Unsupported,
    /// An RSA modulus outside 2,048 to 8,192 bits.
    #[error("its RSA modulus must have 2,048 to 8,192 bits")]
    RsaSize,
    /// An RSA private key: RS256 is there to verify only.
    #[error("it is an RSA private key; RS256 only verifies, so give the public key: openssl pkey -pubout")]
    RsaPrivate,
    /// DER that does not decode, or numbers that are no key.
    #[error("its numbers are not a valid key")]
    Invalid,
    /// A secret that is not base64url without padding.
    #[error("its secret is not base64url without padding")]
    SecretEncoding,
    /// A secret outside [`SECRET_BYTES_MIN`] to [`SECRET_BYTES_MAX`] bytes.
    #[error("its HS256 secret must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")]
    SecretSize,
    /// A `kid:` line that is empty, too long, repeated, or holds more than visible ASCII.
    #[error("its kid must be one line of 1 to {KEY_ID_CHARS_MAX} visible ASCII characters")]
    KeyId,
    /// Longer than [`super::KEY_SET_BYTES_MAX`].
    #[error("it is longer than {} bytes", super::KEY_SET_BYTES_MAX)]
    SetTooLong,
    /// A JWK that is not one strict JSON object with strings where strings belong.
    #[error("it is not a JWK; expected one JSON object with kty and the numbers of a public key (RFC 7517)")]
    JwkInvalid,
    /// A JWK set without an array `keys`, or with more entries than [`super::KEY_SET_KEYS_MAX`].
    #[error("it is not a JWK set; expected {{\"keys\": [...]}} of at most {} keys", super::KEY_SET_KEYS_MAX)]
    JwkSetInvalid,
    /// A JWK with the member `d` or `k`: a private key or a secret, which whoever fetched it can sign with.
    #[error("it holds a private key or a secret; give the public key alone")]
    JwkPrivate,
    /// A JWK whose `use`, `key_ops` or `alg` says that it is for something else.
    #[error("its use, key_ops or alg says that it does not verify such tokens")]
    JwkPurpose,
    /// A public key where one that signs is needed.
    #[error("it is a public key; signing needs the private key or the secret")]
    NotSigning,
}

/// A key file, taken apart but not yet understood.
pub(super) struct KeyFile<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) body: Body,
}

pub(super) enum Body {
    /// DER of a `SubjectPublicKeyInfo`.
    Public(Vec<u8>),
    /// DER of a PKCS#8 `PrivateKeyInfo`.
    Private(Zeroizing<Vec<u8>>),
    Secret(Zeroizing<Vec<u8>>),
}

impl<'a> KeyFile<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, KeyFault> {
        if bytes.len() > KEY_FILE_BYTES_MAX {
            return Err(KeyFault::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| KeyFault::NotText)?;
        let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut id = None;
        let mut line = lines.next().ok_or(KeyFault::NotAKey)?;
        if let Some(name) = line.strip_prefix(KEY_ID_PREFIX) {
            id = Some(key_id(name.trim_start()).ok_or(KeyFault::KeyId)?);
            line = lines.next().ok_or(KeyFault::NotAKey)?;
        }
        let body = if let Some(secret) = line.strip_prefix(SECRET_PREFIX) {
            Body::Secret(decode_secret(secret)?)
        } else if let Some(label) = pem_label(line, "-----BEGIN ") {
            decode_pem(label, &mut lines)?
        } else if line.starts_with(KEY_ID_PREFIX) {
            return Err(KeyFault::KeyId);
        } else {
            return Err(KeyFault::NotAKey);
        };
        if lines.next().is_some() {
            return Err(KeyFault::MoreThanOne);
        }
        Ok(Self { id, body })
    }
}

/// Writes an HS256 secret as the line that [`super::Key::parse`] reads, with its end of line.
pub fn encode_secret(secret: &[u8]) -> Zeroizing<String> {
    // Reserved in full, so that no half-grown copy of the secret stays behind in freed memory.
    let capacity = SECRET_PREFIX.len().saturating_add(secret.len().saturating_mul(2)).saturating_add(4);
    let mut line = Zeroizing::new(String::with_capacity(capacity));
    line.push_str(SECRET_PREFIX);
    BASE64URL.encode_string(secret, &mut line);
    line.push('\n');
    line
}

/// Writes the DER of a PKCS#8 private key as the PEM block that [`super::SigningKey::parse`] reads.
pub fn encode_private_pem(der: &[u8]) -> Zeroizing<String> {
    encode_pem("PRIVATE KEY", der)
}

/// Writes DER as a PEM block (RFC 7468 §3): lines of 64 characters.
pub(super) fn encode_pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(String::with_capacity(body.len().saturating_mul(2).saturating_add(128)));
    pem.push_str("-----BEGIN ");
    pem.push_str(label);
    pem.push_str("-----\n");
    for (at, character) in body.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    pem
}

/// Returns `text` if it can be a key id: 1 to [`KEY_ID_CHARS_MAX`] visible ASCII characters, so that it can stand in a
/// log line as it is.
pub(super) fn key_id(text: &str) -> Option<&str> {
    ((1..=KEY_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(text)
}

fn decode_secret(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let mut secret = Zeroizing::new(Vec::with_capacity(text.len()));
    BASE64URL.decode_vec(text, &mut secret).map_err(|_| KeyFault::SecretEncoding)?;
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
        return Err(KeyFault::SecretSize);
    }
    Ok(secret)
}

fn pem_label<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}

fn decode_pem<'a>(label: &str, lines: &mut impl Iterator<Item = &'a str>) -> Result<Body, KeyFault> {
    match label {
        "PUBLIC KEY" | "PRIVATE KEY" => {}
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" | "EC PARAMETERS" => {
            return Err(KeyFault::PrivateKeyForm);
        }
        "CERTIFICATE" => return Err(KeyFault::Certificate),
        _ => return Err(KeyFault::PemLabel),
    }
    let mut body = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX));
    loop {
        let line = lines.next().ok_or(KeyFault::PemDamaged)?;
        match pem_label(line, "-----END ") {
            Some(end) if end == label => break,
            Some(_) => return Err(KeyFault::PemDamaged),
            None => body.push_str(line),
        }
    }
    let mut der = Zeroizing::new(Vec::with_capacity(body.len()));
    STANDARD.decode_vec(body.as_bytes(), &mut der).map_err(|_| KeyFault::PemDamaged)?;
    Ok(if label == "PRIVATE KEY" { Body::Private(der) } else { Body::Public(der.to_vec()) })
}

/// A `SubjectPublicKeyInfo` (RFC 5280 §4.1), with the key as `aws-lc-rs` wants it.
pub(super) enum PublicNumbers<'a> {
    Ed25519(&'a [u8]),
    /// Uncompressed point `4 || x || y`.
    P256(&'a [u8]),
    Rsa {
        /// DER of the `RSAPublicKey` (RFC 8017 §A.1.1).
        der: &'a [u8],
        modulus: &'a [u8],
        exponent: &'a [u8],
    },
}

/// Reads a `SubjectPublicKeyInfo` that fills `der` to the last byte.
pub(super) fn public_numbers(der: &[u8]) -> Result<PublicNumbers<'_>, KeyFault> {
    let (info, rest) = element(der, SEQUENCE).ok_or(KeyFault::Invalid)?;
    let (identifier, after) = element(info, SEQUENCE).ok_or(KeyFault::Invalid)?;
    let (bits, after) = element(after, BIT_STRING).ok_or(KeyFault::Invalid)?;
    let Some((0, key)) = bits.split_first().map(|(unused, key)| (*unused, key)) else {
        return Err(KeyFault::Invalid);
    };
    if !rest.is_empty() || !after.is_empty() {
        return Err(KeyFault::Invalid);
    }
    match kind(identifier)? {
        Algorithm::EdDsa if key.len() == 32 => Ok(PublicNumbers::Ed25519(key)),
        Algorithm::EdDsa => Err(KeyFault::Invalid),
        // A compressed point would give the key two spellings and two thumbprints.
        Algorithm::Es256 if key.len() == 65 && key.first() == Some(&4) => Ok(PublicNumbers::P256(key)),
        Algorithm::Es256 => Err(KeyFault::Unsupported),
        _ => rsa_numbers(key),
    }
}

/// Reads which algorithm a PKCS#8 `PrivateKeyInfo` is for and checks that it fills `der`; the rest is for `aws-lc-rs`.
pub(super) fn private_kind(der: &[u8]) -> Result<Algorithm, KeyFault> {
    let (info, rest) = element(der, SEQUENCE).ok_or(KeyFault::Invalid)?;
    let (_version, after) = element(info, INTEGER).ok_or(KeyFault::Invalid)?;
    let (identifier, _) = element(after, SEQUENCE).ok_or(KeyFault::Invalid)?;
    if !rest.is_empty() {
        return Err(KeyFault::Invalid);
    }
    kind(identifier)
}

fn rsa_numbers(der: &[u8]) -> Result<PublicNumbers<'_>, KeyFault> {
    let (numbers, rest) = element(der, SEQUENCE).ok_or(KeyFault::Invalid)?;
    let (modulus, after) = element(numbers, INTEGER).ok_or(KeyFault::Invalid)?;
    let (exponent, after) = element(after, INTEGER).ok_or(KeyFault::Invalid)?;
    if !rest.is_empty() || !after.is_empty() {
        return Err(KeyFault::Invalid);
    }
    // DER puts a zero before a number whose first bit is set, or it would be negative.
    let modulus = modulus.strip_prefix(&[0]).ok_or(KeyFault::RsaSize)?;
    // With the first bit set, bytes times eight is the exact number of bits; odd sizes are nobody's practice.
    if !(256..=1024).contains(&modulus.len()) || modulus.first().is_none_or(|byte| *byte < 0x80) {
        return Err(KeyFault::RsaSize);
    }
    Ok(PublicNumbers::Rsa { der, modulus, exponent })
}

/// Names the algorithm of an `AlgorithmIdentifier`, compared whole: parameters may not differ either.
fn kind(identifier: &[u8]) -> Result<Algorithm, KeyFault> {
    match identifier {
        // 1.3.101.112, no parameters (RFC 8410 §3).
        [0x06, 0x03, 0x2b, 0x65, 0x70] => Ok(Algorithm::EdDsa),
        // 1.2.840.10045.2.1 with the named curve 1.2.840.10045.3.1.7 (RFC 5480 §2.1.1); explicit curve parameters
        // are an attack of their own (CVE-2020-0601).
        [
            0x06,
            0x07,
            0x2a,
            0x86,
            0x48,
            0xce,
            0x3d,
            0x02,
            0x01,
            0x06,
            0x08,
            0x2a,
            0x86,
            0x48,
            0xce,
            0x3d,
            0x03,
            0x01,
            0x07,
        ] => Ok(Algorithm::Es256),
        // 1.2.840.113549.1.1.1 with NULL (RFC 3279 §2.3.1).
        [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00] => Ok(Algorithm::Rs256),
        _ => Err(KeyFault::Unsupported),
    }
}

/// Writes an `RSAPublicKey` (RFC 8017 §A.1.1) of two numbers without leading zeros; `None` for one that has some, which
/// would give the key two spellings.
pub(super) fn encode_rsa(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let integer = |number: &[u8]| {
        let first = number.first().filter(|byte| **byte != 0)?;
        // A first bit that is set would make it negative.
        let sign: &[u8] = if first & 0x80 == 0 { &[] } else { &[0] };
        encode_element(INTEGER, &[sign, number].concat())
    };
    encode_element(SEQUENCE, &[integer(modulus)?, integer(exponent)?].concat())
}

/// Reads an `RSAPublicKey` as [`public_numbers`] does.
pub(super) fn rsa_public(der: &[u8]) -> Result<PublicNumbers<'_>, KeyFault> {
    rsa_numbers(der)
}

fn encode_element(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(content.len()).ok()?;
    let header = match length.to_be_bytes() {
        [0, short @ 0..=0x7f] => vec![tag, short],
        [0, low] => vec![tag, 0x81, low],
        [high, low] => vec![tag, 0x82, high, low],
    };
    Some([&header, content].concat())
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Splits one DER element of kind `tag` off `input`: its content and what follows. Lengths must be minimal.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match input {
        [found, short @ 0..=0x7f, rest @ ..] if *found == tag => (usize::from(*short), rest),
        [found, 0x81, length @ 0x80..=0xff, rest @ ..] if *found == tag => (usize::from(*length), rest),
        [found, 0x82, high @ 1..=0xff, low, rest @ ..] if *found == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public(_) => "Public",
            Self::Private(_) => "Private",
            Self::Secret(_) => "Secret",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(bytes: &[u8]) -> Option<KeyFault> {
        KeyFile::parse(bytes).err()
    }

    #[test]
    fn the_form_of_a_key_file_is_strict() {
        let secret = "wsguard-hs256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        let pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";
        for (name, text, want) in [
            ("secret", format!("{secret}\n"), None),
            ("comment, kid, secret", format!("# issuer\n\nkid: 2026-11\r\n{secret}\r\n"), None),
            ("PEM", format!("{pem}\n"), None),
            ("PEM with kid", format!("kid:a\n{pem}"), None),
            ("empty", String::new(), Some(KeyFault::NotAKey)),
            ("comment alone", "# nothing".to_owned(), Some(KeyFault::NotAKey)),
            ("kid alone", "kid: a".to_owned(), Some(KeyFault::NotAKey)),
            ("bare words are never a secret", "a".repeat(64), Some(KeyFault::NotAKey)),
            ("JWK is never a secret", "{\"kty\":\"oct\"}".to_owned(), Some(KeyFault::NotAKey)),
            ("kid twice", format!("kid: a\nkid: b\n{secret}"), Some(KeyFault::KeyId)),
            ("kid empty", format!("kid:\n{secret}"), Some(KeyFault::KeyId)),
            ("kid with space", format!("kid: a b\n{secret}"), Some(KeyFault::KeyId)),
            ("kid too long", format!("kid: {}\n{secret}", "k".repeat(129)), Some(KeyFault::KeyId)),
            ("two secrets", format!("{secret}\n{secret}"), Some(KeyFault::MoreThanOne)),
            ("secret and PEM", format!("{secret}\n{pem}"), Some(KeyFault::MoreThanOne)),
            ("two blocks", format!("{pem}\n{pem}"), Some(KeyFault::MoreThanOne)),
            ("secret padded", format!("{secret}="), Some(KeyFault::SecretEncoding)),
            ("secret with space", secret.replace("256:", "256: "), Some(KeyFault::SecretEncoding)),
            ("secret spare bits", secret.replace("Hh8", "Hh9"), Some(KeyFault::SecretEncoding)),
            ("secret of 31 bytes", format!("wsguard-hs256:{}", BASE64URL.encode([1; 31])), Some(KeyFault::SecretSize)),
            (
                "secret of 1025 bytes",
                format!("wsguard-hs256:{}", BASE64URL.encode([1; 1025])),
                Some(KeyFault::SecretSize),
            ),
            ("no secret", "wsguard-hs256:".to_owned(), Some(KeyFault::SecretSize)),
            ("PEM without end", "-----BEGIN PUBLIC KEY-----\nAAAA".to_owned(), Some(KeyFault::PemDamaged)),
            ("PEM with other end", pem.replace("END PUBLIC", "END PRIVATE"), Some(KeyFault::PemDamaged)),
            ("PEM body damaged", pem.replace("AAAA", "A!AA"), Some(KeyFault::PemDamaged)),
            ("certificate", pem.replace("PUBLIC KEY", "CERTIFICATE"), Some(KeyFault::Certificate)),
            ("old EC form", pem.replace("PUBLIC", "EC PRIVATE"), Some(KeyFault::PrivateKeyForm)),
            ("old RSA form", pem.replace("PUBLIC", "RSA PRIVATE"), Some(KeyFault::PrivateKeyForm)),
            ("encrypted", pem.replace("PUBLIC", "ENCRYPTED PRIVATE"), Some(KeyFault::PrivateKeyForm)),
            ("other label", pem.replace("PUBLIC KEY", "DH PARAMETERS"), Some(KeyFault::PemLabel)),
            ("too long", "#".repeat(KEY_FILE_BYTES_MAX + 1), Some(KeyFault::TooLong)),
        ] {
            assert_eq!(fault(text.as_bytes()), want, "{name}");
        }
        assert_eq!(fault(&[0xff; 32]), Some(KeyFault::NotText), "raw random bytes");
    }

    #[test]
    fn a_written_secret_is_read_back() {
        let line = encode_secret(&[7; 32]);
        let Ok(KeyFile { id: None, body: Body::Secret(secret) }) = KeyFile::parse(line.as_bytes()) else {
            panic!("not a secret: {}", &*line);
        };
        assert_eq!(*secret, vec![7; 32]);
    }

    #[test]
    fn der_lengths_are_minimal_and_inside() {
        let long = [&[0x30, 0x81, 0x80][..], &[0; 0x80]].concat();
        for (name, input, want) in [
            ("short form", &[0x30, 1, 9, 8][..], Some((&[9][..], &[8][..]))),
            ("other tag", &[0x31, 1, 9], None),
            ("beyond the end", &[0x30, 2, 9], None),
            ("long form for a short length", &[0x30, 0x81, 1, 9], None),
            ("two bytes for a one-byte length", &[0x30, 0x82, 0, 1, 9], None),
            ("indefinite", &[0x30, 0x80, 0, 0], None),
            ("long form", &long, Some((&[0; 0x80][..], &[][..]))),
            ("nothing", &[], None),
        ] {
            assert_eq!(element(input, SEQUENCE), want, "{name}");
        }
    }
}
