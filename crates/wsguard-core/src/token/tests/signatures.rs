//! Signatures: published ones, foreign ones, forged ones, and their twins.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken as judge;

use super::super::verify::authenticate;
use super::*;

#[test]
fn tokens_of_the_rfcs_carry_their_signatures() {
    // They lack `sub`, or claims at all, so the signature is judged alone, and then what the whole path says after it.
    for (name, file, token, then) in [
        ("RFC 7515 A.1", fx::HS256_SECRET, fx::RFC7515_HS256, TokenError::SubjectMissing),
        ("RFC 7515 A.2", fx::RSA_PUBLIC, fx::RFC7515_RS256, TokenError::SubjectMissing),
        ("RFC 7515 A.3", fx::P256_PUBLIC, fx::RFC7515_ES256, TokenError::SubjectMissing),
        ("RFC 7515 A.3, private key", fx::P256_PRIVATE, fx::RFC7515_ES256, TokenError::SubjectMissing),
        ("RFC 8037 A.4", fx::ED25519_PUBLIC, fx::RFC8037_EDDSA, TokenError::PayloadNotJson),
        ("RFC 8037 A.4, private key", fx::ED25519_PRIVATE, fx::RFC8037_EDDSA, TokenError::PayloadNotJson),
    ] {
        let ring = ring(&[file]);
        let (key, payload) = authenticate(&ring, TOKEN_BYTES_MAX, token).unwrap();
        assert_eq!(key.id(), ring.keys()[0].id(), "{name}");
        assert_eq!(payload, parts(token)[1], "{name}");
        assert_eq!(outcome(&ring, token), Err(then), "{name}");
    }
}

#[test]
fn mint_repeats_the_signature_of_rfc_8037() {
    let key = SigningKey::parse("test", fx::ED25519_PRIVATE.as_bytes()).unwrap();
    let (message, signature) = fx::RFC8037_EDDSA.rsplit_once('.').unwrap();
    assert_eq!(BASE64URL.encode(key.sign(message.as_bytes()).unwrap()), signature);
}

#[test]
fn tokens_of_another_implementation_verify() {
    for (file, token) in [
        (fx::HS256_SECRET, fx::PYTHON_HS256),
        (fx::ED25519_PUBLIC, fx::PYTHON_EDDSA),
        (fx::P256_PUBLIC, fx::PYTHON_ES256),
        (fx::RSA_PUBLIC, fx::PYTHON_RS256),
    ] {
        let claims = outcome(&full_ring(), token).unwrap();
        assert_eq!((&*claims.subject, claims.expires_at), ("ann", UnixMs(1_700_000_900_000)));
        assert_eq!(claims.issued_at, Some(NOW));
        assert!(claims.has_role("editor") && claims.has_scope("write"));
        assert_eq!(&*claims.key_id, ring(&[file]).keys()[0].id(), "the key that verified");
    }
}

#[test]
fn another_library_agrees_on_minted_tokens() {
    for (file, algorithm, key) in [
        (fx::HS256_SECRET, judge::Algorithm::HS256, judge::DecodingKey::from_secret(&secret())),
        (
            fx::ED25519_PRIVATE,
            judge::Algorithm::EdDSA,
            judge::DecodingKey::from_ed_pem(fx::ED25519_PUBLIC.as_bytes()).unwrap(),
        ),
        (
            fx::P256_PRIVATE,
            judge::Algorithm::ES256,
            judge::DecodingKey::from_ec_pem(fx::P256_PUBLIC.as_bytes()).unwrap(),
        ),
    ] {
        let token = mint(&SigningKey::parse("test", file.as_bytes()).unwrap(), &MintClaims::new("ann", NOW)).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        assert!(judge::crypto::verify(signature, message.as_bytes(), &key, algorithm).unwrap(), "{algorithm:?}");
    }
}

#[test]
fn another_library_agrees_on_rs256() {
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKey};
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
    for size in [KeySize::Rsa2048, KeySize::Rsa3072] {
        let pair = KeyPair::generate(size).unwrap();
        let public: &PublicKey = pair.public_key();
        let info = AsDer::<PublicKeyX509Der<'_>>::as_der(public).unwrap();
        let pem = key_file::encode_pem("PUBLIC KEY", info.as_ref());
        let message = format!("{}.{}", BASE64URL.encode(r#"{"alg":"RS256"}"#), BASE64URL.encode(PAYLOAD));
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &aws_lc_rs::rand::SystemRandom::new(), message.as_bytes(), &mut signature)
            .unwrap();
        let theirs = judge::DecodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        let ring = ring(&[&pem]);
        for (name, flip, want) in
            [("as signed", None, true), ("first bit", Some(0), false), ("last bit", Some(255), false)]
        {
            let mut signature = signature.clone();
            if let Some(place) = flip {
                signature[place] ^= 1;
            }
            let signature = BASE64URL.encode(signature);
            let judged = judge::crypto::verify(&signature, message.as_bytes(), &theirs, judge::Algorithm::RS256);
            let ours = outcome(&ring, &format!("{message}.{signature}"));
            assert_eq!((ours.is_ok(), judged.unwrap()), (want, want), "{size:?} {name}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // The attacker knows every byte of the public keys and signs HS256 with each spelling that a loader might take.
    for pem in [fx::RSA_PUBLIC, fx::P256_PUBLIC, fx::ED25519_PUBLIC] {
        let key = Key::parse("test", pem.as_bytes()).unwrap();
        let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
        for known in [pem.as_bytes(), pem.trim_end().as_bytes(), &der, &der[der.len() - 32..], key.id().as_bytes()] {
            let with_kid = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, key.id());
            for header in [r#"{"alg":"HS256"}"#, &with_kid] {
                let token = hs256(known, header, PAYLOAD);
                assert_eq!(outcome(&ring(&[pem]), &token), Err(TokenError::AlgorithmNotOfKey));
                assert!(outcome(&full_ring(), &token).is_err());
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_signature_is_noticed() {
    for token in [fx::PYTHON_HS256, fx::PYTHON_EDDSA, fx::PYTHON_ES256, fx::PYTHON_RS256] {
        let ring = full_ring();
        let [header, payload, signature] = parts(token);
        let good = BASE64URL.decode(signature).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let token = format!("{header}.{payload}.{}", BASE64URL.encode(bad));
            assert_eq!(outcome(&ring, &token), Err(TokenError::SignatureInvalid), "bit {bit} of {token}");
        }
    }
}

#[test]
fn what_was_signed_is_what_is_read() {
    let ring = full_ring();
    for token in [fx::PYTHON_HS256, fx::PYTHON_EDDSA, fx::PYTHON_ES256, fx::PYTHON_RS256] {
        let [header, payload, signature] = parts(token);
        let admin = BASE64URL.encode(r#"{"sub":"admin","exp":1700000900}"#);
        for (name, forged, want) in [
            ("other payload", format!("{header}.{admin}.{signature}"), TokenError::SignatureInvalid),
            ("no signature", format!("{header}.{payload}."), TokenError::SignatureInvalid),
            (
                "signature cut",
                format!("{header}.{payload}.{}", signature.get(..40).unwrap()),
                TokenError::SignatureInvalid,
            ),
            ("signature doubled", format!("{header}.{payload}.{signature}{signature}"), TokenError::SignatureInvalid),
            ("signature of another", format!("{header}.{payload}.{}", "A".repeat(86)), TokenError::SignatureInvalid),
        ] {
            let got = outcome(&ring, &forged);
            // Doubling some lengths is not base64url at all; both are refusals before anything was read.
            let encoding = name == "signature doubled" && got == Err(TokenError::SignatureEncoding);
            assert!(encoding || got == Err(want), "{name}: {got:?}");
        }
    }
}

#[test]
fn a_signature_has_one_form() {
    let ring = full_ring();
    for (name, token, want) in [
        ("fixed", fx::PYTHON_ES256, None),
        // ECDSA cannot tell the twin from the original; see the module's documentation for what must not rest on it.
        ("twin", fx::PYTHON_ES256_TWIN, None),
        ("DER", fx::PYTHON_ES256_DER, Some(TokenError::SignatureInvalid)),
        ("PSS under RS256", fx::PYTHON_RS256_PSS, Some(TokenError::SignatureInvalid)),
    ] {
        assert_eq!(outcome(&ring, token).err(), want, "{name}");
    }
    let [header, payload, signature] = parts(fx::PYTHON_ES256);
    let good = BASE64URL.decode(signature).unwrap();
    let order = BASE64URL.decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE").unwrap();
    for (name, r, s) in [
        ("both zero", &[0; 32][..], &[0; 32][..]),
        ("r zero", &[0; 32], &good[32..]),
        ("s zero", &good[..32], &[0; 32]),
        ("r and s the order", &order, &order),
        ("all ones", &[0xff; 32], &[0xff; 32]),
    ] {
        let token = format!("{header}.{payload}.{}", BASE64URL.encode([r, s].concat()));
        assert_eq!(outcome(&ring, &token), Err(TokenError::SignatureInvalid), "{name}");
    }
}

#[test]
fn eddsa_signatures_cannot_be_respelled() {
    // s and s + L verify alike where s is not reduced (RFC 8032 §5.1.7): adds the group's order to the second half.
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let [header, payload, signature] = parts(fx::PYTHON_EDDSA);
    let mut bytes = BASE64URL.decode(signature).unwrap();
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    let token = format!("{header}.{payload}.{}", BASE64URL.encode(bytes));
    assert_eq!(outcome(&full_ring(), &token), Err(TokenError::SignatureInvalid));
}
