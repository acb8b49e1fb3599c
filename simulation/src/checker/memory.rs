//! What the server holds, against what its limits allow.

use std::collections::BTreeMap;

use wsguard::store::TICKETS_MAX;
use wsguard_core::control::penalty::BANS_MAX;
use wsguard_core::control::revocation::REVOCATIONS_MAX;

use super::{Checker, Violation};
use crate::node::{DETACHED, MESSAGE_BYTES, QUEUE, REPLAY};
use crate::trace::{Entry, Event, Gauge};

/// What is held once and for all, beyond the empty tables of each server: the buffers of the thread, and what the tables of
/// the first server grow by when they are used.
const FIXED_BYTES: i64 = 480 * 1024;

/// What the tables of each further server grow by.
const SERVER_BYTES: i64 = 256 * 1024;

/// What a connection may hold: an unfinished message, a full queue that was taken out to be written and another behind it,
/// what one read caused, what a session is.
const CONNECTION_BYTES: usize = MESSAGE_BYTES + 2 * QUEUE.bytes + 16 * 1024 + 16 * 1024;

/// What a request may hold before it is answered.
const KNOCKING_BYTES: usize = 24 * 1024;

/// What a session that waits may hold, beside its replay.
const DETACHED_BYTES: usize = 8 * 1024;

pub(super) fn check(trace: &[Entry], gauges: &[Gauge], found: &mut Vec<Violation>) {
    tickets(trace, found);
    let starts: Vec<_> =
        trace.iter().filter(|entry| matches!(entry.event, Event::Started { .. })).map(|entry| entry.at).collect();
    for gauge in gauges {
        let started = starts.iter().filter(|at| **at <= gauge.at).count();
        let connections = usize::try_from(gauge.connections).unwrap_or(usize::MAX) * CONNECTION_BYTES;
        let sessions = connections + gauge.knocking * KNOCKING_BYTES + gauge.detached * DETACHED_BYTES + gauge.replay;
        let servers = i64::try_from(started).unwrap_or(0);
        let further = (servers - 1).max(0) * (gauge.empty + SERVER_BYTES);
        let most = FIXED_BYTES + further + i64::try_from(sessions).unwrap_or(0);
        let mut wrong = |what| found.push(Violation { checker: Checker::Memory, at: gauge.at, what });
        if gauge.heap > most {
            wrong(format!("{} bytes are held, {most} at most for {gauge:?}", gauge.heap));
        }
        if gauge.detached > started * usize::try_from(DETACHED.1).unwrap_or(0) {
            wrong(format!("{} sessions wait", gauge.detached));
        }
        if gauge.replay > started * REPLAY.1 {
            wrong(format!("{} bytes are kept to be replayed", gauge.replay));
        }
        if gauge.bans > started * BANS_MAX {
            wrong(format!("{} bans are in force", gauge.bans));
        }
        if gauge.revocations > started * REVOCATIONS_MAX {
            wrong(format!("{} revocations are in force", gauge.revocations));
        }
    }
}

/// How far the server's clock may go back while a ticket waits.
const SET_BACK_MS: u64 = 5_000;

/// Tickets that wait: given, and not ended by the server's clock, which may have jumped there and back meanwhile.
fn tickets(trace: &[Entry], found: &mut Vec<Violation>) {
    let mut waiting: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    let let_go = |waiting: &mut Vec<(u64, u64)>, one: u64, other: u64| {
        waiting.retain(|(begun, ends)| *ends > one.max(other) && *begun <= one.min(other) + SET_BACK_MS);
    };
    for entry in trace {
        match &entry.event {
            Event::Clock { from, to } => waiting.values_mut().for_each(|waiting| let_go(waiting, *from, *to)),
            Event::Ticketed { generation, asked, given, ends } => {
                let waiting = waiting.entry(*generation).or_default();
                // A store that is slow looks at the clock later.
                let_go(waiting, *asked, *given);
                waiting.push((*asked.max(given), *ends));
                if waiting.len() > TICKETS_MAX {
                    let what = format!("{} tickets wait", waiting.len());
                    found.push(Violation { checker: Checker::Memory, at: entry.at, what });
                }
            }
            _ => {}
        }
    }
}
