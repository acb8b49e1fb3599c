//! A guarded connection for applications that are written as a loop: typed messages in both directions.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use wsguard_core::control::delivery::Encoded;
use wsguard_core::effect::Message;
use wsguard_core::verdict::{ControlId, Refusal};
use wsguard_protocol::{CloseCode, ErrorCode};

use crate::handler::{Handled, Handler, Peer};
use crate::mailbox::{Closed, Command, Outbox};

/// Messages that may wait for the application's loop. More are refused with `rate_limited`: an application that cannot
/// follow must not collect an attacker's messages in memory.
const WAITING_MAX: usize = 64;

/// A guarded connection. `In` is what the client may send, `Out` what the application sends; both are serde types whose
/// JSON form is `{"type": …, "payload": …}` (an adjacently tagged enum: `#[serde(tag = "type", content = "payload")]`).
#[derive(Debug)]
pub struct GuardedSocket<In, Out> {
    messages: mpsc::Receiver<Handed>,
    outbox: Outbox,
    subject: Box<str>,
    types: PhantomData<fn(Out) -> In>,
}

#[derive(Debug)]
struct Handed {
    text: String,
    id: Option<Box<str>>,
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
    outbox: Outbox,
    given: bool,
}

impl<In> Incoming<In> {
    /// It was handled: the client gets its `ack`.
    pub fn ack(mut self) {
        self.answer.given = true;
        if let Some(id) = self.answer.id.take() {
            let _ = self.answer.outbox.command(Command::Ack(id));
        }
    }

    /// It was refused; `reason` is for the operator.
    pub fn refuse(mut self, code: ErrorCode, reason: &'static str) {
        self.answer.refuse(code, reason);
    }
}

impl Answer {
    fn refuse(&mut self, code: ErrorCode, reason: &'static str) {
        self.given = true;
        let refusal = Refusal::new(ControlId::Application, code, reason);
        let _ = self.outbox.command(Command::Refuse(self.id.take(), refusal));
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            self.refuse(ErrorCode::Internal, "message_unanswered");
        }
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
            let handed = self.messages.recv().await?;
            let mut answer = Answer { id: handed.id, outbox: self.outbox.clone(), given: false };
            match serde_json::from_str(&handed.text) {
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
        Ok(self.outbox.send(&Encoded::new(&form.kind, payload))?)
    }

    /// Who the connection speaks for.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What others use to write to this peer.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Closes the connection.
    pub fn close(self, code: CloseCode) {
        let _ = self.outbox.close(code);
    }
}

/// Hands messages to a [`GuardedSocket`] in a task of its own.
pub(crate) struct ToSocket<F> {
    start: Option<F>,
    sender: Option<mpsc::Sender<Handed>>,
}

/// A handler that starts `run` with a socket when the peer is authenticated.
pub(crate) fn to_socket<In, Out, Run, Done>(run: Run) -> impl Handler
where
    Run: FnOnce(GuardedSocket<In, Out>) -> Done + Send + 'static,
    Done: Future<Output = ()> + Send + 'static,
    In: 'static,
    Out: 'static,
{
    ToSocket {
        start: Some(move |messages, outbox: Outbox, subject| {
            tokio::spawn(run(GuardedSocket { messages, outbox, subject, types: PhantomData }));
        }),
        sender: None,
    }
}

impl<F> Handler for ToSocket<F>
where
    F: FnOnce(mpsc::Receiver<Handed>, Outbox, Box<str>) + Send + 'static,
{
    fn opened(&mut self, peer: &mut Peer<'_>) {
        if let Some(start) = self.start.take() {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            self.sender = Some(sender);
            let subject = peer.identity().map(|identity| identity.claims.subject.clone()).unwrap_or_default();
            start(receiver, peer.outbox().clone(), subject);
        }
    }

    fn message(&mut self, message: Message<'_>, peer: &mut Peer<'_>) -> Handled {
        let Some(sender) = &self.sender else {
            return Handled::Refused(ErrorCode::Internal, "application_not_started");
        };
        let kind = serde_json::to_string(message.kind).unwrap_or_default();
        let text = format!(r#"{{"type":{kind},"payload":{}}}"#, message.payload);
        match sender.try_send(Handed { text, id: message.id.map(Into::into) }) {
            Ok(()) => Handled::Later,
            Err(mpsc::error::TrySendError::Full(_)) => Handled::Refused(ErrorCode::RateLimited, "application_busy"),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                let _ = peer.outbox().close(CloseCode::Normal);
                Handled::Refused(ErrorCode::Internal, "application_ended")
            }
        }
    }
}
