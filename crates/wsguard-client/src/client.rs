//! The handle, and what comes in.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use wsguard_protocol::CloseCode;

use crate::builder::Builder;
use crate::error::{Code, Error, SendError};
use crate::event::{Closed, Event, State, Status};
use crate::message::{Ack, DecodeError, Outgoing};
use crate::shared::{Answer, Shared};

/// Longest close reason, in bytes (RFC 6455 section 5.5: 125 less the code).
const REASON_BYTES_MAX: usize = 123;

/// Closes the client when the last handle is gone.
#[derive(Debug)]
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.act(|session, _| session.close(CloseCode::Normal.number(), ""));
    }
}

/// A connection that authenticates, carries CSRF tokens, acknowledges, reconnects and resumes.
///
/// Cheap to clone and to send to other tasks. The connection lives until [`Client::close`], until the server says that
/// coming back is pointless, or until the last `Client` and the [`Events`] are dropped.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

/// How a message is sent: [`Client::send_with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendOptions {
    ack: bool,
    timeout: Option<Duration>,
    abort_on_drop: bool,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self { ack: true, timeout: None, abort_on_drop: false }
    }
}

impl SendOptions {
    /// Acknowledged, and sent also when nobody awaits the outcome.
    pub fn new() -> Self {
        Self::default()
    }

    /// With `false`, the message counts as sent once it is handed to the connection; it is not sent again when that is
    /// lost.
    #[must_use]
    pub fn ack(mut self, ack: bool) -> Self {
        self.ack = ack;
        self
    }

    /// Longest time to the acknowledgement, instead of [`Builder::ack_timeout`].
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// With `true`, dropping the future takes the message back: one that was not written yet is never sent.
    #[must_use]
    pub fn abort_on_drop(mut self, abort: bool) -> Self {
        self.abort_on_drop = abort;
        self
    }
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> (Self, Events) {
        let alive = Arc::new(Alive(Arc::clone(&shared)));
        let events = Events { shared: Arc::clone(&shared), _alive: Arc::clone(&alive) };
        (Self { shared, _alive: alive }, events)
    }

    pub(crate) fn states(&self) -> watch::Receiver<(State, u64)> {
        self.shared.states()
    }

    pub(crate) fn last_loss(&self) -> Option<Error> {
        self.shared.drive(|session, _| session.last_loss())
    }

    /// Begins to describe a client of the server at `url`: `wss://example.com/ws`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    /// Sends a message, now or as soon as there is a connection; never dials.
    ///
    /// `message` is anything that serde writes as `{"type": STRING, "payload"?: ANY}`: an enum with
    /// `#[serde(tag = "type", content = "payload")]`, or `serde_json::json!`. It is written down before this returns, and
    /// messages leave in the order of the calls, also after a reconnect. At most 64 KiB on the wire.
    ///
    /// The future resolves when the server has handled the message. Dropping it abandons the answer and keeps the message:
    /// it is sent all the same ([`SendOptions::abort_on_drop`] takes it back).
    ///
    /// # Errors
    /// [`SendError::code`] says what happened; a message that ended with an error is never sent later.
    ///
    /// | code | |
    /// | --- | --- |
    /// | `invalid_message`, `unsafe_content`, `too_large`, `queue_full` | at once: it was not taken |
    /// | a code of the server, `refused` | it was refused: not handled |
    /// | `timeout` | no acknowledgement within [`Builder::ack_timeout`] |
    /// | `delivery_unknown` | it was written, and the server process is gone |
    /// | `closed`, or why the client closed | it was not written |
    pub fn send<T: Serialize + ?Sized>(&self, message: &T) -> Sending {
        self.send_with(message, SendOptions::default())
    }

    /// [`Client::send`], with a choice of how.
    pub fn send_with<T: Serialize + ?Sized>(&self, message: &T, options: SendOptions) -> Sending {
        let sent = Outgoing::new(message)
            .map_err(|error| SendError::new(error, false))
            .and_then(|message| self.shared.send(&message, options.ack, options.timeout));
        let outcome = match sent {
            Ok((id, answer)) => Outcome::Awaited { id, answer, abort_on_drop: options.abort_on_drop },
            Err(error) => Outcome::Known(Some(error)),
        };
        Sending { shared: Arc::clone(&self.shared), outcome }
    }

    /// Where the client is on its way.
    pub fn state(&self) -> State {
        self.shared.drive(|session, _| session.state())
    }

    /// How the client is at this moment.
    pub fn status(&self) -> Status {
        self.shared.drive(|session, now| session.status(now))
    }

    /// Waits until the client is in `state`, or closed, and says which. A state that passes quickly may be missed.
    pub async fn reached(&self, state: State) -> State {
        let mut states = self.shared.states();
        // The sender is part of what this handle holds.
        let seen = states.wait_for(|(now, _)| *now == state || *now == State::Closed).await;
        seen.map_or(State::Closed, |seen| seen.0)
    }

    /// Asks the token provider for a fresh token and puts it in force on the open connection, as the client does by itself
    /// before the old one ends. Does nothing where there is no connection, or where a token is being asked for already.
    pub fn refresh(&self) {
        self.shared.act(|session, _| session.refresh());
    }

    /// Waits until every message was acknowledged or has ended otherwise; at most [`Builder::ack_timeout`].
    pub async fn flush(&self) {
        self.shared.drained().await;
    }

    /// Closes for good, with 1000. What was not yet written ends with `closed`, what is in flight with
    /// `delivery_unknown`: [`Client::flush`] first where that matters.
    pub fn close(&self) {
        self.shared.act(|session, _| session.close(CloseCode::Normal.number(), ""));
    }

    /// Closes for good. `code`: 1000 or 3000 to 4999; `reason`: at most 123 bytes.
    ///
    /// # Errors
    /// When code or reason are outside these limits; the client stays open.
    pub fn close_with(&self, code: u16, reason: &str) -> Result<(), InvalidClose> {
        if !(code == 1_000 || (3_000..5_000).contains(&code)) || reason.len() > REASON_BYTES_MAX {
            return Err(InvalidClose);
        }
        self.shared.act(|session, _| session.close(code, reason));
        Ok(())
    }

    /// Waits for the end, the closing handshake included, and says why.
    pub async fn closed(&self) -> Closed {
        self.shared.finished().await
    }
}

/// A close code or reason that cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not close: expected the code 1000 or 3000 to 4999, and a reason of at most 123 bytes")]
pub struct InvalidClose;

/// A message on its way: [`Client::send`].
#[derive(Debug)]
#[must_use = "the outcome of a message is known only to whoever awaits it"]
pub struct Sending {
    shared: Arc<Shared>,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Awaited { id: u64, answer: Answer, abort_on_drop: bool },
    Known(Option<SendError>),
}

impl Sending {
    /// Takes the message back: the future resolves with `aborted`, and what was not written yet is never sent.
    pub fn abort(&self) {
        if let Outcome::Awaited { id, .. } = self.outcome {
            self.shared.act(|session, _| session.abort(id));
        }
    }

    /// Leaves the message to itself: it is sent, and nobody is told what became of it.
    pub fn detach(self) {}
}

impl Future for Sending {
    type Output = Result<Ack, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let gone = || SendError::new(Error::new(Code::Closed, "the client is closed"), false);
        match &mut self.outcome {
            Outcome::Known(error) => Poll::Ready(Err(error.take().unwrap_or_else(gone))),
            Outcome::Awaited { answer, .. } => match Pin::new(answer).poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(outcome) => {
                    self.outcome = Outcome::Known(None);
                    Poll::Ready(outcome.unwrap_or_else(|_| Err(gone())))
                }
            },
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Outcome::Awaited { id, abort_on_drop: true, .. } = self.outcome {
            self.shared.act(|session, _| session.abort(id));
        }
    }
}

/// Everything that happens to a client, in its order: a [`Stream`] that ends after [`Event::Closed`].
///
/// While it is not read, at most [`Builder::incoming`] messages are kept; then the client stops reading from the socket,
/// acknowledgements included, and the server may cut it off. Whoever wants no events drops this.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

impl Events {
    /// The next event; `None` after the last. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.shared.poll_event(cx)).await
    }

    /// Only the messages, as a type of the application: an enum with `#[serde(tag = "type", content = "payload")]`.
    pub fn messages<M: DeserializeOwned>(self) -> Messages<M> {
        Messages { events: self, kind: PhantomData }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.shared.poll_event(cx)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.act(|session, _| session.abandon_events());
    }
}

/// The messages of the application as a type of its own: a [`Stream`]. Made by [`Events::messages`].
pub struct Messages<M> {
    events: Events,
    kind: PhantomData<fn() -> M>,
}

impl<M: DeserializeOwned> Messages<M> {
    /// The next message; `None` once the client is closed. Cancel safe.
    ///
    /// # Errors
    /// When the message is not an `M`; the next one may be.
    pub async fn next(&mut self) -> Option<Result<M, DecodeError>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<M, DecodeError>>> {
        loop {
            return match self.events.shared.poll_event(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Ready(Some(Event::Message(message))) => Poll::Ready(Some(message.decode())),
                Poll::Ready(Some(_)) => continue,
            };
        }
    }
}

impl<M: DeserializeOwned> Stream for Messages<M> {
    type Item = Result<M, DecodeError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(cx)
    }
}

impl<M> fmt::Debug for Messages<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}
