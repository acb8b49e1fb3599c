//! Counters of a guard: what it saw, what it refused.

use std::sync::atomic::{AtomicU64, Ordering};

use wsguard_core::control::authorization::TYPES_MAX;
use wsguard_core::guard::Resumption;
use wsguard_core::time::Millis;
use wsguard_core::verdict::ControlId;

use crate::connections::Figures;

/// Upper bounds of the histogram of round-trip times, in milliseconds.
pub const ROUND_TRIP_MS: [u64; 9] = [1, 5, 10, 25, 50, 100, 250, 1_000, 5_000];

/// Kinds of verdict that messages are counted by.
const VERDICTS: usize = 3;

/// Counters since the start. Each is one relaxed addition.
#[derive(Debug)]
pub struct Stats {
    pub(crate) connections_open: AtomicU64,
    pub(crate) connections_total: AtomicU64,
    pub(crate) sessions_total: AtomicU64,
    pub(crate) handshakes_admitted: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) queue_drops: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) shadowed: AtomicU64,
    pub(crate) bidi_controls: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) replayed: AtomicU64,
    resumes: [AtomicU64; RESUMES.len()],
    pub(crate) reloads: AtomicU64,
    round_trips: [AtomicU64; ROUND_TRIP_MS.len() + 1],
    round_trip_ms: AtomicU64,
    refusals: [AtomicU64; ControlId::ALL.len()],
    handshake_refusals: [AtomicU64; HANDSHAKE_STATUS.len()],
    /// By message type and verdict, for as many types as a policy may have, since a reload can bring more; the last entry
    /// counts types that do not exist.
    messages: Box<[[AtomicU64; VERDICTS]]>,
}

/// The statuses with which a request can be refused before the 101.
pub const HANDSHAKE_STATUS: [u16; 9] = [400, 401, 403, 404, 405, 426, 429, 431, 503];

/// The words of [`Resumption`], by which resumes are counted.
const RESUMES: [&str; 4] = ["resumed", "unknown", "out_of_reach", "refused"];

/// Messages of one read that were answered alike, before they are counted where all connections count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Of the type; one that no type has where there is none.
    number: u16,
    verdict: Counted,
    messages: u32,
    bytes: u32,
}

/// Verdicts by which messages are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Counted {
    #[default]
    Allow = 0,
    Refuse = 1,
    Close = 2,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            connections_open: AtomicU64::default(),
            connections_total: AtomicU64::default(),
            sessions_total: AtomicU64::default(),
            handshakes_admitted: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            queue_drops: AtomicU64::default(),
            panics: AtomicU64::default(),
            shadowed: AtomicU64::default(),
            bidi_controls: AtomicU64::default(),
            duplicates: AtomicU64::default(),
            replayed: AtomicU64::default(),
            resumes: Default::default(),
            reloads: AtomicU64::default(),
            round_trips: Default::default(),
            round_trip_ms: AtomicU64::default(),
            refusals: Default::default(),
            handshake_refusals: Default::default(),
            messages: (0..=TYPES_MAX).map(|_| Default::default()).collect(),
        }
    }

    pub(crate) fn refused(&self, control: ControlId) {
        let place = ControlId::ALL.iter().position(|known| *known == control);
        if let Some(counter) = place.and_then(|place| self.refusals.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn resumption(&self, outcome: Resumption) {
        if let Resumption::Resumed { replayed } = outcome {
            self.replayed.fetch_add(replayed as u64, Ordering::Relaxed);
        }
        let place = RESUMES.iter().position(|known| *known == outcome.as_str());
        if let Some(counter) = place.and_then(|place| self.resumes.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn handshake_refused(&self, status: u16) {
        let place = HANDSHAKE_STATUS.iter().position(|known| *known == status);
        if let Some(counter) = place.and_then(|place| self.handshake_refusals.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a message of `bytes` of a connection with these `figures`: in `tally`, with those before it that were answered
    /// alike.
    #[inline]
    pub(crate) fn message(
        &self,
        tally: &mut Tally,
        figures: &mut Figures,
        number: Option<u16>,
        verdict: Counted,
        bytes: usize,
    ) {
        let number = number.unwrap_or(u16::MAX);
        if (tally.number, tally.verdict) != (number, verdict) {
            self.add(tally, figures);
            (tally.number, tally.verdict) = (number, verdict);
        }
        tally.messages = tally.messages.saturating_add(1);
        tally.bytes = tally.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Adds what `tally` has counted to the counters that all connections share, and to the connection's own.
    pub(crate) fn add(&self, tally: &mut Tally, figures: &mut Figures) {
        if tally.messages == 0 {
            return;
        }
        let Tally { number, verdict, messages, bytes } = std::mem::take(tally);
        figures.messages(messages, bytes);
        self.bytes_in.fetch_add(u64::from(bytes), Ordering::Relaxed);
        let row = self.messages.get(usize::from(number)).or(self.messages.last());
        if let Some(counter) = row.and_then(|row| row.get(verdict as usize)) {
            counter.fetch_add(u64::from(messages), Ordering::Relaxed);
        }
    }

    pub(crate) fn round_trip(&self, time: Millis) {
        let place = ROUND_TRIP_MS.iter().position(|bound| time.0 <= *bound).unwrap_or(ROUND_TRIP_MS.len());
        if let Some(counter) = self.round_trips.get(place) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.round_trip_ms.fetch_add(time.0, Ordering::Relaxed);
    }

    /// Round-trip times of pings: the sum in milliseconds, and the count up to each bound of [`ROUND_TRIP_MS`] and beyond.
    pub fn round_trips(&self) -> (u64, [u64; ROUND_TRIP_MS.len() + 1]) {
        let counts = self.round_trips.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        (self.round_trip_ms.load(Ordering::Relaxed), counts)
    }

    /// Connections that are open.
    pub fn connections_open(&self) -> u64 {
        self.connections_open.load(Ordering::Relaxed)
    }

    /// Connections since the start.
    pub fn connections_total(&self) -> u64 {
        self.connections_total.load(Ordering::Relaxed)
    }

    /// Sessions since the start: connections that were authenticated.
    pub fn sessions_total(&self) -> u64 {
        self.sessions_total.load(Ordering::Relaxed)
    }

    /// Handshakes that were answered with 101.
    pub fn handshakes_admitted(&self) -> u64 {
        self.handshakes_admitted.load(Ordering::Relaxed)
    }

    /// Handshakes that were refused, by status.
    pub fn handshakes_refused(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        HANDSHAKE_STATUS.into_iter().zip(self.handshake_refusals.iter().map(|counter| counter.load(Ordering::Relaxed)))
    }

    /// Bytes of messages that were read.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Connections that were cut off because they did not read.
    pub fn queue_drops(&self) -> u64 {
        self.queue_drops.load(Ordering::Relaxed)
    }

    /// Connections whose task panicked: each is a mistake of ours or of the application.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Messages that limits in shadow mode would have refused.
    pub fn shadowed(&self) -> u64 {
        self.shadowed.load(Ordering::Relaxed)
    }

    /// Bidirectional control characters in messages that passed.
    pub fn bidi_controls(&self) -> u64 {
        self.bidi_controls.load(Ordering::Relaxed)
    }

    /// Messages with a known `id`: answered, not handled.
    pub fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Frames that were sent again behind a resume.
    pub fn replayed(&self) -> u64 {
        self.replayed.load(Ordering::Relaxed)
    }

    /// Connections that asked for a session, by what became of it.
    pub fn resumes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        RESUMES.into_iter().zip(self.resumes.iter().map(|counter| counter.load(Ordering::Relaxed)))
    }

    /// Policies that came into force while the guard ran.
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// Refusals by control.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = ControlId::ALL.into_iter().map(ControlId::as_str);
        names.zip(self.refusals.iter().map(|counter| counter.load(Ordering::Relaxed)))
    }

    /// Messages by the number of their type (`None`: a type that does not exist, or a control frame) and verdict
    /// (`allow`, `refuse`, `close`). There are numbers that no type has.
    pub fn messages(&self) -> impl Iterator<Item = (Option<usize>, [(&'static str, u64); VERDICTS])> + '_ {
        let last = self.messages.len().saturating_sub(1);
        self.messages.iter().enumerate().map(move |(number, [allow, refuse, close])| {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let row = [("allow", count(allow)), ("refuse", count(refuse)), ("close", count(close))];
            ((number != last).then_some(number), row)
        })
    }
}
