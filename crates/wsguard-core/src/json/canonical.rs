//! The canonical form: what is passed on is written anew from what was checked.
//!
//! No white space between tokens; members keep their order and numbers their text. In strings `"` and `\` are escaped, LF, CR,
//! TAB and FF by their short escapes, other control characters (which a scanned text cannot hold, but a replacement may) and
//! U+2028 and U+2029 as `\uXXXX` in lower case; everything else stands for itself. The two separators are escaped because
//! script engines before ECMAScript 2019 end a line at them. `<` stays: the form is JSON, not safe inside a script element,
//! whose page must encode for that place itself.

use super::string::Unescaped;
use super::tape::{NodeId, REWRITE, Tag};
use super::value::Value;

/// Appends the canonical form of `value` to `out`.
///
/// Cost: one copy when the text of `value` is canonical already, which the scanner has noted.
pub fn write_canonical(value: Value<'_>, out: &mut Vec<u8>) {
    write_canonical_with::<&str>(value, &[], out);
}

/// Appends the canonical form of `value` to `out`, with other texts in place of some of its strings.
///
/// `replacements` is sorted by id; each names a string value (not a key: a new key could equal another). Those outside of
/// `value` are left alone.
pub fn write_canonical_with<T: AsRef<str>>(
    value: Value<'_>,
    replacements: &[(NodeId, T)],
    out: &mut Vec<u8>,
) {
    debug_assert!(
        replacements.is_sorted_by_key(|(id, _)| *id),
        "replacements are sorted"
    );
    let from = replacements.partition_point(|(id, _)| *id < value.id());
    Writer {
        replacements: replacements.get(from..).unwrap_or_default(),
        out,
    }
    .value(value);
}

/// Appends `text` as a canonical JSON string, with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_plain(text, out);
    out.push(b'"');
}

struct Writer<'r, 'o, T> {
    /// Those that were not yet passed.
    replacements: &'r [(NodeId, T)],
    out: &'o mut Vec<u8>,
}

impl<T: AsRef<str>> Writer<'_, '_, T> {
    // Recursion is as deep as the value, which `ScanLimits::depth` bounds.
    fn value(&mut self, value: Value<'_>) {
        if !self.replaced_within(value) {
            self.unreplaced(value);
            return;
        }
        match value.node().tag {
            Tag::String => {
                if let Some(((_, text), rest)) = self.replacements.split_first() {
                    self.replacements = rest;
                    write_string(text.as_ref(), self.out);
                }
            }
            _ => self.container(value),
        }
    }

    /// Whether the next replacement lies in `value`.
    fn replaced_within(&self, value: Value<'_>) -> bool {
        self.replacements
            .first()
            .is_some_and(|(id, _)| *id < value.end_id())
    }

    fn unreplaced(&mut self, value: Value<'_>) {
        if value.node().has(REWRITE) {
            match value.node().tag {
                Tag::String => self.string(value),
                _ => self.container(value),
            }
        } else {
            let (start, end) = value.span();
            self.out.extend_from_slice(
                value
                    .source()
                    .as_bytes()
                    .get(start..end)
                    .unwrap_or_default(),
            );
        }
    }

    fn container(&mut self, value: Value<'_>) {
        if value.is_object() {
            self.out.push(b'{');
            for (at, member) in value.members().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                self.string(member.key);
                self.out.push(b':');
                self.value(member.value);
            }
            self.out.push(b'}');
        } else {
            self.out.push(b'[');
            for (at, item) in value.items().enumerate() {
                if at > 0 {
                    self.out.push(b',');
                }
                self.value(item);
            }
            self.out.push(b']');
        }
    }

    fn string(&mut self, string: Value<'_>) {
        self.out.push(b'"');
        if string.node().has(REWRITE) {
            write_escaped(string.chars(), self.out);
        } else {
            self.out.extend_from_slice(string.content_bytes());
        }
        self.out.push(b'"');
    }
}

fn write_escaped(chars: Unescaped<'_>, out: &mut Vec<u8>) {
    for character in chars {
        write_char(character, out);
    }
}

fn write_plain(text: &str, out: &mut Vec<u8>) {
    // Nearly every text is its own canonical form and copied whole. 0xE2 begins U+2028 and U+2029, among others.
    if text.bytes().all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\' | 0x7f | 0xe2)) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.reserve(text.len());
    for character in text.chars() {
        write_char(character, out);
    }
}

fn write_char(character: char, out: &mut Vec<u8>) {
    match character {
        '"' => out.extend_from_slice(br#"\""#),
        '\\' => out.extend_from_slice(br"\\"),
        '\n' => out.extend_from_slice(br"\n"),
        '\r' => out.extend_from_slice(br"\r"),
        '\t' => out.extend_from_slice(br"\t"),
        '\u{c}' => out.extend_from_slice(br"\f"),
        '\0'..='\u{1f}' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
            let code = u32::from(character);
            out.extend_from_slice(br"\u");
            for shift in [12, 8, 4, 0] {
                let digit = char::from_digit(code >> shift & 0xf, 16).unwrap_or('0');
                out.extend_from_slice(digit.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{ScanLimits, Tape, scan};

    #[test]
    fn strings_are_copied_whole_only_where_nothing_is_escaped() {
        for (name, text, want) in [
            ("empty", "", r#""""#),
            ("plain", "lobby", r#""lobby""#),
            ("not ascii", "Größe 猫", r#""Größe 猫""#),
            ("begins like U+2028", "a\u{20ac}\u{201c}", "\"a\u{20ac}\u{201c}\""),
            ("quote", "a\"b", r#""a\"b""#),
            ("backslash", "a\\b", r#""a\\b""#),
            ("line feed", "a\nb", r#""a\nb""#),
            ("control", "a\u{1}b", r#""a\u0001b""#),
            ("delete", "a\u{7f}", r#""a\u007f""#),
            ("line separator", "a\u{2028}\u{2029}", r#""a\u2028\u2029""#),
        ] {
            let mut out = Vec::new();
            write_string(text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{name}");
        }
    }

    fn canonical(text: &str) -> String {
        let mut tape = Tape::new();
        let document = scan(text, &ScanLimits::default(), &mut tape).unwrap();
        let mut out = Vec::new();
        write_canonical(document.root(), &mut out);
        let out = String::from_utf8(out).unwrap();
        if document.root().is_canonical() {
            assert_eq!(out, document.root().raw());
        }
        out
    }

    #[test]
    fn canonical_form_by_case() {
        for (name, text, want) in [
            (
                "already canonical",
                r#"{"a":[1,-0.50e+7,true,null],"b":"x\n\"\\"}"#,
                r#"{"a":[1,-0.50e+7,true,null],"b":"x\n\"\\"}"#,
            ),
            (
                "white space",
                " { \"a\" : [ 1 ,\t2 ] ,\n\"b\" : { } }\r\n",
                r#"{"a":[1,2],"b":{}}"#,
            ),
            ("around only", " \n[1,2] ", "[1,2]"),
            ("solidus", r#"["\/"]"#, r#"["/"]"#),
            (
                "needless escape",
                r#"{"\u0061":"\u00e9\u20AC"}"#,
                "{\"a\":\"\u{e9}\u{20ac}\"}",
            ),
            ("pair", r#""\ud83d\ude00""#, "\"\u{1f600}\""),
            (
                "short escapes",
                r#""\u000a\u000d\u0009\u000c\u0022\u005c""#,
                r#""\n\r\t\f\"\\""#,
            ),
            ("separators", "\"\u{2028}\\u2029\"", r#""\u2028\u2029""#),
            ("markup stays", r#""\u003cb>""#, r#""<b>""#),
            ("white space in a string", r#"["a b"]"#, r#"["a b"]"#),
            ("empty", "[ ]", "[]"),
            (
                "only one branch differs",
                r#"{"a":{"b":1},"c":[ 2]}"#,
                r#"{"a":{"b":1},"c":[2]}"#,
            ),
        ] {
            assert_eq!(canonical(text), want, "{name}");
            assert_eq!(canonical(want), want, "{name}: idempotent");
        }
    }

    #[test]
    fn replaced_strings_are_written_in_place() {
        let mut tape = Tape::new();
        let text = r#"{"a":"<x>","b":["<y>", 1],"c":"z"}"#;
        let document = scan(text, &ScanLimits::default(), &mut tape).unwrap();
        let root = document.root();
        let first = root.get("a").unwrap();
        let second = root.get("b").unwrap().items().next().unwrap();
        let replacements = [(first.id(), "&lt;x>\u{7f}"), (second.id(), "\"")];
        let mut out = Vec::new();
        write_canonical_with(root, &replacements, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"a":"&lt;x>\u007f","b":["\"",1],"c":"z"}"#
        );

        let mut part = Vec::new();
        write_canonical_with(root.get("b").unwrap(), &replacements, &mut part);
        assert_eq!(part, br#"["\"",1]"#);
        let mut other = Vec::new();
        write_canonical_with(root.get("c").unwrap(), &replacements, &mut other);
        assert_eq!(other, br#""z""#);
    }
}
