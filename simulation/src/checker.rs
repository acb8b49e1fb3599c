//! What must hold in every world, read from its trace. Each checker is shown to work by the faults that name it
//! ([`finds`]).

mod access;
mod bans;
mod delivery;
mod limits;
mod memory;
mod records;

use std::collections::BTreeMap;

use wsguard_core::fault::Fault;

use crate::scenario::Scenario;
use crate::trace::{Entry, Event, Gauge, Tag};

/// What watches an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    /// Nothing is handled before authentication, after the end of the token, with a key that was withdrawn, under another's
    /// name, with a cookie alone; a session belongs to its subject, a ticket is good once.
    Authentication,
    /// Nothing is handled without the CSRF token of its session.
    Csrf,
    /// Nothing is handled that policy and roles do not allow.
    Roles,
    /// No hostile vector reaches the application.
    Hostile,
    /// No message is handled twice, and what is acknowledged was handled to its end.
    Once,
    /// What the server sent arrives once, in order, with nothing left out.
    Replay,
    /// Never more is handled than the quota of any window.
    Quota,
    /// Every refusal has exactly one record with its reference.
    References,
    /// An identity that was revoked handles nothing after a second, and is gone from the server's tables soon after.
    Revocation,
    /// Who is kept out is not let in, and handles nothing after a second.
    Bans,
    /// Memory stays within its bounds.
    Memory,
    /// Who follows the protocol is served again when the storm is over, and every message is answered that is ever to be.
    Service,
    /// Two runs of one seed are the same.
    Determinism,
    /// Nothing panics but the application that is told to.
    Panic,
}

/// Something that should not have happened.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Who found it.
    pub checker: Checker,
    /// Milliseconds since the world began.
    pub at: u64,
    /// What.
    pub what: String,
}

/// The checker that is to find a fault.
pub const fn finds(fault: Fault) -> Checker {
    match fault {
        Fault::SignatureUnchecked
        | Fault::TokenNeverEnds
        | Fault::ClaimOfAnybody
        | Fault::TicketTwice
        | Fault::OriginUnchecked
        | Fault::CookieWithoutOrigin
        | Fault::ProofUnchecked
        | Fault::ProofOfAnyCookie
        | Fault::HandledUnauthenticated
        | Fault::FutureUnchecked => Checker::Authentication,
        Fault::CsrfUnchecked | Fault::CsrfOfAnySession => Checker::Csrf,
        Fault::RolesIgnored => Checker::Roles,
        Fault::KeysUnchecked => Checker::Hostile,
        Fault::IdForgotten | Fault::DeferredForgotten | Fault::DeferredAcknowledged => Checker::Once,
        Fault::AnswerToWaitingLost | Fault::RefusedStaysUnderWay | Fault::LeewayIgnored | Fault::SlotNeverFreed => {
            Checker::Service
        }
        Fault::ReplaySkips | Fault::ReplayRepeats => Checker::Replay,
        Fault::QuotaDoubled
        | Fault::HandshakesUncounted
        | Fault::TypeQuotaUncharged
        | Fault::BytesUncharged
        | Fault::SessionsUncounted
        | Fault::ServerUncharged
        | Fault::PrefixMessagesUncharged
        | Fault::PrefixBytesUncharged
        | Fault::WideMessagesUncharged
        | Fault::WideBytesUncharged
        | Fault::WideHandshakesUncounted
        | Fault::ForeignUncounted
        | Fault::DetachedOfSubjectUncounted
        | Fault::FullTableOpen
        | Fault::FullTypesOpen
        | Fault::FullForeignOpen => Checker::Quota,
        Fault::RecordLost | Fault::RecordTwice | Fault::RefusalToGoneUnrecorded => Checker::References,
        Fault::RevocationForHandshakesAlone
        | Fault::RevocationWakesNobody
        | Fault::RevocationNotKept
        | Fault::CutOffUnmoved
        | Fault::RevocationSparesProof => Checker::Revocation,
        Fault::BanWithoutEffect | Fault::BanPushedOut => Checker::Bans,
        Fault::QueueUnbounded
        | Fault::ReplayUnbounded
        | Fault::DetachedUnbounded
        | Fault::TableUnbounded
        | Fault::BansUnbounded
        | Fault::RevocationsUnbounded
        | Fault::TicketsUnbounded => Checker::Memory,
        Fault::VerdictOfThePast => Checker::Determinism,
        Fault::Panic => Checker::Panic,
    }
}

/// Reads a trace with every checker but [`Checker::Determinism`], which needs two, and [`Checker::Panic`], which needs none.
pub fn check(scenario: &Scenario, trace: &[Entry], gauges: &[Gauge]) -> Vec<Violation> {
    let sent = sent(trace);
    let mut found = Vec::new();
    access::check(trace, &sent, &mut found);
    delivery::check(scenario, trace, &mut found);
    limits::check(scenario.limits, trace, &sent, gauges, &mut found);
    bans::check(trace, &mut found);
    memory::check(trace, gauges, &mut found);
    records::check(trace, &mut found);
    found.sort_by_key(|violation| violation.at);
    found
}

/// Compares two runs of one scenario.
pub fn compare(first: &[Entry], second: &[Entry]) -> Option<Violation> {
    let place = (0..first.len().max(second.len())).find(|place| first.get(*place) != second.get(*place))?;
    let said = |entry: Option<&Entry>| entry.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let (one, other) = (first.get(place), second.get(place));
    Some(Violation {
        checker: Checker::Determinism,
        at: one.or(other).map_or(0, |entry| entry.at),
        what: format!("event {place} of two runs:\n    {}\n    {}", said(one), said(other)),
    })
}

/// On which links each message was sent, and whether well meant.
type Sent = BTreeMap<Tag, Vec<(u32, bool)>>;

fn sent(trace: &[Entry]) -> Sent {
    let mut sent = Sent::new();
    for entry in trace {
        if let Event::Sent { link, tag, meant, .. } = &entry.event {
            sent.entry(*tag).or_default().push((*link, *meant == crate::trace::Meant::Well));
        }
    }
    sent
}
