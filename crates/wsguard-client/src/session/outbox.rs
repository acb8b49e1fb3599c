//! The messages that wait for their acknowledgement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Code, Error};
use crate::options::{Overflow, Queue};

/// Most messages in flight. Far fewer than the ids that a server remembers, so that one that is sent again is always
/// recognised.
pub(crate) const IN_FLIGHT_MAX: usize = 32;
const _: () = assert!(IN_FLIGHT_MAX < wsguard_protocol::limits::ID_WINDOW, "a server knows all ids in flight");

/// A message on its way to its acknowledgement.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The message as JSON, without its CSRF token: that is added when the message is written.
    pub(crate) body: Box<str>,
    /// Whether the server acknowledges it; otherwise it is done once it is written.
    pub(crate) acked: bool,
    /// When it is given up.
    pub(crate) deadline: Duration,
    /// The number of the CSRF token that it was last written with; none where the server cannot have handled it.
    csrf: Option<u64>,
    /// Its answer is awaited on this connection.
    in_flight: bool,
}

impl Entry {
    pub(crate) fn new(body: Box<str>, acked: bool, deadline: Duration) -> Self {
        Self { body, acked, deadline, csrf: None, in_flight: false }
    }
}

/// How a message ended.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) id: u64,
    /// Whether the server may have handled it.
    pub(crate) written: bool,
    pub(crate) outcome: Result<(), Error>,
}

/// The messages that wait to be written, and those in flight.
///
/// Bounded as a whole, in count and bytes. A message leaves exactly once, by its acknowledgement or by an error, and a
/// message that was rejected is never written later. Ids rise with the calls of `send`, so the order of the map is the
/// order in which messages are written, also those written again.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Queue,
    entries: BTreeMap<u64, Entry>,
    /// The same messages, by when they are given up.
    deadlines: BTreeSet<(Duration, u64)>,
    in_flight: usize,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn new(limits: Queue) -> Self {
        Self { limits, entries: BTreeMap::new(), deadlines: BTreeSet::new(), in_flight: 0, bytes: 0 }
    }

    /// How many wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.entries.len().saturating_sub(self.in_flight)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn fits(&self, bytes: usize) -> bool {
        self.entries.len() < self.limits.messages_max && self.bytes.saturating_add(bytes) <= self.limits.bytes_max
    }

    /// Takes a message. What had to make room for it ends with `queue_full`.
    ///
    /// # Errors
    /// `queue_full` where there is no room, and none can be made.
    pub(crate) fn add(&mut self, id: u64, entry: Entry, settled: &mut impl FnMut(Settled)) -> Result<(), Error> {
        let bytes = entry.body.len();
        while !self.fits(bytes) {
            // What was written may have been handled: only what was not can make room.
            let mut unwritten = self.entries.iter().filter(|(_, entry)| entry.csrf.is_none()).map(|(id, _)| *id);
            let victim = match self.limits.overflow {
                _ if bytes > self.limits.bytes_max => None,
                Overflow::Reject => None,
                Overflow::DropOldest => unwritten.next(),
                Overflow::DropNewest => unwritten.next_back(),
            };
            let full = Error::new(Code::QueueFull, "too many messages wait for their acknowledgement");
            let Some(victim) = victim else { return Err(full) };
            self.end(victim, Err(full), settled);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.deadlines.insert((entry.deadline, id));
        self.entries.insert(id, entry);
        Ok(())
    }

    /// The next message to write, where one waits and fewer than `window` are in flight. It has to be marked with
    /// [`Outbox::written`] or ended with [`Outbox::end`].
    pub(crate) fn next(&self, window: usize) -> Option<(u64, &Entry)> {
        if self.in_flight >= window {
            return None;
        }
        // At most the window of those in flight stands before it.
        self.entries.iter().find(|(_, entry)| !entry.in_flight).map(|(id, entry)| (*id, entry))
    }

    /// The message was written with the CSRF token number `csrf`.
    pub(crate) fn written(&mut self, id: u64, csrf: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.csrf = Some(csrf);
            if !std::mem::replace(&mut entry.in_flight, true) {
                self.in_flight = self.in_flight.saturating_add(1);
            }
        }
    }

    /// What is in flight has to be written again.
    pub(crate) fn requeue(&mut self) {
        for entry in self.entries.values_mut() {
            entry.in_flight = false;
        }
        self.in_flight = 0;
    }

    /// The server refused the CSRF token of a message: with another one than number `csrf`, it may go out again.
    ///
    /// It was on its way for longer than the old token stayed good. A second refusal with the same token stands.
    pub(crate) fn renew(&mut self, id: u64, csrf: u64) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        if !entry.in_flight || entry.csrf == Some(csrf) {
            return false;
        }
        (entry.in_flight, entry.csrf) = (false, None);
        self.in_flight = self.in_flight.saturating_sub(1);
        true
    }

    /// Ends a message, wherever it is. Returns whether it was one of ours.
    pub(crate) fn end(&mut self, id: u64, outcome: Result<(), Error>, settled: &mut impl FnMut(Settled)) -> bool {
        let Some(entry) = self.entries.remove(&id) else { return false };
        self.deadlines.remove(&(entry.deadline, id));
        self.bytes = self.bytes.saturating_sub(entry.body.len());
        self.in_flight = self.in_flight.saturating_sub(usize::from(entry.in_flight));
        settled(Settled { id, written: entry.csrf.is_some(), outcome });
        true
    }

    /// The session is lost: whether the server handled what was written, nobody can say.
    pub(crate) fn lose(&mut self, cause: Option<&Error>, settled: &mut impl FnMut(Settled)) {
        let error = Error::new(Code::DeliveryUnknown, "the server may have handled the message");
        let error = match cause {
            Some(cause) => error.with_source(Arc::new(cause.clone())),
            None => error,
        };
        let written = self.entries.iter().filter(|(_, entry)| entry.csrf.is_some()).map(|(id, _)| *id);
        for id in written.collect::<Vec<_>>() {
            self.end(id, Err(error.clone()), settled);
        }
    }

    /// Nothing will be written any more.
    pub(crate) fn clear(&mut self, error: &Error, settled: &mut impl FnMut(Settled)) {
        for id in self.entries.keys().copied().collect::<Vec<_>>() {
            self.end(id, Err(error.clone()), settled);
        }
    }

    /// When the next message is given up.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Gives up what has waited too long. Returns whether there was any.
    pub(crate) fn expire(&mut self, now: Duration, settled: &mut impl FnMut(Settled)) -> bool {
        let mut any = false;
        while let Some((deadline, id)) = self.deadlines.first().copied()
            && deadline <= now
        {
            let what = match self.entries.get(&id).and_then(|entry| entry.csrf) {
                Some(_) => "no acknowledgement in time; the server may have handled the message",
                None => "no connection in time; the message was not sent",
            };
            self.end(id, Err(Error::new(Code::Timeout, what)), settled);
            any = true;
        }
        any
    }
}
