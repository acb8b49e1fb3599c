//! Where revocations and bans are kept, so that they outlive the process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shelf {
    /// One revocation.
    Revocation,
    /// The cut-off of revocations; one row.
    CutOff,
    /// One ban.
    Ban,
}

/// One row: who keeps it gives it no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub shelf: Shelf,
    /// Its key, at most 64 bytes.
    pub key: Box<[u8]>,
    /// Its content, at most 16 KiB.
    pub value: Box<[u8]>,
}

/// Rows to write and to remove: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Rows to write; a row of the same shelf and key is replaced.
    pub put: Vec<Row>,
    /// Rows to remove; one that is not there is no fault.
    pub remove: Vec<(Shelf, Box<[u8]>)>,
}

/// The ledger could not be read or written; the text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerError(pub String);

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LedgerError {}

/// Keeps rows. Both calls may block: they are made on threads that may.
pub trait Ledger: Send + Sync + 'static {
    /// Every row, in the order of shelf and key.
    ///
    /// # Errors
    /// Whatever keeps it from knowing them all: a guard that does not know what was revoked does not start.
    fn load(&self) -> Result<Vec<Row>, LedgerError>;

    /// Makes `change`. When it returns `Ok`, the change survives a crash of the machine, as far as this ledger can.
    ///
    /// # Errors
    /// Nothing of it was made.
    fn write(&self, change: &Change) -> Result<(), LedgerError>;
}

impl<L: Ledger + ?Sized> Ledger for Arc<L> {
    fn load(&self) -> Result<Vec<Row>, LedgerError> {
        (**self).load()
    }

    fn write(&self, change: &Change) -> Result<(), LedgerError> {
        (**self).write(change)
    }
}

/// A ledger in memory: what it keeps ends with the process.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<BTreeMap<Place, Box<[u8]>>>);

/// Shelf and key of a row.
type Place = (Shelf, Box<[u8]>);

impl Ledger for MemoryLedger {
    fn load(&self) -> Result<Vec<Row>, LedgerError> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(rows.iter().map(|((of, key), value)| Row { shelf: *of, key: key.clone(), value: value.clone() }).collect())
    }

    fn write(&self, change: &Change) -> Result<(), LedgerError> {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (shelf, key) in &change.remove {
            rows.remove(&(*shelf, key.clone()));
        }
        for Row { shelf, key, value } in &change.put {
            rows.insert((*shelf, key.clone()), value.clone());
        }
        Ok(())
    }
}
