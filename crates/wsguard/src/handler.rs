//! The application behind a guarded connection, and what it sees of the other end.

use std::sync::Arc;

use wsguard_core::control::authorization;
use wsguard_core::control::delivery::{Encoded, Opening};
use wsguard_core::control::session::SessionId;
use wsguard_core::effect::Message;
use wsguard_core::guard::Connection;
use wsguard_core::policy::Identity;
use wsguard_core::time::Now;
use wsguard_protocol::ErrorCode;

use crate::mailbox::Outbox;

/// What became of a message in the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// Done: a message with an `id` is acknowledged.
    Done,
    /// Not yet: the application answers later.
    Later,
    /// Refused with a code; the word is for the operator.
    Refused(ErrorCode, &'static str),
}

/// An application behind the guard, called on the connection's own task: it must not block.
pub trait Handler: Send + 'static {
    /// The peer is authenticated.
    fn opened(&mut self, peer: &mut Peer<'_>);
    /// A message that every control let pass.
    fn message(&mut self, message: Message<'_>, peer: &mut Peer<'_>) -> Handled;
    /// The peer came back to this session after a lost connection. Whatever was sent to [`Peer::outbox`] meanwhile it has by
    /// now, except what its credential no longer lets it read; [`Handler::reconsidered`] is called next.
    fn resumed(&mut self, peer: &mut Peer<'_>) {
        let _ = peer;
    }
    /// What the peer may do has changed, by a new policy or by a token with other roles: leave what it may no longer be
    /// in, and forget what was kept to be sent to it and it may no longer read. Called before the next message.
    ///
    /// By default nothing happens, which is right for an application that asks [`Peer`] at each message.
    fn reconsidered(&mut self, peer: &mut Peer<'_>) {
        let _ = peer;
    }
}

/// The other end, during one call of a [`Handler`].
pub struct Peer<'a> {
    pub(crate) now: Now,
    pub(crate) connection: &'a mut Connection,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) outbox: &'a Outbox,
}

impl Peer<'_> {
    /// Who this is.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.connection.identity()
    }

    /// The session.
    pub fn session(&self) -> Option<SessionId> {
        self.connection.session()
    }

    /// What others use to write to this peer.
    pub fn outbox(&self) -> &Outbox {
        self.outbox
    }

    /// The time of this call, which was read once for all that it concerns.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Sends a message whose payload is the JSON text `payload`, with the writes of this turn.
    pub fn send(&mut self, kind: &str, payload: &str) {
        self.connection.write_own(self.now, kind, payload, self.out);
    }

    /// As [`Peer::send`], of a message that begins with `opening` and whose payload goes on with `parts`, which with the
    /// opening's are one JSON text. Who loses the `room` is not sent it again after a resume.
    #[inline]
    pub fn send_parts<const N: usize>(&mut self, room: Option<&str>, opening: &Opening, parts: [&[u8]; N]) {
        self.connection.write_parts(self.now, room, opening, parts, self.out);
    }

    /// Sends a message that was encoded for many.
    pub fn send_encoded(&mut self, message: &Encoded) {
        self.connection.write_application(self.now, message, self.out);
    }

    /// Whether the peer may enter `room`.
    pub fn may_enter(&self, room: &str) -> bool {
        let rules = &self.connection.policy().rooms;
        self.connection.identity().is_some_and(|identity| authorization::may_enter(rules, &identity.claims, room))
    }
}
