//! permessage-deflate (RFC 7692): messages made small, and what comes back.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a message ends with that is not sent (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Most that a message of the target is inflated to, in bytes.
const INFLATED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// `bytes` as the payload of a compressed message that needs no earlier one.
pub(crate) fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut out = Vec::with_capacity(bytes.len().saturating_add(256));
    // Deflate adds five bytes to a block at the most: all of it finds room at once.
    let _ = compress.compress_vec(bytes, &mut out, FlushCompress::Sync);
    out.truncate(out.len().saturating_sub(TAIL.len()));
    out
}

/// Reads the compressed messages of a connection, in their order: one may rest on those before it.
#[derive(Debug)]
pub(crate) struct Inflate(Decompress);

impl Inflate {
    pub(crate) fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// The message; `None` when it is no deflate, or more than [`INFLATED_BYTES_MAX`].
    pub(crate) fn message(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let whole = [payload, &TAIL].concat();
        let mut rest = whole.as_slice();
        let mut out = Vec::new();
        loop {
            out.reserve(16 * 1024);
            let before = self.0.total_in();
            let status = self.0.decompress_vec(rest, &mut out, FlushDecompress::Sync).ok()?;
            let used = usize::try_from(self.0.total_in().saturating_sub(before)).ok()?;
            rest = rest.get(used..)?;
            if out.len() > INFLATED_BYTES_MAX {
                return None;
            }
            // Room that was left says that nothing is held back.
            if (rest.is_empty() && out.len() < out.capacity()) || status == Status::StreamEnd {
                return Some(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deflated_is_inflated() {
        let large = vec![b'x'; 3 << 20];
        assert!(deflated(&large).len() < 4096);
        let mut inflate = Inflate::new();
        for message in [&b"Hello"[..], b"", &large, b"Hello"] {
            assert_eq!(inflate.message(&deflated(message)).as_deref(), Some(message), "{} bytes", message.len());
        }
        // The two of RFC 7692 section 7.2.3.2, the second of which rests on the first.
        let mut inflate = Inflate::new();
        for payload in [&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..], &[0xf2, 0x00, 0x11, 0x00, 0x00]] {
            assert_eq!(inflate.message(payload).as_deref(), Some(&b"Hello"[..]));
        }
        assert_eq!(Inflate::new().message(&[0xff; 8]), None);
        assert_eq!(Inflate::new().message(&deflated(&vec![0; 9 << 20])), None);
    }
}
