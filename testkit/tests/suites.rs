//! Suites that others wrote, fetched by `testkit/suites/install.sh`: the parsing suite of Seriot against the scanner (what is
//! not UTF-8 in it against the frame decoder), and the JSON-Schema-Test-Suite against the validator and the `jsonschema` crate.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use wsguard_core::frame::{Decoder, Event, FrameError, FrameLimits};
use wsguard_core::json::{self, ScanErrorKind, ScanLimits, Tape};
use wsguard_core::schema::{CompiledSchema, Engine};
use wsguard_core::time::Tick;

fn suite(name: &str) -> PathBuf {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/suites")).join(name);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

fn read(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// As wide as limits go: the suites are about the grammar.
const WIDE: ScanLimits = ScanLimits {
    depth: u8::MAX,
    nodes: u32::MAX,
    members: u16::MAX,
    items: u16::MAX,
    key_bytes: u16::MAX,
    number_bytes: u16::MAX,
};

/// What the grammar allows and the guard refuses all the same, each for a reason of its own.
fn is_stricter_on_purpose(kind: ScanErrorKind) -> bool {
    matches!(kind, ScanErrorKind::DuplicateKey | ScanErrorKind::LoneSurrogate | ScanErrorKind::UnsafeCharacter)
}

#[test]
fn the_scanner_agrees_with_the_parsing_suite() {
    let cases = read(suite("parsing.json"));
    let mut tape = Tape::new();
    let mut stricter = BTreeSet::new();
    let mut judged = BTreeMap::new();
    for case in cases.as_array().unwrap() {
        let (name, text) = (case["name"].as_str().unwrap(), case["input"].as_str().unwrap());
        let scanned = json::scan(text, &WIDE, &mut tape).map(|document| {
            let mut canonical = Vec::new();
            json::write_canonical(document.root(), &mut canonical);
            String::from_utf8(canonical).unwrap()
        });
        let expected = name.split('_').next().unwrap();
        *judged.entry(expected).or_insert(0_u32) += 1;
        match (expected, &scanned) {
            ("y", Ok(canonical)) => {
                let (ours, theirs): (Value, Value) =
                    (serde_json::from_str(canonical).unwrap(), serde_json::from_str(text).unwrap());
                assert_eq!(ours, theirs, "{name}");
            }
            ("y", Err(error)) if is_stricter_on_purpose(error.kind()) => {
                stricter.insert(name.to_owned());
            }
            ("y", Err(error)) => panic!("{name}: {error}"),
            ("n", Ok(_)) => panic!("{name}: accepted"),
            // The implementation may choose; what we accept, serde_json does, and means the same.
            (_, Ok(canonical)) => {
                let theirs: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(serde_json::from_str::<Value>(canonical).unwrap(), theirs, "{name}");
            }
            (_, Err(_)) => {}
        }
    }
    assert!(judged["y"] >= 90 && judged["n"] >= 180 && judged["i"] >= 30, "{judged:?}");
    let stricter: Vec<_> = stricter.iter().map(String::as_str).collect();
    assert_eq!(stricter, STRICTER, "what the guard refuses though the grammar allows it");
}

/// Duplicate keys, control characters by escape, U+007F: docs/protocol.md section 3.
const STRICTER: &[&str] = &[
    "y_object_duplicated_key.json",
    "y_object_duplicated_key_and_value.json",
    "y_object_escaped_null_in_key.json",
    "y_string_allowed_escapes.json",
    "y_string_escaped_control_character.json",
    "y_string_null_escape.json",
    "y_string_unescaped_char_delete.json",
    "y_string_with_del_character.json",
];

/// The package of the suite holds strings, so what is not UTF-8 comes in it as U+FFFD. These are the bytes, as
/// `nst/JSONTestSuite` has them: read as the package read them they are its strings.
const NOT_UTF8: &[(&str, &[u8])] = &[
    ("i_string_UTF-16LE_with_BOM.json", b"\xff\xfe[\0\"\0\xe9\0\"\0]\0"),
    ("i_string_UTF-8_invalid_sequence.json", b"[\"\xe6\x97\xa5\xd1\x88\xfa\"]"),
    ("i_string_UTF8_surrogate_U+D800.json", b"[\"\xed\xa0\x80\"]"),
    ("i_string_invalid_utf-8.json", b"[\"\xff\"]"),
    ("i_string_iso_latin_1.json", b"[\"\xe9\"]"),
    ("i_string_lone_utf8_continuation_byte.json", b"[\"\x81\"]"),
    ("i_string_not_in_unicode_range.json", b"[\"\xf4\xbf\xbf\xbf\"]"),
    ("i_string_overlong_sequence_2_bytes.json", b"[\"\xc0\xaf\"]"),
    ("i_string_overlong_sequence_6_bytes.json", b"[\"\xfc\x83\xbf\xbf\xbf\xbf\"]"),
    ("i_string_overlong_sequence_6_bytes_null.json", b"[\"\xfc\x80\x80\x80\x80\x80\"]"),
    ("i_string_truncated-utf-8.json", b"[\"\xe0\xff\"]"),
    ("i_string_utf16BE_no_BOM.json", b"\0[\0\"\0\xe9\0\"\0]"),
    ("i_string_utf16LE_no_BOM.json", b"[\0\"\0\xe9\0\"\0]\0"),
    ("n_array_a_invalid_utf8.json", b"[a\xe5]"),
    ("n_array_invalid_utf8.json", b"[\xff]"),
    ("n_number_invalid-utf-8-in-bigger-int.json", b"[123\xe5]"),
    ("n_number_invalid-utf-8-in-exponent.json", b"[1e1\xe5]"),
    ("n_number_invalid-utf-8-in-int.json", b"[0\xe5]\n"),
    ("n_number_real_with_invalid_utf8_after_e.json", b"[1e\xe5]"),
    ("n_object_lone_continuation_byte_in_key_and_trailing_comma.json", b"{\"\xb9\":\"0\",}"),
    ("n_string_invalid-utf-8-in-escape.json", b"[\"\\u\xe5\"]"),
    ("n_string_invalid_utf8_after_escape.json", b"[\"\\\xe5\"]"),
    ("n_structure_incomplete_UTF8_BOM.json", b"\xef\xbb{}"),
    ("n_structure_lone-invalid-utf-8.json", b"\xe5"),
    ("n_structure_single_eacute.json", b"\xe9"),
];

/// The classic cases besides (RFC 3629 section 3; Kuhn's stress test of decoders).
const CLASSIC: &[(&str, &[u8])] = &[
    ("overlong NUL", b"\xc0\x80"),
    ("overlong U+007F", b"\xc1\xbf"),
    ("overlong slash in three bytes", b"\xe0\x80\xaf"),
    ("overlong U+07FF", b"\xe0\x9f\xbf"),
    ("overlong slash in four bytes", b"\xf0\x80\x80\xaf"),
    ("overlong U+FFFF", b"\xf0\x8f\xbf\xbf"),
    ("first surrogate", b"\xed\xa0\x80"),
    ("last high surrogate", b"\xed\xaf\xbf"),
    ("first low surrogate", b"\xed\xb0\x80"),
    ("last surrogate", b"\xed\xbf\xbf"),
    ("pair of surrogates (CESU-8)", b"\xed\xa0\xbd\xed\xb8\x80"),
    ("U+110000", b"\xf4\x90\x80\x80"),
    ("U+13FFFF", b"\xf4\xbf\xbf\xbf"),
    ("lead byte F5", b"\xf5\x80\x80\x80"),
    ("five bytes", b"\xf8\x88\x80\x80\x80"),
    ("six bytes", b"\xfc\x84\x80\x80\x80\x80"),
    ("byte FE", b"\xfe"),
    ("byte FF", b"\xff"),
    ("byte order mark of UTF-16, little end first", b"\xff\xfe{\0}\0"),
    ("byte order mark of UTF-16, big end first", b"\xfe\xff\0{\0}"),
    ("lone continuation", b"\x80"),
    ("two continuations", b"\xbf\xbf"),
    ("two bytes, cut", b"\xc3"),
    ("three bytes, cut behind the first", b"\xe2"),
    ("three bytes, cut behind the second", b"\xe2\x82"),
    ("four bytes, cut behind the first", b"\xf0"),
    ("four bytes, cut behind the second", b"\xf0\x9f"),
    ("four bytes, cut behind the third", b"\xf0\x9f\x98"),
    ("lead bytes one after another", b"\xc3\xc3\xa9"),
    ("a letter inside a character", b"\xe2\x82a\xac"),
];

#[test]
fn bytes_that_are_not_utf8_never_reach_the_scanner() {
    let cases = read(suite("parsing.json"));
    let replaced: BTreeMap<_, _> = cases
        .as_array()
        .unwrap()
        .iter()
        .map(|case| (case["name"].as_str().unwrap(), case["input"].as_str().unwrap()))
        .filter(|(_, input)| input.contains('\u{fffd}'))
        .collect();
    let named: BTreeMap<_, _> = NOT_UTF8.iter().map(|(name, bytes)| (*name, String::from_utf8_lossy(bytes))).collect();
    assert_eq!(replaced.len(), named.len());
    for (name, input) in replaced {
        assert_eq!(named.get(name).map(|text| &**text), Some(input), "{name}");
    }
    for (name, bytes) in NOT_UTF8.iter().chain(CLASSIC) {
        // In a string of a message, too, and there in the middle of what is good.
        for text in [bytes.to_vec(), [b"{\"type\":\"echo\",\"payload\":\"", *bytes, b"\"}"].concat()] {
            assert_eq!(received(&[&text]), Err(FrameError::InvalidUtf8), "{name}");
            for cut in 0..=text.len() {
                let (left, right) = text.split_at(cut);
                assert_eq!(received(&[left, right]), Err(FrameError::InvalidUtf8), "{name}, cut at {cut}");
            }
        }
    }
    // A byte order mark is UTF-8, and no JSON.
    for text in ["\u{feff}{}", "\u{feff}", "{}\u{feff}"] {
        assert_eq!(received(&[text.as_bytes()]).as_deref(), Ok(text));
        assert!(json::scan(text, &WIDE, &mut Tape::new()).is_err(), "{text:?}");
    }
    let text = "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}";
    for cut in 0..=text.len() {
        let (left, right) = text.as_bytes().split_at(cut);
        assert_eq!(received(&[left, right]).as_deref(), Ok(text), "cut at {cut}");
    }
}

/// The text message that comes in `fragments`.
fn received(fragments: &[&[u8]]) -> Result<String, FrameError> {
    let limits = FrameLimits {
        message_bytes_max: 65_536,
        fragments_max: 256,
        control_burst: 20,
        control_per_second: 5,
        binary: false,
    };
    let mut decoder = Decoder::new();
    let mut opcode = 1;
    let mut left = fragments.len();
    for fragment in fragments {
        left = left.saturating_sub(1);
        let mut bytes = testkit::peer::masked(if left == 0 { 0x80 } else { 0 } | opcode, fragment);
        opcode = 0;
        let read = decoder.decode(&limits, Tick(0), &mut bytes)?;
        assert!(read.rest.is_empty());
        match read.event {
            Event::Text(text) => return Ok(text.into_owned()),
            Event::Incomplete => {}
            event => panic!("{event:?}"),
        }
    }
    panic!("no message came");
}

#[test]
fn the_validator_agrees_with_the_schema_suite_and_the_jsonschema_crate() {
    let mut files: Vec<_> = fs::read_dir(suite("schema")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    // How many values of each file our own program judged, and how many the crate, with the reason.
    let (mut own, mut fallback) = (BTreeMap::new(), BTreeMap::new());
    let (mut refused_schemas, mut refused_values) = (BTreeMap::new(), 0_u32);
    let mut wrong = Vec::new();
    let mut files_read = BTreeSet::new();
    for path in files {
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        files_read.insert(file.clone());
        for case in read(path).as_array().unwrap() {
            let schema = case["schema"].to_string();
            let about = format!("{file}: {}", case["description"].as_str().unwrap());
            let compiled = match CompiledSchema::compile(&file, &schema) {
                Ok(compiled) => compiled,
                Err(error) => {
                    refused_schemas.entry(file.clone()).or_insert_with(Vec::new).push(format!("{about}: {error}"));
                    continue;
                }
            };
            let engine = compiled.engine();
            let peer = jsonschema::validator_for(&case["schema"]).ok();
            for test in case["tests"].as_array().unwrap() {
                let (text, valid) = (test["data"].to_string(), test["valid"].as_bool().unwrap());
                let mut tape = Tape::new();
                let Ok(document) = json::scan(&text, &WIDE, &mut tape) else {
                    refused_values += 1;
                    continue;
                };
                let ours = compiled.check(document, document.root()).is_ok();
                let theirs = peer.as_ref().map(|peer| peer.is_valid(&test["data"]));
                match engine {
                    Engine::Own => *own.entry(file.clone()).or_insert(0_u32) += 1,
                    Engine::Fallback { because } => {
                        *fallback.entry((file.clone(), because)).or_insert(0_u32) += 1;
                    }
                }
                // A number beyond 2^53 is refused by design, where the schema does not permit it.
                let wide = document.wide_numbers() > 0 && valid;
                if !wide && (ours != valid || theirs.is_some_and(|theirs| theirs != ours)) {
                    wrong.push(format!(
                        "{about}: {}: ours {ours}, theirs {theirs:?}, suite {valid}",
                        test["description"]
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} disagreements:\n{}", wrong.len(), wrong.join("\n"));
    // Exactly: a keyword that slips to the crate would agree with itself.
    let fallback: Vec<_> =
        fallback.iter().map(|((file, because), values)| (file.as_str(), *because, *values)).collect();
    assert_eq!(fallback, FALLBACK, "values that the crate judged instead of our own program");
    let without: Vec<_> = files_read.iter().filter(|file| !own.contains_key(*file)).map(String::as_str).collect();
    assert_eq!(without, NOT_OWN, "files of which our own program judged nothing");
    let own: u32 = own.values().sum();
    assert!(own >= 900, "{own} values judged by our own program");
    let refused: Vec<_> = refused_schemas.iter().map(|(file, cases)| (file.as_str(), cases.len())).collect();
    assert_eq!(refused, REFUSED_SCHEMAS, "{refused_schemas:?}");
    assert_eq!(refused_values, 2, "values that strict JSON refuses");
}

/// File, reason and values of what our own program leaves to the `jsonschema` crate.
const FALLBACK: &[(&str, &str, u32)] = &[
    ("anchor", "$ref to another document", 4),
    ("const", "numbers beyond 2^53 - 1", 4),
    ("defs", "$ref to another document", 2),
    ("dynamicRef", "$dynamicAnchor", 7),
    ("dynamicRef", "$dynamicRef", 7),
    ("dynamicRef", "$id", 6),
    ("dynamicRef", "$ref to another document", 9),
    ("multipleOf", "multipleOf a fraction", 7),
    ("not", "unevaluatedProperties", 2),
    ("ref", "$id", 4),
    ("ref", "$ref to another document", 18),
    ("ref", "unevaluatedProperties", 1),
    ("unevaluatedItems", "$ref to another document", 2),
    ("unevaluatedItems", "unevaluatedItems", 64),
    ("unevaluatedProperties", "$ref to another document", 2),
    ("unevaluatedProperties", "unevaluatedProperties", 122),
];

/// Files that are about what it leaves to the crate alone.
const NOT_OWN: &[&str] =
    &["defs", "dynamicRef", "refRemote", "unevaluatedItems", "unevaluatedProperties", "vocabulary"];

/// References to other documents, other vocabularies, one anchor twice: a schema file stands alone. And what strict JSON
/// refuses in a schema as anywhere: U+0000, the key `__proto__`.
const REFUSED_SCHEMAS: &[(&str, usize)] = &[
    ("anchor", 1),
    ("const", 1),
    ("dynamicRef", 5),
    ("enum", 1),
    ("properties", 1),
    ("ref", 4),
    ("refRemote", 15),
    ("vocabulary", 2),
];
