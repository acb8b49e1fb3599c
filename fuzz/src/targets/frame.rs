//! The frame decoder: how bytes are cut into reads changes nothing, and an independent codec reads the same messages.
//!
//! Input: one byte that seeds the cuts, then what a client sends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_websockets::{Limits, ServerBuilder};
use wsguard_core::frame::{Decoder, Event, FrameError, FrameLimits};
use wsguard_core::time::Tick;

/// The defaults, with binary messages let through, so that both codecs have something to say about them.
const LIMITS: FrameLimits = FrameLimits {
    message_bytes_max: 65_536,
    fragments_max: 256,
    control_burst: 20,
    control_per_second: 5,
    binary: true,
};

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// Panics where a promise of the decoder does not hold for `data`.
pub fn run(data: &[u8]) {
    let Some((seed, wire)) = data.split_first() else { return };
    let (whole, failure) = decode(wire, std::iter::repeat(usize::MAX));
    for (name, (events, error)) in
        [("byte by byte", decode(wire, std::iter::repeat(1))), ("cut at will", decode(wire, cuts(*seed)))]
    {
        assert_eq!((&events, error), (&whole, failure), "{name}");
    }

    let ours: Vec<&Seen> = whole.iter().filter(|seen| matches!(seen, Seen::Text(_) | Seen::Binary(_))).collect();
    let (theirs, closed) = judge(wire);
    for (place, seen) in ours.iter().enumerate() {
        assert_eq!(theirs.get(place), Some(*seen), "message {place} is ours alone");
    }
    let ended = failure.is_some() || whole.iter().any(|seen| matches!(seen, Seen::Close(_)));
    if !ended {
        // What has not all arrived may be refused later by us: the other codec refuses a close frame of one byte at its length.
        assert!(!closed || unfinished(wire), "an error that only the other codec sees: {whole:?}");
        assert_eq!(ours.len(), theirs.len(), "a message that only the other codec sees");
    }
}

/// Lengths of reads from 1 to 7 bytes.
fn cuts(seed: u8) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(u32::from(seed)), |state| {
        Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
    })
    .map(|state| usize::try_from(state >> 24).unwrap_or(0) % 7 + 1)
}

/// Whether `wire` ends inside a message, a frame or a header.
fn unfinished(wire: &[u8]) -> bool {
    let (mut decoder, mut buffer) = (Decoder::new(), wire.to_vec());
    let mut unread = buffer.as_mut_slice();
    while !unread.is_empty() {
        let Ok(decoded) = decoder.decode(&LIMITS, Tick(0), unread) else { return false };
        unread = decoded.rest;
    }
    decoder.in_progress()
}

fn decode(wire: &[u8], mut cuts: impl Iterator<Item = usize>) -> (Vec<Seen>, Option<FrameError>) {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    let mut left = wire;
    while !left.is_empty() {
        let (read, rest) = left.split_at(cuts.next().unwrap_or(1).min(left.len()));
        left = rest;
        let mut buffer = read.to_vec();
        let mut unread = buffer.as_mut_slice();
        while !unread.is_empty() {
            let before = unread.len();
            let decoded = match decoder.decode(&LIMITS, Tick(0), unread) {
                Ok(decoded) => decoded,
                Err(error) => return (seen, Some(error)),
            };
            match decoded.event {
                Event::Incomplete => assert!(decoded.rest.is_empty(), "incomplete with bytes left"),
                Event::Text(text) => seen.push(Seen::Text(text.into_owned())),
                Event::Binary(bytes) => seen.push(Seen::Binary(bytes.into_owned())),
                Event::Ping(bytes) => seen.push(Seen::Ping(bytes.into_owned())),
                Event::Pong(bytes) => seen.push(Seen::Pong(bytes.into_owned())),
                Event::Close(close) => {
                    seen.push(Seen::Close(close.map(|close| (close.code, close.reason.into_owned()))));
                }
            }
            assert!(decoded.rest.len() < before, "no progress");
            unread = decoded.rest;
        }
        // Twice what arrived, a record and the smallest allocations: never what was announced.
        assert!(decoder.owned_bytes() <= 2 * wire.len() + 1_024, "owns {} bytes", decoder.owned_bytes());
        assert!(decoder.in_progress() || decoder.owned_bytes() == 0, "memory between messages");
    }
    (seen, None)
}

/// What tokio-websockets reads, and whether it refused something.
fn judge(wire: &[u8]) -> (Vec<Seen>, bool) {
    let limits = Limits::default().max_payload_len(Some(LIMITS.message_bytes_max));
    let mut stream = ServerBuilder::new().limits(limits).serve(Wire(wire.to_vec(), 0));
    let mut context = Context::from_waker(Waker::noop());
    let mut seen = Vec::new();
    loop {
        match Pin::new(&mut stream).poll_next(&mut context) {
            Poll::Ready(Some(Ok(message))) => {
                if let Some(text) = message.as_text() {
                    seen.push(Seen::Text(text.to_owned()));
                } else if message.is_binary() {
                    seen.push(Seen::Binary(message.as_payload().to_vec()));
                }
            }
            Poll::Ready(Some(Err(error))) => return (seen, !matches!(error, tokio_websockets::Error::Io(_))),
            Poll::Ready(None) | Poll::Pending => return (seen, false),
        }
    }
}

/// The bytes of a client that never reads and then waits.
struct Wire(Vec<u8>, usize);

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.0.get(self.1..).unwrap_or_default();
        if left.is_empty() {
            return Poll::Pending;
        }
        let length = left.len().min(buffer.remaining());
        buffer.put_slice(left.get(..length).unwrap_or_default());
        self.1 += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
