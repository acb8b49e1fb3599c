//! Frames to send: unmasked for a server, masked for clients, probes and tests (RFC 6455 section 5.1).
//!
//! Everything is appended to a buffer of the caller, so that all frames that are ready leave in one write.

use std::fmt;
use std::ops::Deref;

use super::header::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, LENGTH_U16, LENGTH_U64};
use super::{Opcode, is_wire_close_code, unmask};

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// A close body is a code of two bytes and this much reason.
const REASON_BYTES_MAX: usize = 123;

/// A frame header, 2 to 14 bytes, without a heap buffer; derefs to its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl Deref for HeaderBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }
}

impl fmt::Debug for HeaderBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02X?}", &**self)
    }
}

/// The header of an unmasked frame (server to client) with `len` bytes of payload.
#[inline]
#[must_use]
pub fn encode_header(fin: bool, opcode: Opcode, len: usize) -> HeaderBytes {
    debug_assert!(!opcode.is_control() || (fin && len <= usize::from(CONTROL_BYTES_MAX)), "RFC 6455 section 5.5");
    let first = if fin { FIN } else { 0 } | opcode as u8;
    let mut bytes = [0; HEADER_BYTES_MAX];
    let size = match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if short < LENGTH_U16 => start(&mut bytes, [first, short]),
        (_, Ok(long)) => {
            let [a, b] = long.to_be_bytes();
            start(&mut bytes, [first, LENGTH_U16, a, b])
        }
        _ => {
            start(&mut bytes, [first, LENGTH_U64]);
            if let Some(place) = bytes.get_mut(2..).and_then(|free| free.first_chunk_mut()) {
                *place = (len as u64).to_be_bytes();
            }
            10
        }
    };
    HeaderBytes { bytes, len: size }
}

/// The header of a masked frame (client to server). The caller masks the payload with [`unmask`].
#[must_use]
pub fn encode_masked_header(fin: bool, opcode: Opcode, len: usize, mask_key: [u8; 4]) -> HeaderBytes {
    let mut header = encode_header(fin, opcode, len);
    if let Some(second) = header.bytes.get_mut(1) {
        *second |= MASKED;
    }
    let size = usize::from(header.len);
    if let Some(place) = header.bytes.get_mut(size..).and_then(|free| free.first_chunk_mut()) {
        *place = mask_key;
        header.len = header.len.saturating_add(4);
    }
    header
}

/// Appends a whole unmasked frame with FIN.
#[inline]
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(payload.len().saturating_add(HEADER_BYTES_MAX));
    out.extend_from_slice(&encode_header(true, opcode, payload.len()));
    out.extend_from_slice(payload);
}

/// The header of an unmasked frame with FIN and 126 to 65,535 bytes of payload: most frames of an application. `None` for
/// another length, which [`encode_header`] takes.
#[inline]
#[must_use]
pub fn long_header(opcode: Opcode, len: usize) -> Option<[u8; 4]> {
    let long = u16::try_from(len).ok().filter(|long| *long >= u16::from(LENGTH_U16))?;
    let [high, low] = long.to_be_bytes();
    Some([FIN | opcode as u8, LENGTH_U16, high, low])
}

/// Appends a close frame; `reason` is cut to 123 bytes between characters.
///
/// `code`: one that [`is_wire_close_code`] allows; a frame without a code is `write_frame(out, Opcode::Close, &[])`.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    debug_assert!(is_wire_close_code(code), "close code {code} may not be sent");
    let reason = reason.get(..reason.floor_char_boundary(REASON_BYTES_MAX)).unwrap_or_default();
    out.extend_from_slice(&encode_header(true, Opcode::Close, reason.len().saturating_add(2)));
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a whole masked frame with FIN, as a client sends it.
pub fn write_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask_key: [u8; 4]) {
    out.extend_from_slice(&encode_masked_header(true, opcode, payload.len(), mask_key));
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(out.get_mut(start..).unwrap_or_default(), mask_key);
}

/// Where a frame begins whose payload is being written; made by [`begin_frame`], taken by [`end_frame`].
#[derive(Debug)]
#[must_use = "the frame has no header until `end_frame`"]
pub struct Mark {
    start: usize,
    /// Bytes left free for the header.
    room: usize,
    opcode: Opcode,
}

/// Leaves room for a header at the end of `out`; the caller appends the payload and calls [`end_frame`].
///
/// `expected_len`: the caller's guess in bytes. Where it falls into the right class (to 125, to 65,535, above),
/// no byte is moved afterwards.
#[inline]
pub fn begin_frame(out: &mut Vec<u8>, opcode: Opcode, expected_len: usize) -> Mark {
    let start = out.len();
    let room = header_room(expected_len);
    // Of a fixed length each, which takes one store.
    match room {
        2 => out.extend_from_slice(&[0; 2]),
        4 => out.extend_from_slice(&[0; 4]),
        _ => out.extend_from_slice(&[0; 10]),
    }
    Mark { start, room, opcode }
}

/// Writes the header of the frame whose payload is everything in `out` since [`begin_frame`].
///
/// Bytes before the mark must not have been removed meanwhile.
#[inline]
#[expect(clippy::needless_pass_by_value, reason = "a mark is used up: two headers for one frame would overlap")]
pub fn end_frame(out: &mut Vec<u8>, mark: Mark) {
    let Mark { start, room, opcode } = mark;
    let payload_start = start.saturating_add(room);
    debug_assert!(payload_start <= out.len(), "the buffer was cut behind `begin_frame`");
    let len = out.len().saturating_sub(payload_start);
    // Most frames of an application: a guess of the right class, for a length of two bytes.
    if room == 4
        && let Some(header) = long_header(opcode, len)
        && let Some(place) = out.get_mut(start..).and_then(|frame| frame.first_chunk_mut())
    {
        *place = header;
        return;
    }
    let header = encode_header(true, opcode, len);
    if header.len() != room {
        make_room(out, payload_start, start.saturating_add(header.len()));
    }
    if let Some(place) = out.get_mut(start..).and_then(|frame| frame.get_mut(..header.len())) {
        place.copy_from_slice(&header);
    }
}

/// Moves everything from `from` on to `to`.
#[cold]
fn make_room(out: &mut Vec<u8>, from: usize, to: usize) {
    let end = out.len();
    if from > end {
        return;
    }
    let moved_end = end.saturating_sub(from).saturating_add(to);
    out.resize(moved_end.max(end), 0);
    out.copy_within(from..end, to);
    out.truncate(moved_end);
}

const fn header_room(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    }
}

/// Puts `head` at the start of `bytes` and says how long it is.
#[inline]
fn start<const N: usize>(bytes: &mut [u8; HEADER_BYTES_MAX], head: [u8; N]) -> u8 {
    for (slot, byte) in bytes.iter_mut().zip(head) {
        *slot = byte;
    }
    u8::try_from(N).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_fewest_bytes() {
        for (len, want) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (255, &[0x81, 126, 0, 255]),
            (256, &[0x81, 126, 1, 0]),
            (65_535, &[0x81, 126, 0xFF, 0xFF]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            assert_eq!(&*encode_header(true, Opcode::Text, len), want, "{len}");
        }
        assert_eq!(&*encode_header(false, Opcode::Continuation, 3), &[0x00, 3], "fragment");
        let masked = encode_masked_header(true, Opcode::Binary, 70_000, [9, 8, 7, 6]);
        assert_eq!(&*masked, &[0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0x11, 0x70, 9, 8, 7, 6], "masked");
    }

    #[test]
    fn two_steps_write_what_one_step_writes() {
        let payload: Vec<u8> = (0..70_000).map(|at| u8::try_from(at % 251).unwrap()).collect();
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for expected in [0, 125, 126, 65_535, 65_536] {
                let (mut one, mut two) = (b"before".to_vec(), b"before".to_vec());
                write_frame(&mut one, Opcode::Text, &payload[..len]);
                let mark = begin_frame(&mut two, Opcode::Text, expected);
                two.extend_from_slice(&payload[..len]);
                end_frame(&mut two, mark);
                assert!(one == two, "{len} bytes, {expected} expected");
            }
        }
    }

    #[test]
    fn a_right_guess_moves_nothing() {
        for (len, room) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(encode_header(true, Opcode::Text, len).len(), room, "{len}");
            assert_eq!(header_room(len), room, "{len}");
        }
    }

    #[test]
    fn close_reasons_are_cut_between_characters() {
        for (name, reason, want_len) in [
            ("short", "bye".to_owned(), 3),
            ("exact", "a".repeat(123), 123),
            ("long", "a".repeat(200), 123),
            ("cut before a character of four bytes", format!("{}\u{1F600}", "a".repeat(121)), 121),
        ] {
            let mut out = Vec::new();
            write_close(&mut out, 1008, &reason);
            assert_eq!(out[..4], [0x88, u8::try_from(want_len + 2).unwrap(), 0x03, 0xF0], "{name}");
            assert_eq!(&out[4..], &reason.as_bytes()[..want_len], "{name}");
        }
    }

    #[test]
    fn masked_frame_of_the_rfc() {
        let mut out = Vec::new();
        write_masked(&mut out, Opcode::Text, b"Hello", [0x37, 0xFA, 0x21, 0x3D]);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58], "RFC 6455 section 5.7");
    }
}
