//! Strings: the bytes that need no look, escapes, and comparing without unescaping.

use std::cmp::Ordering;
use std::iter::FusedIterator;

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x32};

use crate::vectors::level;

/// Bytes of a key that are looked at together.
pub(super) const WINDOW: usize = 16;
/// Bytes of a string, or of fixed text, that are looked at together.
pub(super) const STRIDE: usize = 32;

/// The bytes of a text from some place on, and which of them are not plain: printable ASCII other than `"`, `\` and `<`.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// In little endian; zeros behind the end of the text.
    word: u128,
    /// A bit for each byte that is not plain, the first in the lowest; the end of the text counts as one.
    stops: u32,
}

impl Window {
    /// The window of `bytes` from `at` on.
    #[inline]
    pub(super) fn at(bytes: &[u8], at: usize) -> Self {
        match bytes.get(at..).and_then(<[u8]>::first_chunk::<WINDOW>) {
            Some(chunk) => Self { word: u128::from_le_bytes(*chunk), stops: stops_near(chunk) },
            None => Self::at_end(bytes, at),
        }
    }

    /// A window that the text does not fill.
    #[inline(never)]
    fn at_end(bytes: &[u8], at: usize) -> Self {
        let rest = bytes.get(at..).unwrap_or_default();
        let word = match bytes.last_chunk::<WINDOW>() {
            Some(last) if !rest.is_empty() => {
                let before = WINDOW.wrapping_sub(rest.len()) & (WINDOW - 1);
                u128::from_le_bytes(*last) >> before.wrapping_mul(8)
            }
            _ => key_word(rest),
        };
        // Zeros are not plain, so that the end of the text is a stop.
        Self { word, stops: stops_near(&word.to_le_bytes()) }
    }

    /// How many plain bytes it begins with; [`WINDOW`] when all are.
    #[inline]
    pub(super) const fn plain(self) -> usize {
        (self.stops | 1 << WINDOW).trailing_zeros() as usize
    }

    /// Its first `length` bytes as a word, zeros behind them.
    #[inline]
    pub(super) const fn first(self, length: usize) -> u128 {
        if length >= WINDOW { self.word } else { self.word & !(u128::MAX << length.wrapping_mul(8)) }
    }
}

/// A bit for each byte that is not plain.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the instructions of the level are there only where this is inlined")]
#[expect(clippy::cast_possible_truncation, reason = "a bit for each byte")]
#[expect(clippy::arithmetic_side_effects, reason = "each of the bytes wraps by itself, which is meant")]
fn stops<S: Simd, V: SimdInt<S, Element = u8>>(simd: S, bytes: V) -> u32 {
    // Control characters, DEL and everything outside of ASCII, at once: they wrap to 0x5f and more.
    let from_space = bytes - V::splat(simd, b' ');
    let stops = from_space.simd_ge(V::splat(simd, 0x7f - b' '))
        | bytes.simd_eq(V::splat(simd, b'"'))
        | bytes.simd_eq(V::splat(simd, b'\\'))
        | bytes.simd_eq(V::splat(simd, b'<'));
    stops.to_bitmask() as u32
}

/// [`stops`] of a window, with what every processor of this kind has.
#[inline]
fn stops_near(chunk: &[u8; WINDOW]) -> u32 {
    dispatch!(Level::baseline(), simd => stops(simd, u8x16::load_array_ref(simd, chunk)))
}

/// The first index from `at` on whose byte is not plain, or the length of `bytes`.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the instructions of the level are there only where this is inlined")]
pub(super) fn plain_end<S: Simd>(simd: S, bytes: &[u8], at: usize) -> usize {
    let mut rest = bytes.get(at..).unwrap_or_default();
    while let Some((stride, others)) = rest.split_first_chunk() {
        let stops = stops(simd, u8x32::load_array_ref(simd, stride));
        if stops != 0 {
            return bytes.len().wrapping_sub(rest.len()).wrapping_add(stops.trailing_zeros() as usize);
        }
        rest = others;
    }
    // What is left is the end of the last stride of the text.
    match bytes.last_chunk::<STRIDE>() {
        Some(last) if !rest.is_empty() => {
            let stops = stops(simd, u8x32::load_array_ref(simd, last)) >> (rest.len().wrapping_neg() & (STRIDE - 1));
            let plain = (stops.trailing_zeros() as usize).min(rest.len());
            bytes.len().wrapping_sub(rest.len()).wrapping_add(plain)
        }
        Some(_) => bytes.len(),
        None => plain_end_of_short(bytes, at),
    }
}

/// How many plain bytes `bytes` begins with.
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    dispatch!(level(), simd => plain_end(simd, bytes, 0))
}

/// [`plain_end`] of a text shorter than a stride.
#[inline(never)]
fn plain_end_of_short(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        let all = stops_near(first) | stops_near(last) << (rest.len().wrapping_sub(WINDOW) & (WINDOW - 1));
        return at.wrapping_add((all.trailing_zeros() as usize).min(rest.len()));
    }
    at.wrapping_add(rest.iter().take_while(|byte| is_plain(**byte)).count())
}

const fn is_plain(byte: u8) -> bool {
    !matches!(byte, 0..=0x1f | b'"' | b'\\' | b'<' | 0x7f..)
}

/// At most [`STRIDE`] bytes that a text must hold somewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Matcher {
    bytes: [u8; STRIDE],
    /// A bit for each byte of the stride that counts.
    counts: u32,
    length: u32,
}

impl Matcher {
    /// The first [`STRIDE`] bytes of `bytes`, for [`Matcher::behind`].
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::placed(bytes, 0)
    }

    /// The first [`WINDOW`] bytes of `bytes`, for [`Matcher::ends`].
    pub(super) fn of_end(bytes: &[u8]) -> Self {
        let bytes = bytes.get(..WINDOW).unwrap_or(bytes);
        Self::placed(bytes, WINDOW.saturating_sub(bytes.len()))
    }

    fn placed(bytes: &[u8], place: usize) -> Self {
        let mut matcher = Self::default();
        for ((at, slot), byte) in matcher.bytes.iter_mut().enumerate().skip(place).zip(bytes) {
            *slot = *byte;
            matcher.counts |= 1 << at;
            matcher.length = matcher.length.wrapping_add(1);
        }
        matcher
    }

    /// The bytes.
    pub(super) fn text(&self) -> &[u8] {
        let start = self.counts.trailing_zeros() as usize;
        self.bytes.get(start..start.wrapping_add(self.length as usize)).unwrap_or_default()
    }

    /// The place behind the bytes, when `text` has them at `at`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the instructions of the level are there only where this is inlined")]
    pub(super) fn behind<S: Simd>(&self, simd: S, text: &[u8], at: usize) -> Option<usize> {
        let rest = text.get(at..)?;
        let length = self.length as usize;
        let same = if let Some(chunk) = rest.first_chunk() {
            u8x32::load_array_ref(simd, chunk).simd_eq(u8x32::load_array_ref(simd, &self.bytes)).to_bitmask()
        } else if let Some(chunk) = rest.first_chunk().filter(|_| length <= WINDOW) {
            self.same_near(simd, chunk)
        } else {
            u64::from(rest.get(..length)? == self.bytes.get(..length)?).wrapping_neg()
        };
        (!same & u64::from(self.counts) == 0).then_some(at.wrapping_add(length))
    }

    /// Whether the bytes are all that `text`, of [`WINDOW`] bytes at least, has from `at` on.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the instructions of the level are there only where this is inlined")]
    pub(super) fn ends<S: Simd>(&self, simd: S, text: &[u8], at: usize) -> bool {
        let counts = u64::from(self.counts);
        text.len() == at.wrapping_add(self.length as usize)
            && text.last_chunk().is_some_and(|chunk| !self.same_near(simd, chunk) & counts == 0)
    }

    /// A bit for each byte of the first [`WINDOW`] that is the same.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the instructions of the level are there only where this is inlined")]
    fn same_near<S: Simd>(&self, simd: S, chunk: &[u8; WINDOW]) -> u64 {
        let bytes = self.bytes.first_chunk().unwrap_or(&[0; WINDOW]);
        u8x16::load_array_ref(simd, chunk).simd_eq(u8x16::load_array_ref(simd, bytes)).to_bitmask()
    }
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

/// A key of up to 16 bytes as one word: two of them are the same key exactly when their words and lengths are equal.
pub(super) const KEY_WORD_BYTES: usize = WINDOW;

/// The bytes of `key`, at most [`KEY_WORD_BYTES`], as a word.
pub(super) const fn key_word(key: &[u8]) -> u128 {
    let mut word = 0;
    let mut rest = key;
    while let [before @ .., last] = rest {
        word = word << 8 | *last as u128;
        rest = before;
    }
    word
}

/// A fingerprint of a key: equal keys have equal prints. Different keys usually differ, but a peer can make them collide,
/// so that it may only ever save a comparison.
#[inline]
pub(crate) const fn key_print(key: &[u8]) -> u32 {
    match (key.first_chunk::<KEY_WORD_BYTES>(), key.last_chunk::<KEY_WORD_BYTES>()) {
        (Some(first), Some(last)) if key.len() > KEY_WORD_BYTES => {
            word_print(u128::from_le_bytes(*first) ^ u128::from_le_bytes(*last).rotate_left(52) ^ key.len() as u128)
        }
        _ => word_print(key_word(key)),
    }
}

/// [`key_print`] of the key with this [`key_word`].
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves of the word, and the upper half of their product")]
pub(super) const fn word_print(word: u128) -> u32 {
    let mixed = (word as u64 ^ ((word >> 64) as u64).rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as u32
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

    /// What every processor of this kind has, and what this one has.
    fn levels() -> [Level; 2] {
        [Level::baseline(), level()]
    }

    fn plain_end_at(level: Level, bytes: &[u8], at: usize) -> usize {
        dispatch!(level, simd => plain_end(simd, bytes, at))
    }

    fn behind_at(level: Level, bytes: &[u8], text: &[u8], at: usize) -> Option<usize> {
        dispatch!(level, simd => Matcher::of(bytes).behind(simd, text, at))
    }

    fn ends_at(level: Level, bytes: &[u8], text: &[u8], at: usize) -> bool {
        dispatch!(level, simd => Matcher::of_end(bytes).ends(simd, text, at))
    }

    #[test]
    fn plain_run_ends_at_the_first_byte_that_needs_a_look() {
        for level in levels() {
            for stop in (0..=0x1f_u8).chain([b'"', b'\\', b'<', 0x7f, 0x80, 0xc3, 0xe2, 0xf4]) {
                for length in 0..100 {
                    for behind in 0..40 {
                        let mut bytes = vec![b'a'; length];
                        bytes.push(stop);
                        bytes.resize(length + 1 + behind, stop);
                        for at in [0, length / 2, length] {
                            let name = format!("{level:?}: {stop:#x} after {length}, {behind} behind, from {at}");
                            assert_eq!(plain_end_at(level, &bytes, at), length, "{name}");
                        }
                    }
                }
            }
            let every_plain: Vec<u8> = (0..=u8::MAX).filter(|byte| is_plain(*byte)).collect();
            for length in 0..every_plain.len() {
                assert_eq!(plain_end_at(level, &every_plain[..length], length / 3), length, "{level:?}");
            }
        }
    }

    #[test]
    fn a_matcher_knows_its_bytes_wherever_they_stand() {
        let text: Vec<u8> = (0..70).map(|at| b'a' + at % 26).collect();
        for level in levels() {
            for length in 0..=text.len() {
                let text = &text[..length];
                for at in 0..=length {
                    for end in at..=length.min(at + STRIDE) {
                        let bytes = &text[at..end];
                        let name = format!("{at}..{end} of {length}");
                        assert_eq!(behind_at(level, bytes, text, at), Some(end), "{name}");
                        if at < end {
                            assert_eq!(behind_at(level, bytes, &text[..end - 1], at), None, "{name}, cut");
                        }
                        let ends = end == length && length >= WINDOW && bytes.len() <= WINDOW;
                        assert_eq!(ends_at(level, bytes, text, at), ends, "{name}");
                        for changed in 0..bytes.len() {
                            let mut other = text.to_vec();
                            other[at + changed] ^= 1;
                            assert_eq!(behind_at(level, bytes, &other, at), None, "{name}, {changed}");
                            assert!(!ends_at(level, bytes, &other, at), "{name}, {changed}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn windows_hold_the_text_and_zeros_behind_it() {
        let text: Vec<u8> = (0..40).map(|at| b'a' + at % 26).collect();
        for length in 0..=text.len() {
            let text = &text[..length];
            for at in 0..=length {
                let window = Window::at(text, at);
                let rest = &text[at..length.min(at + WINDOW)];
                assert_eq!(window.plain(), rest.len(), "{length} {at}");
                assert_eq!(window.first(WINDOW), key_word(rest), "{length} {at}");
                for kept in 0..=rest.len() {
                    assert_eq!(window.first(kept), key_word(&rest[..kept]), "{length} {at} {kept}");
                }
            }
        }
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
        let sixteen = "a key of 16 byte";
        let long = ["a key of seventeen", "a key of seventee", "b key of seventeen", "a key of seventeem"];
        let keys = ["", "a", "b", "ab", "ba", "id", "type", "typf", "payload", "csrfToken", "csrfTokens", "csrfTokem"];
        let keys: Vec<&str> = keys.into_iter().chain([sixteen]).chain(long).collect();
        for (at, key) in keys.iter().enumerate() {
            if key.len() <= KEY_WORD_BYTES {
                let text = format!("{key}\": and so on, beyond a window");
                let word = Window::at(text.as_bytes(), 0).first(key.len());
                assert_eq!(word_print(word), key_print(key.as_bytes()));
            }
            for other in &keys[at + 1..] {
                assert_ne!(key_print(key.as_bytes()), key_print(other.as_bytes()), "{key} {other}");
            }
        }
    }
}
