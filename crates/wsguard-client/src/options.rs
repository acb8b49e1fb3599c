//! What can be chosen, and the defaults.

use std::time::Duration;

/// How the token reaches the server. It never stands in the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Auth {
    /// `Authorization: Bearer TOKEN`: for programs, and the default.
    #[default]
    Bearer,
    /// An entry of `Sec-WebSocket-Protocol`, as browsers do: where something on the way removes `Authorization`.
    Subprotocol,
    /// `POST /ws/ticket` with the token as bearer, then the ticket in the address: where something on the way logs headers.
    Ticket,
    /// The first message: where nothing but the WebSocket reaches the server.
    FirstMessage,
}

/// What happens to a message beyond the limits of the queue. Whichever message it is ends with `queue_full`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The new message is not taken.
    #[default]
    Reject,
    /// The oldest that was not yet written makes room.
    DropOldest,
    /// The newest that was not yet written makes room.
    DropNewest,
}

/// What happens to messages in flight when the session was lost with the server's process, so that nobody knows whether
/// they were handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnLost {
    /// They end with `delivery_unknown`.
    #[default]
    Reject,
    /// They are sent again: for messages whose repetition does no harm.
    Resend,
}

/// Limits of the messages that wait for their acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) overflow: Overflow,
}

impl Default for Queue {
    /// 1,000 messages, 1 MiB, [`Overflow::Reject`]: a minute without a network, and no more memory than one large page.
    fn default() -> Self {
        Self { messages_max: 1_000, bytes_max: 1_048_576, overflow: Overflow::Reject }
    }
}

impl Queue {
    /// At most `messages` messages of together at most `bytes` bytes, those in flight included.
    pub fn bounded(messages: usize, bytes: usize) -> Self {
        Self { messages_max: messages, bytes_max: bytes, ..Self::default() }
    }

    /// What happens to a message beyond the limits.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

/// When and how fast to come back after a connection was lost: exponential backoff with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconnect {
    pub(crate) delay_min: Duration,
    pub(crate) delay_max: Duration,
    pub(crate) stable_after: Duration,
}

impl Default for Reconnect {
    /// Delays drawn below 500 ms, then below twice as much each time, up to 20 s; they start over once a connection was
    /// open for 5 s.
    fn default() -> Self {
        Self {
            delay_min: Duration::from_millis(500),
            delay_max: Duration::from_secs(20),
            stable_after: Duration::from_secs(5),
        }
    }
}

impl Reconnect {
    /// The first delay is drawn from 0 to `min`; the bound doubles with each try, up to `max`.
    pub fn full_jitter(min: Duration, max: Duration) -> Self {
        Self { delay_min: min, delay_max: max, ..Self::default() }
    }

    /// How long a connection must stay open before the delays start over.
    #[must_use]
    pub fn stable_after(mut self, time: Duration) -> Self {
        self.stable_after = time;
        self
    }
}

/// Pings of the application, which measure the round trip and find a connection that is only half there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// As often as the server pings, where it is not set.
    pub(crate) interval: Option<Duration>,
    pub(crate) timeout: Duration,
}

impl Default for Pings {
    /// One with each heartbeat of the server (25 s unless it says otherwise), answered within 10 s.
    fn default() -> Self {
        Self { interval: None, timeout: Duration::from_secs(10) }
    }
}

impl Pings {
    /// One every `interval`; where nothing at all comes within `timeout` of one, the connection counts as lost.
    pub fn every(interval: Duration, timeout: Duration) -> Self {
        Self { interval: Some(interval), timeout }
    }
}

/// Everything that the session needs to know, with every default filled in.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) auth: Auth,
    /// Whether asking for a token again can bring another one.
    pub(crate) renewable: bool,
    pub(crate) reconnect: Option<Reconnect>,
    pub(crate) connect_timeout: Duration,
    pub(crate) ack_timeout: Duration,
    pub(crate) queue: Queue,
    pub(crate) on_lost: OnLost,
    pub(crate) pings: Option<Pings>,
    pub(crate) inbox_messages: usize,
    pub(crate) inbox_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auth: Auth::default(),
            renewable: false,
            reconnect: Some(Reconnect::default()),
            connect_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(30),
            queue: Queue::default(),
            on_lost: OnLost::default(),
            pings: Some(Pings::default()),
            inbox_messages: 1_024,
            inbox_bytes: 1_048_576,
        }
    }
}
