//! How far a peer gets: refused at the handshake, closed behind it, open but useless, or served.

use std::fmt;

use super::budget::Spent;
use super::link::End;
use super::request::Request;
use super::response::Response;
use super::session::{Answer, Session, is_limit};
use super::socket::{Event, Socket};
use super::{Handshake, Probe};
use crate::Outcome;
use crate::discover::Way;

/// How the target said no.
#[derive(Clone, Debug)]
pub(crate) enum Denial {
    /// With a status.
    Http(Response),
    /// With an end of the open connection.
    Closed(Event),
    /// With a message, and the end that followed it.
    Message(String, Option<Event>),
    /// By ending the connection without an answer.
    Dropped(End),
    /// It did not: the audit may not send any more.
    Spent(Spent),
}

impl Denial {
    /// A message that says no, and the close that often follows it at once.
    pub(crate) async fn of_message(text: String, socket: &mut Socket) -> Self {
        let end = socket.until_end(0.3).await;
        Self::Message(text, end.is_end().then_some(end))
    }

    /// The close code, if it came to one.
    pub(crate) fn close_code(&self) -> Option<u16> {
        match self {
            Self::Closed(Event::Close { code, .. }) | Self::Message(_, Some(Event::Close { code, .. })) => *code,
            _ => None,
        }
    }

    /// The status, if it was one.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Http(response) => Some(response.status),
            _ => None,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(response) => response.fmt(f),
            Self::Closed(event) => write!(f, "{event} after the upgrade"),
            Self::Message(text, None) => write!(f, "message {}", super::shortened(text)),
            Self::Message(text, Some(end)) => write!(f, "message {}, then {end}", super::shortened(text)),
            Self::Dropped(end) => write!(f, "{end} without an answer"),
            Self::Spent(spent) => spent.fmt(f),
        }
    }
}

/// How far a peer got.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The target answered the template: the peer is in.
    Served {
        /// The connection.
        session: Box<Session>,
        /// The answer.
        reply: String,
    },
    /// The connection is open and stays so; nothing was answered.
    Open {
        /// The connection.
        session: Box<Session>,
        /// What came.
        heard: Vec<String>,
    },
    /// The target said no.
    Denied(Denial),
    /// The target limits the audit: evidence for nothing else.
    Limited(String),
    /// Nothing was learnt.
    Unreached(String),
}

impl Entry {
    /// For evidence.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Served { reply, .. } => format!("101 and the answer {}", super::shortened(reply)),
            Self::Open { heard, .. } if heard.is_empty() => "101, and the connection stays open".into(),
            Self::Open { heard, .. } => {
                format!("101, the connection stays open, and came: {}", super::shortened(&heard.join(" ")))
            }
            Self::Denied(denial) => denial.to_string(),
            Self::Limited(how) => format!("the target limits the audit: {how}"),
            Self::Unreached(why) => why.clone(),
        }
    }

    /// The peer was let in, as far as can be told.
    pub(crate) fn is_in(&self) -> bool {
        matches!(self, Self::Served { .. } | Self::Open { .. })
    }

    /// The peer got further than `other` did.
    pub(crate) fn is_beyond(&self, other: &Self) -> bool {
        let reach = |entry: &Self| match entry {
            Self::Served { .. } => 2,
            Self::Open { .. } => 1,
            _ => 0,
        };
        reach(self) > reach(other)
    }
}

impl From<Denial> for Entry {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Spent(spent) => Self::Unreached(spent.to_string()),
            Denial::Message(text, end) if is_limit(&text) => Self::Limited(Denial::Message(text, end).to_string()),
            denial if matches!(denial.close_code(), Some(4429 | 1013)) => Self::Limited(denial.to_string()),
            denial => Self::Denied(denial),
        }
    }
}

/// Time in which a target that lets everybody open a connection closes those it does not want, in seconds.
const GRACE_SECONDS: f64 = 2.0;

impl Probe {
    /// Sends a handshake, speaks the target's language with `credential`, sends the template if there is one, and says
    /// how far that went. Where nothing is answered, waits 2 s for a late close.
    pub(crate) async fn enter(&self, request: &Request, credential: Option<&str>) -> Entry {
        self.enter_by(self.way(), request, credential).await
    }

    /// The same with another way of speaking than the one that was found.
    pub(crate) async fn enter_by(&self, way: &Way, request: &Request, credential: Option<&str>) -> Entry {
        let handshake = self.handshake(&request.anew()).await;
        self.enter_behind(handshake, way, credential).await
    }

    /// The same behind a handshake that was sent.
    pub(crate) async fn enter_behind(&self, handshake: Handshake, way: &Way, credential: Option<&str>) -> Entry {
        let mut session = match self.admit_behind(handshake, way, credential).await {
            Entry::Open { session, .. } => session,
            other => return other,
        };
        let mut heard = session.greeting.clone();
        match session.message() {
            Some(message) => {
                let text = message.text.clone();
                match session.ask_with(&text, &message).await {
                    Answer::Served(reply) => return Entry::Served { session, reply },
                    Answer::Refused(text) => return Denial::of_message(text, &mut session.socket).await.into(),
                    Answer::Limited(text) => return Entry::Limited(text),
                    Answer::Ended(event) => return Denial::Closed(event).into(),
                    Answer::Spent(spent) => return Entry::Unreached(spent.to_string()),
                    Answer::Silent(other) => heard.extend(other),
                }
            }
            None => loop {
                match session.hear(GRACE_SECONDS).await {
                    Event::Text(text) => {
                        let is_no = crate::discover::dialect::is_refusal(&text);
                        if is_no {
                            return Denial::of_message(text, &mut session.socket).await.into();
                        }
                        heard.push(text);
                        // A talkative target would be listened to for ever.
                        if heard.len() >= 5 {
                            break;
                        }
                    }
                    Event::Quiet => break,
                    event if event.is_end() => return Denial::Closed(event).into(),
                    _ => {}
                }
            },
        }
        Entry::Open { session, heard }
    }

    /// Sends a handshake and speaks until messages could be sent, without sending one.
    pub(crate) async fn admit(&self, request: &Request, credential: Option<&str>) -> Entry {
        self.admit_by(self.way(), request, credential).await
    }

    pub(crate) async fn admit_by(&self, way: &Way, request: &Request, credential: Option<&str>) -> Entry {
        let handshake = self.handshake(&request.anew()).await;
        self.admit_behind(handshake, way, credential).await
    }

    /// The same behind a handshake that was sent.
    pub(crate) async fn admit_behind(&self, handshake: Handshake, way: &Way, credential: Option<&str>) -> Entry {
        match handshake {
            Handshake::Opened(socket) => match Session::establish(socket, way, credential).await {
                Ok(session) => Entry::Open { session: Box::new(session), heard: Vec::new() },
                Err(denial) => denial.into(),
            },
            Handshake::Refused(response) => Entry::Denied(Denial::Http(response)),
            Handshake::Limited(response) => Entry::Limited(response.to_string()),
            Handshake::Dropped(end) => Entry::Denied(Denial::Dropped(end)),
            Handshake::Unreached(why) => Entry::Unreached(why.to_string()),
        }
    }
}

impl Entry {
    /// The outcome where nothing was learnt: a limit of the target, or no answer.
    pub(crate) fn undecided(&self) -> Option<Outcome> {
        match self {
            Self::Limited(_) => Some(Outcome::unknown(self.shown()).settled_by("another run, later")),
            Self::Unreached(_) => Some(Outcome::unknown(self.shown())),
            _ => None,
        }
    }
}

impl Probe {
    /// As [`enter`](Self::enter), with the credential of `--token` in whatever comes behind the handshake.
    pub(crate) async fn enter_as_self(&self, request: &Request) -> Entry {
        let credential = self.options().token.clone();
        self.enter(request, credential.as_deref()).await
    }
}
