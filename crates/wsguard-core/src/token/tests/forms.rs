//! Forms: headers, encodings, lengths and payloads that must not pass, most of them under a good signature.

use base64::Engine as _;

use super::*;
use crate::time::Millis;

#[test]
fn headers_that_ask_for_more_are_refused() {
    use TokenError as E;
    let ring = ring(&[fx::HS256_SECRET]);
    // All of these carry a good signature: the header alone decides.
    for (name, header, want) in [
        ("least", r#"{"alg":"HS256"}"#, None),
        ("typ JWT", r#"{"alg":"HS256","typ":"JWT"}"#, None),
        ("typ jwt", r#"{"alg":"HS256","typ":"jwt"}"#, None),
        ("typ at+jwt", r#"{"alg":"HS256","typ":"AT+JWT"}"#, None),
        ("unknown member", r#"{"alg":"HS256","x5t":"abc"}"#, None),
        ("kid of the key", r#"{"alg":"HS256","kid":"V31lpA2FCju9zz3Onz98xA"}"#, None),
        ("typ of a logout token", r#"{"alg":"HS256","typ":"logout+jwt"}"#, Some(E::TypeRefused)),
        ("typ empty", r#"{"alg":"HS256","typ":""}"#, Some(E::TypeRefused)),
        ("typ number", r#"{"alg":"HS256","typ":1}"#, Some(E::HeaderInvalid)),
        ("typ null", r#"{"alg":"HS256","typ":null}"#, Some(E::HeaderInvalid)),
        ("none", r#"{"alg":"none"}"#, Some(E::AlgorithmUnknown)),
        ("None", r#"{"alg":"None"}"#, Some(E::AlgorithmUnknown)),
        ("NONE", r#"{"alg":"NONE"}"#, Some(E::AlgorithmUnknown)),
        ("nOnE by escape", r#"{"alg":"nO\u006eE"}"#, Some(E::AlgorithmUnknown)),
        ("alg empty", r#"{"alg":""}"#, Some(E::AlgorithmUnknown)),
        ("alg missing", r#"{"typ":"JWT"}"#, Some(E::AlgorithmUnknown)),
        ("alg null", r#"{"alg":null}"#, Some(E::HeaderInvalid)),
        ("alg array", r#"{"alg":["HS256"]}"#, Some(E::HeaderInvalid)),
        ("alg lower case", r#"{"alg":"hs256"}"#, Some(E::AlgorithmUnknown)),
        ("alg longer hash", r#"{"alg":"HS512"}"#, Some(E::AlgorithmUnknown)),
        ("alg of no key", r#"{"alg":"EdDSA"}"#, Some(E::AlgorithmNotOfKey)),
        ("alg other than its key's", r#"{"alg":"RS256","kid":"V31lpA2FCju9zz3Onz98xA"}"#, Some(E::AlgorithmNotOfKey)),
        ("alg twice", r#"{"alg":"none","alg":"HS256"}"#, Some(E::HeaderInvalid)),
        ("kid unknown", r#"{"alg":"HS256","kid":"other"}"#, Some(E::KeyUnknown)),
        ("kid a path", r#"{"alg":"HS256","kid":"../../dev/null"}"#, Some(E::KeyUnknown)),
        ("kid an injection", r#"{"alg":"HS256","kid":"x' UNION SELECT 'k"}"#, Some(E::HeaderInvalid)),
        ("kid empty", r#"{"alg":"HS256","kid":""}"#, Some(E::HeaderInvalid)),
        ("kid null", r#"{"alg":"HS256","kid":null}"#, Some(E::HeaderInvalid)),
        ("kid number", r#"{"alg":"HS256","kid":1}"#, Some(E::HeaderInvalid)),
        ("jwk", r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#, Some(E::HeaderBringsKey)),
        ("jwk null", r#"{"alg":"HS256","jwk":null}"#, Some(E::HeaderBringsKey)),
        ("jku", r#"{"alg":"HS256","jku":"https://evil.test/k"}"#, Some(E::HeaderBringsKey)),
        ("x5u", r#"{"alg":"HS256","x5u":"https://evil.test/c"}"#, Some(E::HeaderBringsKey)),
        ("x5c", r#"{"alg":"HS256","x5c":["MIIB"]}"#, Some(E::HeaderBringsKey)),
        ("jku by escape", r#"{"alg":"HS256","\u006aku":"https://evil.test/k"}"#, Some(E::HeaderBringsKey)),
        ("crit unknown", r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, Some(E::HeaderExtension)),
        ("crit empty", r#"{"alg":"HS256","crit":[]}"#, Some(E::HeaderExtension)),
        ("b64", r#"{"alg":"HS256","b64":true}"#, Some(E::HeaderExtension)),
        ("zip", r#"{"alg":"HS256","zip":"DEF"}"#, Some(E::HeaderExtension)),
        ("not JSON", "HS256", Some(E::HeaderInvalid)),
        ("array", r#"[{"alg":"HS256"}]"#, Some(E::HeaderInvalid)),
        ("two objects", r#"{"alg":"HS256"}{}"#, Some(E::HeaderInvalid)),
    ] {
        let token = hs256(&secret(), header, PAYLOAD);
        assert_eq!(outcome(&ring, &token).err(), want, "{name}");
    }
    let long = format!(r#"{{"alg":"HS256","x":"{}"}}"#, "x".repeat(HEADER_CHARS_MAX));
    assert_eq!(outcome(&ring, &hs256(&secret(), &long, PAYLOAD)), Err(TokenError::TooLong), "long header");
}

#[test]
fn a_token_has_one_spelling() {
    use TokenError as E;
    let ring = full_ring();
    let [h, p, s] = parts(fx::PYTHON_HS256);
    // 32 bytes leave two spare bits in the last character; `U` has them zero, `V` does not.
    let spare_bits = format!("{}V", s.strip_suffix('U').unwrap());
    for (name, token, want) in [
        ("as it is", format!("{h}.{p}.{s}"), None),
        ("spare bits in the signature", format!("{h}.{p}.{spare_bits}"), Some(E::SignatureEncoding)),
        ("padded signature", format!("{h}.{p}.{s}="), Some(E::SignatureEncoding)),
        ("padded header", format!("{h}=.{p}.{s}"), Some(E::HeaderEncoding)),
        ("padded payload", format!("{h}.{p}==.{s}"), Some(E::SignatureInvalid)),
        ("leading space", format!(" {h}.{p}.{s}"), Some(E::HeaderEncoding)),
        ("trailing space", format!("{h}.{p}.{s} "), Some(E::SignatureEncoding)),
        ("trailing line feed", format!("{h}.{p}.{s}\n"), Some(E::SignatureEncoding)),
        ("line feed inside", format!("{h}.{p}.\n{s}"), Some(E::SignatureEncoding)),
        ("trailing NUL", format!("{h}.{p}.{s}\0"), Some(E::SignatureEncoding)),
        ("standard alphabet", format!("{h}.{p}.{}", s.replace(['-', '_'], "+")), Some(E::SignatureEncoding)),
        ("not ASCII", format!("{h}.{p}.é{s}"), Some(E::SignatureEncoding)),
        ("fourth part", format!("{h}.{p}.{s}."), Some(E::NotThreeParts)),
        ("fourth part in front", format!(".{h}.{p}.{s}"), Some(E::NotThreeParts)),
        ("five parts, as JWE", format!("{h}.{p}.{s}.{p}.{s}"), Some(E::NotThreeParts)),
        ("two parts", format!("{h}.{p}"), Some(E::NotThreeParts)),
        ("one part", h.to_owned(), Some(E::NotThreeParts)),
        ("nothing", String::new(), Some(E::NotThreeParts)),
        ("dots alone", "..".to_owned(), Some(E::HeaderInvalid)),
        ("JSON serialisation", format!(r#"{{"payload":"{p}"}}"#), Some(E::NotThreeParts)),
        ("Bearer left in", format!("Bearer {h}.{p}.{s}"), Some(E::HeaderEncoding)),
    ] {
        assert_eq!(outcome(&ring, &token).err(), want, "{name}");
    }
}

#[test]
fn payloads_behind_good_signatures_are_read_strictly() {
    use TokenError as E;
    let ring = ring(&[fx::HS256_SECRET]);
    let header = r#"{"alg":"HS256"}"#;
    for (name, payload, want) in [
        ("good", PAYLOAD, None),
        ("sub twice", r#"{"sub":"ann","sub":"admin","exp":1700000900}"#, Some(E::PayloadNotJson)),
        ("exp twice", r#"{"sub":"ann","exp":1700000900,"exp":9}"#, Some(E::PayloadNotJson)),
        ("unread member twice", r#"{"sub":"ann","exp":1700000900,"x":1,"x":2}"#, Some(E::PayloadNotJson)),
        ("text behind", r#"{"sub":"ann","exp":1700000900}x"#, Some(E::PayloadNotJson)),
        ("expired", r#"{"sub":"ann","exp":1699999995}"#, Some(E::Expired)),
        ("no claims", "{}", Some(E::SubjectMissing)),
        ("nothing", "", Some(E::PayloadNotJson)),
    ] {
        assert_eq!(outcome(&ring, &hs256(&secret(), header, payload)).err(), want, "{name}");
    }
    // A payload with padding, signed as it stands: the signature holds, the encoding does not.
    let message = format!("{}.{}==", BASE64URL.encode(header), BASE64URL.encode(r#"{"a":"b"}x"#));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret()), message.as_bytes());
    let token = format!("{message}.{}", BASE64URL.encode(tag));
    assert_eq!(outcome(&ring, &token), Err(E::PayloadEncoding));
}

#[test]
fn an_expired_forgery_is_told_as_a_forgery() {
    // Claims are no oracle: without the key nobody learns what the guard thinks of them.
    let forged = hs256(&[9; 32], r#"{"alg":"HS256"}"#, r#"{"sub":"ann","exp":1}"#);
    assert_eq!(outcome(&full_ring(), &forged), Err(TokenError::SignatureInvalid));
}

#[test]
fn length_is_limited_before_anything_is_decoded() {
    let ring = full_ring();
    let fill = |length: usize| {
        let [h, p, s] = parts(fx::PYTHON_HS256);
        let room = length - h.len() - s.len() - 2;
        format!("{h}.{p}{}.{s}", "A".repeat(room - p.len()))
    };
    assert_eq!(outcome(&ring, &fill(TOKEN_BYTES_MAX)), Err(TokenError::SignatureInvalid));
    assert_eq!(outcome(&ring, &fill(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong));
    assert_eq!(outcome(&ring, &"A".repeat(1 << 24)), Err(TokenError::TooLong));
    let with_max = |token_bytes_max| TokenPolicy { token_bytes_max, ..TokenPolicy::default() };
    let length = fx::PYTHON_HS256.len();
    assert!(verify(&ring, &with_max(length), NOW, fx::PYTHON_HS256).is_ok());
    assert_eq!(verify(&ring, &with_max(length - 1), NOW, fx::PYTHON_HS256), Err(TokenError::TooLong));
    let endless = with_max(usize::MAX);
    assert_eq!(verify(&ring, &endless, NOW, &fill(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong));
}

#[test]
fn leeway_is_the_policys() {
    let policy = |ms| TokenPolicy { leeway: Leeway::new(Millis(ms)).unwrap(), ..TokenPolicy::default() };
    let end = UnixMs(1_700_000_900_000);
    for (leeway_ms, now, want) in [
        (0, end.0 - 1, None),
        (0, end.0, Some(TokenError::Expired)),
        (5_000, end.0 + 4_999, None),
        (5_000, end.0 + 5_000, Some(TokenError::Expired)),
    ] {
        let got = verify(&full_ring(), &policy(leeway_ms), UnixMs(now), fx::PYTHON_EDDSA).err();
        assert_eq!(got, want, "leeway {leeway_ms}, now {now}");
    }
}
