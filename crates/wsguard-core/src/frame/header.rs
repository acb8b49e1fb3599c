//! The frame header: everything that can be refused is refused here, before any payload.

use super::{FrameError, FrameLimits, Opcode};

/// Longest header that exists: two bytes, eight of length, four of mask key.
pub(super) const HEADER_BYTES_MAX: usize = 14;
/// Longest payload of a control frame (RFC 6455 section 5.5).
pub(super) const CONTROL_BYTES_MAX: u8 = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
/// In place of a length: the next two bytes are the length.
pub(super) const LENGTH_U16: u8 = 126;
/// In place of a length: the next eight bytes are the length.
pub(super) const LENGTH_U64: u8 = 127;

/// A client frame's header that broke no rule and no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// Bytes of payload.
    pub(super) len: usize,
    pub(super) key: [u8; 4],
    /// Bytes of the header itself, 6 to 14.
    pub(super) size: usize,
}

/// What is known of a message whose last fragment is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenMessage {
    /// Declared lengths of its fragments so far, together.
    pub(super) declared_bytes: usize,
    pub(super) fragments: u32,
}

impl Header {
    /// Reads the header at the start of `bytes`; `None` when it is not complete and nothing is wrong so far.
    ///
    /// Every byte is judged as soon as it is there: a forbidden opcode does not wait for the length, nor a length
    /// above the limit for the mask key, so that a peer who stops in between is refused all the same.
    #[inline]
    pub(super) fn parse(
        bytes: &[u8],
        limits: &FrameLimits,
        open: Option<OpenMessage>,
    ) -> Result<Option<Self>, FrameError> {
        let [first, tail @ ..] = bytes else {
            return Ok(None);
        };
        let fin = first & FIN != 0;
        if first & RESERVED != 0 {
            return Err(FrameError::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & OPCODE).ok_or(FrameError::ReservedOpcode)?;
        check_sequence(opcode, fin, limits, open)?;

        let [second, tail @ ..] = tail else {
            return Ok(None);
        };
        if second & MASKED == 0 {
            return Err(FrameError::Unmasked);
        }
        let short = second & LENGTH;
        if opcode.is_control() && short > CONTROL_BYTES_MAX {
            return Err(FrameError::ControlTooLong);
        }
        let (len, tail, size) = match short {
            LENGTH_U16 => {
                let Some((long, tail)) = tail.split_first_chunk() else {
                    return Ok(None);
                };
                let len = u16::from_be_bytes(*long);
                if len < u16::from(LENGTH_U16) {
                    return Err(FrameError::LengthNotMinimal);
                }
                (usize::from(len), tail, 8)
            }
            LENGTH_U64 => {
                let Some((long, tail)) = tail.split_first_chunk() else {
                    return Ok(None);
                };
                let len = u64::from_be_bytes(*long);
                if len > i64::MAX.unsigned_abs() {
                    return Err(FrameError::LengthTopBit);
                }
                if len <= u64::from(u16::MAX) {
                    return Err(FrameError::LengthNotMinimal);
                }
                (
                    usize::try_from(len).map_err(|_| FrameError::TooBig)?,
                    tail,
                    14,
                )
            }
            _ => (usize::from(short), tail, 6),
        };
        if !opcode.is_control() {
            let before = open.map_or(0, |message| message.declared_bytes);
            if before
                .checked_add(len)
                .is_none_or(|sum| sum > limits.message_bytes_max)
            {
                return Err(FrameError::TooBig);
            }
        }
        let Some(key) = tail.first_chunk() else {
            return Ok(None);
        };
        Ok(Some(Self {
            opcode,
            fin,
            len,
            key: *key,
            size,
        }))
    }
}

/// Refuses a frame that may not come at this place (RFC 6455 sections 5.4 and 5.5), or not at all on this connection.
#[inline]
fn check_sequence(
    opcode: Opcode,
    fin: bool,
    limits: &FrameLimits,
    open: Option<OpenMessage>,
) -> Result<(), FrameError> {
    match (opcode, open) {
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if !fin => {
            Err(FrameError::ControlFragmented)
        }
        (Opcode::Continuation, None) => Err(FrameError::ContinuationWithoutStart),
        // Empty fragments carry no byte for the size limit to count, but each costs work (CVE-2026-48779).
        (Opcode::Continuation, Some(message)) if message.fragments >= limits.fragments_max => {
            Err(FrameError::TooManyFragments)
        }
        (Opcode::Text | Opcode::Binary, Some(_)) => Err(FrameError::DataInsideMessage),
        (Opcode::Binary, None) if !limits.binary => Err(FrameError::BinaryRefused),
        _ => Ok(()),
    }
}
