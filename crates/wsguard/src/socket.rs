//! A guarded connection for applications that are written as a loop: typed messages in both directions.

use std::marker::PhantomData;
use std::sync::{Arc, Weak};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use wsguard_core::control::delivery::Encoded;
use wsguard_core::effect::{Message, Record};
use wsguard_core::fault::{self, Fault};
use wsguard_core::verdict::{ControlId, Refusal};
use wsguard_protocol::{CloseCode, ErrorCode};

use crate::clock;
use crate::guard::{Guard, Shared};
use crate::handler::{Handled, Handler, Peer};
use crate::mailbox::{Closed, Command, Outbox};

/// Messages that may wait for the application's loop. More are refused with `rate_limited`: an application that cannot
/// follow must not collect an attacker's messages in memory.
const WAITING_MAX: usize = 64;

/// A guarded connection. `In` is what the client may send, `Out` what the application sends; both are serde types whose
/// JSON form is `{"type": …, "payload": …}` (an adjacently tagged enum: `#[serde(tag = "type", content = "payload")]`).
///
/// Dropping it closes the connection, behind what was sent: with 1000, or with 1011 where a panic dropped it.
#[derive(Debug)]
pub struct GuardedSocket<In, Out> {
    messages: mpsc::Receiver<Handed>,
    seat: Arc<Seat>,
    types: PhantomData<fn(Out) -> In>,
}

/// Where an application sits: with one session, for as long as it has something to answer in it.
pub(crate) struct Seat {
    outbox: Outbox,
    session: Box<str>,
    subject: Box<str>,
    /// Who has a log for what no peer can be told any more.
    shared: Weak<Shared>,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("session", &self.session).finish_non_exhaustive()
    }
}

/// A message on its way to the loop; what becomes of it without the loop is answered as well.
#[derive(Debug)]
struct Handed {
    text: String,
    answer: Answer,
}

/// A message of the client. Say what became of it: a message that is dropped unanswered is answered `internal`.
#[derive(Debug)]
pub struct Incoming<In> {
    /// The message.
    pub message: In,
    answer: Answer,
}

#[derive(Debug)]
struct Answer {
    id: Option<Box<str>>,
    seat: Arc<Seat>,
    given: bool,
}

impl<In> Incoming<In> {
    /// It was handled: the client gets its `ack`.
    pub fn ack(mut self) {
        self.answer.given = true;
        if let Some(id) = self.answer.id.take() {
            let _ = self.answer.seat.outbox.command(Command::Ack(id));
        }
    }

    /// It was refused; `reason` is for the operator, whose log has it also where the session is over.
    pub fn refuse(mut self, code: ErrorCode, reason: &'static str) {
        self.answer.refuse(code, reason);
    }
}

impl Answer {
    fn refuse(&mut self, code: ErrorCode, reason: &'static str) {
        self.given = true;
        let refusal = Some(Refusal::new(ControlId::Application, code, reason));
        let late = LateRefusal { id: self.id.take(), refusal, seat: Arc::clone(&self.seat) };
        let _ = self.seat.outbox.command(Command::Refuse(late));
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // When the session is over nobody waits for an answer, and an application that stops is nothing to report.
        if !self.given && !self.seat.outbox.is_shut() {
            self.refuse(ErrorCode::Internal, "message_unanswered");
        }
    }
}

/// The refusal of a message, on its way from the application to the connection, which tells the peer and writes it down.
/// Where that connection is gone it is written down as it is dropped: each refusal has its entry in the log.
#[derive(Debug)]
pub struct LateRefusal {
    id: Option<Box<str>>,
    refusal: Option<Refusal>,
    seat: Arc<Seat>,
}

impl LateRefusal {
    /// The message that is refused.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// For who writes it down.
    pub(crate) fn take(mut self) -> (Option<Box<str>>, Option<Refusal>) {
        (self.id.take(), self.refusal.take())
    }
}

impl Drop for LateRefusal {
    fn drop(&mut self) {
        let (Some(refusal), Some(shared)) = (self.refusal.take(), self.seat.shared.upgrade()) else {
            return;
        };
        if fault::is_on(Fault::RefusalToGoneUnrecorded) {
            return;
        }
        let mut record = Record::new("message_refused");
        record.refusal = Some(refusal);
        record.reference = Some(shared.cx.reference());
        record.session = Some(self.seat.session.to_string());
        record.subject = Some(self.seat.subject.clone());
        shared.record(clock::now().unix, record);
    }
}

/// A message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection is gone.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// Its JSON form is not `{"type": …, "payload": …}`.
    #[error("could not write the message: {0}")]
    Form(String),
}

impl<In: DeserializeOwned, Out: Serialize> GuardedSocket<In, Out> {
    /// The next message; `None` when the connection is over.
    ///
    /// A message that passed its schema but does not fit `In` is answered `invalid_message` and skipped.
    pub async fn recv(&mut self) -> Option<Incoming<In>> {
        loop {
            let Handed { text, mut answer } = self.messages.recv().await?;
            match serde_json::from_str(&text) {
                Ok(message) => return Some(Incoming { message, answer }),
                Err(_) => answer.refuse(ErrorCode::InvalidMessage, "message_does_not_fit_type"),
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the connection is gone, [`SendError::Form`] when `message` has another form.
    pub fn send(&self, message: &Out) -> Result<(), SendError> {
        #[derive(serde::Deserialize)]
        struct Form<'a> {
            #[serde(rename = "type")]
            kind: String,
            #[serde(borrow, default)]
            payload: Option<&'a serde_json::value::RawValue>,
        }
        let text = serde_json::to_string(message).map_err(|error| SendError::Form(error.to_string()))?;
        let form: Form<'_> = serde_json::from_str(&text).map_err(|error| SendError::Form(error.to_string()))?;
        let payload = form.payload.map_or("null", serde_json::value::RawValue::get);
        Ok(self.seat.outbox.send(&Encoded::new(&form.kind, payload))?)
    }

    /// Who the connection speaks for.
    pub fn subject(&self) -> &str {
        &self.seat.subject
    }

    /// What others use to write to this peer.
    pub fn outbox(&self) -> &Outbox {
        &self.seat.outbox
    }

    /// Closes the connection.
    pub fn close(self, code: CloseCode) {
        let _ = self.seat.outbox.close(code);
    }
}

/// A peer whose application has gone would wait for it, and take its place among the connections, for as long as it likes.
impl<In, Out> Drop for GuardedSocket<In, Out> {
    fn drop(&mut self) {
        let code = if std::thread::panicking() { CloseCode::InternalError } else { CloseCode::Normal };
        let _ = self.seat.outbox.close(code);
    }
}

/// Hands messages to a [`GuardedSocket`] in a task of its own.
pub(crate) struct ToSocket<F> {
    start: Option<F>,
    shared: Weak<Shared>,
    seated: Option<(mpsc::Sender<Handed>, Arc<Seat>)>,
}

/// A handler that starts `run` with a socket when the peer is authenticated.
pub(crate) fn to_socket<In, Out, Run, Done>(guard: &Guard, run: Run) -> impl Handler + use<In, Out, Run, Done>
where
    Run: FnOnce(GuardedSocket<In, Out>) -> Done + Send + 'static,
    Done: Future<Output = ()> + Send + 'static,
    In: 'static,
    Out: 'static,
{
    ToSocket {
        start: Some(move |messages, seat| {
            tokio::spawn(run(GuardedSocket { messages, seat, types: PhantomData }));
        }),
        shared: Arc::downgrade(&guard.0),
        seated: None,
    }
}

impl<F> Handler for ToSocket<F>
where
    F: FnOnce(mpsc::Receiver<Handed>, Arc<Seat>) + Send + 'static,
{
    fn opened(&mut self, peer: &mut Peer<'_>) {
        if let Some(start) = self.start.take() {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            let seat = Arc::new(Seat {
                outbox: peer.outbox().clone(),
                session: peer.session().map(|session| session.to_string().into()).unwrap_or_default(),
                subject: peer.identity().map(|identity| identity.claims.subject.clone()).unwrap_or_default(),
                shared: Weak::clone(&self.shared),
            });
            self.seated = Some((sender, Arc::clone(&seat)));
            start(receiver, seat);
        }
    }

    fn message(&mut self, message: Message<'_>, peer: &mut Peer<'_>) -> Handled {
        let Some((sender, seat)) = &self.seated else {
            return Handled::Refused(ErrorCode::Internal, "application_not_started");
        };
        let place = match sender.try_reserve() {
            Ok(place) => place,
            Err(mpsc::error::TrySendError::Full(())) => {
                return Handled::Refused(ErrorCode::RateLimited, "application_busy");
            }
            Err(mpsc::error::TrySendError::Closed(())) => {
                let _ = peer.outbox().close(CloseCode::Normal);
                return Handled::Refused(ErrorCode::Internal, "application_ended");
            }
        };
        let kind = serde_json::to_string(message.kind).unwrap_or_default();
        let text = format!(r#"{{"type":{kind},"payload":{}}}"#, message.payload);
        let answer = Answer { id: message.id.map(Into::into), seat: Arc::clone(seat), given: false };
        place.send(Handed { text, answer });
        Handled::Later
    }
}
