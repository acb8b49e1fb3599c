//! What happened in a world, in order. Checkers read it afterwards, and two runs of one seed must have the same.

use std::fmt;

/// What one message is known by: who wrote it and the how-manieth it was. It stands in the message itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The number of the peer.
    pub peer: u32,
    /// The number of its message.
    pub message: u32,
}

impl Tag {
    /// Reads the tag that `text` begins with.
    pub fn of(text: &str) -> Option<Self> {
        let (tag, _) = text.split_once(' ').unwrap_or((text, ""));
        let (peer, message) = tag.strip_prefix('#')?.split_once('.')?;
        Some(Self { peer: peer.parse().ok()?, message: message.parse().ok()? })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.peer, self.message)
    }
}

/// How a peer meant a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// As the protocol says.
    Well,
    /// Without the right CSRF token.
    WithoutCsrf,
}

/// Something that happened.
#[expect(missing_docs, reason = "a field says what it is, and its event says the rest")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A server began, the how-manieth of its world.
    Started { generation: u32 },
    /// The server is gone, without a word.
    Crashed { generation: u32 },
    /// Tokens of these keys are good.
    Keys { in_force: Vec<u32> },
    /// These roles may send `admin`; nobody where it is empty.
    Roles { admit: Vec<String> },
    /// Something was done to the world.
    Hardship { what: String },
    /// The issuer, or a forger, made a token.
    Minted { token: u32, subject: String, roles: Vec<String>, key: u32, expires_at: u64, genuine: bool },
    /// A peer showed a token on a link: a cookie with its proof, from a page of the right origin.
    Presented { peer: u32, link: u32, token: u32 },
    /// A peer used a ticket on a link.
    Redeemed { link: u32, ticket: String },
    /// The answer to a handshake, or to a request for a ticket or a proof: status, and the reference where it was refused.
    Answered { peer: u32, link: u32, address: String, status: u16, reference: Option<String> },
    /// A client has its welcome.
    Welcomed { peer: u32, link: u32, session: String, subject: String, resumed: bool },
    /// The server admitted a handshake, or a request for a ticket or a proof, and when that was asked.
    Admitted { generation: u32, address: String, asked: u64 },
    /// The server's wall clock jumped.
    Clock { from: u64, to: u64 },
    /// The server gave a ticket: by its wall clock when it was asked, when it is given, and until when that is good.
    Ticketed { generation: u32, asked: u64, given: u64, ends: u64 },
    /// Somebody is kept out, until then.
    Banned { generation: u32, who: Target, until: u64 },
    /// A client sent a message.
    Sent { peer: u32, link: u32, tag: Tag, meant: Meant },
    /// The application got a message.
    Handled {
        generation: u32,
        session: String,
        subject: String,
        token: Option<u32>,
        kind: String,
        id: Option<String>,
        text: String,
        unix: u64,
    },
    /// The application answered a message for which it took its time, or refused it: in words, or by dropping it.
    Settled { tag: Tag, acked: bool, in_words: bool },
    /// The application sent a frame to a session: to everybody in the room, or to it alone.
    Told { generation: u32, session: String, tag: Tag, alone: bool },
    /// A client received an application frame.
    Received { peer: u32, session: String, seq: u64, tag: Option<Tag>, alone: bool },
    /// A client received an `ack`.
    Acked { peer: u32, tag: Tag },
    /// A client received an `error`.
    Refused { peer: u32, link: u32, code: String, reference: String },
    /// A client received a close frame.
    Closed { peer: u32, link: u32, code: u16 },
    /// What the operator's log got.
    Record {
        generation: u32,
        action: String,
        reason: Option<String>,
        code: Option<String>,
        reference: Option<String>,
        client: Option<String>,
        session: Option<String>,
        subject: Option<String>,
        close_code: Option<u16>,
    },
    /// A revocation is in force; `kept`: it outlives the process.
    Revoked { generation: u32, target: Target, kept: bool },
    /// Tokens that were issued before are good no more, whosever they are.
    CutOff { to: u64 },
    /// Sessions that were open a second after a revocation that covers them.
    StillOpen { generation: u32, sessions: Vec<String> },
    /// How a well-behaved client was at the end.
    Ended { peer: u32, session: Option<String>, waiting: usize, done: bool },
}

/// What a revocation or a ban is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// One token.
    Token(u32),
    /// Everything of one subject.
    Subject(String),
    /// One session.
    Session(String),
    /// One address.
    Address(String),
}

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Milliseconds since the world began.
    pub at: u64,
    /// What.
    pub event: Event,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} {:?}", self.at, self.event)
    }
}

/// What the server held at one moment. Not part of the comparison of two runs: an allocator may round.
#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    /// Milliseconds since the world began.
    pub at: u64,
    /// Bytes of memory beyond those of an empty server.
    pub heap: i64,
    /// Bytes of memory of an empty server.
    pub empty: i64,
    /// Connections, of all servers that a crash left behind too.
    pub connections: u64,
    /// Links with a request that has no answer yet.
    pub knocking: usize,
    /// Sessions of the subject that has most of them, of one server.
    pub of_subject: usize,
    /// Sessions that wait for their clients.
    pub detached: usize,
    /// Bytes that are kept to be replayed.
    pub replay: usize,
    /// Bans in force.
    pub bans: usize,
    /// Revocations in force.
    pub revocations: usize,
}
