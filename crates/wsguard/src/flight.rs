//! A stream that keeps the 101 back until the first frames are there, so that both leave in one write.
//!
//! A handshake that ends in a session is answered twice at once: by HTTP with the 101 and by the guard with `welcome`.
//! Two writes are two packets and two wake-ups of the peer, a tenth of what a whole handshake costs.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How the head of the response that is kept begins.
const SWITCHING: &[u8] = b"HTTP/1.1 101 ";

/// Most bytes that are kept: a 101 of this library has about 200. A longer one is written at once.
const HELD_BYTES_MAX: usize = 1_024;

/// A stream for one HTTP request and what follows its upgrade. Give it to hyper in place of the stream itself, and
/// [`crate::upgrade::drive`] takes it apart.
///
/// Only a response that begins with `HTTP/1.1 101 ` and arrives in one write is kept; everything else passes through.
/// Whoever reads before it is taken apart writes what is kept first, so nobody waits for an answer that stays here.
#[derive(Debug)]
pub struct FirstFlight<S> {
    stream: S,
    held: Vec<u8>,
    written: usize,
    begun: bool,
}

impl<S> FirstFlight<S> {
    /// A stream that was not written to yet.
    pub fn new(stream: S) -> Self {
        Self { stream, held: Vec::new(), written: 0, begun: false }
    }

    /// The stream, and what is still to be written to it before anything else.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        let Self { stream, mut held, written, .. } = self;
        held.drain(..written.min(held.len()));
        (stream, held)
    }
}

impl<S: AsyncWrite + Unpin> FirstFlight<S> {
    /// Keeps the first write if it is a 101; says whether it did.
    fn holds(&mut self, slices: &[io::IoSlice<'_>]) -> Option<usize> {
        if std::mem::replace(&mut self.begun, true) {
            return None;
        }
        let length = slices.iter().map(|slice| slice.len()).fold(0, usize::saturating_add);
        // The head of a response stands in one slice; a body, which a 101 has not, would be another.
        if length > HELD_BYTES_MAX || !slices.first()?.starts_with(SWITCHING) {
            return None;
        }
        // What follows it is put behind it.
        self.held.reserve(HELD_BYTES_MAX);
        for slice in slices {
            self.held.extend_from_slice(slice);
        }
        Some(length)
    }

    /// Writes what is kept.
    fn release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            let rest = self.held.get(self.written..).unwrap_or_default();
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written = self.written.saturating_add(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for FirstFlight<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.release(cx))?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstFlight<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(length) = self.holds(slices) {
            return Poll::Ready(Ok(length));
        }
        ready!(self.release(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Flushes the stream, not what is kept: HTTP flushes behind every head.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.release(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    async fn received(peer: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.unwrap();
        all
    }

    #[tokio::test]
    async fn a_101_waits_for_what_follows() {
        let (ours, mut peer) = duplex(4_096);
        let mut stream = FirstFlight::new(ours);
        stream.write_all(HEAD).await.unwrap();
        stream.flush().await.unwrap();
        let (mut stream, held) = stream.into_parts();
        assert_eq!(held, HEAD);
        stream.write_all(b"rest").await.unwrap();
        drop(stream);
        assert_eq!(received(&mut peer).await, b"rest", "what is kept is for the caller to write");
    }

    #[tokio::test]
    async fn everything_else_passes_through() {
        let long = [HEAD, &[b'x'; HELD_BYTES_MAX]].concat();
        for (name, writes) in [
            ("a refusal", vec![&b"HTTP/1.1 401 Unauthorized\r\n\r\n"[..]]),
            ("a 101 behind something", vec![b"x", HEAD]),
            ("a long 101", vec![&long]),
            ("less than a status line", vec![b"HTTP"]),
        ] {
            let (ours, mut peer) = duplex(8_192);
            let mut stream = FirstFlight::new(ours);
            for bytes in &writes {
                stream.write_all(bytes).await.unwrap();
            }
            assert_eq!(stream.into_parts().1, b"", "{name}");
            assert_eq!(received(&mut peer).await, writes.concat(), "{name}");
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_kept() {
        for (name, order) in [("a write", 0), ("a read", 1), ("the end", 2)] {
            // A peer that takes three bytes at a time: what is kept leaves in pieces.
            let (ours, mut peer) = duplex(3);
            let mut stream = FirstFlight::new(ours);
            stream.write_all(HEAD).await.unwrap();
            let act = async move {
                match order {
                    0 => stream.write_all(b"").await.and(stream.write_all(b"!").await),
                    1 => stream.read(&mut [0; 8]).await.map(drop),
                    _ => stream.shutdown().await,
                }
            };
            let read = async {
                let mut all = vec![0; HEAD.len()];
                peer.read_exact(&mut all).await.unwrap();
                peer.write_all(b"x").await.unwrap_or_default();
                all
            };
            let (outcome, all) = tokio::join!(act, read);
            assert!(outcome.is_ok() && all == HEAD, "{name}");
        }
    }
}
