//! What the application sees of a client, beside the answers to its own calls.

use std::time::Duration;

use crate::error::Error;
use crate::message::Message;
use crate::session::Rtt;

/// Where a client is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The first connection is being made.
    Connecting,
    /// Authenticated; messages flow.
    Open,
    /// The connection was lost; the next is awaited or being made.
    Reconnecting,
    /// The end; nothing leaves this state.
    Closed,
}

impl State {
    /// The word that the TypeScript client has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Reconnecting => "reconnecting",
            Self::Closed => "closed",
        }
    }
}

/// How a client is at this moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Where it is on its way.
    pub state: State,
    /// Messages that wait to be written.
    pub queued: usize,
    /// Messages that were written and not acknowledged yet.
    pub in_flight: usize,
    /// How long pings take; `None` before the first was answered.
    pub rtt: Option<Rtt>,
    /// Identifies the session in the server's log; not a secret.
    pub session: Option<String>,
    /// Who the server takes this client for.
    pub subject: Option<String>,
    /// Time to the next attempt to connect, while one is awaited.
    pub retry_in: Option<Duration>,
}

/// A connection was authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// Identifies the session in the server's log; not a secret.
    pub session: String,
    /// Who the server takes this client for.
    pub subject: String,
    /// The session of before goes on: nothing was lost, what the server had to say meanwhile follows.
    pub resumed: bool,
    /// A session of before could not go on: what the server said meanwhile is gone, and rooms have to be joined anew. The
    /// application fetches its state again.
    pub missed: bool,
}

/// A connection ended, or an attempt to make one, and the client comes back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lost {
    /// The close code; 1006 when there was none (RFC 6455 section 7.1.5).
    pub code: u16,
    /// The reason that the peer gave.
    pub reason: String,
    /// Why.
    pub error: Error,
    /// Time to the next attempt.
    pub retry_in: Duration,
}

/// The client is closed for good.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Closed {
    /// The close code; 1006 when there was none.
    pub code: u16,
    /// The reason that the peer, or `close`, gave.
    pub reason: String,
    /// Why; `None` after `close`.
    pub error: Option<Error>,
}

/// One thing that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message of the application. Each once, in the order of the server.
    Message(Message),
    /// A connection was authenticated. Comes before any message on it.
    Opened(Opened),
    /// A connection was lost, and the client comes back.
    Lost(Lost),
    /// Something went wrong that no call can be told about; the connection lives on.
    Fault(Error),
    /// The end: nothing follows.
    Closed(Closed),
}
