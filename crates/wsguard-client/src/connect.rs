//! The driver: moves what the session wants to the network and back, and has no opinion of its own.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::{Future, Stream as _};
use futures_sink::Sink as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_websockets::{CloseCode, Message};
use tracing::debug;
use wsguard_protocol::ErrorCode;

use crate::error::{Code, Error};
use crate::event::State;
use crate::session::{Effect, Failure, LEFT, Session};
use crate::shared::Shared;
use crate::token::{Asking, Provider};
use crate::transport::{Socket, Transport};

/// Longest time for a closing handshake: a round trip over any network; a dead peer costs nobody more.
const CLOSING_MAX: Duration = Duration::from_secs(2);

/// Frames that are read while something written before them has not left yet. A server that pings without reading the
/// answers would otherwise fill memory with them.
const READS_UNFLUSHED_MAX: u32 = 256;

type Dialling = Pin<Box<dyn Future<Output = Result<Socket, Failure>> + Send>>;

/// Ends the shared state however the driver ends: done, panicked, or dropped with its runtime.
struct Finish(Arc<Shared>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Runs a client to its end.
pub(crate) async fn run(shared: Arc<Shared>, provider: Provider, transport: Transport) {
    let _finish = Finish(Arc::clone(&shared));
    let mut asking: Option<Asking> = None;
    let mut dialling: Option<Dialling> = None;
    let mut link: Option<Link> = None;
    let mut closing: Option<JoinHandle<()>> = None;
    let mut timer = Box::pin(sleep(Duration::ZERO));
    shared.drive(Session::start);
    loop {
        while let Some(effect) = shared.next_effect() {
            match effect {
                Effect::AskToken(reason) => {
                    debug!(reason = reason.as_str(), "asks for a token");
                    asking = Some(provider.ask(reason));
                }
                Effect::ForgetToken => asking = None,
                Effect::Dial { token, resume } => {
                    debug!(host = transport.address.host(), resume = resume.is_some(), "connects");
                    let transport = transport.clone();
                    dialling = Some(Box::pin(async move { transport.dial(&token, resume.as_ref()).await }));
                }
                Effect::Write(text) => {
                    if let Some(link) = &mut link {
                        link.write(text);
                    }
                }
                Effect::Leave(code, reason) => {
                    debug!(code, "leaves");
                    dialling = None;
                    if let Some(link) = link.take() {
                        closing = Some(tokio::spawn(link.close(code, reason)));
                    }
                }
                // Given before it gets here.
                Effect::Settle(_) => {}
            }
        }
        let (state, deadline, reading) =
            shared.drive(|session, _| (session.state(), session.deadline(), session.wants_to_read()));
        if state == State::Closed {
            break;
        }
        set(&mut timer, deadline.and_then(|deadline| shared.instant(deadline)));
        tokio::select! {
            // What was received comes before what is due: a task that was not run for a while finds both, and silence
            // must not be blamed on a server that has spoken.
            biased;
            answer = answer(&mut asking) => {
                asking = None;
                shared.drive(|session, now| session.token(now, answer));
            }
            outcome = answer(&mut dialling) => {
                dialling = None;
                match outcome {
                    Ok(socket) => {
                        debug!("upgraded");
                        link = Some(Link { socket, unflushed: false, reads: 0 });
                        shared.drive(|session, _| session.opened());
                    }
                    Err(failure) => {
                        debug!(error = %failure.error, "not connected");
                        shared.drive(|session, now| session.failed(now, failure));
                    }
                }
            }
            received = receive(&mut link, reading) => {
                let over = shared.drive(|session, now| {
                    let over = match received {
                        Received::Text(text) => { session.text(now, &text); false }
                        Received::Binary => { session.binary(); false }
                        Received::Sign => { session.heard(now); false }
                        Received::Closed(code, reason) => { session.closed(now, code, reason); true }
                        Received::Broken(error) => { session.broken(now, error); true }
                    };
                    // A server that never stops to send must not keep what is due from happening.
                    session.tick(now);
                    over
                });
                if over && let Some(link) = link.take() {
                    debug!("connection ended");
                    // The answer to a close frame may still have to leave. Where there was none, the session must not end.
                    closing = Some(tokio::spawn(link.close(LEFT, String::new())));
                }
            }
            () = shared.woken() => {}
            () = timer.as_mut() => shared.drive(Session::tick),
        }
    }
    debug!("closed");
    if let Some(closing) = closing {
        // A closing handshake that went wrong is over as well.
        let _ = closing.await;
    }
}

/// Waits for a future that may not be there.
async fn answer<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn receive(link: &mut Option<Link>, reading: bool) -> Received {
    match link {
        Some(link) => link.receive(reading).await,
        None => pending().await,
    }
}

/// Sets the timer, a new one only where it is due at another time.
fn set(timer: &mut Pin<Box<Sleep>>, at: Option<Instant>) {
    // A day: `Sleep` has no "never", and a session that is woken in vain does nothing.
    let at = at.unwrap_or_else(|| Instant::now().checked_add(Duration::from_hours(24)).unwrap_or_else(Instant::now));
    if timer.deadline() != at || timer.is_elapsed() {
        *timer = Box::pin(sleep_until(at));
    }
}

/// What came from the connection.
enum Received {
    Text(String),
    Binary,
    /// A ping or pong of the WebSocket: a sign of life.
    Sign,
    Closed(u16, String),
    Broken(Error),
}

/// An open connection.
struct Link {
    socket: Socket,
    /// Something was written that may not have left yet.
    unflushed: bool,
    /// Frames read since.
    reads: u32,
}

impl Link {
    fn write(&mut self, text: String) {
        // Fails only once the connection is over, which reading tells as well.
        let _ = Pin::new(&mut self.socket).start_send(Message::text(text));
        self.unflushed = true;
    }

    /// Moves what was written on, and waits for what comes. Cancel safe.
    async fn receive(&mut self, reading: bool) -> Received {
        poll_fn(|cx| {
            if self.unflushed {
                match Pin::new(&mut self.socket).poll_flush(cx) {
                    Poll::Ready(Ok(())) => (self.unflushed, self.reads) = (false, 0),
                    Poll::Ready(Err(error)) => return Poll::Ready(Received::Broken(broken(error))),
                    Poll::Pending => {}
                }
            }
            if !reading || (self.unflushed && self.reads >= READS_UNFLUSHED_MAX) {
                return Poll::Pending;
            }
            Pin::new(&mut self.socket).poll_next(cx).map(|message| match message {
                Some(Ok(message)) => {
                    self.reads = self.reads.saturating_add(1);
                    self.received(&message)
                }
                Some(Err(error)) => Received::Broken(broken(error)),
                None => {
                    Received::Broken(Error::new(Code::ConnectionLost, "the connection ended without a close frame"))
                }
            })
        })
        .await
    }

    fn received(&mut self, message: &Message) -> Received {
        if let Some(text) = message.as_text() {
            Received::Text(text.to_owned())
        } else if let Some((code, reason)) = message.as_close() {
            Received::Closed(code.into(), reason.to_owned())
        } else if message.is_binary() {
            Received::Binary
        } else {
            // A ping is answered by the library; the answer waits to leave.
            self.unflushed |= message.is_ping();
            Received::Sign
        }
    }

    /// Ends the connection with a closing handshake, within [`CLOSING_MAX`].
    async fn close(mut self, code: u16, reason: String) {
        let close = Message::close(CloseCode::try_from(code).ok(), &reason);
        // Fails where the server has closed already; then only its close frame has to be answered.
        let _ = Pin::new(&mut self.socket).start_send(close);
        let _ = timeout(CLOSING_MAX, poll_fn(|cx| Pin::new(&mut self.socket).poll_close(cx))).await;
    }
}

fn broken(source: tokio_websockets::Error) -> Error {
    let error = match source {
        tokio_websockets::Error::PayloadTooLong { .. } => {
            Error::server(ErrorCode::TooLarge, "the server sent a message larger than is received")
        }
        tokio_websockets::Error::Protocol(_) => Error::new(Code::Protocol, "the server broke RFC 6455"),
        _ => Error::new(Code::ConnectionLost, "the connection broke"),
    };
    error.with_source(Arc::new(source))
}
