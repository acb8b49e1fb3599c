//! Connections that have not said yet who they are: a drain must reach them too.
//!
//! Only a connection without a credential, or with a cookie, comes here; one that is authenticated by its handshake never
//! does, and costs this table nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use wsguard_protocol::CloseCode;

use crate::mailbox::Outbox;

/// The connections that wait for their first message. Bounded by the connections that a guard admits.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    outboxes: BTreeMap<u64, Outbox>,
}

/// A place in the table. Whoever has it gives it back.
#[derive(Debug)]
pub(crate) struct Place(u64);

impl Waiting {
    pub(crate) fn enter(&self, outbox: &Outbox) -> Place {
        self.with(|table| {
            let place = table.next;
            table.next = place.wrapping_add(1);
            table.outboxes.insert(place, outbox.clone());
            Place(place)
        })
    }

    pub(crate) fn leave(&self, Place(place): Place) {
        self.with(|table| table.outboxes.remove(&place));
    }

    /// Closes every connection that waits.
    pub(crate) fn close_all(&self, code: CloseCode) {
        self.with(|table| {
            for outbox in table.outboxes.values() {
                let _ = outbox.close(code);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Table) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
