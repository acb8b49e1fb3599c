//! The JSON scanner: it accepts nothing that `serde_json` refuses, reads the same value, what it writes is read the same, and
//! what it remembers of one text changes nothing for another.
//!
//! Input: the text of a message.

use serde_json::{Map, Value as Tree};
use wsguard_core::json::{self, Kind, ScanErrorKind, ScanLimits, Tape, Value};

/// Panics where a promise of the scanner does not hold for `data`.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let judged = serde_json::from_str::<Tree>(text);
    let mut tape = Tape::new();
    let document = match json::scan(text, &ScanLimits::default(), &mut tape) {
        Ok(document) => document,
        Err(error) => {
            assert!(error.offset() <= text.len(), "an error behind the end");
            let grammar = error.kind() == ScanErrorKind::Grammar;
            assert!(!grammar || judged.is_err(), "grammar refused by the scanner alone: {error:?}");
            return;
        }
    };
    let judged = judged.expect("accepted by the scanner alone");
    assert_eq!(tree(document.root()), judged, "another value");
    recalled(text, &judged);
    assert!(document.root().subtree().all(|node| !(node.is_key() && node.str_eq("__proto__"))), "a prototype passed");

    let mut once = Vec::new();
    json::write_canonical(document.root(), &mut once);
    let once = String::from_utf8(once).expect("canonical text is UTF-8");
    let mut again = Tape::new();
    let reread = json::scan(&once, &ScanLimits::default(), &mut again).expect("the canonical form passes");
    assert_eq!(tree(reread.root()), judged, "the canonical form is another value");
    let mut twice = Vec::new();
    json::write_canonical(reread.root(), &mut twice);
    assert_eq!(twice, once.as_bytes(), "the canonical form is no fixed point");
}

/// A tape that remembers `text` reads it, and texts that differ from it in a byte, as a new one does.
fn recalled(text: &str, judged: &Tree) {
    let limits = ScanLimits::default();
    let mut warm = Tape::new();
    for _ in 0..2 {
        let document = json::scan(text, &limits, &mut warm).expect("it passed before");
        assert_eq!(tree(document.root()), *judged, "recalled as another value");
    }
    for byte in ['7', 'x', '"', '\\', ',', '<'] {
        for part in 1..8 {
            let (before, after) = text.split_at(text.floor_char_boundary(text.len() * part / 8));
            let other = format!("{before}{byte}{after}");
            let outcome = |tape: &mut Tape| json::scan(&other, &limits, tape).map(|document| tree(document.root()));
            assert_eq!(outcome(&mut warm), outcome(&mut Tape::new()), "{other}");
        }
    }
}

/// What the tape says, as a tree; numbers are read by `serde_json` from the same digits.
fn tree(value: Value<'_>) -> Tree {
    match value.kind() {
        Kind::Null => Tree::Null,
        Kind::Bool => Tree::Bool(value.as_bool().expect("a bool")),
        Kind::Number => serde_json::from_str(value.raw()).expect("a number"),
        Kind::String => Tree::String(value.chars().collect()),
        Kind::Array => value.items().map(tree).collect(),
        Kind::Object => {
            let members: Map<String, Tree> =
                value.members().map(|member| (member.key.chars().collect(), tree(member.value))).collect();
            assert_eq!(members.len(), value.len(), "a duplicate key passed");
            Tree::Object(members)
        }
    }
}
