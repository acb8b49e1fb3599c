//! What must be shared by all connections, and one day by all nodes: tickets.
//!
//! A store that does not answer refuses: [`StoreUnavailable`] is an ordinary answer, and every control says what it does
//! then.

mod memory;

use std::future::Future;
use std::pin::Pin;

use wsguard_core::handshake::{StoreUnavailable, TicketGrant};
use wsguard_core::time::UnixMs;

pub use memory::{MemoryStore, TICKETS_MAX};

/// An answer of a store.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreUnavailable>> + Send + 'a>>;

/// Keeps tickets until they are used, once, or end.
pub trait Store: Send + Sync + 'static {
    /// Keeps `grant` under the ticket's SHA-256 until `ends_at`.
    fn put_ticket(&self, ticket: [u8; 32], grant: TicketGrant, ends_at: UnixMs, now: UnixMs) -> StoreFuture<'_, ()>;

    /// Takes the grant out: a second call gets nothing.
    fn take_ticket(&self, ticket: [u8; 32], now: UnixMs) -> StoreFuture<'_, Option<TicketGrant>>;
}
