//! What a peer learns of a refusal, and what the operator does.

use std::collections::BTreeMap;

use super::{Checker, Violation};
use crate::app;
use crate::desk;
use crate::trace::{Entry, Event, Tag};

/// What the log says of what the application refused, at once or later, in words or by saying nothing.
const OF_APPLICATION: [&str; 3] = [app::REFUSED, desk::REFUSED_LATER, "message_unanswered"];

pub(super) fn check(trace: &[Entry], found: &mut Vec<Violation>) {
    references(trace, found);
    refusals_of_application(trace, found);
}

fn references(trace: &[Entry], found: &mut Vec<Violation>) {
    let mut records: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in trace {
        let mut wrong = |what| found.push(Violation { checker: Checker::References, at: entry.at, what });
        match &entry.event {
            Event::Record { reference: Some(reference), code, .. } => {
                let records = records.entry(reference).or_default();
                records.push(code.as_deref().unwrap_or_default());
                if records.len() > 1 {
                    wrong(format!("reference {reference} stands in the log twice"));
                }
            }
            // Before a session there is nobody to speak the envelope with: the close code is all.
            Event::Record { reference: None, code: Some(code), action, .. } if action != "connection_closed" => {
                wrong(format!("a refusal ({action}, {code}) has no reference"));
            }
            Event::Refused { reference, code, .. } => match records.get(reference.as_str()).map(Vec::as_slice) {
                None => wrong(format!("reference {reference} of an error does not stand in the log")),
                Some([recorded, ..]) if recorded != code => {
                    wrong(format!("reference {reference}: the peer learnt {code}, the log {recorded}"));
                }
                Some(_) => {}
            },
            Event::Answered { status, reference, .. } if *status >= 400 => match reference {
                None => wrong(format!("a handshake is refused with {status} and no reference")),
                Some(reference) if !records.contains_key(reference.as_str()) => {
                    wrong(format!("reference {reference} of a handshake does not stand in the log"));
                }
                Some(_) => {}
            },
            _ => {}
        }
    }
}

/// What the application refuses of one session.
#[derive(Default)]
struct Refusals {
    recorded: usize,
    /// In words, and when.
    in_words: Vec<u64>,
    /// By dropping messages. That is a refusal for as long as the session lives.
    dropped: usize,
    /// When its server crashed, which may have had refusals under way to the log.
    crashed: Option<u64>,
    /// Its connection is gone, and it does not wait for another.
    is_lost: bool,
    /// It was closed or dropped.
    is_over: bool,
}

impl Refusals {
    /// How many must stand in the log at least, `ended` being the world's last moment.
    fn least(&self, ended: u64) -> usize {
        let until = self.crashed.unwrap_or(ended).saturating_sub(UNDER_WAY_MS);
        let in_words = self.in_words.iter().filter(|at| **at <= until).count();
        if self.is_lost || self.is_over || self.crashed.is_some() { in_words } else { in_words + self.dropped }
    }

    fn most(&self) -> usize {
        self.in_words.len() + self.dropped
    }
}

/// Time that a refusal may be under way to its connection, which writes it down. A slow one has reads before it.
const UNDER_WAY_MS: u64 = 1_000;

/// Each refusal of the application has its record, whether its client is there, is awaited, or is gone for good.
fn refusals_of_application(trace: &[Entry], found: &mut Vec<Violation>) {
    let (mut sessions, mut of_message) = (BTreeMap::<&str, Refusals>::new(), BTreeMap::new());
    let mut of_generation = BTreeMap::<u32, Vec<&str>>::new();
    for entry in trace {
        match &entry.event {
            Event::Handled { generation, session, text, .. } => {
                if let Some(tag) = Tag::of(text) {
                    of_message.insert(tag, session);
                    of_generation.entry(*generation).or_default().push(session);
                }
            }
            Event::Crashed { generation } => {
                for session in of_generation.remove(generation).unwrap_or_default() {
                    sessions.entry(session).or_default().crashed = Some(entry.at);
                }
            }
            Event::Settled { tag, acked: false, in_words } => {
                if let Some(session) = of_message.get(tag) {
                    let refusals = sessions.entry(session).or_default();
                    if *in_words {
                        refusals.in_words.push(entry.at);
                    } else {
                        refusals.dropped += 1;
                    }
                }
            }
            Event::Record { session: Some(session), action, reason, close_code, .. } => {
                let refusals = sessions.entry(session).or_default();
                match action.as_str() {
                    "connection_closed_by_peer" => refusals.is_lost = true,
                    "session_detached" => refusals.is_lost = false,
                    "connection_closed" | "session_dropped" => refusals.is_over = true,
                    _ => refusals.is_over |= close_code.is_some(),
                }
                if reason.as_deref().is_some_and(|reason| OF_APPLICATION.contains(&reason)) {
                    refusals.recorded += 1;
                }
            }
            _ => {}
        }
    }
    let at = trace.last().map_or(0, |entry| entry.at);
    for (session, refusals) in sessions {
        let (least, recorded, most) = (refusals.least(at), refusals.recorded, refusals.most());
        if recorded < least || recorded > most {
            let what =
                format!("{least} to {most} refusals of the application in session {session}: {recorded} records");
            found.push(Violation { checker: Checker::References, at, what });
        }
    }
}
