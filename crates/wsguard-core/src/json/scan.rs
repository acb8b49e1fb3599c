//! The scan: RFC 8259 exactly, and no text that two parsers could read differently.

use super::error::{Limit, ScanError, ScanErrorKind};
use super::limits::ScanLimits;
use super::string;
use super::tape::{
    Container, ESCAPED, Frame, INTEGER, KEY, KeyRef, MARKUP, Node, REWRITE, Tag, Tape, WIDE,
};
use super::value::Document;

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
pub fn scan<'a>(
    text: &'a str,
    limits: &ScanLimits,
    tape: &'a mut Tape,
) -> Result<Document<'a>, ScanError> {
    tape.clear();
    if u32::try_from(text.len()).is_err() {
        return Err(ScanError {
            kind: ScanErrorKind::Limit(Limit::Text),
            offset: u32::MAX,
        });
    }
    let scanner = Scanner {
        bytes: text.as_bytes(),
        text,
        pos: 0,
        rewrite_to: 0,
        constructor_value: u32::MAX,
        frame: Frame::ROOT,
        limits: *limits,
        tape: &mut *tape,
    };
    scanner.run()?;
    Ok(Document::new(text, tape))
}

struct Scanner<'a, 't> {
    bytes: &'a [u8],
    text: &'a str,
    pos: usize,
    /// Behind the last byte that the canonical form would not keep.
    rewrite_to: usize,
    /// Where the value of the latest key `constructor` stands on the tape.
    constructor_value: u32,
    /// The innermost open container; those around it are in `tape.open`.
    frame: Frame,
    limits: ScanLimits,
    tape: &'t mut Tape,
}

/// The content of a string, without its quotes.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    flags: u8,
}

/// `offset` as the tape keeps it: [`scan`] has checked that the whole text is short enough.
#[expect(
    clippy::cast_possible_truncation,
    reason = "scan refuses texts of 4 GiB, and a tape has fewer nodes than its text bytes"
)]
const fn narrow(offset: usize) -> u32 {
    offset as u32
}

impl<'a> Scanner<'a, '_> {
    fn run(mut self) -> Result<(), ScanError> {
        'value: loop {
            match self.token() {
                Some(b'"') => {
                    let span = self.string()?;
                    self.push(Tag::String, span.flags, span.start, span.end)?;
                    if span.flags & MARKUP != 0 {
                        self.tape.counters.markup_strings =
                            self.tape.counters.markup_strings.wrapping_add(1);
                    }
                }
                Some(b'{') => {
                    self.open(Tag::Object, Container::Object)?;
                    if self.token() == Some(b'}') {
                        self.close()?;
                    } else {
                        self.key()?;
                        continue 'value;
                    }
                }
                Some(b'[') => {
                    self.open(Tag::Array, Container::Array)?;
                    if self.token() == Some(b']') {
                        self.close()?;
                    } else {
                        self.item()?;
                        continue 'value;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal(Tag::True, b"true")?,
                Some(b'f') => self.literal(Tag::False, b"false")?,
                Some(b'n') => self.literal(Tag::Null, b"null")?,
                _ => return self.refuse(ScanErrorKind::Grammar),
            }
            // A value has ended: what follows ends the containers around it or begins their next value.
            loop {
                match (self.frame.container, self.token()) {
                    (Container::Nothing, None) => return Ok(()),
                    (Container::Object, Some(b',')) => {
                        self.pos = self.pos.wrapping_add(1);
                        self.token();
                        self.key()?;
                        continue 'value;
                    }
                    (Container::Array, Some(b',')) => {
                        self.pos = self.pos.wrapping_add(1);
                        self.item()?;
                        continue 'value;
                    }
                    (Container::Object, Some(b'}')) | (Container::Array, Some(b']')) => {
                        self.close()?;
                    }
                    _ => return self.refuse(ScanErrorKind::Grammar),
                }
            }
        }
    }

    #[cold]
    fn refuse<T>(&self, kind: ScanErrorKind) -> Result<T, ScanError> {
        Err(ScanError {
            kind,
            offset: narrow(self.pos.min(self.bytes.len())),
        })
    }

    #[cold]
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
            self.rewrite_to = self.pos;
        }
    }

    #[inline]
    fn push(&mut self, tag: Tag, flags: u8, start: usize, end: usize) -> Result<(), ScanError> {
        let index = narrow(self.tape.nodes.len());
        if index >= self.limits.nodes {
            return self.refuse(ScanErrorKind::Limit(Limit::Nodes));
        }
        let next = index.wrapping_add(1);
        self.tape.nodes.push(Node {
            tag,
            flags,
            count: 0,
            start: narrow(start),
            end: narrow(end),
            next,
        });
        Ok(())
    }

    fn open(&mut self, tag: Tag, container: Container) -> Result<(), ScanError> {
        if self.tape.open.len() >= usize::from(self.limits.depth) {
            return self.refuse(ScanErrorKind::Limit(Limit::Depth));
        }
        let node = narrow(self.tape.nodes.len());
        self.push(tag, 0, self.pos, self.pos)?;
        self.tape.open.push(self.frame);
        self.frame = Frame {
            container,
            of_constructor: node == self.constructor_value,
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
        if self.tape.keys.len().wrapping_sub(keys_from) > COMPARED_KEYS {
            self.refuse_duplicates(keys_from)?;
        }
        self.tape.keys.truncate(keys_from);
        self.pos = self.pos.wrapping_add(1);
        let next = narrow(self.tape.nodes.len());
        if let Some(node) = self.tape.nodes.get_mut(self.frame.node as usize) {
            node.count = self.frame.count;
            node.end = narrow(self.pos);
            node.next = next;
            if self.rewrite_to > node.start as usize {
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
        let print = if span.flags & ESCAPED == 0 {
            let key = self.bytes.get(span.start..span.end).unwrap_or_default();
            let length = key.len();
            self.inspect_key(length, |name| key == name)?;
            string::key_print(key)
        } else {
            self.escaped_key(span)?
        };
        self.refuse_repeated(print, span)?;
        let node = narrow(self.tape.nodes.len());
        self.push(Tag::String, span.flags | KEY, span.start, span.end)?;
        if let Some(key) = self.tape.nodes.last_mut() {
            key.next = print;
        }
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

    #[cold]
    fn escaped_key(&mut self, span: Span) -> Result<u32, ScanError> {
        let mut key = std::mem::take(&mut self.tape.scratch);
        key.clear();
        string::unescape(
            self.text.get(span.start..span.end).unwrap_or_default(),
            &mut key,
        );
        let print = string::key_print(key.as_bytes());
        let inspected = self.inspect_key(key.len(), |name| key.as_bytes() == name);
        self.tape.scratch = key;
        inspected.map(|()| print)
    }

    /// Refuses a key that is too long, or through which a message would reach the prototype of all objects.
    #[inline]
    fn inspect_key(&mut self, length: usize, is: impl Fn(&[u8]) -> bool) -> Result<(), ScanError> {
        if length > usize::from(self.limits.key_bytes) {
            return self.refuse(ScanErrorKind::Limit(Limit::KeyBytes));
        }
        // All three names are 9 to 11 bytes long, which saves the comparisons of most other keys.
        if length.wrapping_sub(9) > 2 {
            return Ok(());
        }
        if is(b"__proto__") || (self.frame.of_constructor && is(b"prototype")) {
            return self.refuse(ScanErrorKind::PrototypeKey);
        }
        if is(b"constructor") {
            self.constructor_value = narrow(self.tape.nodes.len()).wrapping_add(1);
        }
        Ok(())
    }

    /// Compares a key with those before it, as long as they are few; [`Self::refuse_duplicates`] judges larger objects.
    #[inline]
    fn refuse_repeated(&mut self, print: u32, span: Span) -> Result<(), ScanError> {
        let earlier = self
            .tape
            .keys
            .get(self.frame.keys_from as usize..)
            .unwrap_or_default();
        if earlier.len() >= COMPARED_KEYS || earlier.iter().all(|key| key.print != print) {
            return Ok(());
        }
        let content = self.text.get(span.start..span.end).unwrap_or_default();
        let this = (content, span.flags & ESCAPED != 0);
        let repeated = earlier
            .iter()
            .any(|key| key.print == print && string::compare(self.content(key.node), this).is_eq());
        if repeated {
            self.refuse(ScanErrorKind::DuplicateKey)
        } else {
            Ok(())
        }
    }

    #[cold]
    fn refuse_duplicates(&mut self, keys_from: usize) -> Result<(), ScanError> {
        let mut keys = std::mem::take(&mut self.tape.keys);
        let own = keys.get_mut(keys_from..).unwrap_or_default();
        let order = |a: &KeyRef, b: &KeyRef| {
            a.print
                .cmp(&b.print)
                .then_with(|| string::compare(self.content(a.node), self.content(b.node)))
        };
        own.sort_unstable_by(order);
        let repeated = own.is_sorted_by(|a, b| order(a, b).is_lt());
        self.tape.keys = keys;
        if repeated {
            Ok(())
        } else {
            self.refuse(ScanErrorKind::DuplicateKey)
        }
    }

    /// The content of the string at `node`, and whether it holds escapes.
    fn content(&self, node: u32) -> (&'a str, bool) {
        let node = self
            .tape
            .nodes
            .get(node as usize)
            .copied()
            .unwrap_or(Node::NULL);
        (
            self.text
                .get(node.start as usize..node.end as usize)
                .unwrap_or_default(),
            node.has(ESCAPED),
        )
    }

    /// Reads the string whose opening quote is at `pos`.
    #[inline]
    fn string(&mut self) -> Result<Span, ScanError> {
        let start = self.pos.wrapping_add(1);
        let mut at = start;
        let mut flags = 0;
        loop {
            at = string::plain_end(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.pos = at.wrapping_add(1);
                    return Ok(Span {
                        start,
                        end: at,
                        flags,
                    });
                }
                Some(b'<') => {
                    flags |= MARKUP;
                    at = at.wrapping_add(1);
                }
                Some(b'\\') => at = self.escape(at, &mut flags)?,
                Some(0x80..) => at = self.non_ascii(at, &mut flags),
                Some(0x7f) => return self.refuse_at(at, ScanErrorKind::UnsafeCharacter),
                _ => return self.refuse_at(at, ScanErrorKind::Grammar),
            }
        }
    }

    /// Reads the escape at `at` and returns where it ends.
    fn escape(&mut self, at: usize, flags: &mut u8) -> Result<usize, ScanError> {
        *flags |= ESCAPED;
        let end = at.wrapping_add(2);
        match self.bytes.get(at.wrapping_add(1)) {
            // As the canonical form writes them.
            Some(b'"' | b'\\' | b'f' | b'n' | b'r' | b't') => return Ok(end),
            Some(b'/') => self.rewrite(end, flags),
            Some(b'u') => return self.unicode_escape(at, flags),
            Some(b'b') => return self.refuse_at(at, ScanErrorKind::UnsafeCharacter),
            _ => return self.refuse_at(at, ScanErrorKind::Grammar),
        }
        Ok(end)
    }

    fn rewrite(&mut self, end: usize, flags: &mut u8) {
        *flags |= REWRITE;
        self.rewrite_to = end;
    }

    fn unicode_escape(&mut self, at: usize, flags: &mut u8) -> Result<usize, ScanError> {
        let Some(unit) = string::hex4(self.bytes, at.wrapping_add(2)) else {
            return self.refuse_at(at, ScanErrorKind::Grammar);
        };
        let mut end = at.wrapping_add(6);
        match unit {
            0x09 | 0x0a | 0x0c | 0x0d => {}
            0..=0x1f | 0x7f => return self.refuse_at(at, ScanErrorKind::UnsafeCharacter),
            0x3c => *flags |= MARKUP,
            0xd800..=0xdbff => {
                let follows = self.bytes.get(end..end.wrapping_add(2)) == Some(br"\u");
                let low = if follows {
                    string::hex4(self.bytes, end.wrapping_add(2))
                } else {
                    None
                };
                if !matches!(low, Some(0xdc00..=0xdfff)) {
                    // A broken escape behind it is a grammar error, but no parser agrees on this text either way.
                    return self.refuse_at(at, ScanErrorKind::LoneSurrogate);
                }
                end = end.wrapping_add(6);
            }
            0xdc00..=0xdfff => return self.refuse_at(at, ScanErrorKind::LoneSurrogate),
            _ if string::is_bidi_control(unit) => self.count_bidi(),
            _ => {}
        }
        self.rewrite(end, flags);
        Ok(end)
    }

    fn count_bidi(&mut self) {
        self.tape.counters.bidi_controls = self.tape.counters.bidi_controls.wrapping_add(1);
    }

    /// Walks the bytes outside ASCII from `at` on and returns where they end.
    fn non_ascii(&mut self, mut at: usize, flags: &mut u8) -> usize {
        while let Some(&byte @ 0x80..) = self.bytes.get(at) {
            // Only these two lead bytes begin a character of interest.
            match (
                byte,
                self.bytes.get(at.wrapping_add(1)),
                self.bytes.get(at.wrapping_add(2)),
            ) {
                (0xd8, Some(0x9c), _)
                | (0xe2, Some(0x80), Some(0x8e | 0x8f | 0xaa..=0xae))
                | (0xe2, Some(0x81), Some(0xa6..=0xa9)) => self.count_bidi(),
                (0xe2, Some(0x80), Some(0xa8 | 0xa9)) => self.rewrite(at.wrapping_add(3), flags),
                _ => {}
            }
            at = at.wrapping_add(1);
        }
        at
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
            flags |= self.judge_number(start, at)?;
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
        if at == start {
            self.refuse_at(at, ScanErrorKind::Grammar)
        } else {
            Ok(at)
        }
    }

    /// Refuses what is no finite double and flags what lies beyond [`SAFE_MAX`].
    #[cold]
    fn judge_number(&mut self, start: usize, end: usize) -> Result<u8, ScanError> {
        let value = self
            .text
            .get(start..end)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(f64::INFINITY);
        if !value.is_finite() {
            return self.refuse(ScanErrorKind::NumberNotFinite);
        }
        // Rounding is monotonic, and 2^53 - 1 and 2^53 are doubles: no larger integer rounds down into the range.
        if value.abs() <= SAFE_MAX {
            return Ok(0);
        }
        self.tape.counters.wide_numbers = self.tape.counters.wide_numbers.wrapping_add(1);
        Ok(WIDE)
    }
}

#[cfg(test)]
#[allow(clippy::too_many_lines, reason = "tables of cases")]
mod tests;
