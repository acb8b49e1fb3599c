//! Strings that do not end in their first word, or hold more than plain characters.

use fearless_simd::{Simd, dispatch};

use super::{ScanError, ScanErrorKind, narrow};
use crate::json::string;
use crate::json::tape::{Counters, ESCAPED, MARKUP, REWRITE};
use crate::vectors;

/// Reads the string whose content before `start` is plain; returns where it ends, and its flags.
pub(in crate::json) fn read(bytes: &[u8], start: usize, counters: &mut Counters) -> Result<(usize, u8), ScanError> {
    let string = LongString { bytes, counters, flags: 0 };
    dispatch!(vectors::level(), simd => string.read(simd, start))
}

struct LongString<'a, 'c> {
    bytes: &'a [u8],
    counters: &'c mut Counters,
    flags: u8,
}

fn refuse<T>(at: usize, kind: ScanErrorKind) -> Result<T, ScanError> {
    Err(ScanError { kind, offset: narrow(at) })
}

impl LongString<'_, '_> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the instructions of the level are there only where this is inlined")]
    fn read<S: Simd>(mut self, simd: S, start: usize) -> Result<(usize, u8), ScanError> {
        let mut at = start;
        loop {
            at = string::plain_end(simd, self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => return Ok((at, self.flags)),
                Some(b'<') => {
                    self.flags |= MARKUP;
                    at = at.wrapping_add(1);
                }
                Some(b'\\') => at = self.escape(at)?,
                Some(0x80..) => at = self.non_ascii(at),
                Some(0x7f) => return refuse(at, ScanErrorKind::UnsafeCharacter),
                _ => return refuse(at, ScanErrorKind::Grammar),
            }
        }
    }

    /// Reads the escape at `at` and returns where it ends.
    fn escape(&mut self, at: usize) -> Result<usize, ScanError> {
        self.flags |= ESCAPED;
        let end = at.wrapping_add(2);
        match self.bytes.get(at.wrapping_add(1)) {
            // As the canonical form writes them.
            Some(b'"' | b'\\' | b'f' | b'n' | b'r' | b't') => return Ok(end),
            Some(b'/') => self.flags |= REWRITE,
            Some(b'u') => return self.unicode_escape(at),
            Some(b'b') => return refuse(at, ScanErrorKind::UnsafeCharacter),
            _ => return refuse(at, ScanErrorKind::Grammar),
        }
        Ok(end)
    }

    fn unicode_escape(&mut self, at: usize) -> Result<usize, ScanError> {
        let Some(unit) = string::hex4(self.bytes, at.wrapping_add(2)) else {
            return refuse(at, ScanErrorKind::Grammar);
        };
        let mut end = at.wrapping_add(6);
        match unit {
            0x09 | 0x0a | 0x0c | 0x0d => {}
            0..=0x1f | 0x7f => return refuse(at, ScanErrorKind::UnsafeCharacter),
            0x3c => self.flags |= MARKUP,
            0xd800..=0xdbff => {
                let follows = self.bytes.get(end..end.wrapping_add(2)) == Some(br"\u");
                let low = if follows { string::hex4(self.bytes, end.wrapping_add(2)) } else { None };
                if !matches!(low, Some(0xdc00..=0xdfff)) {
                    // A broken escape behind it is a grammar error, but no parser agrees on this text either way.
                    return refuse(at, ScanErrorKind::LoneSurrogate);
                }
                end = end.wrapping_add(6);
            }
            0xdc00..=0xdfff => return refuse(at, ScanErrorKind::LoneSurrogate),
            _ if string::is_bidi_control(unit) => self.count_bidi(),
            _ => {}
        }
        self.flags |= REWRITE;
        Ok(end)
    }

    fn count_bidi(&mut self) {
        self.counters.bidi_controls = self.counters.bidi_controls.wrapping_add(1);
    }

    /// Walks the bytes outside ASCII from `at` on and returns where they end.
    fn non_ascii(&mut self, mut at: usize) -> usize {
        while let Some(&byte @ 0x80..) = self.bytes.get(at) {
            // Only these two lead bytes begin a character of interest.
            match (byte, self.bytes.get(at.wrapping_add(1)), self.bytes.get(at.wrapping_add(2))) {
                (0xd8, Some(0x9c), _)
                | (0xe2, Some(0x80), Some(0x8e | 0x8f | 0xaa..=0xae))
                | (0xe2, Some(0x81), Some(0xa6..=0xa9)) => self.count_bidi(),
                (0xe2, Some(0x80), Some(0xa8 | 0xa9)) => self.flags |= REWRITE,
                _ => {}
            }
            at = at.wrapping_add(1);
        }
        at
    }
}
