//! Quotas in any window: what passed, against what the policy gives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Checker, Sent, Violation};
use crate::node::{BYTES, DETACHED, HANDSHAKES, MESSAGES, PER_SUBJECT, TIGHT};
use crate::scenario::Limits;
use crate::trace::{Entry, Event, Gauge, Tag};

const NANOS_PER_MS: u64 = 1_000_000;

/// Time that a session which lost its seat may take to be gone: a close frame to a peer that does not read, and the wait
/// for its answer.
const GONE_AFTER_MS: u64 = 3_200;

/// How many times the quotas of an address the prefix around it has.
const WIDE: u32 = 4;

/// The strictest judge of a quota: what passes it is within the quota in every window.
#[derive(Default)]
struct Bucket(u64);

/// So many in a window of so many milliseconds, and so many at once.
type Quota = (u32, u64, u32);

impl Bucket {
    fn is_over(&mut self, at_ms: u64, units: u64, (count, window_ms, burst): Quota) -> bool {
        let now = at_ms * NANOS_PER_MS;
        let unit = window_ms * NANOS_PER_MS / u64::from(count);
        self.0 = self.0.max(now) + unit * units;
        let is_over = self.0 - now > unit * u64::from(burst);
        if is_over {
            self.0 = now;
        }
        is_over
    }
}

const fn times((count, window, burst): Quota, factor: u32) -> Quota {
    (count * factor, window, burst * factor)
}

/// What is counted: at which server, what, and whose.
type Key<'t> = (u32, &'static str, &'t str);

struct Quotas<'t, 'f> {
    buckets: BTreeMap<(u32, &'static str, String), Bucket>,
    limits: Limits,
    found: &'f mut Vec<Violation>,
    /// Of each link.
    addresses: BTreeMap<u32, &'t str>,
}

impl Quotas<'_, '_> {
    fn charge(&mut self, at: u64, (generation, what, key): Key<'_>, units: u64, quota: Quota) {
        let bucket = self.buckets.entry((generation, what, key.to_owned())).or_default();
        if bucket.is_over(at, units, quota) {
            let what = format!("{what} of {key} are above their quota");
            self.found.push(Violation { checker: Checker::Quota, at, what });
        }
    }

    /// To an address and to the prefix around it, whose quotas are `of_address` and [`WIDE`] times that.
    fn charge_prefixes(
        &mut self,
        at: u64,
        (generation, whats, address): (u32, [&'static str; 2], &str),
        units: u64,
        of_address: Quota,
    ) {
        let [fine, coarse] = prefixes(address);
        // Who finds no slot is judged by the wider prefix alone.
        if !self.limits.are_small() {
            self.charge(at, (generation, whats[0], &fine), units, of_address);
        }
        self.charge(at, (generation, whats[1], &coarse), units, times(of_address, WIDE));
    }
}

/// IPv4 /32 and /24, IPv6 /64 and /48.
fn prefixes(address: &str) -> [String; 2] {
    match address.parse().expect("an address") {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [format!("{a}.{b}.{c}.{d}/32"), format!("{a}.{b}.{c}.0/24")]
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            [format!("{a:x}:{b:x}:{c:x}:{d:x}::/64"), format!("{a:x}:{b:x}:{c:x}::/48")]
        }
    }
}

pub(super) fn check(limits: Limits, trace: &[Entry], sent: &Sent, gauges: &[Gauge], found: &mut Vec<Violation>) {
    let mut quotas = Quotas { buckets: BTreeMap::new(), limits, found, addresses: BTreeMap::new() };
    for entry in trace {
        if let Event::Answered { link, address, .. } = &entry.event {
            quotas.addresses.insert(*link, address);
        }
    }
    for entry in trace {
        messages(entry, sent, &mut quotas);
        handshakes(entry, &mut quotas);
    }
    waiting(trace, found);
    seats(gauges, found);
}

fn messages(entry: &Entry, sent: &Sent, quotas: &mut Quotas<'_, '_>) {
    let Event::Handled { generation, session, subject, kind, text, .. } = &entry.event else {
        return;
    };
    let (at, generation, limits) = (entry.at, *generation, quotas.limits);
    let of_subject = (MESSAGES.0, 1_000, MESSAGES.1);
    let bytes_of_session = (BYTES.0, 1_000, BYTES.1);
    // A message is longer than its text.
    let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
    quotas.charge(at, (generation, "messages", "the server"), 1, (limits.server.0, 1_000, limits.server.1));
    // Who finds no slot is judged by its address alone.
    if !limits.are_small() {
        quotas.charge(at, (generation, "messages", subject), 1, of_subject);
    }
    quotas.charge(at, (generation, "bytes", session), bytes, bytes_of_session);
    if kind == "tight" {
        quotas.charge(at, (generation, "messages of type tight", subject), 1, (TIGHT.0, 1_000, TIGHT.1));
    }
    let links = Tag::of(text).and_then(|tag| sent.get(&tag)).into_iter().flatten();
    let address = links.filter_map(|(link, _)| quotas.addresses.get(link)).next_back();
    if let Some(address) = address.copied() {
        let whats = ["messages of an address", "messages of a prefix"];
        quotas.charge_prefixes(at, (generation, whats, address), 1, times(of_subject, limits.prefix_factor));
        let whats = ["bytes of an address", "bytes of a prefix"];
        let of_address = times(bytes_of_session, limits.prefix_factor);
        quotas.charge_prefixes(at, (generation, whats, address), bytes, of_address);
    }
}

fn handshakes(entry: &Entry, quotas: &mut Quotas<'_, '_>) {
    let quota = (HANDSHAKES, 10_000, HANDSHAKES);
    match &entry.event {
        Event::Admitted { generation, address, asked } => {
            let whats = ["handshakes of an address", "handshakes of a prefix"];
            quotas.charge_prefixes(*asked, (*generation, whats, address), 1, quota);
        }
        // Refused for what they are, so they are within the quota of those.
        Event::Record { generation, action, reason: Some(reason), client: Some(client), .. }
            if action == "handshake_refused" && is_foreign(reason) =>
        {
            let [fine, _] = prefixes(client);
            quotas.charge(entry.at, (*generation, "foreign handshakes", &fine), 1, quota);
        }
        _ => {}
    }
}

fn is_foreign(reason: &str) -> bool {
    // What a cookie needs beyond that is asked later.
    (reason.starts_with("host_") || reason.starts_with("origin_")) && reason != "origin_missing_with_cookie"
}

/// Sessions of one subject that wait.
fn waiting(trace: &[Entry], found: &mut Vec<Violation>) {
    let mut waiting: BTreeMap<(u32, &str), BTreeSet<&str>> = BTreeMap::new();
    for entry in trace {
        let Event::Record { generation, action, session: Some(session), subject: Some(subject), .. } = &entry.event
        else {
            continue;
        };
        let sessions = waiting.entry((*generation, subject)).or_default();
        match action.as_str() {
            "session_detached" => {
                sessions.insert(session);
            }
            "session_dropped" | "session_resumed" | "connection_closed" => {
                sessions.remove(session.as_str());
            }
            _ => {}
        }
        if action == "session_detached" && sessions.len() > usize::try_from(DETACHED.0).unwrap_or(0) {
            let what = format!("{} sessions of {subject} wait", sessions.len());
            found.push(Violation { checker: Checker::Quota, at: entry.at, what });
        }
    }
}

/// Sessions of one subject that are open.
fn seats(gauges: &[Gauge], found: &mut Vec<Violation>) {
    let mut too_many_since = None;
    for gauge in gauges {
        if gauge.of_subject <= usize::try_from(PER_SUBJECT).unwrap_or(0) {
            too_many_since = None;
        } else if gauge.at > *too_many_since.get_or_insert(gauge.at) + GONE_AFTER_MS {
            let what = format!("{} sessions of one subject", gauge.of_subject);
            found.push(Violation { checker: Checker::Quota, at: gauge.at, what });
        }
    }
}
