//! Suites that others wrote, fetched by `testkit/suites/install.sh`: the parsing suite of Seriot against the scanner, and the
//! JSON-Schema-Test-Suite against the validator and the `jsonschema` crate.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use wsguard_core::json::{self, ScanErrorKind, ScanLimits, Tape};
use wsguard_core::schema::{CompiledSchema, Engine};

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

#[test]
fn the_validator_agrees_with_the_schema_suite_and_the_jsonschema_crate() {
    let mut files: Vec<_> = fs::read_dir(suite("schema")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let (mut own, mut fallback, mut refused_schemas, mut refused_values) =
        (0_u32, BTreeMap::new(), BTreeMap::new(), 0_u32);
    let mut wrong = Vec::new();
    for path in files {
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
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
                    Engine::Own => own += 1,
                    Engine::Fallback { because } => *fallback.entry(because).or_insert(0_u32) += 1,
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
    assert!(own >= 900, "{own} values judged by our own program; fallback {fallback:?}");
    let refused: Vec<_> = refused_schemas.iter().map(|(file, cases)| (file.as_str(), cases.len())).collect();
    assert_eq!(refused, REFUSED_SCHEMAS, "{refused_schemas:?}");
    assert_eq!(refused_values, 2, "values that strict JSON refuses");
}

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
