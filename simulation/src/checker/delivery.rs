//! Exactly once in both directions, and that it ends well for those who follow the protocol.

use std::collections::BTreeMap;

use super::{Checker, Violation};
use crate::desk;
use crate::scenario::Scenario;
use crate::trace::{Entry, Event, Tag};

#[derive(Default)]
struct Told {
    alone: Vec<Tag>,
    to_all: Vec<Tag>,
}

pub(super) fn check(scenario: &Scenario, trace: &[Entry], found: &mut Vec<Violation>) {
    once(trace, found);
    replay(trace, found);
    for plan in scenario.peers.iter().filter(|plan| plan.kind.is_honest()) {
        let ended = trace.iter().rev().find_map(|entry| match &entry.event {
            Event::Ended { peer, session, waiting, done } if *peer == plan.number => {
                Some((entry.at, session.is_some(), *waiting, *done))
            }
            _ => None,
        });
        match ended {
            Some((_, true, 0, false)) => {}
            Some((_, false, _, true)) if is_cut_off(trace, plan.number) => {}
            Some((at, is_there, waiting, done)) => {
                let what = format!(
                    "peer {} follows the protocol and is {} at the end, {waiting} messages unanswered{}",
                    plan.number,
                    if is_there { "there" } else { "not there" },
                    if done { ", told not to come back" } else { "" },
                );
                found.push(Violation { checker: Checker::Service, at, what });
            }
            None => found.push(Violation {
                checker: Checker::Service,
                at: 0,
                what: format!("peer {} never came to its end", plan.number),
            }),
        }
    }
}

/// Time in which a cut-off reaches whoever is open, and in which tokens are issued that it still refuses.
const CUT_OFF_MS: u64 = 15_000;

/// Whether the peer was last told to go soon after a cut-off, which refuses more than was revoked.
fn is_cut_off(trace: &[Entry], number: u32) -> bool {
    let told = trace.iter().rev().find_map(|entry| match entry.event {
        Event::Closed { peer, code: 4403, .. } if peer == number => Some(entry.at),
        _ => None,
    });
    let is_before = |told: u64| {
        trace.iter().any(|entry| {
            matches!(entry.event, Event::CutOff { .. }) && (entry.at..entry.at + CUT_OFF_MS).contains(&told)
        })
    };
    told.is_some_and(is_before)
}

fn once(trace: &[Entry], found: &mut Vec<Violation>) {
    // Of each message whether it is done: one that the application keeps is handled, but not to its end.
    let (mut messages, mut ids) = (BTreeMap::new(), BTreeMap::new());
    for entry in trace {
        let mut wrong = |what| found.push(Violation { checker: Checker::Once, at: entry.at, what });
        match &entry.event {
            Event::Handled { generation, session, id, kind, text, .. } => {
                let Some(tag) = Tag::of(text) else {
                    continue;
                };
                let is_done = kind != desk::LATER && kind != desk::NEVER;
                if messages.insert(tag, is_done).is_some() {
                    wrong(format!("{text:?} is handled twice"));
                }
                if let Some(id) = id
                    && ids.insert((*generation, session, id), tag).is_some()
                {
                    wrong(format!("id {id} of session {session} is handled twice"));
                }
            }
            Event::Settled { tag, acked: true, .. } => {
                messages.insert(*tag, true);
            }
            // What the application refused is not remembered: sent again it is a new try.
            Event::Settled { tag, acked: false, .. } => {
                messages.remove(tag);
                ids.retain(|_, of| of != tag);
            }
            Event::Acked { tag, .. } if messages.get(tag) != Some(&true) => {
                wrong(format!("{tag} is acknowledged and was not handled to its end"));
            }
            _ => {}
        }
    }
}

fn replay(trace: &[Entry], found: &mut Vec<Violation>) {
    let mut told: BTreeMap<&str, Told> = BTreeMap::new();
    for entry in trace {
        if let Event::Told { session, tag, alone, .. } = &entry.event {
            let told = told.entry(session).or_default();
            if *alone { told.alone.push(*tag) } else { told.to_all.push(*tag) }
        }
    }
    let none = Told::default();
    let mut received: BTreeMap<&str, (u64, usize, usize)> = BTreeMap::new();
    for entry in trace {
        let mut wrong = |what| found.push(Violation { checker: Checker::Replay, at: entry.at, what });
        match &entry.event {
            Event::Received { session, seq, tag, alone, .. } => {
                let (last, of_alone, of_all) = received.entry(session).or_default();
                if *seq != *last + 1 {
                    wrong(format!("frame {seq} of session {session} arrives after frame {last}"));
                }
                *last = *seq;
                let of_session = told.get(session.as_str()).unwrap_or(&none);
                let (sent, index) = if *alone { (&of_session.alone, of_alone) } else { (&of_session.to_all, of_all) };
                let expected = sent.get(*index);
                *index += 1;
                if expected != tag.as_ref() {
                    wrong(format!("frame {seq} of session {session} is {tag:?} in place of {expected:?}"));
                }
            }
            Event::Ended { session: Some(session), .. } => {
                let (_, of_alone, of_all) = received.get(session.as_str()).copied().unwrap_or_default();
                let told = told.get(session.as_str()).unwrap_or(&none);
                let lacks = told.alone.len().saturating_sub(of_alone) + told.to_all.len().saturating_sub(of_all);
                if lacks > 0 {
                    wrong(format!("session {session} lacks {lacks} frames at the end"));
                }
            }
            _ => {}
        }
    }
}
