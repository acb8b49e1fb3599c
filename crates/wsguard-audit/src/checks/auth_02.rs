//! Work before the introduction.

use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::session::{Answer, Session};
use crate::probe::{Handshake, Probe};

pub(super) const META: Meta = Meta {
    id: "WSA-AUTH-02",
    title: "Nothing handled before the login",
    category: Category::Authentication,
    severity: Severity::High,
    needs: &[Need::Baseline, Need::Template, Need::Credential],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[862], asvs: &["8.3.1"], url: "https://cwe.mitre.org/data/definitions/862.html" },
    what: "Where the credential comes in a message: opens a connection and sends the message that the good connection \
           gets an answer to as the very first, before any login.",
    why: "Where the login is a message among others, a handler that does not ask whether it came serves everybody.",
    remedy: "Keep a connection in a state in which nothing but the login is handled, and close it at anything else.",
    traps: "A target that asks in the handshake has no such state: the check does not apply. A generic acknowledgement is \
            no answer: only what the template expects counts.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let way = probe.way();
    if way.placement.is_in_handshake() {
        return Outcome::skipped(format!("the credential is asked for in the handshake ({})", way.placement.name()));
    }
    before_login(probe).await
}

/// The template as the very first message of a connection without a credential.
pub(super) async fn before_login(probe: &Probe) -> Outcome {
    let socket = match probe.handshake(&probe.request_as(None)).await {
        Handshake::Opened(socket) => socket,
        Handshake::Limited(response) => return Outcome::unknown(format!("the target limits the audit: {response}")),
        Handshake::Refused(response) => return Outcome::pass(format!("without a credential: {response}")),
        Handshake::Dropped(end) => return Outcome::pass(format!("without a credential: {end}")).probable(),
        Handshake::Unreached(why) => return Outcome::unknown(why.to_string()),
    };
    let mut session = Session::unready(socket, probe.way());
    let Some(message) = session.message() else { return Outcome::unknown("needs a message that the target answers") };
    let text = message.text.clone();
    match session.ask_with(&text, &message).await {
        Answer::Served(reply) => {
            Outcome::fail(format!("answered before any login: {}", crate::probe::shortened(&reply)))
        }
        answer @ (Answer::Refused(_) | Answer::Ended(_)) => {
            Outcome::pass(format!("before any login: {}", answer.shown()))
        }
        Answer::Silent(_) => Outcome::pass("before any login: no answer within 3 s").probable(),
        answer => Outcome::unknown(answer.shown()),
    }
}
