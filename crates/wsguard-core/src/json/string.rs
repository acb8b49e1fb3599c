//! Strings: the bytes that need no look, escapes, and comparing without unescaping.

use std::cmp::Ordering;
use std::iter::FusedIterator;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

const fn repeat(byte: u8) -> u64 {
    (byte as u64).wrapping_mul(ONES)
}

/// The first index from `at` on whose byte is not plain (see [`is_plain`]), or the length of `bytes`.
///
/// Keys and short strings end in the first word; long ones go on in chunks that the compiler turns into vector code.
#[inline]
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let hits = not_plain(u64::from_le_bytes(*word));
        if hits != 0 {
            return at.wrapping_add((hits.trailing_zeros() / 8) as usize);
        }
        at = at.wrapping_add(8);
        while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<32>)
            && all_plain(chunk)
        {
            at = at.wrapping_add(32);
        }
    }
    while bytes.get(at).is_some_and(|&byte| is_plain(byte)) {
        at = at.wrapping_add(1);
    }
    at
}

/// Printable ASCII other than `"`, `\` and `<`.
const fn is_plain(byte: u8) -> bool {
    !matches!(byte, 0..=0x1f | b'"' | b'\\' | b'<' | 0x7f..)
}

/// The high bit of each byte that is not plain. Exact for the lowest such byte: a borrow only spreads to bytes above it.
const fn not_plain(word: u64) -> u64 {
    let control = word.wrapping_sub(repeat(0x20));
    let quote = (word ^ repeat(b'"')).wrapping_sub(ONES);
    let backslash = (word ^ repeat(b'\\')).wrapping_sub(ONES);
    let less = (word ^ repeat(b'<')).wrapping_sub(ONES);
    // Also every byte outside of ASCII; there is no carry, since UTF-8 has no byte 0xff.
    let delete = word.wrapping_add(ONES);
    (control | quote | backslash | less | delete) & HIGHS
}

/// Without an early end, so that all 32 bytes are judged at once.
fn all_plain(chunk: &[u8; 32]) -> bool {
    let found = chunk.iter().fold(0, |found, &byte| {
        found
            | u8::from(byte.wrapping_sub(0x20) >= 0x5f)
            | u8::from(byte == b'"')
            | u8::from(byte == b'\\')
            | u8::from(byte == b'<')
    });
    found == 0
}

/// Four hexadecimal digits at `at`.
pub(super) fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..)?.first_chunk::<4>()?;
    digits.iter().try_fold(0_u32, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

/// The code point of a surrogate pair.
pub(super) const fn surrogate_pair(high: u32, low: u32) -> u32 {
    ((high & 0x3ff) << 10 | low & 0x3ff).wrapping_add(0x1_0000)
}

/// Characters that change the direction of the text around them (Unicode UAX #9; CVE-2021-42574).
pub(super) const fn is_bidi_control(code: u32) -> bool {
    matches!(code, 0x061c | 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x2069)
}

/// A fingerprint of a key: equal keys have equal prints. Different keys usually differ, but a peer can make them collide,
/// so that it may only ever save a comparison.
#[inline]
pub(crate) fn key_print(key: &[u8]) -> u32 {
    let word = if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(20)
    } else {
        key.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    short_print(word, key.len())
}

/// [`key_print`] of a key of less than 8 bytes, which `word` holds in little endian, followed by zeros.
#[inline]
pub(super) const fn short_print(word: u64, length: usize) -> u32 {
    let mixed = (word ^ (length as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
}

/// What the first word of a string's content, with what follows it, tells.
pub(super) enum FirstWord {
    /// The string ends in it and is plain: the content followed by zeros, and its length.
    All(u64, usize),
    /// It is plain and the string goes on.
    Plain,
    /// It holds a byte that needs a look.
    Other,
}

impl FirstWord {
    #[inline]
    pub(super) const fn read(word: u64) -> Self {
        let hits = not_plain(word);
        if hits == 0 {
            return Self::Plain;
        }
        let bits = hits.trailing_zeros() & !7;
        if (word >> bits) & 0xff == b'"' as u64 {
            Self::All(word & !(u64::MAX << bits), (bits >> 3) as usize)
        } else {
            Self::Other
        }
    }
}

/// The characters of a scanned string's content.
///
/// INVARIANT: the content passed the scanner, so each escape is complete and each surrogate has its partner. For other
/// content the iterator ends early; it never panics.
#[derive(Clone, Debug)]
pub struct Unescaped<'a> {
    rest: std::str::Chars<'a>,
}

impl<'a> Unescaped<'a> {
    pub(crate) fn new(content: &'a str) -> Self {
        Self { rest: content.chars() }
    }

    fn unit(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for _ in 0..4 {
            value = value << 4 | self.rest.next()?.to_digit(16)?;
        }
        Some(value)
    }
}

impl Iterator for Unescaped<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self.rest.next()? {
            '\\' => match self.rest.next()? {
                'b' => Some('\u{8}'),
                'f' => Some('\u{c}'),
                'n' => Some('\n'),
                'r' => Some('\r'),
                't' => Some('\t'),
                'u' => {
                    let unit = self.unit()?;
                    if unit & 0xfc00 != 0xd800 {
                        return char::from_u32(unit);
                    }
                    self.rest.next()?;
                    self.rest.next()?;
                    char::from_u32(surrogate_pair(unit, self.unit()?))
                }
                itself => Some(itself),
            },
            plain => Some(plain),
        }
    }
}

impl FusedIterator for Unescaped<'_> {}

/// Appends the unescaped `content` to `out`.
pub(super) fn unescape(content: &str, out: &mut String) {
    out.reserve(content.len());
    let mut rest = content;
    while let Some((plain, tail)) = memchr::memchr(b'\\', rest.as_bytes()).and_then(|at| rest.split_at_checked(at)) {
        out.push_str(plain);
        let mut escape = Unescaped::new(tail);
        out.extend(escape.next());
        rest = escape.rest.as_str();
    }
    out.push_str(rest);
}

/// Compares two contents as they read after unescaping, in the order of code points.
pub(super) fn compare(left: (&str, bool), right: (&str, bool)) -> Ordering {
    if left.1 || right.1 {
        // A content without a backslash unescapes to itself.
        Unescaped::new(left.0).cmp(Unescaped::new(right.0))
    } else {
        left.0.cmp(right.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_run_ends_at_the_first_byte_that_needs_a_look() {
        for stop in (0..=0x1f_u8).chain([b'"', b'\\', b'<', 0x7f, 0x80, 0xc3, 0xe2, 0xf4]) {
            for length in 0..100 {
                for behind in 0..40 {
                    let mut bytes = vec![b'a'; length];
                    bytes.push(stop);
                    bytes.resize(length + 1 + behind, stop);
                    assert_eq!(plain_end(&bytes, 0), length, "{stop:#x} after {length}, {behind} behind");
                }
            }
        }
        let every_plain: Vec<u8> = (0..=u8::MAX).filter(|&byte| is_plain(byte)).collect();
        assert_eq!(plain_end(&every_plain, 0), every_plain.len());
    }

    #[test]
    fn unescaping_reads_every_escape() {
        for (content, want) in [
            ("", ""),
            ("plain", "plain"),
            (r#"\"\\\/\f\n\r\t"#, "\"\\/\u{c}\n\r\t"),
            (r"a\u0041\u00e9\u20AC", "aA\u{e9}\u{20ac}"),
            (r"\ud83d\ude00x", "\u{1f600}x"),
            (r"\uD834\uDD1E", "\u{1d11e}"),
        ] {
            let mut out = String::from(">");
            unescape(content, &mut out);
            assert_eq!(out, format!(">{want}"));
            assert_eq!(Unescaped::new(content).collect::<String>(), want);
        }
    }

    #[test]
    fn equal_keys_have_equal_prints_and_similar_ones_do_not() {
        let keys = ["", "a", "b", "ab", "ba", "id", "type", "typf", "payload", "csrfToken", "csrfTokens", "csrfTokem"];
        for (at, key) in keys.iter().enumerate() {
            let mut padded = [b'"'; 8];
            let short = key.len().min(7);
            padded[..short].copy_from_slice(&key.as_bytes()[..short]);
            let FirstWord::All(word, length) = FirstWord::read(u64::from_le_bytes(padded)) else {
                panic!("{key} ends in its first word");
            };
            assert_eq!(short_print(word, length), key_print(&key.as_bytes()[..short]));
            for other in &keys[at + 1..] {
                assert_ne!(key_print(key.as_bytes()), key_print(other.as_bytes()), "{key} {other}");
            }
        }
    }
}
