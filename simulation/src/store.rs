//! A store of tickets with moods.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use wsguard::store::{MemoryStore, Store, StoreFuture};
use wsguard_core::handshake::{StoreUnavailable, TicketGrant};
use wsguard_core::time::UnixMs;

use crate::scenario::Mood;

/// Longer than a client is patient, shorter than a ticket lives.
const SLOW: Duration = Duration::from_secs(4);

/// The store of one server.
pub struct SimulatedStore {
    tickets: MemoryStore,
    mood: Arc<Mutex<Mood>>,
}

impl SimulatedStore {
    /// An empty store that is as `mood` says.
    pub fn new(mood: Arc<Mutex<Mood>>) -> Self {
        Self { tickets: MemoryStore::default(), mood }
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time by which the store judges: one that is slow looks at the clock when it comes to it, which may have jumped.
fn at_work(mood: Mood, asked: UnixMs) -> UnixMs {
    if matches!(mood, Mood::Slow) { wsguard::now().unix } else { asked }
}

impl Store for SimulatedStore {
    fn put_ticket(&self, ticket: [u8; 32], grant: TicketGrant, ends_at: UnixMs, now: UnixMs) -> StoreFuture<'_, ()> {
        let mood = self.mood();
        Box::pin(async move {
            match mood {
                Mood::Dead => return Err(StoreUnavailable),
                Mood::Slow => sleep(SLOW).await,
                Mood::Well | Mood::Wrong => {}
            }
            self.tickets.put_ticket(ticket, grant, ends_at, at_work(mood, now)).await
        })
    }

    fn take_ticket(&self, ticket: [u8; 32], now: UnixMs) -> StoreFuture<'_, Option<TicketGrant>> {
        let mood = self.mood();
        Box::pin(async move {
            match mood {
                Mood::Dead => return Err(StoreUnavailable),
                Mood::Slow => sleep(SLOW).await,
                Mood::Well | Mood::Wrong => {}
            }
            let grant = self.tickets.take_ticket(ticket, at_work(mood, now)).await?;
            Ok(match mood {
                // Something else than what was kept: it must not become an identity.
                Mood::Wrong => grant.map(|grant| TicketGrant { token: format!("{}x", grant.token), ..grant }),
                _ => grant,
            })
        })
    }
}
