//! The scan: RFC 8259 exactly, and no text that two parsers could read differently.

use super::error::{Limit, ScanError, ScanErrorKind};
use super::limits::ScanLimits;
use super::recall::{recall, remember};
use super::string::{self, KEY_WORD_BYTES, Window, key_word, word_print};
use super::tape::{ESCAPED, INTEGER, KEY, KeyRef, MARKUP, Node, REWRITE, Tag, Tape, WIDE};
use super::value::Document;
use crate::fault::{self, Fault};

/// The largest integer up to which every integer is its own double, 2^53 - 1 (RFC 7493 §2.2).
const SAFE_MAX: f64 = 9_007_199_254_740_991.0;

/// Objects of up to this many members compare each key with those before it; larger ones sort their keys once, so that a
/// peer cannot buy quadratic work.
const COMPARED_KEYS: usize = 8;

/// Reads `text` onto `tape`, whose former content is dropped, and returns the cursor over both.
///
/// Beyond the grammar it refuses what [`ScanErrorKind`] lists and what exceeds `limits`. Bidirectional control characters and
/// numbers beyond ±(2^53 - 1) pass, counted and flagged: a schema decides about them.
///
/// Cost: one pass, O(n log n) only in the members of one object; no allocation once the tape has grown.
///
/// # Errors
/// The first thing that is wrong. The tape then holds nothing of use.
///
/// # Specification
/// RFC 8259; RFC 7493 (I-JSON) §2; OWASP ASVS 5.0 1.5.3
pub fn scan<'a>(text: &'a str, limits: &ScanLimits, tape: &'a mut Tape) -> Result<Document<'a>, ScanError> {
    read(text, limits, tape)?;
    Ok(Document::new(text, tape))
}

/// [`scan`]; the document of `text` is the caller's to make, where the tape is read.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a guard calls it from one place")]
pub(crate) fn read(text: &str, limits: &ScanLimits, tape: &mut Tape) -> Result<(), ScanError> {
    if recall(text, limits, tape) { Ok(()) } else { read_anew(text, limits, tape) }
}

#[inline(never)]
fn read_anew(text: &str, limits: &ScanLimits, tape: &mut Tape) -> Result<(), ScanError> {
    tape.clear();
    let mut scanner = Scanner { bytes: text.as_bytes(), text, limits, tape: &mut *tape, error: None };
    let whole = if u32::try_from(text.len()).is_ok() {
        scanner.whole()
    } else {
        scanner.refuse(u32::MAX as usize, ScanErrorKind::Limit(Limit::Text))
    };
    match (whole, scanner.error) {
        (Some(()), None) => {
            remember(text, limits, tape);
            Ok(())
        }
        (_, error) => Err(error.unwrap_or(ScanError { kind: ScanErrorKind::Grammar, offset: 0 })),
    }
}

/// Functions take the place in the text at which they begin and return the one behind what they read; `None` when the text
/// is refused, which `error` tells. Places in the text are arguments and not a field, so that they live in registers.
struct Scanner<'a, 't> {
    bytes: &'a [u8],
    text: &'a str,
    limits: &'a ScanLimits,
    tape: &'t mut Tape,
    error: Option<ScanError>,
}

/// The container that is being read.
struct Frame {
    /// Its node.
    node: u32,
    depth: u8,
    /// An object that stands under a key `constructor`.
    of_constructor: bool,
    /// Members or items so far.
    count: u16,
    /// A bit for the print of each key: where none is set twice, no key is there twice.
    keys: u64,
}

/// `offset` as the tape keeps it: [`scan`] has checked that the whole text is short enough.
#[expect(
    clippy::cast_possible_truncation,
    reason = "scan refuses texts of 4 GiB, and a tape has fewer nodes than its text bytes"
)]
pub(super) const fn narrow(offset: usize) -> u32 {
    offset as u32
}

impl Scanner<'_, '_> {
    fn whole(&mut self) -> Option<()> {
        let (at, _) = self.token(0);
        let end = self.value(at, 0, false)?;
        match self.token(end) {
            (_, None) => Some(()),
            (at, Some(_)) => self.refuse(at, ScanErrorKind::Grammar),
        }
    }

    #[cold]
    fn refuse<T>(&mut self, at: usize, kind: ScanErrorKind) -> Option<T> {
        self.error = Some(ScanError { kind, offset: narrow(at) });
        None
    }

    /// Passes white space from `at` on; returns the place and the byte there.
    #[inline]
    fn token(&mut self, at: usize) -> (usize, Option<u8>) {
        match self.bytes.get(at) {
            Some(&byte) if byte > b' ' => (at, Some(byte)),
            _ => self.token_behind_space(at),
        }
    }

    #[inline(never)]
    fn token_behind_space(&mut self, mut at: usize) -> (usize, Option<u8>) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(at) {
            at = at.wrapping_add(1);
            self.tape.rewrite_to = at;
        }
        (at, self.bytes.get(at).copied())
    }

    #[inline]
    fn push(&mut self, at: usize, node: Node) -> Option<()> {
        if self.tape.nodes.len() >= self.limits.nodes as usize {
            return self.refuse(at, ScanErrorKind::Limit(Limit::Nodes));
        }
        self.tape.nodes.push(node);
        Some(())
    }

    /// The node of a value that is complete once it is on the tape.
    #[inline]
    fn node(&self, tag: Tag, flags: u8, start: usize, end: usize) -> Node {
        let next = narrow(self.tape.nodes.len()).wrapping_add(1);
        Node { tag, flags, count: 0, start: narrow(start), end: narrow(end), next }
    }

    /// Reads the value at `at`, inside of `depth` containers.
    // Recursion: as deep as `ScanLimits::depth`.
    #[inline]
    fn value(&mut self, at: usize, depth: u8, of_constructor: bool) -> Option<usize> {
        match self.bytes.get(at) {
            Some(b'"') => self.string_value(at),
            Some(b'{') => self.object(at, depth, of_constructor),
            _ => self.other_value(at, depth),
        }
    }

    #[inline(never)]
    fn other_value(&mut self, at: usize, depth: u8) -> Option<usize> {
        match self.bytes.get(at) {
            Some(b'[') => self.array(at, depth),
            Some(b'-' | b'0'..=b'9') => self.number(at),
            Some(b't') => self.literal(at, Tag::True, b"true"),
            Some(b'f') => self.literal(at, Tag::False, b"false"),
            Some(b'n') => self.literal(at, Tag::Null, b"null"),
            _ => self.refuse(at, ScanErrorKind::Grammar),
        }
    }

    #[inline]
    fn string_value(&mut self, at: usize) -> Option<usize> {
        let window = Window::at(self.bytes, at.wrapping_add(1));
        let (end, flags) = self.string(at, window)?;
        if flags & MARKUP != 0 {
            self.tape.counters.markup_strings = self.tape.counters.markup_strings.wrapping_add(1);
        }
        let behind = end.wrapping_add(1);
        self.push(behind, self.node(Tag::String, flags, at.wrapping_add(1), end))?;
        Some(behind)
    }

    /// Puts the container whose bracket is at `at` on the tape.
    #[inline]
    fn open(&mut self, at: usize, tag: Tag, depth: u8) -> Option<Frame> {
        if depth >= self.limits.depth {
            return self.refuse(at, ScanErrorKind::Limit(Limit::Depth));
        }
        let node = narrow(self.tape.nodes.len());
        self.push(at, self.node(tag, 0, at, at))?;
        Some(Frame { node, depth: depth.wrapping_add(1), of_constructor: false, count: 0, keys: 0 })
    }

    /// Completes the container that ends with the bracket at `at`.
    #[inline]
    fn close(&mut self, at: usize, frame: &Frame) -> usize {
        let (behind, next) = (at.wrapping_add(1), narrow(self.tape.nodes.len()));
        let rewrite_to = self.tape.rewrite_to;
        if let Some(node) = self.tape.nodes.get_mut(frame.node as usize) {
            (node.count, node.end, node.next) = (frame.count, narrow(behind), next);
            if rewrite_to > node.start as usize {
                node.flags |= REWRITE;
            }
        }
        behind
    }

    #[inline(never)]
    fn object(&mut self, open: usize, depth: u8, of_constructor: bool) -> Option<usize> {
        let mut frame = self.open(open, Tag::Object, depth)?;
        frame.of_constructor = of_constructor;
        let (mut at, mut token) = self.token(open.wrapping_add(1));
        if token != Some(b'}') {
            loop {
                let (colon, kind) = self.key(at, &mut frame)?;
                let (value, _) = self.token(colon.wrapping_add(1));
                let behind = self.value(value, frame.depth, matches!(kind, NameKind::Constructor))?;
                (at, token) = self.token(behind);
                match token {
                    Some(b',') => (at, _) = self.token(at.wrapping_add(1)),
                    Some(b'}') => break,
                    _ => return self.refuse(at, ScanErrorKind::Grammar),
                }
            }
            let many = usize::from(frame.count) > COMPARED_KEYS;
            if many && !all_differ(self.text, self.tape, frame.node) {
                return self.refuse(at, ScanErrorKind::DuplicateKey);
            }
        }
        Some(self.close(at, &frame))
    }

    #[inline(never)]
    fn array(&mut self, open: usize, depth: u8) -> Option<usize> {
        let mut frame = self.open(open, Tag::Array, depth)?;
        let (mut at, mut token) = self.token(open.wrapping_add(1));
        if token != Some(b']') {
            loop {
                if frame.count >= self.limits.items {
                    return self.refuse(at, ScanErrorKind::Limit(Limit::Items));
                }
                frame.count = frame.count.wrapping_add(1);
                let behind = self.value(at, frame.depth, false)?;
                (at, token) = self.token(behind);
                match token {
                    Some(b',') => (at, _) = self.token(at.wrapping_add(1)),
                    Some(b']') => break,
                    _ => return self.refuse(at, ScanErrorKind::Grammar),
                }
            }
        }
        Some(self.close(at, &frame))
    }

    /// Reads the key at `at`; returns the place of its colon.
    #[inline]
    fn key(&mut self, at: usize, frame: &mut Frame) -> Option<(usize, NameKind)> {
        if self.bytes.get(at) != Some(&b'"') {
            return self.refuse(at, ScanErrorKind::Grammar);
        }
        if frame.count >= self.limits.members {
            return self.refuse(at, ScanErrorKind::Limit(Limit::Members));
        }
        frame.count = frame.count.wrapping_add(1);
        let start = at.wrapping_add(1);
        let window = Window::at(self.bytes, start);
        let (end, flags) = self.string(at, window)?;
        let behind = end.wrapping_add(1);
        let length = end.wrapping_sub(start);
        let (length, print, kind) = if flags & ESCAPED != 0 {
            self.escaped_key(start, end, frame)
        } else if length <= KEY_WORD_BYTES {
            let word = window.first(length);
            (length, word_print(word), name_kind(word, length, frame.of_constructor))
        } else {
            let print = string::key_print(self.bytes.get(start..end).unwrap_or_default());
            (length, print, NameKind::Plain)
        };
        if length > usize::from(self.limits.key_bytes) {
            return self.refuse(behind, ScanErrorKind::Limit(Limit::KeyBytes));
        }
        if matches!(kind, NameKind::Prototype) && !fault::is_on(Fault::KeysUnchecked) {
            return self.refuse(behind, ScanErrorKind::PrototypeKey);
        }
        let bit = 1 << (print & 63);
        if frame.keys & bit != 0 && self.is_repeated(print, (start, end, flags), frame) {
            return self.refuse(behind, ScanErrorKind::DuplicateKey);
        }
        frame.keys |= bit;
        let node = Node { next: print, ..self.node(Tag::String, flags | KEY, start, end) };
        self.push(behind, node)?;
        if flags & MARKUP != 0 {
            self.tape.counters.markup_keys = self.tape.counters.markup_keys.wrapping_add(1);
        }
        match self.token(behind) {
            (colon, Some(b':')) => Some((colon, kind)),
            (at, _) => self.refuse(at, ScanErrorKind::Grammar),
        }
    }

    /// Length, print and kind of a key by what it reads without its escapes.
    #[cold]
    fn escaped_key(&mut self, start: usize, end: usize, frame: &Frame) -> (usize, u32, NameKind) {
        let key = &mut self.tape.scratch;
        key.clear();
        string::unescape(self.text.get(start..end).unwrap_or_default(), key);
        let kind = if key.len() <= KEY_WORD_BYTES {
            name_kind(key_word(key.as_bytes()), key.len(), frame.of_constructor)
        } else {
            NameKind::Plain
        };
        (key.len(), string::key_print(key.as_bytes()), kind)
    }

    /// Whether one of the first [`COMPARED_KEYS`] keys reads like the one at `start..end`; [`all_differ`] judges larger objects.
    #[cold]
    fn is_repeated(&self, print: u32, (start, end, flags): (usize, usize, u8), frame: &Frame) -> bool {
        if usize::from(frame.count) > COMPARED_KEYS {
            return false;
        }
        let this = (self.text.get(start..end).unwrap_or_default(), flags & ESCAPED != 0);
        keys_of(&self.tape.nodes, frame.node)
            .filter(|key| key.print == print)
            .any(|key| string::compare(content_of(self.text, &self.tape.nodes, key.node), this).is_eq())
    }

    /// Reads the string whose opening quote is at `at`; returns the place of its closing quote, and flags. Most keys and many
    /// values end in their first `window`.
    #[inline]
    fn string(&mut self, at: usize, window: Window) -> Option<(usize, u8)> {
        let plain = at.wrapping_add(1).wrapping_add(window.plain());
        match self.bytes.get(plain) {
            Some(b'"') => Some((plain, 0)),
            _ => self.long_string(plain),
        }
    }

    #[inline(never)]
    fn long_string(&mut self, plain: usize) -> Option<(usize, u8)> {
        match long::read(self.bytes, plain, &mut self.tape.counters) {
            Ok((end, flags)) => {
                if flags & REWRITE != 0 {
                    self.tape.rewrite_to = end;
                }
                Some((end, flags))
            }
            Err(ScanError { kind, offset }) => self.refuse(offset as usize, kind),
        }
    }

    fn literal(&mut self, at: usize, tag: Tag, word: &[u8]) -> Option<usize> {
        let end = at.wrapping_add(word.len());
        if self.bytes.get(at..end) != Some(word) {
            return self.refuse(at, ScanErrorKind::Grammar);
        }
        self.push(at, self.node(tag, 0, at, end))?;
        Some(end)
    }

    fn number(&mut self, start: usize) -> Option<usize> {
        let mut at = start;
        if self.bytes.get(at) == Some(&b'-') {
            at = at.wrapping_add(1);
        }
        let first = at;
        at = self.digits(at)?;
        let whole = at.wrapping_sub(first);
        if whole > 1 && self.bytes.get(first) == Some(&b'0') {
            return self.refuse(first, ScanErrorKind::Grammar);
        }
        let mut flags = INTEGER;
        if self.bytes.get(at) == Some(&b'.') {
            flags = 0;
            at = self.digits(at.wrapping_add(1))?;
        }
        let mut far = whole > 15;
        if let Some(b'e' | b'E') = self.bytes.get(at) {
            flags = 0;
            far = true;
            at = at.wrapping_add(1);
            if let Some(b'+' | b'-') = self.bytes.get(at) {
                at = at.wrapping_add(1);
            }
            at = self.digits(at)?;
        }
        if at.wrapping_sub(start) > usize::from(self.limits.number_bytes) {
            return self.refuse(start, ScanErrorKind::Limit(Limit::NumberBytes));
        }
        if far {
            let Some(wide) = judge_number(self.text.get(start..at).unwrap_or_default()) else {
                return self.refuse(start, ScanErrorKind::NumberNotFinite);
            };
            flags |= wide;
            self.tape.counters.wide_numbers = self.tape.counters.wide_numbers.wrapping_add(u32::from(wide != 0));
        }
        self.push(start, self.node(Tag::Number, flags, start, at))?;
        Some(at)
    }

    /// Skips one digit or more.
    #[inline]
    fn digits(&mut self, start: usize) -> Option<usize> {
        let mut at = start;
        while let Some(b'0'..=b'9') = self.bytes.get(at) {
            at = at.wrapping_add(1);
        }
        if at == start { self.refuse(at, ScanErrorKind::Grammar) } else { Some(at) }
    }
}

#[derive(Clone, Copy)]
enum NameKind {
    Plain,
    Constructor,
    /// Leads to the prototype of all objects.
    Prototype,
}

/// Judges a key of up to [`KEY_WORD_BYTES`] by its word; longer ones are none of these names.
#[inline]
fn name_kind(word: u128, length: usize, of_constructor: bool) -> NameKind {
    const PROTO: u128 = key_word(b"__proto__");
    const PROTOTYPE: u128 = key_word(b"prototype");
    const CONSTRUCTOR: u128 = key_word(b"constructor");
    match length {
        9 if word == PROTO || (word == PROTOTYPE && of_constructor) => NameKind::Prototype,
        11 if word == CONSTRUCTOR => NameKind::Constructor,
        _ => NameKind::Plain,
    }
}

/// The keys of the object at `node`, as far as it is on the tape. Its values must be complete.
fn keys_of(nodes: &[Node], node: u32) -> impl Iterator<Item = KeyRef> {
    let mut at = node.wrapping_add(1);
    std::iter::from_fn(move || {
        let key = nodes.get(at as usize)?;
        let found = KeyRef { print: key.next, node: at };
        let value = at.wrapping_add(1);
        // A value ends behind itself; the key that is being read has none yet, and ends the walk.
        at = nodes.get(value as usize).map_or(u32::MAX, |node| node.next.max(value.wrapping_add(1)));
        Some(found)
    })
}

/// Whether the keys of the object at `node` differ from one another.
#[cold]
fn all_differ(text: &str, tape: &mut Tape, node: u32) -> bool {
    let Tape { nodes, keys, .. } = tape;
    keys.clear();
    keys.extend(keys_of(nodes, node));
    let order = |a: &KeyRef, b: &KeyRef| {
        let contents = || string::compare(content_of(text, nodes, a.node), content_of(text, nodes, b.node));
        a.print.cmp(&b.print).then_with(contents)
    };
    keys.sort_unstable_by(order);
    keys.is_sorted_by(|a, b| order(a, b).is_lt())
}

/// The content of the string at `node`, and whether it holds escapes.
fn content_of<'a>(text: &'a str, nodes: &[Node], node: u32) -> (&'a str, bool) {
    let node = nodes.get(node as usize).copied().unwrap_or(Node::NULL);
    (text.get(node.start as usize..node.end as usize).unwrap_or_default(), node.has(ESCAPED))
}

/// The flags of a number that may lie beyond [`SAFE_MAX`]; `None` when it is no finite double.
#[cold]
fn judge_number(number: &str) -> Option<u8> {
    let value = number.parse::<f64>().ok().filter(|value| value.is_finite())?;
    // Rounding is monotonic, and 2^53 - 1 and 2^53 are doubles: no larger integer rounds down into the range.
    Some(if value.abs() <= SAFE_MAX { 0 } else { WIDE })
}

pub(super) mod long;
#[cfg(test)]
mod tests;
