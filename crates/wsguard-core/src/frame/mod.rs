//! WebSocket frames (RFC 6455 section 5), sans-IO: bytes of one read in, at most one event per call out.
//!
//! The frame layer is where half of the attacks on a WebSocket arrive, so every limit is enforced at the frame
//! header, before a byte of payload was stored: a declared length of 2^63-1, a flood of empty fragments or of pings,
//! an unmasked or compressed frame is refused for what its header says. Memory grows with bytes that arrived, never
//! with bytes that were announced, and a connection between messages owns no heap memory at all.
//!
//! - [`Decoder`] reads what a client sends. A message that arrived whole is unmasked where it lies and lent to the
//!   caller; only an unfinished one is carried over to the next read.
//! - [`encode`](mod@encode) writes what a server sends, and the masked frames of a client for probes and tests.
//! - [`unmask`] is the masking of section 5.3 in wide words.
//!
//! ```
//! use wsguard_core::frame::{Decoder, Event, FrameLimits, Opcode, write_frame, write_masked};
//! use wsguard_core::time::Tick;
//!
//! let (limits, mut decoder, mut answer) = (FrameLimits::default(), Decoder::new(), Vec::new());
//! let mut read = Vec::new();
//! write_masked(&mut read, Opcode::Text, b"hello", [1, 2, 3, 4]);
//! write_masked(&mut read, Opcode::Ping, b"?", [5, 6, 7, 8]);
//!
//! let mut rest = read.as_mut_slice();
//! while !rest.is_empty() {
//!     let decoded = decoder.decode(&limits, Tick(0), rest)?;
//!     match decoded.event {
//!         Event::Text(text) => assert_eq!(text, "hello"),
//!         Event::Ping(payload) => write_frame(&mut answer, Opcode::Pong, &payload),
//!         other => assert_eq!(other, Event::Incomplete),
//!     }
//!     rest = decoded.rest;
//! }
//! assert_eq!(answer, [0x8A, 1, b'?']);
//! # Ok::<(), wsguard_core::frame::FrameError>(())
//! ```

mod decode;
pub mod encode;
mod error;
mod header;
mod mask;
#[cfg(test)]
mod properties;
mod utf8;

pub use decode::{Close, Decoded, Decoder, Event};
pub use encode::{
    HeaderBytes, Mark, begin_frame, encode_header, encode_masked_header, end_frame, long_header, write_close,
    write_frame, write_masked,
};
pub use error::FrameError;
pub use mask::{rotate_key, unmask};

/// What a frame is for (RFC 6455 section 5.2); reserved numbers have no variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message that an earlier frame began.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The last frame of its sender.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// Answers a ping, or a heartbeat nobody asked for.
    Pong = 0xA,
}

impl Opcode {
    /// Whether this is a close, ping or pong: at most 125 bytes, never fragmented (RFC 6455 section 5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    /// The opcode of a frame's first four-bit number; `None` for the reserved ones.
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }
}

/// How much a peer may send before the connection ends. UTF-8 is always validated and has no switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest message after reassembly, in bytes of payload. Default 65,536: the contract's section 3; a chat or a
    /// command is far smaller, and what a stranger can make a connection hold is this and no more.
    pub message_bytes_max: usize,
    /// Most frames that one message may consist of, empty ones counted; less than 1 counts as 1. Default 256: a
    /// browser sends one, a streaming client a few dozen, and floods of tiny or empty fragments cost far more than
    /// the bytes they carry (CVE-2026-48779).
    pub fragments_max: u32,
    /// Pings and pongs that may come at once. Default 20: more than any heartbeat collects during a stall.
    pub control_burst: u32,
    /// Pings and pongs per second after the burst; less than 1 counts as 1. Default 5: a heartbeat needs one per
    /// some seconds, while every ping obliges the server to write.
    pub control_per_second: u32,
    /// Whether binary messages are let through. Default false: the protocol is JSON text, and a binary message is
    /// refused at its header with 1003.
    pub binary: bool,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { message_bytes_max: 65_536, fragments_max: 256, control_burst: 20, control_per_second: 5, binary: false }
    }
}

/// Whether `code` may stand in a close frame: 1000-1003, 1007-1014, 3000-4999.
///
/// 1004 is reserved, 1005, 1006 and 1015 are only for reports inside a program, and the rest has no meaning yet
/// (RFC 6455 section 7.4, the IANA registry for 1012 to 1014).
#[must_use]
pub const fn is_wire_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_on_the_wire() {
        let allowed: Vec<u16> = (0..=u16::MAX).filter(|code| is_wire_close_code(*code)).collect();
        let want: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!(allowed, want);
    }

    #[test]
    fn opcode_bits_and_back() {
        for bits in 0..=0xF {
            match Opcode::from_bits(bits) {
                Some(opcode) => assert_eq!((opcode as u8, opcode.is_control()), (bits, bits >= 8)),
                None => assert!(matches!(bits, 0x3..=0x7 | 0xB..=0xF), "{bits:#x}"),
            }
        }
    }
}
