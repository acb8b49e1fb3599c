//! Quotas in any window, and memory.

use std::collections::BTreeMap;

use super::{Checker, Violation};
use crate::node::{BYTES, DETACHED, HANDSHAKES, MESSAGE_BYTES, MESSAGES, PER_SUBJECT, QUEUE, REPLAY, TIGHT};
use crate::trace::{Entry, Event, Gauge};

const NANOS_PER_MS: u64 = 1_000_000;

/// What is held once and for all, beyond the empty tables of each server: the buffers of the thread, and what the tables of
/// the first server grow by when they are used.
const FIXED_BYTES: i64 = 512 * 1024;

/// What the tables of each further server grow by.
const SERVER_BYTES: i64 = 256 * 1024;

/// What a connection may hold: an unfinished message, a full queue that was taken out to be written and another behind it,
/// what one read caused, what a session is.
const CONNECTION_BYTES: usize = MESSAGE_BYTES + 2 * QUEUE.bytes + 16 * 1024 + 16 * 1024;

/// What a session that waits may hold, beside its replay.
const DETACHED_BYTES: usize = 8 * 1024;

/// Time that a session which lost its seat may take to be gone: a close frame to a peer that does not read, and the wait
/// for its answer.
const GONE_AFTER_MS: u64 = 3_200;

/// The strictest judge of a quota: what passes it is within the quota in every window.
#[derive(Default)]
struct Bucket(u64);

impl Bucket {
    /// `quota`: so many in a window, and so many at once.
    fn is_over(&mut self, at_ms: u64, units: u64, (count, window_ms, burst): (u64, u64, u64)) -> bool {
        let now = at_ms * NANOS_PER_MS;
        let unit = window_ms * NANOS_PER_MS / count;
        self.0 = self.0.max(now) + unit * units;
        let is_over = self.0 - now > unit * burst;
        if is_over {
            self.0 = now;
        }
        is_over
    }
}

pub(super) fn check(trace: &[Entry], gauges: &[Gauge], found: &mut Vec<Violation>) {
    let mut buckets: BTreeMap<(u32, &str, &str), Bucket> = BTreeMap::new();
    for entry in trace {
        let mut charge = |generation, what, key, units, (count, window, burst): (u32, u64, u32)| {
            let bucket = buckets.entry((generation, what, key)).or_default();
            if bucket.is_over(entry.at, units, (count.into(), window, burst.into())) {
                let what = format!("{what} of {key} are above their quota");
                found.push(Violation { checker: Checker::Quota, at: entry.at, what });
            }
        };
        match &entry.event {
            Event::Handled { generation, session, subject, kind, text, .. } => {
                charge(*generation, "messages", subject, 1, (MESSAGES.0, 1_000, MESSAGES.1));
                // A message is longer than its text.
                let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
                charge(*generation, "bytes", session, bytes, (BYTES.0, 1_000, BYTES.1));
                if kind == "tight" {
                    charge(*generation, "messages of type tight", subject, 1, (TIGHT.0, 1_000, TIGHT.1));
                }
            }
            Event::Admitted { generation, address } => {
                charge(*generation, "handshakes", address, 1, (HANDSHAKES, 10_000, HANDSHAKES));
            }
            _ => {}
        }
    }
    let starts: Vec<_> =
        trace.iter().filter(|entry| matches!(entry.event, Event::Started { .. })).map(|entry| entry.at).collect();
    let mut too_many_since = None;
    for gauge in gauges {
        let started = starts.iter().filter(|at| **at <= gauge.at).count();
        let connections = usize::try_from(gauge.connections).unwrap_or(usize::MAX);
        let sessions = connections * CONNECTION_BYTES + gauge.detached * DETACHED_BYTES + gauge.replay;
        let servers = i64::try_from(started).unwrap_or(0);
        let further = (servers - 1).max(0) * (gauge.empty + SERVER_BYTES);
        let most = FIXED_BYTES + further + i64::try_from(sessions).unwrap_or(0);
        if gauge.of_subject <= usize::try_from(PER_SUBJECT).unwrap_or(0) {
            too_many_since = None;
        } else if gauge.at > *too_many_since.get_or_insert(gauge.at) + GONE_AFTER_MS {
            let what = format!("{} sessions of one subject", gauge.of_subject);
            found.push(Violation { checker: Checker::Quota, at: gauge.at, what });
        }
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
    }
}
