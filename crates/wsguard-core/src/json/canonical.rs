//! The canonical form: what is passed on is written anew from what was checked.
//!
//! No white space between tokens; members keep their order and numbers their text. In strings `"` and `\` are escaped, LF, CR,
//! TAB and FF by their short escapes, other control characters (which a scanned text cannot hold, but a replacement may) and
//! U+2028 and U+2029 as `\uXXXX` in lower case; everything else stands for itself. The two separators are escaped because
//! script engines before ECMAScript 2019 end a line at them. `<` stays: the form is JSON, not safe inside a script element,
//! whose page must encode for that place itself.

use super::string::{WINDOW, plain_length};
use super::tape::{ESCAPED, MARKUP, Node, NodeId, REWRITE, Tag, Tape};
use super::value::{Document, Value};

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
pub fn write_canonical_with<T: AsRef<str>>(value: Value<'_>, replacements: &[(NodeId, T)], out: &mut Vec<u8>) {
    debug_assert!(replacements.is_sorted_by_key(|(id, _)| *id), "replacements are sorted");
    let from = replacements.partition_point(|(id, _)| *id < value.id());
    Writer { replacements: replacements.get(from..).unwrap_or_default(), out }.value(value);
}

/// The canonical form of `value`.
pub(crate) fn canonical_text(value: Value<'_>) -> String {
    let mut canonical = Canonical::default();
    canonical.set::<&str>(value, &[]);
    canonical.text
}

/// Appends `text` as a canonical JSON string, with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    write_quoted(text, out);
}

fn write_quoted(text: &str, out: &mut impl Out) {
    out.text("\"");
    write_plain(text, out);
    out.text("\"");
}

/// A value in its canonical form, and the tape of that form: what was checked can be read without another parser.
///
/// Its memory serves one value after another.
#[derive(Debug, Default)]
pub(crate) struct Canonical {
    text: String,
    nodes: Vec<Node>,
    kept: Option<Kept>,
}

/// A value whose text is canonical already: it stays in the text that was scanned, and its nodes on the tape.
#[derive(Clone, Copy, Debug)]
struct Kept {
    id: NodeId,
    /// Where its text stands in the scanned one.
    start: u32,
    end: u32,
    /// Where the scanned text lies: out of another one nothing is read.
    address: usize,
    length: usize,
}

impl Kept {
    #[inline]
    fn is_of(self, scanned: &str) -> bool {
        scanned.as_ptr().addr() == self.address && scanned.len() == self.length
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "two comparisons and a slice")]
    fn within(self, scanned: &str) -> Option<&str> {
        scanned.get(self.start as usize..self.end as usize).filter(|_| self.is_of(scanned))
    }
}

impl Canonical {
    /// Takes the place of what was there before by the canonical form of `value`, see [`write_canonical_with`].
    ///
    /// Cost: one copy of text and nodes when the text of `value` is canonical already.
    pub(crate) fn set<T: AsRef<str>>(&mut self, value: Value<'_>, replacements: &[(NodeId, T)]) {
        self.clear();
        let from = replacements.partition_point(|(id, _)| *id < value.id());
        Writer { replacements: replacements.get(from..).unwrap_or_default(), out: self }.value(value);
    }

    /// As [`Canonical::set`] without replacements, of the value at `id`, but one that is canonical already stays where it is:
    /// its text and tape are needed to read it then.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called from one place, with what is taken apart there")]
    pub(crate) fn keep(&mut self, document: Document<'_>, id: NodeId) {
        match document.value(id) {
            Some(value) if value.is_canonical() => {
                let ((start, end), scanned) = (value.span(), value.source());
                let (address, length) = (scanned.as_ptr().addr(), scanned.len());
                self.clear();
                self.kept = Some(Kept { id, start: narrow(start), end: narrow(end), address, length });
            }
            _ => self.rewrite(document, id),
        }
    }

    #[inline(never)]
    fn rewrite(&mut self, document: Document<'_>, id: NodeId) {
        match document.value(id) {
            Some(value) => self.set::<&str>(value, &[]),
            None => self.clear(),
        }
    }

    /// Nothing: not even `null`.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.nodes.clear();
        self.kept = None;
    }

    /// The text, in `scanned` where it is kept; empty after [`Canonical::clear`], and where `scanned` is not the text that
    /// it was kept from.
    #[inline]
    pub(crate) fn text<'a>(&'a self, scanned: &'a str) -> &'a str {
        match self.kept {
            Some(kept) => kept.within(scanned).unwrap_or_default(),
            None => &self.text,
        }
    }

    /// The bytes of [`Canonical::text`].
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "two comparisons and a slice")]
    pub(crate) fn bytes<'a>(&'a self, scanned: &'a str) -> &'a [u8] {
        match self.kept {
            Some(kept) if kept.is_of(scanned) => {
                scanned.as_bytes().get(kept.start as usize..kept.end as usize).unwrap_or_default()
            }
            Some(_) => &[],
            None => self.text.as_bytes(),
        }
    }

    /// The value whose [`Canonical::text`] is `text`, by `tape` where it is kept; `null` after [`Canonical::clear`].
    #[inline]
    pub(crate) fn value<'a>(&'a self, text: &'a str, tape: Option<&'a Tape>) -> Value<'a> {
        match (self.kept, tape) {
            (Some(kept), Some(tape)) => Value::of_part(text, kept.start, &tape.nodes, kept.id.0),
            (Some(_), None) => Value::NULL,
            (None, _) => Value::at(text, &self.nodes, 0),
        }
    }
}

/// What a canonical form is written to. The writer tells each node when its text is there; containers before their content.
trait Out {
    fn text(&mut self, text: &str);
    /// The text of `value` is about to be written as it stands, with everything in it.
    fn copied(&mut self, _value: Value<'_>) {}
    /// `value`, a container or string, is about to be written anew. Returns what [`Out::end`] is to be told.
    fn begin(&mut self, _value: Value<'_>) -> usize {
        0
    }
    /// The value for which [`Out::begin`] returned `place` was written.
    fn end(&mut self, _place: usize) {}
}

impl Out for Vec<u8> {
    #[inline]
    fn text(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

/// Offsets in a scanned text fit: it is shorter than 4 GiB, and its canonical form is bounded by the limit of a message.
fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

impl Out for Canonical {
    #[inline]
    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    #[inline]
    fn copied(&mut self, value: Value<'_>) {
        // The nodes of `value` move to the end of these, its text to the end of this text.
        let text_by = narrow(self.text.len()).wrapping_sub(value.start_on_tape());
        let nodes_by = narrow(self.nodes.len()).wrapping_sub(value.id().0);
        self.nodes.extend(value.own_nodes().iter().map(|node| Node {
            start: node.start.wrapping_add(text_by),
            end: node.end.wrapping_add(text_by),
            // The print of a key stays.
            next: node.next.wrapping_add(if node.is_key() { 0 } else { nodes_by }),
            ..*node
        }));
    }

    fn begin(&mut self, value: Value<'_>) -> usize {
        let place = self.nodes.len();
        self.nodes.push(Node { start: narrow(self.text.len()), ..value.node() });
        place
    }

    fn end(&mut self, place: usize) {
        let (text, next) = (&self.text, narrow(self.nodes.len()));
        let Some(node) = self.nodes.get_mut(place) else {
            return;
        };
        node.end = narrow(text.len());
        node.flags &= !REWRITE;
        if !node.is_key() {
            node.next = next;
        }
        if node.tag == Tag::String {
            // Without its quotes; another text than before may have escapes or markup.
            (node.start, node.end) = (node.start.saturating_add(1), node.end.saturating_sub(1));
            let content = text.get(node.start as usize..node.end as usize).unwrap_or_default();
            node.flags &= !(ESCAPED | MARKUP);
            node.flags |= if content.contains('\\') { ESCAPED } else { 0 };
            node.flags |= if content.contains('<') { MARKUP } else { 0 };
        }
    }
}

struct Writer<'r, 'o, T, O> {
    /// Those that were not yet passed.
    replacements: &'r [(NodeId, T)],
    out: &'o mut O,
}

impl<T: AsRef<str>, O: Out> Writer<'_, '_, T, O> {
    // Recursion is as deep as the value, which `ScanLimits::depth` bounds.
    fn value(&mut self, value: Value<'_>) {
        // Nothing in it differs from its canonical form.
        if !value.node().has(REWRITE) && !self.replaced_within(value) {
            self.out.copied(value);
            self.out.text(value.raw());
            return;
        }
        let place = self.out.begin(value);
        match (value.node().tag, self.replacements.split_first()) {
            (Tag::String, Some(((id, text), rest))) if *id == value.id() => {
                self.replacements = rest;
                write_quoted(text.as_ref(), self.out);
            }
            (Tag::String, _) => self.string(value),
            _ => self.container(value),
        }
        self.out.end(place);
    }

    /// Whether the next replacement lies in `value`.
    fn replaced_within(&self, value: Value<'_>) -> bool {
        self.replacements.first().is_some_and(|(id, _)| *id < value.end_id())
    }

    fn container(&mut self, value: Value<'_>) {
        if value.is_object() {
            self.out.text("{");
            for (at, member) in value.members().enumerate() {
                if at > 0 {
                    self.out.text(",");
                }
                let place = self.out.begin(member.key);
                self.string(member.key);
                self.out.end(place);
                self.out.text(":");
                self.value(member.value);
            }
            self.out.text("}");
        } else {
            self.out.text("[");
            for (at, item) in value.items().enumerate() {
                if at > 0 {
                    self.out.text(",");
                }
                self.value(item);
            }
            self.out.text("]");
        }
    }

    fn string(&mut self, string: Value<'_>) {
        self.out.text("\"");
        if string.node().has(REWRITE) {
            for character in string.chars() {
                write_char(character, self.out);
            }
        } else {
            self.out.text(string.content());
        }
        self.out.text("\"");
    }
}

fn write_plain(text: &str, out: &mut impl Out) {
    // Nearly every text is its own canonical form and copied whole. 0xE2 begins U+2028 and U+2029, among others.
    let plain = if text.len() < WINDOW { 0 } else { plain_length(text.as_bytes()) };
    if text.bytes().skip(plain).all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\' | 0x7f | 0xe2)) {
        return out.text(text);
    }
    for character in text.chars() {
        write_char(character, out);
    }
}

fn write_char(character: char, out: &mut impl Out) {
    match character {
        '"' => out.text(r#"\""#),
        '\\' => out.text(r"\\"),
        '\n' => out.text(r"\n"),
        '\r' => out.text(r"\r"),
        '\t' => out.text(r"\t"),
        '\u{c}' => out.text(r"\f"),
        '\0'..='\u{1f}' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
            let code = u32::from(character);
            out.text(r"\u");
            for shift in [12, 8, 4, 0] {
                let digit = char::from_digit(code >> shift & 0xf, 16).unwrap_or('0');
                out.text(digit.encode_utf8(&mut [0; 4]));
            }
        }
        other => out.text(other.encode_utf8(&mut [0; 4])),
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
            ("white space", " { \"a\" : [ 1 ,\t2 ] ,\n\"b\" : { } }\r\n", r#"{"a":[1,2],"b":{}}"#),
            ("around only", " \n[1,2] ", "[1,2]"),
            ("solidus", r#"["\/"]"#, r#"["/"]"#),
            ("needless escape", r#"{"\u0061":"\u00e9\u20AC"}"#, "{\"a\":\"\u{e9}\u{20ac}\"}"),
            ("pair", r#""\ud83d\ude00""#, "\"\u{1f600}\""),
            ("short escapes", r#""\u000a\u000d\u0009\u000c\u0022\u005c""#, r#""\n\r\t\f\"\\""#),
            ("separators", "\"\u{2028}\\u2029\"", r#""\u2028\u2029""#),
            ("markup stays", r#""\u003cb>""#, r#""<b>""#),
            ("white space in a string", r#"["a b"]"#, r#"["a b"]"#),
            ("empty", "[ ]", "[]"),
            ("only one branch differs", r#"{"a":{"b":1},"c":[ 2]}"#, r#"{"a":{"b":1},"c":[2]}"#),
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
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":"&lt;x>\u007f","b":["\"",1],"c":"z"}"#);

        let mut part = Vec::new();
        write_canonical_with(root.get("b").unwrap(), &replacements, &mut part);
        assert_eq!(part, br#"["\"",1]"#);
        let mut other = Vec::new();
        write_canonical_with(root.get("c").unwrap(), &replacements, &mut other);
        assert_eq!(other, br#""z""#);
    }

    #[test]
    fn the_canonical_tape_is_that_of_a_scan() {
        let mut tape = Tape::new();
        let mut canonical = Canonical::default();
        for text in [
            r#"{"a":[1,-0.5e+7,true,null],"b":"x\n\"\\","a longer key than a word holds":{}}"#,
            " { \"a\" : [ 1 ,\t{\"x\": [] } , [\"\"] ] ,\n\"\\u0062\" : { } }\r\n",
            r#"[["\/","\ud83d\ude00",{"\u0061":"<b>"}],"plain",{"k":["<y>",7]},[]]"#,
            r#"  "only a string \u003c"  "#,
            "12",
        ] {
            let document = scan(text, &ScanLimits::default(), &mut tape).unwrap();
            let strings: Vec<NodeId> =
                document.root().subtree().filter(|value| value.is_string() && !value.is_key()).map(Value::id).collect();
            let replaced: Vec<(NodeId, &str)> = strings.into_iter().step_by(2).map(|id| (id, "new\n<text>")).collect();
            for replacements in [&[][..], &replaced] {
                for part in document.root().subtree().filter(|value| !value.is_key()) {
                    canonical.set(part, replacements);
                    let mut plain = Vec::new();
                    write_canonical_with(part, replacements, &mut plain);
                    assert_eq!(canonical.text("").as_bytes(), plain, "{text}");
                    let mut again = Tape::new();
                    scan(canonical.text(""), &ScanLimits::default(), &mut again).unwrap();
                    assert_eq!(format!("{:?}", canonical.nodes), format!("{:?}", again.nodes), "{text}");
                }
            }
        }
    }

    #[test]
    fn what_is_kept_reads_as_what_is_copied() {
        let told = |value: Value<'_>| -> Vec<String> {
            let of = |each: Value<'_>| {
                let node = Node { start: 0, end: 0, next: 0, ..each.node() };
                format!("{} {:?} {} {node:?}", each.id().index() - value.id().index(), each.span(), each.raw())
            };
            value.subtree().map(of).collect()
        };
        let (mut tape, mut kept, mut copied) = (Tape::new(), Canonical::default(), Canonical::default());
        for text in [
            r#"{"type":"chat","payload":{"message":"hello there","list":[1,"x",{"b":null}],"none":{}}}"#,
            r#"{"type":"chat","payload":{"message":"","list":[22,"xyz",{"b":null}],"none":{}}}"#,
            r#"{"type":"chat","payload":{"message":"\u0061", "list":[ ]},"id":"<b>"}"#,
            r#" [ "x" ] "#,
            "12",
        ] {
            // The second time a text is recalled, the third time its nodes are there.
            for _ in 0..3 {
                let document = scan(text, &ScanLimits::default(), &mut tape).unwrap();
                for value in document.root().subtree().filter(|value| !value.is_key()) {
                    kept.keep(document, value.id());
                    copied.set::<&str>(value, &[]);
                    let (kept_text, copied_text) = (kept.text(text), copied.text(text));
                    assert_eq!(kept_text, copied_text, "{text}");
                    let kept = kept.value(kept_text, Some(document.tape()));
                    assert_eq!(told(kept), told(copied.value(copied_text, None)), "{text}");
                    assert_eq!(canonical_text(kept), copied_text, "{text}, copied out of what is kept");
                }
            }
        }
        kept.clear();
        assert!(kept.text("12").is_empty() && kept.value("", Some(&tape)).is_null());

        let (text, other) = (String::from(r#"{"checked":1}"#), String::from(r#"{"another":2}"#));
        let document = scan(&text, &ScanLimits::default(), &mut tape).unwrap();
        kept.keep(document, document.root().id());
        assert_eq!(kept.text(&text), text);
        assert_eq!(kept.text(&other), "", "what was not judged is not read");
        assert_eq!(kept.text(text.trim_end_matches('}')), "");
    }
}
