//! The scan: RFC 8259 exactly, and no text that two parsers could read differently.

use super::error::{Limit, ScanError, ScanErrorKind};
use super::limits::ScanLimits;
use super::string::{self, FirstWord};
use super::tape::{Container, ESCAPED, Frame, INTEGER, KEY, KeyRef, MARKUP, Node, REWRITE, Tag, Tape, WIDE};
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
    tape.clear();
    if u32::try_from(text.len()).is_err() {
        return Err(ScanError { kind: ScanErrorKind::Limit(Limit::Text), offset: u32::MAX });
    }
    let scanner = Scanner { bytes: text.as_bytes(), text, pos: 0, frame: Frame::ROOT, limits, tape: &mut *tape };
    scanner.run()?;
    Ok(Document::new(text, tape))
}

struct Scanner<'a, 't> {
    bytes: &'a [u8],
    text: &'a str,
    pos: usize,
    /// The innermost open container; those around it are in `tape.open`.
    frame: Frame,
    limits: &'a ScanLimits,
    tape: &'t mut Tape,
}

/// The content of a string, without its quotes.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    flags: u8,
    /// Its [`string::key_print`], when that came for free.
    print: Option<u32>,
}

/// `offset` as the tape keeps it: [`scan`] has checked that the whole text is short enough.
#[expect(
    clippy::cast_possible_truncation,
    reason = "scan refuses texts of 4 GiB, and a tape has fewer nodes than its text bytes"
)]
const fn narrow(offset: usize) -> u32 {
    offset as u32
}

impl Scanner<'_, '_> {
    fn run(mut self) -> Result<(), ScanError> {
        loop {
            // Whether the value is a container with something in it, which begins here.
            let mut begun = false;
            match self.token() {
                Some(b'"') => {
                    let span = self.string()?;
                    self.push(Tag::String, span.flags, span.start, span.end)?;
                    if span.flags & MARKUP != 0 {
                        self.tape.counters.markup_strings = self.tape.counters.markup_strings.wrapping_add(1);
                    }
                }
                Some(bracket @ (b'{' | b'[')) => {
                    let (tag, container, end) = if bracket == b'{' {
                        (Tag::Object, Container::Object, b'}')
                    } else {
                        (Tag::Array, Container::Array, b']')
                    };
                    self.open(tag, container)?;
                    begun = self.token() != Some(end);
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(Tag::True, b"true")?,
                Some(b'f') => self.literal(Tag::False, b"false")?,
                Some(b'n') => self.literal(Tag::Null, b"null")?,
                _ => return self.refuse(ScanErrorKind::Grammar),
            }
            // Otherwise the value has ended: what follows ends the containers around it or begins their next value.
            while !begun {
                match (self.token(), self.frame.container) {
                    (Some(b','), Container::Object | Container::Array) => {
                        self.pos = self.pos.wrapping_add(1);
                        self.token();
                        begun = true;
                    }
                    (Some(b'}'), Container::Object) | (Some(b']'), Container::Array) => {
                        self.close()?;
                    }
                    (None, Container::Nothing) => return Ok(()),
                    _ => return self.refuse(ScanErrorKind::Grammar),
                }
            }
            if self.frame.container == Container::Object {
                self.key()?;
            } else {
                self.item()?;
            }
        }
    }

    // Takes no reference out of this function, so that the scanner's fields may live in registers.
    #[inline]
    fn refuse<T>(&self, kind: ScanErrorKind) -> Result<T, ScanError> {
        Err(ScanError { kind, offset: narrow(self.pos) })
    }

    #[inline]
    fn refuse_at<T>(&mut self, at: usize, kind: ScanErrorKind) -> Result<T, ScanError> {
        self.pos = at;
        self.refuse(kind)
    }

    /// Skips white space and returns the byte behind it, at `pos`.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.pos)?;
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.pos = self.pos.wrapping_add(1);
            self.tape.rewrite_to = self.pos;
        }
    }

    #[inline]
    fn push(&mut self, tag: Tag, flags: u8, start: usize, end: usize) -> Result<(), ScanError> {
        let next = narrow(self.tape.nodes.len()).wrapping_add(1);
        self.push_with(tag, flags, start, end, next)
    }

    #[inline]
    fn push_with(&mut self, tag: Tag, flags: u8, start: usize, end: usize, next: u32) -> Result<(), ScanError> {
        if self.tape.nodes.len() >= self.limits.nodes as usize {
            return self.refuse(ScanErrorKind::Limit(Limit::Nodes));
        }
        let (start, end) = (narrow(start), narrow(end));
        self.tape.nodes.push(Node { tag, flags, count: 0, start, end, next });
        Ok(())
    }

    // Its only caller: inlined, it keeps the scanner out of memory.
    #[inline]
    fn open(&mut self, tag: Tag, container: Container) -> Result<(), ScanError> {
        if self.tape.open.len() >= usize::from(self.limits.depth) {
            return self.refuse(ScanErrorKind::Limit(Limit::Depth));
        }
        let node = narrow(self.tape.nodes.len());
        self.push(tag, 0, self.pos, self.pos)?;
        self.tape.open.push(self.frame);
        self.frame = Frame {
            container,
            of_constructor: node == self.tape.constructor_value,
            count: 0,
            node,
            keys_from: narrow(self.tape.keys.len()),
        };
        self.pos = self.pos.wrapping_add(1);
        Ok(())
    }

    /// Ends the innermost container with the bracket at `pos`.
    fn close(&mut self) -> Result<(), ScanError> {
        let keys_from = self.frame.keys_from as usize;
        let many = self.tape.keys.len().wrapping_sub(keys_from) > COMPARED_KEYS;
        if many && !all_differ(self.text, self.tape, keys_from) {
            return self.refuse(ScanErrorKind::DuplicateKey);
        }
        self.tape.keys.truncate(keys_from);
        self.pos = self.pos.wrapping_add(1);
        let next = narrow(self.tape.nodes.len());
        if let Some(node) = self.tape.nodes.get_mut(self.frame.node as usize) {
            node.count = self.frame.count;
            node.end = narrow(self.pos);
            node.next = next;
            if self.tape.rewrite_to > node.start as usize {
                node.flags |= REWRITE;
            }
        }
        self.frame = self.tape.open.pop().unwrap_or(Frame::ROOT);
        Ok(())
    }

    /// Counts an item of the innermost array.
    #[inline]
    fn item(&mut self) -> Result<(), ScanError> {
        if self.frame.count >= self.limits.items {
            return self.refuse(ScanErrorKind::Limit(Limit::Items));
        }
        self.frame.count = self.frame.count.wrapping_add(1);
        Ok(())
    }

    /// Reads a key and its colon from `pos` on.
    #[inline]
    fn key(&mut self) -> Result<(), ScanError> {
        if self.bytes.get(self.pos) != Some(&b'"') {
            return self.refuse(ScanErrorKind::Grammar);
        }
        if self.frame.count >= self.limits.members {
            return self.refuse(ScanErrorKind::Limit(Limit::Members));
        }
        self.frame.count = self.frame.count.wrapping_add(1);
        let span = self.string()?;
        let length = span.end.wrapping_sub(span.start);
        let print = match span.print {
            // Too short for a name that `name_kind` looks for.
            Some(print) if length <= usize::from(self.limits.key_bytes) => print,
            _ if span.flags & ESCAPED == 0 => {
                let key = self.bytes.get(span.start..span.end).unwrap_or_default();
                let kind = name_kind(key, self.frame.of_constructor);
                self.judge_key(length, kind)?;
                string::key_print(key)
            }
            _ => {
                let mut key = std::mem::take(&mut self.tape.scratch);
                key.clear();
                string::unescape(self.text.get(span.start..span.end).unwrap_or_default(), &mut key);
                let kind = name_kind(key.as_bytes(), self.frame.of_constructor);
                let (length, print) = (key.len(), string::key_print(key.as_bytes()));
                self.tape.scratch = key;
                self.judge_key(length, kind)?;
                print
            }
        };
        self.refuse_repeated(print, span)?;
        let node = narrow(self.tape.nodes.len());
        self.push_with(Tag::String, span.flags | KEY, span.start, span.end, print)?;
        self.tape.keys.push(KeyRef { print, node });
        if span.flags & MARKUP != 0 {
            self.tape.counters.markup_keys = self.tape.counters.markup_keys.wrapping_add(1);
        }
        if self.token() != Some(b':') {
            return self.refuse(ScanErrorKind::Grammar);
        }
        self.pos = self.pos.wrapping_add(1);
        Ok(())
    }

    #[inline]
    fn judge_key(&mut self, length: usize, kind: NameKind) -> Result<(), ScanError> {
        if length > usize::from(self.limits.key_bytes) {
            return self.refuse(ScanErrorKind::Limit(Limit::KeyBytes));
        }
        match kind {
            NameKind::Plain => {}
            NameKind::Constructor => {
                self.tape.constructor_value = narrow(self.tape.nodes.len()).wrapping_add(1);
            }
            NameKind::Prototype if fault::is_on(Fault::KeysUnchecked) => {}
            NameKind::Prototype => return self.refuse(ScanErrorKind::PrototypeKey),
        }
        Ok(())
    }

    /// Compares a key with those before it, as long as they are few; [`all_differ`] judges larger objects.
    #[inline]
    fn refuse_repeated(&self, print: u32, span: Span) -> Result<(), ScanError> {
        let earlier = self.tape.keys.get(self.frame.keys_from as usize..).unwrap_or_default();
        if earlier.len() >= COMPARED_KEYS || earlier.iter().all(|key| key.print != print) {
            return Ok(());
        }
        let content = self.text.get(span.start..span.end).unwrap_or_default();
        let this = (content, span.flags & ESCAPED != 0);
        let mut alike = earlier.iter().filter(|key| key.print == print);
        if alike.any(|key| string::compare(content_of(self.text, &self.tape.nodes, key.node), this).is_eq()) {
            return self.refuse(ScanErrorKind::DuplicateKey);
        }
        Ok(())
    }

    /// Reads the string whose opening quote is at `pos`. Most keys and many values end in the first word.
    #[inline]
    fn string(&mut self) -> Result<Span, ScanError> {
        let start = self.pos.wrapping_add(1);
        let mut from = start;
        if let Some(word) = self.bytes.get(start..).and_then(<[u8]>::first_chunk::<8>) {
            match FirstWord::read(u64::from_le_bytes(*word)) {
                FirstWord::All(content, length) => {
                    let end = start.wrapping_add(length);
                    self.pos = end.wrapping_add(1);
                    let print = Some(string::short_print(content, length));
                    return Ok(Span { start, end, flags: 0, print });
                }
                FirstWord::Plain => from = from.wrapping_add(8),
                FirstWord::Other => {}
            }
        }
        let (end, flags) = long::read(self.bytes, from, self.tape)?;
        self.pos = end.wrapping_add(1);
        Ok(Span { start, end, flags, print: None })
    }

    fn literal(&mut self, tag: Tag, word: &[u8]) -> Result<(), ScanError> {
        let start = self.pos;
        let end = start.wrapping_add(word.len());
        if self.bytes.get(start..end) != Some(word) {
            return self.refuse(ScanErrorKind::Grammar);
        }
        self.push(tag, 0, start, end)?;
        self.pos = end;
        Ok(())
    }

    fn number(&mut self) -> Result<(), ScanError> {
        let start = self.pos;
        let mut at = start;
        if self.bytes.get(at) == Some(&b'-') {
            at = at.wrapping_add(1);
        }
        let first = at;
        at = self.digits(at)?;
        let whole = at.wrapping_sub(first);
        if whole > 1 && self.bytes.get(first) == Some(&b'0') {
            return self.refuse_at(first, ScanErrorKind::Grammar);
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
            return self.refuse(ScanErrorKind::Limit(Limit::NumberBytes));
        }
        if far {
            let Some(wide) = judge_number(self.text.get(start..at).unwrap_or_default()) else {
                return self.refuse(ScanErrorKind::NumberNotFinite);
            };
            flags |= wide;
            self.tape.counters.wide_numbers = self.tape.counters.wide_numbers.wrapping_add(u32::from(wide != 0));
        }
        self.push(Tag::Number, flags, start, at)?;
        self.pos = at;
        Ok(())
    }

    /// Skips one digit or more.
    #[inline]
    fn digits(&mut self, mut at: usize) -> Result<usize, ScanError> {
        let start = at;
        while let Some(b'0'..=b'9') = self.bytes.get(at) {
            at = at.wrapping_add(1);
        }
        if at == start { self.refuse_at(at, ScanErrorKind::Grammar) } else { Ok(at) }
    }
}

#[derive(Clone, Copy)]
enum NameKind {
    Plain,
    Constructor,
    /// Leads to the prototype of all objects.
    Prototype,
}

fn name_kind(key: &[u8], of_constructor: bool) -> NameKind {
    match key {
        b"__proto__" => NameKind::Prototype,
        b"prototype" if of_constructor => NameKind::Prototype,
        b"constructor" => NameKind::Constructor,
        _ => NameKind::Plain,
    }
}

/// Whether the keys from `keys_from` on differ from one another.
#[cold]
fn all_differ(text: &str, tape: &mut Tape, keys_from: usize) -> bool {
    let Tape { nodes, keys, .. } = tape;
    let own = keys.get_mut(keys_from..).unwrap_or_default();
    let order = |a: &KeyRef, b: &KeyRef| {
        let contents = || string::compare(content_of(text, nodes, a.node), content_of(text, nodes, b.node));
        a.print.cmp(&b.print).then_with(contents)
    };
    own.sort_unstable_by(order);
    own.is_sorted_by(|a, b| order(a, b).is_lt())
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

mod long;
#[cfg(test)]
mod tests;
