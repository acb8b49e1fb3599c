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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        // A close frame has a code of two bytes or no body (RFC 6455 section 5.5.1): nothing is waited for.
        if opcode == Opcode::Close && short == 1 {
            return Err(FrameError::CloseBodyOneByte);
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
                if u16::try_from(len).is_ok() {
                    return Err(FrameError::LengthNotMinimal);
                }
                (usize::try_from(len).map_err(|_| FrameError::TooBig)?, tail, 14)
            }
            _ => (usize::from(short), tail, 6),
        };
        if !opcode.is_control() {
            let before = open.map_or(0, |message| message.declared_bytes);
            if before.checked_add(len).is_none_or(|sum| sum > limits.message_bytes_max) {
                return Err(FrameError::TooBig);
            }
        }
        let Some(key) = tail.first_chunk() else {
            return Ok(None);
        };
        Ok(Some(Self { opcode, fin, len, key: *key, size }))
    }

    /// Reads the header of the commonest frame: text with FIN, up to 65,535 bytes of payload, within the limits, and
    /// whole in `bytes`. `None` says nothing about a fault; then [`parse`](Self::parse) judges.
    ///
    /// Worth a second reading of the format, because it takes a third of the instructions. INVARIANT: whatever it
    /// accepts `parse` accepts as the same header, which a property checks.
    #[inline]
    pub(super) fn parse_whole_text(bytes: &[u8], limits: &FrameLimits) -> Option<Self> {
        const FIN_TEXT: u8 = FIN | Opcode::Text as u8;
        const MASKED_U16: u8 = MASKED | LENGTH_U16;
        let [first, second, tail @ ..] = bytes.first_chunk::<8>()?;
        let (len, key, size) = match (*first, *second) {
            (FIN_TEXT, MASKED_U16) => (u16::from_be_bytes(*tail.first_chunk()?), tail.last_chunk()?, 8),
            (FIN_TEXT, MASKED..MASKED_U16) => (u16::from(second & LENGTH), tail.first_chunk()?, 6),
            _ => return None,
        };
        let minimal = (len < u16::from(LENGTH_U16)) == (size == 6);
        let header = Self { opcode: Opcode::Text, fin: true, len: usize::from(len), key: *key, size };
        (minimal && header.len <= limits.message_bytes_max && header.is_whole_in(bytes)).then_some(header)
    }

    /// The payload behind this header at the start of `bytes`, and what follows.
    #[inline]
    pub(super) fn split_payload<'a>(&self, bytes: &'a mut [u8]) -> (&'a mut [u8], &'a mut [u8]) {
        debug_assert!(self.is_whole_in(bytes), "the caller saw the whole frame");
        let (_, body) = bytes.split_at_mut_checked(self.size).unwrap_or_default();
        body.split_at_mut_checked(self.len).unwrap_or_default()
    }

    /// Whether `bytes`, which begin with this header, hold all of its payload.
    #[inline]
    pub(super) fn is_whole_in(&self, bytes: &[u8]) -> bool {
        bytes.len().checked_sub(self.size).is_some_and(|payload| payload >= self.len)
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
        (Opcode::Close | Opcode::Ping | Opcode::Pong, _) if !fin => Err(FrameError::ControlFragmented),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_short_cut_accepts_what_the_parser_accepts(
            first in prop_oneof![4 => Just(0x81u8), 1 => any::<u8>()],
            second in prop_oneof![Just(0xFEu8), any::<u8>()],
            long in prop_oneof![0u16..400, any::<u16>()],
            message_bytes_max in prop_oneof![0usize..400, Just(65_536)],
            have in 0usize..600,
        ) {
            let limits = FrameLimits { message_bytes_max, ..FrameLimits::default() };
            let mut bytes = vec![first, second];
            bytes.extend_from_slice(&long.to_be_bytes());
            bytes.resize(600, 0xA7);
            bytes.truncate(have);
            let slow = Header::parse(&bytes, &limits, None).ok().flatten();
            let whole_text = slow.filter(|header| {
                header.opcode == Opcode::Text && header.fin && header.is_whole_in(&bytes) && bytes.len() >= 8
            });
            prop_assert_eq!(Header::parse_whole_text(&bytes, &limits), whole_text);
        }
    }
}
