//! Who is kept out stays out, also when more are kept out than there is room for.

use std::collections::BTreeMap;

use wsguard_core::control::penalty::BANS_MAX;

use super::{Checker, Violation};
use crate::trace::{Entry, Event, Target};

/// Time in which a ban must have reached open connections.
const REACHED_AFTER_MS: u64 = 1_000;

/// When a ban began and when it ends.
#[derive(Clone, Copy)]
struct Ban {
    begun: u64,
    until: u64,
}

/// The bans of one server, by whom they keep out.
#[derive(Default)]
struct Bans<'t> {
    own: BTreeMap<&'t Target, Ban>,
    /// Bans of the servers before, which it may have taken over.
    older: usize,
}

impl Bans<'_> {
    /// Whether `who` is kept out at `at`, and was a while ago.
    fn keeps_out(&self, who: &Target, at: u64, begun_before: u64) -> bool {
        let Some(ban) = self.own.get(who).filter(|ban| ban.begun < begun_before && at < ban.until) else {
            return false;
        };
        // Those that end first make room.
        let longer = self.own.values().filter(|other| other.until >= ban.until).count() - 1;
        longer + self.older < BANS_MAX
    }
}

pub(super) fn check(trace: &[Entry], found: &mut Vec<Violation>) {
    let mut servers: BTreeMap<u32, Bans<'_>> = BTreeMap::new();
    for entry in trace {
        let mut wrong = |what| found.push(Violation { checker: Checker::Bans, at: entry.at, what });
        match &entry.event {
            Event::Started { generation } => {
                let older = servers.values().map(|bans| bans.own.len()).sum();
                servers.insert(*generation, Bans { own: BTreeMap::new(), older });
            }
            Event::Banned { generation, who, until } => {
                // Told where it is longer than one before.
                let ban = Ban { begun: entry.at, until: *until };
                servers.entry(*generation).or_default().own.insert(who, ban);
            }
            Event::Admitted { generation, address, asked } => {
                let who = Target::Address(address.clone());
                if servers.get(generation).is_some_and(|bans| bans.keeps_out(&who, *asked, *asked)) {
                    wrong(format!("{address} is admitted and is kept out"));
                }
            }
            Event::Handled { generation, subject, session, text, .. } => {
                let begun_before = entry.at.saturating_sub(REACHED_AFTER_MS);
                for who in [Target::Subject(subject.clone()), Target::Session(session.clone())] {
                    if servers.get(generation).is_some_and(|bans| bans.keeps_out(&who, entry.at, begun_before)) {
                        wrong(format!("{text:?} is handled; {who:?} is kept out"));
                    }
                }
            }
            _ => {}
        }
    }
}
