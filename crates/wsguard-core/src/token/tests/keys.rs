//! Keys: their ids, what is unfit, and which of them a token gets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

#[test]
fn ids_are_those_of_the_rfcs() {
    for (name, file, want) in [
        ("RFC 8037 A.3", fx::ED25519_PUBLIC, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        // RFC 7638 has no example for these; computed apart, with Python.
        ("P-256", fx::P256_PUBLIC, "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"),
        ("RSA", fx::RSA_PUBLIC, "IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8"),
        ("secret", fx::HS256_SECRET, "V31lpA2FCju9zz3Onz98xA"),
    ] {
        let key = Key::parse("test", file.as_bytes()).unwrap();
        assert_eq!((key.id(), key.thumbprint()), (want, want), "{name}");
    }
    for (private, public) in [(fx::ED25519_PRIVATE, fx::ED25519_PUBLIC), (fx::P256_PRIVATE, fx::P256_PUBLIC)] {
        let signing = SigningKey::parse("test", private.as_bytes()).unwrap();
        assert_eq!(signing.public_pem().as_deref(), Some(public));
        assert_eq!(signing.verifying_key().id(), Key::parse("test", public.as_bytes()).unwrap().id());
    }
}

#[test]
fn keys_that_are_unfit_are_refused() {
    let damaged = |pem: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let label = if pem.contains("PRIVATE") { "PRIVATE KEY" } else { "PUBLIC KEY" };
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let mut der = STANDARD.decode(body).unwrap();
        edit(&mut der);
        key_file::encode_pem(label, &der).to_string()
    };
    let trailing = |der: &mut Vec<u8>| der.push(0);
    let compressed = {
        let der = [
            &[
                0x30, 0x39, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
                0x48,
            ][..],
            &[0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x22, 0x00, 0x03],
            &BASE64URL.decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU").unwrap(),
        ];
        key_file::encode_pem("PUBLIC KEY", &der.concat()).to_string()
    };
    for (name, file, want) in [
        ("RSA of 1,024 bits", fx::RSA_1024_PUBLIC.to_owned(), KeyFault::RsaSize),
        ("RSA with exponent 1", fx::RSA_EXPONENT_1.to_owned(), KeyFault::Invalid),
        ("RSA with even exponent", fx::RSA_EXPONENT_EVEN.to_owned(), KeyFault::Invalid),
        ("P-384", fx::P384_PUBLIC.to_owned(), KeyFault::Unsupported),
        ("P-256 compressed", compressed, KeyFault::Unsupported),
        ("P-256 off the curve", damaged(fx::P256_PUBLIC, &|der| der[90] ^= 1), KeyFault::Invalid),
        ("P-256 with trailing byte", damaged(fx::P256_PUBLIC, &trailing), KeyFault::Invalid),
        ("Ed25519 with trailing byte", damaged(fx::ED25519_PUBLIC, &trailing), KeyFault::Invalid),
        ("RSA with trailing byte", damaged(fx::RSA_PUBLIC, &trailing), KeyFault::Invalid),
        ("private with trailing byte", damaged(fx::ED25519_PRIVATE, &trailing), KeyFault::Invalid),
        ("private cut short", damaged(fx::P256_PRIVATE, &|der| der.truncate(60)), KeyFault::Invalid),
        ("private whose public part is another's", damaged(fx::P256_PRIVATE, &|der| der[100] ^= 1), KeyFault::Invalid),
        ("other algorithm named", damaged(fx::ED25519_PUBLIC, &|der| der[8] = 0x6f), KeyFault::Unsupported),
    ] {
        let error = Key::parse("auth.pem", file.as_bytes()).unwrap_err();
        assert_eq!((error.name(), error.fault()), ("auth.pem", want), "{name}");
    }
    for public in [fx::ED25519_PUBLIC, fx::P256_PUBLIC, fx::RSA_PUBLIC] {
        let error = SigningKey::parse("auth.pem", public.as_bytes()).unwrap_err();
        assert_eq!(error.fault(), KeyFault::NotSigning);
    }
}

#[test]
fn a_key_is_found_by_id_or_tried_within_limits() {
    let file = |fill: u8, id: &str| format!("kid: {id}\n{}", *encode_secret(&[fill; 32]));
    let files: Vec<String> = (1..=5).map(|fill| file(fill, &format!("key-{fill}"))).collect();
    let some: Vec<&str> = files.iter().map(String::as_str).collect();
    let (fewer, every) = (ring(&some[..4]), ring(&some));
    let plain = |fill: u8| hs256(&[fill; 32], r#"{"alg":"HS256"}"#, PAYLOAD);
    let with_kid = |fill: u8, id: &str| hs256(&[fill; 32], &format!(r#"{{"alg":"HS256","kid":"{id}"}}"#), PAYLOAD);
    let thumbprint = every.keys()[4].thumbprint().to_owned();
    for (name, ring, token, want) in [
        ("the last of four tried", &fewer, plain(4), Ok("key-4")),
        ("a key outside the ring", &fewer, plain(5), Err(TokenError::SignatureInvalid)),
        ("five to try", &every, plain(1), Err(TokenError::KeyIdMissing)),
        ("by declared id", &every, with_kid(5, "key-5"), Ok("key-5")),
        ("by thumbprint", &every, with_kid(5, &thumbprint), Ok("key-5")),
        ("id of another key", &every, with_kid(5, "key-4"), Err(TokenError::SignatureInvalid)),
        ("unknown id", &every, with_kid(5, "key-6"), Err(TokenError::KeyUnknown)),
        ("empty ring", &KeyRing::default(), plain(1), Err(TokenError::AlgorithmNotOfKey)),
    ] {
        let got = outcome(ring, &token).map(|claims| claims.key_id.to_string());
        assert_eq!(got, want.map(str::to_owned), "{name}");
    }
    assert!(every.contains_id("key-5") && every.contains_id(&thumbprint) && !fewer.contains_id("key-5"));
}

#[test]
fn nothing_secret_is_shown() {
    let signing = SigningKey::parse("a.key", fx::HS256_SECRET.as_bytes()).unwrap();
    assert_eq!(
        format!("{signing:?}"),
        "SigningKey(Key { name: \"a.key\", id: \"V31lpA2FCju9zz3Onz98xA\", algorithm: Hs256, .. })"
    );
    let error = Key::parse("a.key", b"correct horse battery staple").unwrap_err().to_string();
    assert!(error.starts_with("read key a.key: it is not a key") && !error.contains("horse"), "{error}");
}
