//! A store in the memory of one process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use wsguard_core::fault::{self, Fault};
use wsguard_core::handshake::{StoreUnavailable, TicketGrant};
use wsguard_core::time::{Millis, UnixMs};

use super::{Store, StoreFuture};

/// Tickets that may wait at once. With 30 s of life that is 2,000 logins a second; each may hold a token of 8 KiB.
pub const TICKETS_MAX: usize = fault::bound(65_536, 48);

/// How far the clock may go back while a ticket waits. One from further ahead is over: it would live for as long as the
/// clock was set back by, and a full store would stay full for so long.
const SET_BACK_MAX: Millis = Millis(5_000);

/// Keeps tickets in memory, at most [`TICKETS_MAX`]; full, it refuses new ones.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tickets: Mutex<Tickets>,
}

#[derive(Debug, Default)]
struct Tickets {
    grants: HashMap<[u8; 32], (TicketGrant, Life)>,
    /// In the order of their end, but for [`SET_BACK_MAX`], since all live equally long.
    ends: VecDeque<(Life, [u8; 32])>,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    begun: UnixMs,
    ends_at: UnixMs,
}

impl Life {
    fn is_over(self, now: UnixMs) -> bool {
        now >= self.ends_at || now.after(SET_BACK_MAX) < self.begun
    }
}

impl Tickets {
    fn sweep(&mut self, now: UnixMs) {
        while let Some((life, ticket)) = self.ends.front().copied() {
            if !life.is_over(now) {
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
            let life = Life { begun: now, ends_at };
            tickets.grants.insert(ticket, (grant, life));
            tickets.ends.push_back((life, ticket));
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
        let grant = tickets.grants.remove(&ticket).filter(|(_, life)| !life.is_over(now)).map(|(grant, _)| grant);
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

    #[tokio::test]
    async fn a_clock_that_is_set_back_prolongs_no_ticket_and_leaves_no_store_full() {
        let store = MemoryStore::default();
        let (before, after) = (UnixMs(3_600_000), UnixMs(0));
        for number in 0..TICKETS_MAX {
            let mut ticket = [0; 32];
            ticket[..8].copy_from_slice(&number.to_le_bytes());
            store.put_ticket(ticket, grant(), before.after(Millis(30_000)), before).await.unwrap();
        }
        let ends_at = after.after(Millis(30_000));
        assert_eq!(
            store.put_ticket([1; 32], grant(), before.after(Millis(30_000)), before).await,
            Err(StoreUnavailable)
        );
        let a_little = UnixMs(before.0 - SET_BACK_MAX.0);
        assert_eq!(store.take_ticket([0; 32], a_little).await, Ok(Some(grant())), "a clock is corrected now and then");
        store.put_ticket([1; 32], grant(), ends_at, after).await.unwrap();
        assert_eq!(store.tickets.lock().unwrap().ends.len(), 1, "those from ahead are gone");
        assert_eq!(store.take_ticket([1; 32], after).await, Ok(Some(grant())));
    }
}
