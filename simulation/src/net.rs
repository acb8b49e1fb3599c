//! The network of a world: byte streams in memory with delay, a bounded buffer, and everything that goes wrong with TCP.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::heap::{inside, outside};
use crate::rng::Rng;
use crate::scenario::Way;

/// Which end of a link: the client's or the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// A task that waits at one end of a link. It may be over meanwhile and is then freed here: that must be counted where the
/// task was.
struct Waiter {
    waker: Option<Waker>,
    side: Side,
}

impl Waiter {
    fn new(cx: &Context<'_>, side: Side) -> Self {
        Self { waker: Some(cx.waker().clone()), side }
    }

    fn wake(mut self) {
        self.settle(Waker::wake);
    }

    fn settle(&mut self, act: impl FnOnce(Waker)) {
        match self.waker.take() {
            Some(waker) if self.side == Side::Server => inside(|| act(waker)),
            Some(waker) => act(waker),
            None => {}
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.settle(drop);
    }
}

/// One direction of a link.
struct Pipe {
    /// What is under way, and when it arrives.
    chunks: VecDeque<(Instant, Vec<u8>)>,
    /// Bytes of the first chunk that were read already.
    read: usize,
    bytes: usize,
    capacity: usize,
    latest: Instant,
    /// Nothing arrives before.
    held_until: Option<Instant>,
    /// The writer has nothing more to say.
    finished: bool,
    /// Nobody reads here any more: a write is answered with a reset.
    abandoned: bool,
    reader: Option<Waiter>,
    writer: Option<Waiter>,
}

impl Pipe {
    fn new(capacity: usize, now: Instant) -> Self {
        Self {
            chunks: VecDeque::new(),
            read: 0,
            bytes: 0,
            capacity,
            latest: now,
            held_until: None,
            finished: false,
            abandoned: false,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        for waiter in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waiter.wake();
        }
    }
}

struct Wire {
    rng: Rng,
    delay_ms: u64,
    jitter_ms: u64,
    to_server: Pipe,
    to_client: Pipe,
    /// Both ends learn that the connection is gone.
    reset: bool,
    /// Nothing arrives any more, and nobody learns it.
    is_half_open: bool,
}

impl Wire {
    fn from(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.to_server,
            Side::Server => &mut self.to_client,
        }
    }

    fn to(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.to_client,
            Side::Server => &mut self.to_server,
        }
    }
}

/// A connection between a client and the server.
#[derive(Clone)]
pub struct Link(Arc<Mutex<Wire>>);

/// How a link behaves when all is well.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The least time that a byte takes.
    pub delay_ms: u64,
    /// What may be added to it.
    pub jitter_ms: u64,
    /// Bytes that are under way to the client at most: its receive window.
    pub client_window: usize,
}

impl Link {
    /// A link and its two ends: the client's, the server's.
    pub fn new(rng: Rng, weather: Weather) -> (Self, End, End) {
        outside(|| {
            let now = Instant::now();
            let link = Self(Arc::new(Mutex::new(Wire {
                rng,
                delay_ms: weather.delay_ms,
                jitter_ms: weather.jitter_ms,
                to_server: Pipe::new(64 * 1024, now),
                to_client: Pipe::new(weather.client_window, now),
                reset: false,
                is_half_open: false,
            })));
            let end = |side| End { link: link.clone(), side, sleep: None };
            let ends = (end(Side::Client), end(Side::Server));
            (link, ends.0, ends.1)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both ends learn that the connection is gone; what was under way is lost.
    pub fn reset(&self) {
        outside(|| {
            let mut wire = self.lock();
            wire.reset = true;
            wire.to_client.wake();
            wire.to_server.wake();
        });
    }

    /// Nothing arrives any more, and nobody learns it.
    pub fn half_open(&self) {
        self.lock().is_half_open = true;
    }

    /// Nothing arrives before `until`.
    pub fn hold(&self, until: Instant, way: Way) {
        let mut wire = self.lock();
        let wire = &mut *wire;
        for (pipe, is_open) in
            [(&mut wire.to_server, way == Way::ToClient), (&mut wire.to_client, way == Way::ToServer)]
        {
            if !is_open {
                pipe.held_until = Some(until);
                pipe.wake();
            }
        }
    }

    /// Whether somebody may still hear something of it.
    pub fn is_alive(&self) -> bool {
        let wire = self.lock();
        let is_left = wire.to_client.abandoned && wire.to_server.abandoned;
        !wire.reset && !is_left
    }
}

/// One end of a link: a stream as the driver and hyper want it.
pub struct End {
    link: Link,
    side: Side,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl End {
    fn read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let arrives = {
                let mut wire = self.link.lock();
                if wire.reset {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                let half_open = wire.is_half_open;
                let pipe = wire.to(self.side);
                let held = pipe.held_until;
                let at = pipe.chunks.front().map(|(at, _)| held.map_or(*at, |held| held.max(*at)));
                match at {
                    _ if half_open => {
                        pipe.reader = Some(Waiter::new(cx, self.side));
                        return Poll::Pending;
                    }
                    None if pipe.finished => return Poll::Ready(Ok(())),
                    None => {
                        pipe.reader = Some(Waiter::new(cx, self.side));
                        return Poll::Pending;
                    }
                    Some(at) if at <= Instant::now() => {
                        let (_, chunk) = pipe.chunks.front().expect("it was there");
                        let rest = &chunk[pipe.read..];
                        let taken = rest.len().min(into.remaining());
                        into.put_slice(&rest[..taken]);
                        pipe.read += taken;
                        pipe.bytes -= taken;
                        if pipe.read == chunk.len() {
                            pipe.chunks.pop_front();
                            pipe.read = 0;
                        }
                        if let Some(writer) = pipe.writer.take() {
                            writer.wake();
                        }
                        return Poll::Ready(Ok(()));
                    }
                    Some(at) => {
                        pipe.reader = Some(Waiter::new(cx, self.side));
                        at
                    }
                }
            };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(arrives)));
            sleep.as_mut().reset(arrives);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.link.lock();
        let wire = &mut *wire;
        let half_open = wire.is_half_open;
        if wire.reset || (wire.from(self.side).abandoned && !half_open) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let takes = wire.delay_ms + if wire.jitter_ms == 0 { 0 } else { wire.rng.below(wire.jitter_ms) };
        let pipe = wire.from(self.side);
        let room = pipe.capacity.saturating_sub(pipe.bytes);
        if room == 0 {
            pipe.writer = Some(Waiter::new(cx, self.side));
            return Poll::Pending;
        }
        let count = room.min(bytes.len());
        pipe.bytes += count;
        if !half_open {
            pipe.latest = pipe.latest.max(Instant::now() + Duration::from_millis(takes));
            pipe.chunks.push_back((pipe.latest, bytes[..count].to_vec()));
            if let Some(reader) = pipe.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(count))
    }

    fn finish(&mut self) {
        let mut wire = self.link.lock();
        if !wire.is_half_open {
            let pipe = wire.from(self.side);
            pipe.finished = true;
            pipe.wake();
        }
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        outside(|| self.read(cx, into))
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        outside(|| self.write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        outside(|| self.finish());
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        outside(|| {
            self.finish();
            let mut wire = self.link.lock();
            let pipe = wire.to(self.side);
            pipe.abandoned = true;
            pipe.chunks.clear();
            pipe.wake();
            self.sleep = None;
        });
    }
}
