//! Frames as bytes, right ones and wrong ones.

use std::fmt;

/// The kind of a frame (RFC 6455 section 5.2), the reserved ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opcode(pub(crate) u8);

impl Opcode {
    pub(crate) const CONTINUATION: Self = Self(0);
    pub(crate) const TEXT: Self = Self(1);
    pub(crate) const BINARY: Self = Self(2);
    pub(crate) const CLOSE: Self = Self(8);
    pub(crate) const PING: Self = Self(9);
    pub(crate) const PONG: Self = Self(10);

    /// Whether frames of this kind may stand inside a fragmented message.
    pub(crate) const fn is_control(self) -> bool {
        self.0 & 8 != 0
    }
}

/// How the length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// As the payload is, in the shortest form.
    True,
    /// This, in two bytes.
    Two(u16),
    /// This, in eight bytes.
    Eight(u64),
}

/// A frame to send. `..Frame::text("…")` changes what should be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    /// The three reserved bits: 4 is RSV1, 2 is RSV2, 1 is RSV3.
    pub(crate) reserved: u8,
    pub(crate) opcode: Opcode,
    /// `None`: not masked, which a client must not do.
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) length: Length,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// A proper frame.
    pub(crate) fn new(opcode: Opcode, payload: impl Into<Vec<u8>>) -> Self {
        let mask = Some(super::random::<4>());
        Self { fin: true, reserved: 0, opcode, mask, length: Length::True, payload: payload.into() }
    }

    /// A whole text.
    pub(crate) fn text(text: &str) -> Self {
        Self::new(Opcode::TEXT, text)
    }

    /// A ping.
    pub(crate) fn ping(payload: impl Into<Vec<u8>>) -> Self {
        Self::new(Opcode::PING, payload)
    }

    /// A close with a code.
    pub(crate) fn close(code: u16, reason: &str) -> Self {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        Self::new(Opcode::CLOSE, payload)
    }

    /// The bytes, without a check of anything.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len().saturating_add(14));
        out.push(if self.fin { 0x80 } else { 0 } | (self.reserved & 7) << 4 | (self.opcode.0 & 15));
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        let size = self.payload.len();
        match (self.length, u8::try_from(size), u16::try_from(size)) {
            (Length::True, Ok(short @ 0..=125), _) => out.push(masked | short),
            (Length::True, _, Ok(two)) | (Length::Two(two), ..) => {
                out.push(masked | 0x7e);
                out.extend_from_slice(&two.to_be_bytes());
            }
            (Length::True, ..) => {
                out.push(masked | 0x7f);
                out.extend_from_slice(&(size as u64).to_be_bytes());
            }
            (Length::Eight(eight), ..) => {
                out.push(masked | 0x7f);
                out.extend_from_slice(&eight.to_be_bytes());
            }
        }
        let mask = self.mask.unwrap_or_default();
        if self.mask.is_some() {
            out.extend_from_slice(&mask);
        }
        out.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }
}

/// A frame that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) fin: bool,
    pub(crate) reserved: u8,
    pub(crate) opcode: Opcode,
    /// A server must not mask.
    pub(crate) masked: bool,
    pub(crate) payload: Vec<u8>,
}

/// Largest frame that the audit takes in, in bytes: a server that sends more is not read further.
pub(crate) const RECEIVED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Takes the first frame out of `buffer`; `None` while it is not whole.
///
/// # Errors
/// When it is larger than [`RECEIVED_BYTES_MAX`].
pub(crate) fn take(buffer: &mut Vec<u8>) -> Result<Option<Received>, TooLarge> {
    let Some(&[first, second]) = buffer.first_chunk::<2>() else { return Ok(None) };
    let masked = second & 0x80 != 0;
    let (size, mut head) = match second & 0x7f {
        126 => match buffer.get(2..).and_then(<[u8]>::first_chunk::<2>) {
            Some(&two) => (u64::from(u16::from_be_bytes(two)), 4_usize),
            None => return Ok(None),
        },
        127 => match buffer.get(2..).and_then(<[u8]>::first_chunk::<8>) {
            Some(&eight) => (u64::from_be_bytes(eight), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let size = usize::try_from(size).ok().filter(|size| *size <= RECEIVED_BYTES_MAX).ok_or(TooLarge(size))?;
    let mut mask = [0; 4];
    if masked {
        let Some(&found) = buffer.get(head..).and_then(<[u8]>::first_chunk::<4>) else { return Ok(None) };
        mask = found;
        head = head.saturating_add(4);
    }
    let end = head.saturating_add(size);
    let Some(body) = buffer.get(head..end) else { return Ok(None) };
    let payload = body.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    buffer.drain(..end);
    Ok(Some(Received { fin: first & 0x80 != 0, reserved: first >> 4 & 7, opcode: Opcode(first & 15), masked, payload }))
}

/// A frame of more than [`RECEIVED_BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge(pub(crate) u64);

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a frame of {} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for size in [0, 1, 125, 126, 65_535, 65_536] {
            let frame = Frame::new(Opcode::BINARY, vec![7; size]);
            let mut bytes = frame.encode();
            let whole = bytes.clone();
            let got = take(&mut bytes).unwrap().unwrap();
            assert_eq!((got.payload.len(), got.masked, got.fin), (size, true, true));
            assert!(got.payload.iter().all(|byte| *byte == 7) && bytes.is_empty());
            for cut in [1, 3, whole.len() - 1] {
                assert_eq!(take(&mut whole[..cut.min(whole.len() - 1)].to_vec()), Ok(None), "{size} cut at {cut}");
            }
        }
    }

    #[test]
    fn wrong_frames_are_written_as_asked() {
        let zero = Some([0; 4]);
        for (name, frame, want) in [
            ("unmasked", Frame { mask: None, ..Frame::text("Hi") }, &[0x81, 0x02, 0x48, 0x69][..]),
            ("rsv1", Frame { reserved: 4, mask: zero, ..Frame::text("") }, &[0xc1, 0x80, 0, 0, 0, 0]),
            ("fragment", Frame { fin: false, mask: zero, ..Frame::text("") }, &[0x01, 0x80, 0, 0, 0, 0]),
            (
                "not minimal",
                Frame { length: Length::Two(1), mask: zero, ..Frame::text("x") },
                &[0x81, 0xfe, 0, 1, 0, 0, 0, 0, 0x78],
            ),
            (
                "a lie",
                Frame { length: Length::Eight(1 << 63), mask: zero, ..Frame::new(Opcode::BINARY, "") },
                &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
        ] {
            assert_eq!(frame.encode(), want, "{name}");
        }
    }

    #[test]
    fn a_length_beyond_all_measure_is_not_waited_for() {
        assert_eq!(take(&mut vec![0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255]), Err(TooLarge(i64::MAX as u64)));
    }
}
