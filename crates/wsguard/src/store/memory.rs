//! A store in the memory of one process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use wsguard_core::fault::{self, Fault};
use wsguard_core::handshake::{StoreUnavailable, TicketGrant};
use wsguard_core::time::UnixMs;

use super::{Store, StoreFuture};

/// Tickets that may wait at once. With 30 s of life that is 2,000 logins a second; each may hold a token of 8 KiB.
pub const TICKETS_MAX: usize = fault::bound(65_536, 48);

/// Keeps tickets in memory, at most [`TICKETS_MAX`]; full, it refuses new ones.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tickets: Mutex<Tickets>,
}

#[derive(Debug, Default)]
struct Tickets {
    grants: HashMap<[u8; 32], (TicketGrant, UnixMs)>,
    /// In the order of their end, since all live equally long.
    ends: VecDeque<(UnixMs, [u8; 32])>,
}

impl Tickets {
    fn sweep(&mut self, now: UnixMs) {
        while let Some((ends_at, ticket)) = self.ends.front().copied() {
            if now < ends_at {
                break;
            }
            self.ends.pop_front();
            self.grants.remove(&ticket);
        }
    }
}

impl Store for MemoryStore {
    fn put_ticket(&self, ticket: [u8; 32], grant: TicketGrant, ends_at: UnixMs, now: UnixMs) -> StoreFuture<'_, ()> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.sweep(now);
        let answer = if tickets.ends.len() >= TICKETS_MAX && !fault::is_on(Fault::TicketsUnbounded) {
            Err(StoreUnavailable)
        } else {
            tickets.grants.insert(ticket, (grant, ends_at));
            tickets.ends.push_back((ends_at, ticket));
            Ok(())
        };
        Box::pin(std::future::ready(answer))
    }

    fn take_ticket(&self, ticket: [u8; 32], now: UnixMs) -> StoreFuture<'_, Option<TicketGrant>> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.sweep(now);
        if fault::is_on(Fault::TicketTwice) {
            let kept = tickets.grants.get(&ticket).map(|(grant, _)| grant.clone());
            return Box::pin(std::future::ready(Ok(kept)));
        }
        let grant = tickets.grants.remove(&ticket).filter(|(_, ends_at)| now < *ends_at).map(|(grant, _)| grant);
        Box::pin(std::future::ready(Ok(grant)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> TicketGrant {
        TicketGrant { token: "t".into(), origin: None, resume: None }
    }

    #[tokio::test]
    async fn a_ticket_is_good_once_and_in_time() {
        let store = MemoryStore::default();
        store.put_ticket([1; 32], grant(), UnixMs(30), UnixMs(0)).await.unwrap();
        assert_eq!(store.take_ticket([1; 32], UnixMs(29)).await, Ok(Some(grant())));
        assert_eq!(store.take_ticket([1; 32], UnixMs(29)).await, Ok(None), "used");
        store.put_ticket([2; 32], grant(), UnixMs(30), UnixMs(0)).await.unwrap();
        assert_eq!(store.take_ticket([2; 32], UnixMs(30)).await, Ok(None), "too late");
        assert!(store.tickets.lock().unwrap().ends.is_empty(), "nothing is kept past its end");
    }
}
