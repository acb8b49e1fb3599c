//! UTF-8 of text that comes in pieces (RFC 6455 section 8.1): wrong bytes are noticed when they arrive.

use super::FrameError;

/// Text under construction. A character whose bytes have not all arrived waits outside of it.
#[derive(Default)]
pub(super) struct TextBuffer {
    text: String,
    /// The first bytes of the unfinished character. INVARIANT: empty, or a proper prefix of a valid character.
    tail: [u8; 4],
    tail_len: u8,
}

impl TextBuffer {
    /// Appends `piece`. Memory grows with what arrived and at most to `declared_bytes`, see [`room`].
    ///
    /// # Errors
    /// [`FrameError::InvalidUtf8`] as soon as no continuation could make the text valid.
    pub(super) fn push(&mut self, piece: &[u8], declared_bytes: usize) -> Result<(), FrameError> {
        let piece = self.finish_character(piece, declared_bytes)?;
        let (whole, tail) = split_unfinished(piece);
        let whole = simdutf8::basic::from_utf8(whole).map_err(|_| FrameError::InvalidUtf8)?;
        self.append(whole, declared_bytes);
        if !tail.is_empty() {
            check_prefix(tail)?;
            self.keep(tail);
        }
        Ok(())
    }

    /// The text, complete.
    ///
    /// # Errors
    /// [`FrameError::InvalidUtf8`] when it ends inside a character.
    pub(super) fn finish(self) -> Result<String, FrameError> {
        if self.tail_len == 0 { Ok(self.text) } else { Err(FrameError::InvalidUtf8) }
    }

    /// Bytes of heap memory held.
    pub(super) fn owned_bytes(&self) -> usize {
        self.text.capacity()
    }

    /// Completes the waiting character from the start of `piece`; what remains of `piece` begins with a new one.
    fn finish_character<'a>(&mut self, piece: &'a [u8], declared_bytes: usize) -> Result<&'a [u8], FrameError> {
        let mut rest = piece;
        while self.tail_len != 0 {
            let [next, after @ ..] = rest else { break };
            rest = after;
            if let Some(slot) = self.tail.get_mut(usize::from(self.tail_len)) {
                *slot = *next;
            }
            self.tail_len = self.tail_len.saturating_add(1);
            let tail = self.tail;
            match std::str::from_utf8(tail.get(..usize::from(self.tail_len)).unwrap_or(&tail)) {
                Ok(character) => {
                    self.append(character, declared_bytes);
                    self.tail_len = 0;
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(FrameError::InvalidUtf8),
            }
        }
        Ok(rest)
    }

    fn append(&mut self, whole: &str, declared_bytes: usize) {
        self.text.reserve_exact(room(self.text.len(), self.text.capacity(), whole.len(), declared_bytes));
        self.text.push_str(whole);
    }

    fn keep(&mut self, tail: &[u8]) {
        debug_assert!(tail.len() < 4, "an unfinished character has at most three bytes");
        for (slot, byte) in self.tail.iter_mut().zip(tail) {
            *slot = *byte;
        }
        self.tail_len = u8::try_from(tail.len()).unwrap_or(0);
    }
}

/// How many bytes to reserve before `add` are appended to a buffer of `len` bytes.
///
/// Doubling keeps the cost of many small reads linear; `declared_bytes`, the most that can come, is an upper bound
/// and never a reason to allocate: a peer that announces 64 KiB and sends one byte gets a buffer of 64 bytes.
pub(super) fn room(len: usize, capacity: usize, add: usize, declared_bytes: usize) -> usize {
    const SMALLEST: usize = 64;
    let needed = len.saturating_add(add);
    if needed <= capacity {
        return 0;
    }
    let roomy = capacity.saturating_mul(2).max(SMALLEST).min(declared_bytes);
    needed.max(roomy).saturating_sub(len)
}

/// Splits off the bytes of a character that `bytes` ends within, judged by its first byte alone.
fn split_unfinished(bytes: &[u8]) -> (&[u8], &[u8]) {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let width = match byte {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            // ASCII, or a byte that no character begins with: the validator sees it in its place.
            _ => 1,
        };
        let have = back.saturating_add(1);
        let split = if width > have { bytes.len().saturating_sub(have) } else { bytes.len() };
        return bytes.split_at(split);
    }
    (bytes, &[])
}

/// Refuses what is no prefix of any character: `ED A0` (a surrogate), `E0 80` (overlong), `F4 90` (above U+10FFFF).
fn check_prefix(tail: &[u8]) -> Result<(), FrameError> {
    match std::str::from_utf8(tail) {
        Err(error) if error.error_len().is_some() => Err(FrameError::InvalidUtf8),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Index of the first byte after which no continuation is valid, as the standard library sees it.
    fn first_wrong_byte(bytes: &[u8]) -> Option<usize> {
        (0..bytes.len()).find(|at| std::str::from_utf8(&bytes[..=*at]).is_err_and(|error| error.error_len().is_some()))
    }

    #[test]
    fn a_wrong_byte_is_noticed_when_it_arrives() {
        for (name, bytes, wrong_at) in [
            ("greek then surrogate", &b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80e"[..], 12),
            ("overlong slash", b"\xC0\xAF", 0),
            ("overlong three", b"\xE0\x80\xAF", 1),
            ("overlong four", b"\xF0\x8F\xBF\xBF", 1),
            ("above the last", b"a\xF4\x90\x80\x80", 2),
            ("lone continuation", b"abc\x80", 3),
            ("three continuations", b"\x80\x80\x80", 0),
            ("cut by ascii", b"\xF0\x9F\x98a", 3),
            ("five byte form", b"\xF8\x88\x80\x80\x80", 0),
        ] {
            assert_eq!(first_wrong_byte(bytes), Some(wrong_at), "{name}: the case itself");
            let mut buffer = TextBuffer::default();
            let answer = bytes.iter().position(|byte| buffer.push(&[*byte], bytes.len()).is_err());
            assert_eq!(answer, Some(wrong_at), "{name}");
        }
    }

    #[test]
    fn growth_follows_what_arrived() {
        for (name, (len, capacity, add, declared), want) in [
            ("first byte of a big message", (0, 0, 1, 65_536), 64),
            ("first byte of a tiny one", (0, 0, 1, 3), 3),
            ("fits", (10, 64, 54, 65_536), 0),
            ("doubles", (64, 64, 1, 65_536), 64),
            ("stops at what was declared", (40_000, 40_000, 1, 65_536), 25_536),
            ("a large read is taken exactly", (0, 0, 16_384, 65_536), 16_384),
        ] {
            assert_eq!(room(len, capacity, add, declared), want, "{name}");
        }
    }

    /// Bytes that are nearly text: whole characters, mixed with bytes that break them.
    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            6 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
            2 => "[ -~]{0,70}".prop_map(String::into_bytes),
            1 => prop::collection::vec(0x80u8.., 1..3),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn pieces_agree_with_the_standard_library(
            bytes in prop_oneof![nearly_text(), prop::collection::vec(any::<u8>(), 0..12)],
            cuts in prop::collection::vec(1usize..80, 1..8),
        ) {
            let mut buffer = TextBuffer::default();
            let (mut rest, mut cuts, mut seen) = (&bytes[..], cuts.iter().cycle(), 0usize);
            let wrong = first_wrong_byte(&bytes);
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = after;
                seen = seen.saturating_add(piece.len());
                let answer = buffer.push(piece, bytes.len());
                prop_assert_eq!(answer.is_err(), wrong.is_some_and(|at| at < seen));
                if answer.is_err() {
                    return Ok(());
                }
            }
            prop_assert_eq!(buffer.finish().ok(), String::from_utf8(bytes).ok());
        }
    }
}
