//! What a peer learns of a refusal, and what the operator does.

use std::collections::BTreeMap;

use super::{Checker, Violation};
use crate::trace::{Entry, Event};

pub(super) fn check(trace: &[Entry], found: &mut Vec<Violation>) {
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
