//! The only place that moves bytes between a socket and what stands behind it.
//!
//! One small task a connection. The read buffer and the write buffer belong to the thread and are borrowed only between
//! awaits, so an idle connection owns neither and work stealing is harmless. All that one read brings is answered with
//! one write. A peer that does not read is not read from either, and neither is one that goes too fast, for as long as
//! `effects.pause` says: TCP makes it wait, and nothing of it is buffered here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep};
use wsguard_core::control::heartbeat::HeartbeatPolicy;
use wsguard_core::control::penalty::PAUSE_MAX;
use wsguard_core::effect::Effects;
use wsguard_core::frame::{self, Decoder, Event, FrameError, FrameLimits, Opcode};
use wsguard_core::time::{Millis, Now, Tick};

use crate::clock;
use crate::mailbox::{Command, Outbox};

/// Size of a thread's read buffer: one message of the largest size with its header fits, many small ones too.
const READ_BYTES: usize = 68 * 1024;

/// Time that a peer has to take the close frame and to close in turn.
const LINGER: Duration = Duration::from_secs(2);

/// Bytes that are still read of a peer that was told to go: what is under way when the close frame reaches it. 256 KiB: the
/// kernel's buffers as they begin, at both ends.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// The longest that the timer is set for.
const FAR: Duration = Duration::from_hours(1);

/// Reads that one connection may do before the others of its thread get their turn.
const READS_IN_A_ROW_MAX: u32 = 4;

/// Messages of one read that the endpoint is told of ahead, at most. 32: as many as a usual read of short ones brings.
const AHEAD_MAX: u8 = 32;

/// What stands behind the frame layer of one connection.
///
/// Whatever it writes into `effects.out` is sent; what it leaves in `effects.records` it must take out itself.
pub trait Endpoint {
    /// Limits of the frame layer.
    fn limits(&self) -> &FrameLimits;
    /// The connection is open.
    fn opened(&mut self, now: Now, effects: &mut Effects);
    /// The next `messages`, of `bytes` together, were read at once: what is the same for all can be done once.
    fn ahead(&mut self, _now: Now, _messages: u8, _bytes: u32) {}
    /// A whole text message.
    fn text(&mut self, now: Now, text: &str, effects: &mut Effects);
    /// Everything of one read was handed on.
    fn digested(&mut self) {}
    /// A whole binary message; only where the limits permit binary.
    fn binary(&mut self, now: Now, bytes: &[u8], effects: &mut Effects);
    /// A ping (which the driver answers).
    fn pinged(&mut self, now: Now);
    /// A pong.
    fn ponged(&mut self, now: Now);
    /// The peer closes.
    fn peer_closed(&mut self, code: Option<u16>, effects: &mut Effects);
    /// The peer broke the frame protocol.
    fn broken(&mut self, error: FrameError, effects: &mut Effects);
    /// A message is under way for too long.
    fn overdue(&mut self, effects: &mut Effects);
    /// The peer does not read.
    fn stalled(&mut self, effects: &mut Effects);
    /// The socket is gone without a close frame.
    fn lost(&mut self, effects: &mut Effects) {
        self.peer_closed(None, effects);
    }
    /// Somebody has something for the peer.
    fn command(&mut self, now: Now, command: Command, effects: &mut Effects);
    /// When [`Endpoint::due`] has something to do.
    fn deadline(&self) -> Tick;
    /// Does what is due.
    fn due(&mut self, now: Now, effects: &mut Effects);
    /// Time that a message may be under way.
    fn message_time_max(&self) -> Millis;
    /// Time that a peer may leave unread what was sent to it, then [`Endpoint::stalled`].
    fn stall_time_max(&self) -> Millis {
        HeartbeatPolicy::default().stall
    }
    /// The close frame is written: nothing follows.
    fn is_over(&self) -> bool;
    /// The connection cannot take a message yet: nothing is read until a command changes that.
    fn is_waiting(&self) -> bool {
        false
    }
    /// The outbox that takes the place of the driver's, once: the connection went on with a session that has one.
    fn outbox(&mut self) -> Option<Outbox> {
        None
    }
    /// The connection is at its end. Whether its outbox lives on, with a session that waits for its client.
    fn ended(&mut self) -> bool {
        false
    }
}

struct Buffers {
    read: Box<[u8]>,
    effects: Effects,
    commands: VecDeque<Command>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers {
        read: vec![0; READ_BYTES].into_boxed_slice(),
        effects: Effects::default(),
        commands: VecDeque::new(),
    });
}

struct Driver<S, E> {
    stream: S,
    endpoint: E,
    decoder: Decoder,
    outbox: Held,
    /// Bytes that the socket did not take yet, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// [`Tick::NEVER`]: the socket has taken everything.
    stalled_since: Tick,
    /// The socket is not read before this tick; [`Tick::NEVER`] where it may be read.
    paused_until: Tick,
    armed: Tick,
    early: Option<Box<[u8]>>,
    /// The peer sent its close frame: it has nothing more to say.
    peer_done: bool,
}

/// Runs a connection to its end. `early` are bytes that came with the upgrade request.
pub async fn run<S, E>(stream: S, early: Option<Box<[u8]>>, outbox: Outbox, endpoint: E)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    E: Endpoint,
{
    run_behind(stream, Vec::new(), early, outbox, endpoint).await;
}

/// As [`run`], behind a `head` that is still to be written: it leaves with the first frames, in one write.
// Not an `async fn`, which would hold its arguments and the driver made of them side by side for as long as it runs.
pub fn run_behind<S, E>(
    stream: S,
    head: Vec<u8>,
    early: Option<Box<[u8]>>,
    outbox: Outbox,
    endpoint: E,
) -> impl Future<Output = ()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    E: Endpoint,
{
    let mut driver = Driver {
        stream,
        endpoint,
        decoder: Decoder::new(),
        outbox: Held { outbox, lives_on: false },
        unsent: head,
        sent: 0,
        stalled_since: Tick::NEVER,
        paused_until: Tick::NEVER,
        armed: Tick::NEVER,
        early,
        peer_done: false,
    };
    async move {
        driver.open();
        {
            let mut sleep = pin!(tokio::time::sleep(FAR));
            driver.arm(sleep.as_mut());
            poll_fn(|cx| driver.turn(cx, sleep.as_mut())).await;
        }
        driver.outbox.lives_on = driver.endpoint.ended();
        if !driver.outbox.lives_on {
            driver.outbox.outbox.shut();
        }
        if driver.peer_done && leaves_with_end(&driver.stream, &driver.unsent, &mut driver.sent) {
            return;
        }
        // Boxed: what only the end of a connection needs, the others do not carry along.
        let Driver { stream, unsent, sent, peer_done, .. } = driver;
        Box::pin(linger(stream, unsent, sent, peer_done)).await;
    }
}

/// Writes what is left, and gives the peer time to read it before the kernel answers with a reset. Who sent a close frame
/// first has nothing under way that a reset could answer (RFC 6455 section 7.1.1), and who goes on sending is not listened
/// to for longer than [`LINGER_BYTES_MAX`].
async fn linger<S>(mut stream: S, unsent: Vec<u8>, sent: usize, peer_done: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let _ = tokio::time::timeout(LINGER, async {
        stream.write_all(unsent.get(sent..).unwrap_or_default()).await?;
        stream.shutdown().await?;
        let mut rest = if peer_done { 0 } else { LINGER_BYTES_MAX };
        while rest > 0 {
            let read = poll_fn(|cx| discard(&mut stream, cx)).await?;
            if read == 0 {
                break;
            }
            rest = rest.saturating_sub(read);
            // Others of this thread have their turn.
            tokio::task::yield_now().await;
        }
        std::io::Result::Ok(())
    })
    .await;
}

/// Gives the last bytes of a TCP stream to the kernel, which keeps them until the stream is dropped: they leave with its
/// end in one packet, a system call less, and the peer is woken once. Whether nothing is left to write.
#[cfg(target_os = "linux")]
fn leaves_with_end<S: 'static>(stream: &S, unsent: &[u8], sent: &mut usize) -> bool {
    use rustix::net::{SendFlags, send};

    let Some(tcp) = (stream as &dyn std::any::Any).downcast_ref::<tokio::net::TcpStream>() else {
        return false;
    };
    let rest = unsent.get(*sent..).unwrap_or_default();
    let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
    let taken = tcp.try_io(tokio::io::Interest::WRITABLE, || Ok(send(tcp, rest, flags)?));
    *sent = sent.saturating_add(taken.unwrap_or(0));
    *sent >= unsent.len()
}

/// No other system is asked to keep them.
#[cfg(not(target_os = "linux"))]
fn leaves_with_end<S>(_: &S, _: &[u8], _: &mut usize) -> bool {
    false
}

/// Reads for nobody.
fn discard<S: AsyncRead + Unpin>(stream: &mut S, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
    BUFFERS.with_borrow_mut(|Buffers { read, .. }| {
        let mut space = ReadBuf::new(read);
        ready!(Pin::new(stream).poll_read(cx, &mut space))?;
        Poll::Ready(Ok(space.filled().len()))
    })
}

/// However the connection ends, nobody goes on writing to it, unless its session lives on.
struct Held {
    outbox: Outbox,
    lives_on: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.lives_on {
            self.outbox.shut();
        }
    }
}

impl<S, E> Driver<S, E>
where
    S: AsyncRead + AsyncWrite + Unpin,
    E: Endpoint,
{
    fn open(&mut self) {
        BUFFERS.with_borrow_mut(|Buffers { effects, .. }| {
            effects.out.clear();
            let now = clock::now();
            self.endpoint.opened(now, effects);
            if let Some(mut early) = self.early.take() {
                self.digest(now, &mut early, effects);
            }
            self.pause(now, effects);
            self.unsent.extend_from_slice(&effects.out);
        });
    }

    /// Goes on until the connection is over or everything waits.
    fn turn(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<()> {
        while !self.endpoint.is_over() && sleep.as_mut().poll(cx).is_ready() {
            self.on_timer();
            self.arm(sleep.as_mut());
        }
        let progress = BUFFERS.with_borrow_mut(|buffers| self.exchange(cx, buffers));
        if progress.is_pending() && self.next_deadline() < self.armed {
            self.arm(sleep.as_mut());
            // The timer must know the waker.
            if sleep.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        progress
    }

    fn exchange(&mut self, cx: &mut Context<'_>, buffers: &mut Buffers) -> Poll<()> {
        let Buffers { read, effects, commands } = buffers;
        effects.out.clear();
        for _ in 0..READS_IN_A_ROW_MAX {
            if self.is_blocked() && matches!(self.flush(cx, &mut effects.out), Poll::Ready(Err(()))) {
                self.endpoint.lost(effects);
                return Poll::Ready(());
            }
            self.change_outbox();
            if self.outbox.outbox.take(cx.waker(), self.is_blocked(), commands).is_err() {
                self.endpoint.stalled(effects);
            }
            if !commands.is_empty() {
                let now = clock::now();
                while !self.endpoint.is_over()
                    && let Some(command) = commands.pop_front()
                {
                    self.endpoint.command(now, command, effects);
                }
                self.pause(now, effects);
                // What came behind the end is for the session, where that lives on.
                if !commands.is_empty() {
                    self.outbox.outbox.give_back(commands);
                    commands.clear();
                }
            }
            if self.change_outbox() {
                // Its commands wake this task only once it was asked for them.
                continue;
            }
            if self.endpoint.is_over() {
                // Leaves with the end of the stream.
                self.unsent.extend_from_slice(&effects.out);
                return Poll::Ready(());
            }
            if ready!(self.flush(cx, &mut effects.out)).is_err() {
                // The network is gone, whether a read or a write finds out first.
                self.endpoint.lost(effects);
                return Poll::Ready(());
            }
            if self.paused_until != Tick::NEVER && clock::tick() < self.paused_until {
                // Writes go on, the timer ends it, and whoever closes meanwhile wakes this task.
                return Poll::Pending;
            }
            self.paused_until = Tick::NEVER;
            if self.endpoint.is_waiting() {
                return Poll::Pending;
            }
            if let Some(mut early) = self.early.take() {
                self.digest(clock::now(), &mut early, effects);
                continue;
            }

            let mut space = ReadBuf::new(read);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space)) {
                Ok(()) if !space.filled().is_empty() => {
                    let now = clock::now();
                    self.digest(now, space.filled_mut(), effects);
                }
                // The peer is gone without a close frame, or the socket is broken: nobody is left to tell.
                Ok(()) | Err(_) => {
                    self.endpoint.lost(effects);
                    return Poll::Ready(());
                }
            }
        }
        let _ = self.flush(cx, &mut effects.out);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes the outbox of the session that the connection went on with.
    fn change_outbox(&mut self) -> bool {
        let other = self.endpoint.outbox();
        let changed = other.is_some();
        if let Some(outbox) = other {
            self.outbox = Held { outbox, lives_on: false };
        }
        changed
    }

    /// Whether the socket has not taken everything that was written.
    fn is_blocked(&self) -> bool {
        self.sent < self.unsent.len()
    }

    /// Stops reading for as long as the endpoint asked, [`PAUSE_MAX`] at most. What was read already is not put back, and
    /// the time is not that of the sender of a message which is under way.
    ///
    /// To be called behind whatever the endpoint does: `effects` belongs to the thread, and what is left in it would hold up
    /// another connection.
    fn pause(&mut self, now: Now, effects: &mut Effects) {
        if let Some(length) = effects.pause.take() {
            let length = length.min(PAUSE_MAX);
            self.paused_until = now.tick.after(length);
            self.decoder.excuse(length);
        }
    }

    /// Decodes what was read and hands it on.
    fn digest(&mut self, now: Now, bytes: &mut [u8], effects: &mut Effects) {
        self.hand_on(now, bytes, effects);
        self.endpoint.digested();
        self.pause(now, effects);
    }

    fn hand_on(&mut self, now: Now, bytes: &mut [u8], effects: &mut Effects) {
        let (mut rest, mut ahead) = (bytes, 0_u8);
        while !rest.is_empty() && !self.endpoint.is_over() {
            if self.endpoint.is_waiting() {
                self.early = Some(rest.to_vec().into_boxed_slice());
                return;
            }
            if ahead == 0 {
                let bytes;
                (ahead, bytes) = self.decoder.ahead(self.endpoint.limits(), rest, AHEAD_MAX);
                if ahead > 1 {
                    self.endpoint.ahead(now, ahead, bytes);
                }
            }
            ahead = ahead.saturating_sub(1);
            let decoded = match self.decoder.decode(self.endpoint.limits(), now.tick, rest) {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.endpoint.broken(error, effects);
                    return;
                }
            };
            match decoded.event {
                Event::Incomplete => {}
                Event::Text(text) => self.endpoint.text(now, &text, effects),
                Event::Binary(bytes) => self.endpoint.binary(now, &bytes, effects),
                Event::Ping(payload) => {
                    frame::write_frame(&mut effects.out, Opcode::Pong, &payload);
                    self.endpoint.pinged(now);
                }
                Event::Pong(_) => self.endpoint.ponged(now),
                Event::Close(close) => {
                    self.peer_done = true;
                    self.endpoint.peer_closed(close.map(|close| close.code), effects);
                }
            }
            rest = decoded.rest;
        }
    }

    /// Sends what stands in `out` and what is left over from before. `Err` when the socket is broken.
    fn flush(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<(), ()>> {
        while self.sent < self.unsent.len() {
            let rest = self.unsent.get(self.sent..).unwrap_or_default();
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.sent = self.sent.saturating_add(written);
                    self.stalled_since = Tick::NEVER;
                }
                Poll::Ready(_) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    self.unsent.extend_from_slice(out);
                    out.clear();
                    self.stalled_since = self.stalled_since.min(clock::tick());
                    return Poll::Pending;
                }
            }
        }
        if !self.unsent.is_empty() {
            self.unsent = Vec::new();
            self.sent = 0;
        }
        let mut done = 0;
        while done < out.len() {
            match Pin::new(&mut self.stream).poll_write(cx, out.get(done..).unwrap_or_default()) {
                Poll::Ready(Ok(written)) if written > 0 => done = done.saturating_add(written),
                Poll::Ready(_) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    self.unsent.extend_from_slice(out.get(done..).unwrap_or_default());
                    out.clear();
                    self.stalled_since = self.stalled_since.min(clock::tick());
                    return Poll::Pending;
                }
            }
        }
        out.clear();
        // TLS keeps records back until it is flushed; for TCP this does nothing.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Err(())),
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn on_timer(&mut self) {
        BUFFERS.with_borrow_mut(|Buffers { effects, .. }| {
            effects.out.clear();
            let now = clock::now();
            if now.tick >= self.paused_until {
                self.paused_until = Tick::NEVER;
            }
            if now.tick >= self.stall_deadline() {
                self.endpoint.stalled(effects);
            } else if self.message_deadline() <= now.tick {
                self.endpoint.overdue(effects);
            } else {
                self.endpoint.due(now, effects);
            }
            self.pause(now, effects);
            self.unsent.extend_from_slice(&effects.out);
        });
    }

    fn message_deadline(&self) -> Tick {
        let began = self.decoder.in_progress_since();
        began.map_or(Tick::NEVER, |since| since.after(self.endpoint.message_time_max()))
    }

    fn stall_deadline(&self) -> Tick {
        self.stalled_since.after(self.endpoint.stall_time_max())
    }

    fn next_deadline(&self) -> Tick {
        self.endpoint.deadline().min(self.message_deadline()).min(self.stall_deadline()).min(self.paused_until)
    }

    /// Sets the one timer of the connection. It is only moved when it fires or when something is due earlier: a
    /// message pushes deadlines back, and that costs nothing here.
    fn arm(&mut self, sleep: Pin<&mut Sleep>) {
        let deadline = self.next_deadline();
        let at = clock::instant_of(deadline);
        let far = Instant::now().checked_add(FAR).unwrap_or_else(Instant::now);
        self.armed = deadline;
        sleep.reset(at.unwrap_or(far).min(far));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncWriteExt as _, duplex};
    use tokio::time::sleep;

    use super::*;
    use crate::QueueLimits;

    /// Does what it is told: `wait` and `pause`, and everything that it gets it remembers.
    struct Scripted {
        heard: Arc<Mutex<Vec<String>>>,
        limits: FrameLimits,
        is_waiting: bool,
    }

    impl Endpoint for Scripted {
        fn limits(&self) -> &FrameLimits {
            &self.limits
        }
        fn opened(&mut self, _: Now, _: &mut Effects) {}
        fn text(&mut self, _: Now, text: &str, effects: &mut Effects) {
            match text {
                "wait" => self.is_waiting = true,
                "pause" => effects.pause = Some(Millis(400)),
                _ => {}
            }
            self.heard.lock().unwrap().push(text.to_owned());
        }
        fn binary(&mut self, _: Now, _: &[u8], _: &mut Effects) {}
        fn pinged(&mut self, _: Now) {}
        fn ponged(&mut self, _: Now) {}
        fn peer_closed(&mut self, _: Option<u16>, _: &mut Effects) {}
        fn broken(&mut self, _: FrameError, _: &mut Effects) {}
        fn overdue(&mut self, _: &mut Effects) {}
        fn stalled(&mut self, _: &mut Effects) {}
        fn command(&mut self, _: Now, command: Command, effects: &mut Effects) {
            match command {
                Command::Continue => self.is_waiting = false,
                // As something that is charged to a connection which says nothing.
                Command::State => effects.pause = Some(Millis(400)),
                _ => {}
            }
        }
        fn deadline(&self) -> Tick {
            Tick::NEVER
        }
        fn due(&mut self, _: Now, _: &mut Effects) {}
        fn message_time_max(&self) -> Millis {
            Millis(60_000)
        }
        fn is_over(&self) -> bool {
            false
        }
        fn is_waiting(&self) -> bool {
            self.is_waiting
        }
    }

    /// A text frame whose mask changes nothing.
    fn frame(text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
    }

    struct Peer {
        stream: tokio::io::DuplexStream,
        outbox: Outbox,
        heard: Arc<Mutex<Vec<String>>>,
    }

    impl Peer {
        fn open() -> Self {
            let (stream, server) = duplex(4_096);
            let (outbox, heard) = (Outbox::new(QueueLimits::default()), Arc::default());
            let limits = FrameLimits::default();
            let endpoint = Scripted { heard: Arc::clone(&heard), limits, is_waiting: false };
            tokio::spawn(run(server, None, outbox.clone(), endpoint));
            Self { stream, outbox, heard }
        }

        async fn say(&mut self, texts: &[&str]) {
            let bytes: Vec<u8> = texts.iter().flat_map(|text| frame(text)).collect();
            self.stream.write_all(&bytes).await.unwrap();
        }

        fn heard(&self) -> Vec<String> {
            self.heard.lock().unwrap().clone()
        }
    }

    /// Both connections are of one thread, which lends them the same buffers.
    #[tokio::test]
    async fn a_pause_is_that_of_its_connection_whatever_asked_for_it() {
        for is_command in [false, true] {
            let (mut slowed, mut other) = (Peer::open(), Peer::open());
            if is_command {
                slowed.outbox.command(Command::State).unwrap();
            } else {
                // What came behind a message that has to wait is looked at when the wait is over.
                slowed.say(&["wait", "pause"]).await;
                sleep(Duration::from_millis(20)).await;
                slowed.outbox.command(Command::Continue).unwrap();
            }
            sleep(Duration::from_millis(20)).await;
            slowed.say(&["late"]).await;
            other.say(&["one"]).await;
            sleep(Duration::from_millis(20)).await;
            other.say(&["two"]).await;
            sleep(Duration::from_millis(60)).await;
            assert_eq!(other.heard(), ["one", "two"], "command: {is_command}");
            assert!(!slowed.heard().contains(&"late".to_owned()), "command: {is_command}");
            sleep(Duration::from_millis(500)).await;
            assert!(slowed.heard().contains(&"late".to_owned()), "command: {is_command}");
        }
    }
}
