//! Who is in which room.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use wsguard::core::control::session::SessionId;
use wsguard::{Encoded, Outbox};

/// Rooms that one session may be in: more than a person follows.
const ROOMS_PER_SESSION_MAX: usize = 32;

/// Everybody who is connected, and the rooms of each. A search through all is enough for an example.
#[derive(Default)]
pub(crate) struct Rooms(Mutex<HashMap<SessionId, Member>>);

struct Member {
    outbox: Outbox,
    rooms: BTreeSet<String>,
}

impl Rooms {
    pub(crate) fn connect(&self, session: SessionId, outbox: &Outbox) {
        self.members().insert(session, Member { outbox: outbox.clone(), rooms: BTreeSet::new() });
    }

    pub(crate) fn disconnect(&self, session: SessionId) {
        self.members().remove(&session);
    }

    /// Whether there was place for one more.
    pub(crate) fn join(&self, session: SessionId, room: &str) -> bool {
        self.members().get_mut(&session).is_some_and(|member| {
            if member.rooms.len() < ROOMS_PER_SESSION_MAX {
                member.rooms.insert(room.to_owned());
            }
            member.rooms.contains(room)
        })
    }

    pub(crate) fn leave(&self, session: SessionId, room: &str) {
        self.retain(session, |other| other != room);
    }

    pub(crate) fn retain(&self, session: SessionId, stays: impl Fn(&str) -> bool) {
        if let Some(member) = self.members().get_mut(&session) {
            member.rooms.retain(|room| stays(room));
        }
    }

    pub(crate) fn is_in(&self, session: SessionId, room: &str) -> bool {
        self.members().get(&session).is_some_and(|member| member.rooms.contains(room))
    }

    /// Sends to the members of `room`, or to everybody. Nobody is waited for: who does not read is closed by the guard.
    pub(crate) fn send(&self, room: Option<&str>, message: &Encoded) {
        let members = self.members();
        let meant = members.values().filter(|member| room.is_none_or(|room| member.rooms.contains(room)));
        Outbox::send_to_all(meant.map(|member| &member.outbox), message);
    }

    fn members(&self) -> MutexGuard<'_, HashMap<SessionId, Member>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
