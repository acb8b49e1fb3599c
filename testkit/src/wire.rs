//! The client's half of RFC 6455, as far as load and floods need it: masked frames out, whole frames in.
//!
//! It is not the codec of the guard: a mistake that both shared would not show in a benchmark that checks replies.

#![expect(clippy::arithmetic_side_effects, reason = "offsets within frames that were made or measured here")]

/// Operation codes of RFC 6455 section 5.2 that the generator sends or accepts.
pub mod opcode {
    /// A further fragment.
    pub const CONTINUATION: u8 = 0x0;
    /// A text message, or its first fragment.
    pub const TEXT: u8 = 0x1;
    /// The last frame.
    pub const CLOSE: u8 = 0x8;
    /// Asks for a pong.
    pub const PING: u8 = 0x9;
    /// Answers a ping.
    pub const PONG: u8 = 0xA;
}

/// The masking key of every frame. A constant lets a frame be masked once and patched in place afterwards; the server
/// pays the same for unmasking.
const MASK: [u8; 4] = [0x5A, 0xC3, 0x3C, 0xA5];

/// Key of the handshake and what the server must answer to it (RFC 6455 section 1.3). The key is no secret: it
/// only shows that the server speaks the protocol.
pub const HANDSHAKE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to [`HANDSHAKE_KEY`].
pub const HANDSHAKE_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A client frame, masked once; parts of its payload can be overwritten without masking it again.
#[derive(Clone, Debug)]
pub struct MaskedFrame {
    bytes: Vec<u8>,
    payload_at: usize,
}

impl MaskedFrame {
    /// Encodes one final frame. `payload` must be shorter than 2^32 bytes.
    pub fn new(opcode: u8, payload: &[u8]) -> Self {
        Self::begun(0x80 | opcode, payload)
    }

    /// As [`MaskedFrame::new`], with the first byte (FIN, RSV, opcode) as given.
    pub fn begun(first: u8, payload: &[u8]) -> Self {
        let mut bytes = vec![first];
        if let Ok(short @ 0..=125) = u8::try_from(payload.len()) {
            bytes.push(0x80 | short);
        } else if let Ok(middle) = u16::try_from(payload.len()) {
            bytes.push(0xFE);
            bytes.extend_from_slice(&middle.to_be_bytes());
        } else {
            bytes.push(0xFF);
            bytes.extend_from_slice(&u64::try_from(payload.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
        bytes.extend_from_slice(&MASK);
        let payload_at = bytes.len();
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
        Self { bytes, payload_at }
    }

    /// Writes `new` over the payload from `offset` on; what would lie beyond its end is dropped.
    pub fn patch(&mut self, offset: usize, new: &[u8]) {
        let keys = MASK.iter().cycle().skip(offset % MASK.len());
        let targets = self.bytes.iter_mut().skip(self.payload_at + offset);
        for ((target, byte), key) in targets.zip(new).zip(keys) {
            *target = byte ^ key;
        }
    }

    /// The whole frame.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A frame of the server, borrowed from the read buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerFrame<'a> {
    /// See [`opcode`].
    pub opcode: u8,
    /// What it carries.
    pub payload: &'a [u8],
    /// Header and payload together.
    pub length: usize,
}

/// Takes the first frame of `bytes`; `Ok(None)` while it is incomplete.
///
/// # Errors
/// What the generator does not expect of the servers that it measures: fragments, reserved bits, masked frames.
pub fn first_frame(bytes: &[u8]) -> Result<Option<ServerFrame<'_>>, String> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else {
        return Ok(None);
    };
    if first & 0xF0 != 0x80 || second & 0x80 != 0 {
        return Err(format!("frame header {first:02x} {second:02x}: fragmented, reserved bits or masked"));
    }
    let (payload_bytes, rest) = match second {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (usize::try_from(u64::from_be_bytes(*length)).map_err(|e| e.to_string())?, rest),
            None => return Ok(None),
        },
        short => (usize::from(short), rest),
    };
    let header_bytes = bytes.len() - rest.len();
    Ok(rest.get(..payload_bytes).map(|payload| ServerFrame {
        opcode: first & 0x0F,
        payload,
        length: header_bytes + payload_bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmasked(frame: &MaskedFrame) -> Vec<u8> {
        frame.bytes[frame.payload_at..].iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }

    #[test]
    fn frames_carry_their_length_and_payload() {
        for (name, length, header) in [
            ("short", 125_usize, &[0x81, 0xFD][..]),
            ("middle", 126, &[0x81, 0xFE, 0, 126][..]),
            ("long", 65_536, &[0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0][..]),
        ] {
            let payload = vec![b'a'; length];
            let frame = MaskedFrame::new(opcode::TEXT, &payload);
            assert_eq!(frame.as_bytes()[..header.len()], *header, "{name}");
            assert_eq!(unmasked(&frame), payload, "{name}");
        }
    }

    #[test]
    fn a_patch_changes_only_its_place() {
        for offset in 0..6 {
            let mut frame = MaskedFrame::new(opcode::TEXT, b"0123456789");
            frame.patch(offset, b"xyz");
            let mut want = *b"0123456789";
            want[offset..offset + 3].copy_from_slice(b"xyz");
            assert_eq!(unmasked(&frame), want, "offset {offset}");
        }
    }

    #[test]
    fn server_frames_are_taken_when_whole() {
        let text = |payload| Ok(Some(ServerFrame { opcode: opcode::TEXT, payload, length: payload.len() + 2 }));
        for (name, bytes, want) in [
            ("empty", &b""[..], Ok(None)),
            ("header only", b"\x81\x02", Ok(None)),
            ("part of the payload", b"\x81\x02h", Ok(None)),
            ("part of a long length", b"\x81\x7e\x00", Ok(None)),
            ("whole", b"\x81\x02hi", text(b"hi")),
            ("the next one follows", b"\x81\x02hi\x81", text(b"hi")),
        ] {
            assert_eq!(first_frame(bytes), want, "{name}");
        }
        for (name, bytes) in [("fragment", b"\x01\x00"), ("reserved bit", b"\xc1\x00"), ("masked", b"\x81\x80")] {
            assert!(first_frame(bytes).is_err(), "{name}");
        }
    }
}
