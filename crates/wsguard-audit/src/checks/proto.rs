//! What the checks of the protocol share: a handshake that should be refused, and frames that should end a connection.

use crate::outcome::Outcome;
use crate::probe::request::Request;
use crate::probe::session::{Answer, Message, Session};
use crate::probe::socket::Event;
use crate::probe::{Handshake, Probe};

/// What a handshake brought that RFC 6455 wants refused.
pub(super) enum Reply {
    /// 101, whatever stands beside it.
    Accepted,
    /// Another status; `None`: the connection ended without one.
    Refused(Option<u16>, String),
    /// Nothing was learnt.
    Nothing(Outcome),
}

/// Sends a handshake and takes every 101 for an acceptance.
pub(super) async fn reply(probe: &Probe, request: &Request) -> Reply {
    match probe.handshake(request).await {
        Handshake::Opened(socket) => {
            socket.close().await;
            Reply::Accepted
        }
        Handshake::Refused(response) if response.status == 101 => Reply::Accepted,
        Handshake::Refused(response) => Reply::Refused(Some(response.status), response.to_string()),
        Handshake::Dropped(end) => Reply::Refused(None, end.to_string()),
        Handshake::Limited(response) => {
            Reply::Nothing(Outcome::unknown(format!("the target limits the audit: {response}")))
        }
        Handshake::Unreached(why) => Reply::Nothing(Outcome::unknown(why.to_string())),
    }
}

/// What followed on frames that RFC 6455 forbids.
pub(super) enum After {
    /// The message that they carried was answered.
    Answered(String),
    /// The connection ended.
    Ended(Event),
    /// The connection lives on: how that was seen.
    LivesOn(String),
    /// It is open and answers nothing any more.
    Stuck,
    /// Nothing was learnt.
    Nothing(Outcome),
}

impl After {
    /// For evidence.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Answered(reply) => format!("answered: {}", crate::probe::shortened(reply)),
            Self::Ended(end) => end.to_string(),
            Self::LivesOn(how) => format!("the connection lives on, {how}"),
            Self::Stuck => "the connection stays open and answers nothing any more".into(),
            Self::Nothing(outcome) => outcome.evidence.join("; "),
        }
    }
}

/// Watches what follows on what was sent: an answer to `message`, the end, or a connection that lives on.
pub(super) async fn after(session: &mut Session, message: Option<&Message>, seconds: f64) -> After {
    let first = match message {
        Some(message) => session.answer_to(message, seconds).await,
        None => match session.until_end(seconds).await {
            end if end.is_end() => return After::Ended(end),
            _ => Answer::Silent(Vec::new()),
        },
    };
    follows(session, first).await
}

/// The same with the first answer known.
pub(super) async fn follows(session: &mut Session, first: Answer) -> After {
    match first {
        Answer::Served(reply) => After::Answered(reply),
        Answer::Silent(_) => lives(session).await,
        other => settled(session, other).await,
    }
}

/// Whether the connection is of use still. A message tells best: some servers end at a ping.
async fn lives(session: &mut Session) -> After {
    if let Some(next) = session.message() {
        return match session.ask_with(&next.text.clone(), &next).await {
            Answer::Served(_) => alive(session, "the next message is answered").await,
            Answer::Silent(_) => After::Stuck,
            other => settled(session, other).await,
        };
    }
    if let Err(spent) = session.socket.send(&crate::probe::frame::Frame::ping("lives")).await {
        return After::Nothing(Outcome::unknown(spent.to_string()));
    }
    loop {
        match session.hear(3.0).await {
            Event::Pong(_) => return alive(session, "a ping is answered").await,
            Event::Quiet => return After::Stuck,
            end if end.is_end() => return After::Ended(end),
            _ => {}
        }
    }
}

/// An answer can overtake the close that refuses what came before it.
async fn alive(session: &mut Session, how: &str) -> After {
    match session.until_end(0.7).await {
        end if end.is_end() => After::Ended(end),
        _ => After::LivesOn(how.to_owned()),
    }
}

async fn settled(session: &mut Session, answer: Answer) -> After {
    match answer {
        Answer::Ended(end) => After::Ended(end),
        // An error before the close is a refusal all the same.
        Answer::Refused(text) => match session.until_end(1.0).await {
            end if end.is_end() => After::Ended(end),
            _ => After::LivesOn(format!("an error is answered: {}", crate::probe::shortened(&text))),
        },
        other => After::Nothing(Outcome::unknown(other.shown())),
    }
}
