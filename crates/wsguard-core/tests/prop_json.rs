//! Properties of the scanner and the canonical form, with `serde_json` as the second opinion.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "test code: a panic is a failed test"
)]

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::Value as Tree;
use wsguard_core::json::{self, Document, Kind, ScanErrorKind, ScanLimits, Tape, Value};

/// JSON-like noise: pieces of the grammar in any order, so that far more of it is nearly right than of random bytes.
fn noise() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\"b\":",
            "\"\\u0061\":",
            "1",
            "-0",
            "0.5",
            "1e9",
            "01",
            "1e400",
            "true",
            "null",
            "fals",
            " ",
            "\n",
            "\u{feff}",
            "\\u00",
            "\\ud83d\\ude00",
            "\\ud800",
            "\"\\n\"",
            "\u{2028}",
            "<",
            "9007199254740993",
            "\"__proto__\":",
            "[]",
            "{}",
            "{\"x\":[",
            "]}",
        ])
        .prop_map(str::to_owned),
        ".{0,3}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A document of which the scanner has nothing to say against, as a tree.
fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Tree::from),
        (-1.0e9..1.0e9).prop_map(Tree::from),
        text().prop_map(Tree::String),
    ];
    leaf.prop_recursive(5, 64, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Tree::Array),
            prop::collection::btree_map(text(), inner, 0..12)
                .prop_map(|members| Tree::Object(members.into_iter().collect())),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    "([ -~]|[\\t\\n\\f\\r]|\u{e9}|\u{2028}|\u{202e}|\u{4e2d}|\u{1f600}|[\"\\\\/<&]){0,40}"
        .prop_filter("the key of prototypes", |text| text != "__proto__")
}

/// `tree` written as a peer may: white space and escapes at will, chosen by the bits of `style`.
fn write_oddly(tree: &Tree, style: &mut impl Iterator<Item = u8>, out: &mut String) {
    let space = |style: &mut dyn Iterator<Item = u8>, out: &mut String| {
        out.push_str(["", "", " ", "\n\t", "\r"][usize::from(style.next().unwrap_or(0)) % 5]);
    };
    let quote = |text: &str, style: &mut dyn Iterator<Item = u8>, out: &mut String| {
        out.push('"');
        for character in text.chars() {
            match (character, style.next().unwrap_or(0) % 8) {
                (character, 0) => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(out, "\\u{unit:04X}").unwrap();
                    }
                }
                ('/', 1) => out.push_str("\\/"),
                ('"' | '\\', _) => out.extend(['\\', character]),
                ('\n', _) => out.push_str("\\n"),
                (control @ '\0'..='\u{1f}', _) => {
                    write!(out, "\\u{:04x}", u32::from(control)).unwrap();
                }
                (other, _) => out.push(other),
            }
        }
        out.push('"');
    };
    space(style, out);
    match tree {
        Tree::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_oddly(item, style, out);
            }
            space(style, out);
            out.push(']');
        }
        Tree::Object(members) => {
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                space(style, out);
                quote(key, style, out);
                space(style, out);
                out.push(':');
                write_oddly(value, style, out);
            }
            space(style, out);
            out.push('}');
        }
        Tree::String(text) => quote(text, style, out),
        other => out.push_str(&other.to_string()),
    }
    space(style, out);
}

fn to_tree(value: Value<'_>) -> Tree {
    match value.kind() {
        Kind::Null => Tree::Null,
        Kind::Bool => Tree::Bool(value.as_bool().unwrap()),
        Kind::Number => serde_json::from_str(value.raw()).unwrap(),
        Kind::String => {
            let mut text = String::new();
            value.unescape_into(&mut text);
            assert!(value.str_eq(&text));
            Tree::String(text)
        }
        Kind::Array => {
            assert_eq!(value.len(), value.items().count());
            value.items().map(to_tree).collect()
        }
        Kind::Object => {
            let members: serde_json::Map<String, Tree> =
                value.members().map(|member| (member.key.chars().collect(), to_tree(member.value))).collect();
            assert_eq!(value.len(), members.len());
            Tree::Object(members)
        }
    }
}

fn canonical(document: Document<'_>) -> String {
    let mut out = Vec::new();
    json::write_canonical(document.root(), &mut out);
    String::from_utf8(out).unwrap()
}

/// What must hold for any text at all.
fn judge(text: &str) {
    let mut tape = Tape::new();
    let second = serde_json::from_str::<Tree>(text);
    match json::scan(text, &ScanLimits::default(), &mut tape) {
        Ok(document) => {
            let second = second.expect("accepted by the scanner alone");
            assert_eq!(to_tree(document.root()), second);
            let once = canonical(document);
            let mut again = Tape::new();
            let reread = json::scan(&once, &ScanLimits::default(), &mut again).expect("the canonical form passes");
            assert_eq!(to_tree(reread.root()), second);
            assert_eq!(canonical(reread), once, "idempotent");
        }
        Err(error) => {
            assert!(error.offset() <= text.len());
            assert!(
                error.kind() != ScanErrorKind::Grammar || second.is_err(),
                "refused by the scanner alone: {text:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_judged_as_serde_json_does(text in noise()) {
        judge(&text);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        judge(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn what_is_written_is_read_and_canonical(tree in tree(), style in prop::collection::vec(any::<u8>(), 1..64)) {
        let mut text = String::new();
        write_oddly(&tree, &mut style.iter().copied().cycle(), &mut text);
        let mut tape = Tape::new();
        let document = json::scan(&text, &ScanLimits::default(), &mut tape).expect("a good document");
        prop_assert_eq!(to_tree(document.root()), tree);
        judge(&text);
    }

    #[test]
    fn one_changed_byte_is_judged_as_serde_json_does(
        tree in tree(), style in prop::collection::vec(any::<u8>(), 1..64), at in any::<prop::sample::Index>(), with in "[\\x00-\\x7f]",
    ) {
        let mut text = String::new();
        write_oddly(&tree, &mut style.iter().copied().cycle(), &mut text);
        let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).collect();
        let start = starts[at.index(starts.len())];
        let end = start + text[start..].chars().next().map_or(0, char::len_utf8);
        text.replace_range(start..end, &with);
        judge(&text);
    }
}
