//! The hijack itself.

use serde_json::Value;

use super::csrf_01::FOREIGN;
use crate::check::{Category, Meta, Need, Refs, Severity, Turn};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::probe::entry::Entry;
use crate::probe::session::Answer;

pub(super) const META: Meta = Meta {
    id: "WSA-CSRF-09",
    title: "No answer to a hijacked connection",
    category: Category::Csrf,
    severity: Severity::Critical,
    needs: &[Need::Baseline, Need::Template],
    turn: Turn::Quiet,
    intrusive: false,
    since: "0.1.0",
    refs: Refs { cwe: &[1385, 352], asvs: &["3.5.1"], url: "https://www.rfc-editor.org/rfc/rfc6455#section-10.2" },
    what: "With a cookie: opens the connection from a foreign page and sends the message that the good connection gets \
           an answer to. Where the target gives CSRF tokens: sends that message without its token, and with a wrong one.",
    why: "An answer is the proof that any page may act as the visitor.",
    remedy: "Compare the Origin; bind messages to a token that a foreign page cannot read.",
    traps: "Needs an account for tests. An answer that everybody gets, without a cookie too, is no hijack. A target \
            without CSRF tokens whose credential is no cookie needs none: the check does not apply.",
};

pub(super) async fn run(probe: &Probe) -> Outcome {
    let hijack = if probe.way().is_ambient(probe.options()) { Some(hijack(probe).await) } else { None };
    if let Some(outcome) = hijack.as_ref().filter(|outcome| outcome.status != crate::Status::Pass) {
        return outcome.clone();
    }
    match (tokens(probe).await, hijack) {
        (Some(outcome), Some(first)) => outcome.and_all(first.evidence),
        (Some(outcome), None) => outcome,
        (None, Some(first)) => first,
        (None, None) => Outcome::skipped("the credential is no cookie, and the target uses no CSRF tokens"),
    }
}

async fn hijack(probe: &Probe) -> Outcome {
    let entry = probe.enter_as_self(&probe.request().origin(FOREIGN)).await;
    if let Some(outcome) = entry.undecided() {
        return outcome;
    }
    let seen = format!("from {FOREIGN} with the cookie: {}", entry.shown());
    match entry {
        Entry::Served { .. } if !probe.way().asks_credential => {
            Outcome::unknown(seen).and("the same answer comes without the cookie: nothing of the visitor is in it")
        }
        Entry::Served { .. } => Outcome::fail(seen),
        Entry::Denied(_) => Outcome::pass(seen),
        _ => Outcome::unknown(seen)
            .and("the connection is open, and nothing was answered")
            .settled_by("--send and --expect"),
    }
}

/// The CSRF token of the target, dropped and altered; `None` where it has none.
async fn tokens(probe: &Probe) -> Option<Outcome> {
    let mut evidence = Vec::new();
    for change in ["without its CSRF token", "with a wrong CSRF token"] {
        let mut session = match probe.session().await {
            Ok(session) => session,
            Err(outcome) => return Some(outcome),
        };
        let message = session.message()?;
        if session.csrf.is_empty() || !message.text.contains(&session.csrf) {
            return None;
        }
        let changed = if change.starts_with("without") {
            without_member(&message.text, "csrfToken")?
        } else {
            message.text.replace(&session.csrf, &super::auth_03::invented(&session.csrf))
        };
        match session.ask_with(&changed, &message).await {
            Answer::Served(reply) => {
                let seen = format!("a message {change} was answered: {}", crate::probe::shortened(&reply));
                // What the token is worth depends on whether a foreign page gets this far.
                return Some(if probe.way().is_ambient(probe.options()) {
                    Outcome::fail(seen).at(Severity::High)
                } else {
                    Outcome::fail(seen)
                        .at(Severity::Medium)
                        .and("the credential is no cookie: a second line of defence only")
                });
            }
            answer @ (Answer::Refused(_) | Answer::Ended(_)) => {
                evidence.push(format!("a message {change}: {}", answer.shown()));
            }
            Answer::Silent(_) if session.still_serves().await => {
                evidence.push(format!("a message {change}: not answered"));
            }
            answer => {
                return Some(Outcome::unknown(format!("a message {change}: {}", answer.shown())).and_all(evidence));
            }
        }
        session.close().await;
    }
    let first = evidence.first().cloned().unwrap_or_default();
    Some(Outcome::pass(first).and_all(evidence.into_iter().skip(1)))
}

fn without_member(text: &str, name: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    value.as_object_mut()?.remove(name)?;
    Some(value.to_string())
}
