//! The open sessions: whose they are, and how to reach them.

use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use wsguard_core::control::session::SessionId;
use wsguard_core::policy::Identity;
use wsguard_core::time::UnixMs;

use crate::mailbox::Outbox;

/// Shards of the table: a power of two well above the number of threads.
const SHARDS: usize = 64;

/// Ids for which a page finds room at once: no page of the admin listener is larger.
const PAGE_KEPT: usize = 1_024;

/// An open session.
pub(crate) struct Registered {
    pub(crate) identity: Arc<Identity>,
    pub(crate) client: IpAddr,
    pub(crate) opened_at: UnixMs,
    pub(crate) outbox: Outbox,
}

impl Registered {
    pub(crate) fn info(&self, session: SessionId) -> SessionInfo {
        let claims = &self.identity.claims;
        SessionInfo {
            session,
            subject: claims.subject.clone(),
            client: self.client,
            opened_at: self.opened_at,
            auth_expires_at: claims.expires_at,
            token_id: claims.id.clone(),
        }
    }
}

/// An open session, for people to look at.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The session.
    pub session: SessionId,
    /// Who.
    pub subject: Box<str>,
    /// The client's address.
    pub client: IpAddr,
    /// When it was opened.
    pub opened_at: UnixMs,
    /// When its token ends.
    pub auth_expires_at: UnixMs,
    /// `jti` of its token.
    pub token_id: Option<Box<str>>,
}

/// The open sessions by id.
pub(crate) struct Registry {
    shards: Box<[Mutex<Shard>]>,
}

/// In the order of their ids, which are random: nobody can choose where theirs stands, and walks are repeatable.
type Shard = BTreeMap<SessionId, Registered>;

impl Default for Registry {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Registry {
    pub(crate) fn insert(&self, id: SessionId, session: Registered) {
        self.shard(id, |sessions| sessions.insert(id, session));
    }

    pub(crate) fn remove(&self, id: SessionId) {
        self.shard(id, |sessions| sessions.remove(&id));
    }

    /// The session has a fresh token.
    pub(crate) fn renew(&self, id: SessionId, identity: &Arc<Identity>) {
        self.shard(id, |sessions| {
            if let Some(session) = sessions.get_mut(&id) {
                session.identity = Arc::clone(identity);
            }
        });
    }

    /// The session goes on behind another address.
    pub(crate) fn moved(&self, id: SessionId, client: IpAddr) {
        self.shard(id, |sessions| {
            if let Some(session) = sessions.get_mut(&id) {
                session.client = client;
            }
        });
    }

    pub(crate) fn with<T>(&self, id: SessionId, act: impl FnOnce(&Registered) -> T) -> Option<T> {
        self.shard(id, |sessions| sessions.get(&id).map(act))
    }

    /// Calls `act` for each session. A shard is locked while it is walked, so `act` must be short.
    pub(crate) fn for_each(&self, mut act: impl FnMut(SessionId, &Registered)) {
        for shard in &self.shards {
            for (id, session) in shard.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                act(*id, session);
            }
        }
    }

    /// The `count` sessions with the lowest ids above `after`, of `subject` where one is given, as `show` shows them.
    ///
    /// Only ids are looked at while all sessions are walked; those that are shown are looked up afterwards, and one that
    /// ended in between is left out.
    pub(crate) fn page<T>(
        &self,
        after: Option<SessionId>,
        count: usize,
        subject: Option<&str>,
        show: impl Fn(SessionId, &Registered) -> T,
    ) -> Vec<T> {
        let mut lowest = BinaryHeap::with_capacity(count.saturating_add(1).min(PAGE_KEPT));
        self.for_each(|id, session| {
            let is_behind = after.is_none_or(|after| id.0 > after.0);
            if !is_behind || subject.is_some_and(|subject| *session.identity.claims.subject != *subject) {
                return;
            }
            if lowest.len() < count {
                lowest.push(id.0);
            } else if let Some(mut highest) = lowest.peek_mut()
                && id.0 < *highest
            {
                *highest = id.0;
            }
        });
        let ids = lowest.into_sorted_vec().into_iter().map(SessionId);
        ids.filter_map(|id| self.with(id, |session| show(id, session))).collect()
    }

    fn shard<T>(&self, id: SessionId, act: impl FnOnce(&mut Shard) -> T) -> T {
        let [first, ..] = id.0;
        match self.shards.get(usize::from(first) % SHARDS) {
            Some(shard) => act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)),
            None => act(&mut Shard::new()),
        }
    }
}
