//! Properties: no input panics, and noise never passes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn never_panics_and_never_accepts_noise(token in ".{0,400}") {
        prop_assert!(outcome(&full_ring(), &token).is_err());
    }

    #[test]
    fn never_panics_on_three_parts_of_noise(
        header in proptest::collection::vec(any::<u8>(), 0..200),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        signature in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let encode = |bytes: &[u8]| BASE64URL.encode(bytes);
        let token = format!("{}.{}.{}", encode(&header), encode(&payload), encode(&signature));
        prop_assert!(outcome(&full_ring(), &token).is_err());
    }

    #[test]
    fn never_panics_on_signed_noise(payload in "[\\[\\]{}\":,a-z0-9\\\\ .-]{0,200}") {
        // Whatever JSON comes out of it, `sub` and `exp` are too long to appear by chance.
        let token = hs256(&secret(), r#"{"alg":"HS256"}"#, &payload);
        prop_assert!(outcome(&full_ring(), &token).is_err());
    }

    #[test]
    fn one_changed_character_is_refused(at in 0_usize..1_000, with in "[A-Za-z0-9_.=-]") {
        for token in [fx::PYTHON_HS256, fx::PYTHON_EDDSA] {
            let at = at.checked_rem(token.len()).unwrap();
            let mut changed = token.to_owned();
            changed.replace_range(at..=at, &with);
            prop_assert_eq!(outcome(&full_ring(), &changed).is_ok(), changed == token);
        }
    }

    #[test]
    fn never_panics_on_a_key_file_of_noise(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        for label in ["PUBLIC KEY", "PRIVATE KEY"] {
            let file = key_file::encode_pem(label, &body);
            prop_assert!(Key::parse("noise", file.as_bytes()).is_err());
        }
        prop_assert!(Key::parse("noise", &body).is_err());
    }

    #[test]
    fn never_panics_on_a_damaged_key(at in 0_usize..91, with: u8) {
        for pem in [fx::P256_PUBLIC, fx::ED25519_PUBLIC, fx::RSA_PUBLIC, fx::ED25519_PRIVATE] {
            let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let mut der = STANDARD.decode(body).unwrap();
            let at = at.checked_rem(der.len()).unwrap();
            der[at] = with;
            let label = if pem.contains("PRIVATE") { "PRIVATE KEY" } else { "PUBLIC KEY" };
            // A changed point may be another good key; what counts is that the algorithm stays and nothing panics.
            if let Ok(key) = Key::parse("damaged", key_file::encode_pem(label, &der).as_bytes()) {
                prop_assert_ne!(key.algorithm(), Algorithm::Hs256);
            }
        }
    }
}
