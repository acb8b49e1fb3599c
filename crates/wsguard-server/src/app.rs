//! The built-in application: `echo`, rooms, `chat`. A user of the library like any other.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use wsguard::core::control::session::SessionId;
use wsguard::core::effect::{Message, write_number};
use wsguard::core::json::{Value, write_string};
use wsguard::core::time::UnixMs;
use wsguard::protocol::ErrorCode;
use wsguard::{Encoded, Handled, Handler, Opening, Outbox, Peer};

/// The room that every connection enters at its welcome, and where `chat` without a room goes.
const LOBBY: &str = "lobby";

/// Rooms that one session may be in. 32: more than a person follows, little enough to leave at once.
pub const ROOMS_PER_SESSION_MAX: usize = 32;

/// Rooms of the server. Each costs some hundred bytes; a room without members does not exist.
pub const ROOMS_MAX: usize = 65_536;

/// Who is in which room.
#[derive(Debug, Default)]
pub struct Rooms {
    rooms: Mutex<HashMap<Arc<str>, Arc<Room>>>,
}

/// One room: its own lock, so that a busy one does not hold up the others, and one that those who talk share.
#[derive(Debug)]
struct Room {
    name: Arc<str>,
    /// Its name as canonical JSON text.
    quoted: Box<[u8]>,
    /// What stands in every chat to it between who it is from and what is said.
    between: Box<[u8]>,
    members: RwLock<HashMap<SessionId, Outbox>>,
    /// How many members there are: who is alone does not need the lock to know it.
    size: AtomicUsize,
}

impl Rooms {
    fn enter(&self, name: &str, session: SessionId, outbox: &Outbox) -> Option<Arc<Room>> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() >= ROOMS_MAX && !rooms.contains_key(name) {
            return None;
        }
        let room = rooms.get(name).cloned().unwrap_or_else(|| Arc::new(Room::new(name)));
        rooms.entry(Arc::clone(&room.name)).or_insert_with(|| Arc::clone(&room));
        room.change(|members| members.insert(session, outbox.clone()));
        Some(room)
    }

    fn leave(&self, name: &str, session: SessionId) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = rooms.get(name).is_some_and(|room| room.change(|members| members.remove(&session)) == 0);
        if empty {
            rooms.remove(name);
        }
    }
}

impl Room {
    fn new(name: &str) -> Self {
        let mut quoted = Vec::new();
        write_string(name, &mut quoted);
        let between = [br#","room":"#, &*quoted, br#","message":"#].concat();
        Self {
            name: name.into(),
            quoted: quoted.into(),
            between: between.into(),
            members: RwLock::default(),
            size: AtomicUsize::new(0),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<SessionId, Outbox>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes who is in it; returns how many are.
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<SessionId, Outbox>) -> T) -> usize {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut members);
        self.size.store(members.len(), Ordering::Relaxed);
        members.len()
    }

    fn is_of_one(&self) -> bool {
        self.size.load(Ordering::Relaxed) <= 1
    }
}

/// The application of one connection.
#[derive(Debug)]
pub struct App {
    rooms: Arc<Rooms>,
    session: Option<SessionId>,
    joined: Vec<Arc<Room>>,
    /// How every chat of this peer begins, up to the room.
    opening: Opening,
}

impl App {
    /// The application of a new connection.
    pub fn new(rooms: Arc<Rooms>) -> Self {
        Self { rooms, session: None, joined: Vec::new(), opening: Opening::default() }
    }

    fn join(&mut self, name: &str, peer: &Peer<'_>) -> Handled {
        let Some(session) = self.session else {
            return Handled::Refused(ErrorCode::Internal, "no_session");
        };
        if self.joined.iter().any(|joined| *joined.name == *name) {
            return Handled::Done;
        }
        if !peer.may_enter(name) {
            return Handled::Refused(ErrorCode::Forbidden, "room_forbidden");
        }
        if self.joined.len() >= ROOMS_PER_SESSION_MAX {
            return Handled::Refused(ErrorCode::RateLimited, "rooms_of_session");
        }
        match self.rooms.enter(name, session, peer.outbox()) {
            Some(room) => {
                // Most are in one room and stay there.
                self.joined.reserve_exact(1);
                self.joined.push(room);
                Handled::Done
            }
            None => Handled::Refused(ErrorCode::RateLimited, "rooms_of_server"),
        }
    }

    fn leave(&mut self, name: &str) -> Handled {
        if let (Some(place), Some(session)) =
            (self.joined.iter().position(|joined| *joined.name == *name), self.session)
        {
            self.joined.swap_remove(place);
            self.rooms.leave(name, session);
        }
        Handled::Done
    }

    /// Sends a chat to the members of its room, the sender among them.
    fn chat(&self, payload: Value<'_>, peer: &mut Peer<'_>) -> Handled {
        let Some(text) = payload.get("message") else {
            return Handled::Refused(ErrorCode::InvalidMessage, "chat_payload");
        };
        // What passed is canonical: its parts are JSON text as they stand, and equal names are equal bytes.
        let named = payload.get("room").map(Value::raw_bytes);
        let is_meant = |room: &&Arc<Room>| named.map_or(*room.name == *LOBBY, |named| *named == *room.quoted);
        let Some(room) = self.joined.iter().find(is_meant) else {
            return Handled::Refused(ErrorCode::Forbidden, "room_not_joined");
        };
        let ending = Ending::at(peer.now().unix);
        let parts = [&room.between, text.raw_bytes(), ending.as_bytes()];
        if room.is_of_one() {
            peer.send_parts(Some(&room.name), &self.opening, parts);
        } else {
            self.send_to_all(room, parts, peer);
        }
        Handled::Done
    }

    /// Encoded once for all: only the sequence number differs from member to member.
    fn send_to_all<const N: usize>(&self, room: &Room, parts: [&[u8]; N], peer: &mut Peer<'_>) {
        let message = &Encoded::of_parts(Some(&room.name), &self.opening, &parts);
        let members = room.read();
        let others = members.iter().filter(|(member, _)| Some(**member) != self.session);
        Outbox::send_to_all(others.map(|(_, outbox)| outbox), message);
        peer.send_encoded(message);
    }
}

impl Handler for App {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.session = peer.session();
        if let Some(identity) = peer.identity() {
            let mut from = br#"{"from":"#.to_vec();
            write_string(&identity.claims.subject, &mut from);
            self.opening = Opening::new("chat", from);
        }
        let _ = self.join(LOBBY, peer);
    }

    fn message(&mut self, message: Message<'_>, peer: &mut Peer<'_>) -> Handled {
        match message.kind {
            "chat" => self.chat(message.value, peer),
            "echo" => {
                peer.send("echo", message.payload);
                Handled::Done
            }
            "join" | "leave" => match message.value.get("room").map(Value::to_text) {
                Some(room) if message.kind == "join" => self.join(&room, peer),
                Some(room) => self.leave(&room),
                None => Handled::Refused(ErrorCode::InvalidMessage, "room_payload"),
            },
            _ => Handled::Refused(ErrorCode::UnknownType, "type_without_application"),
        }
    }

    fn reconsidered(&mut self, peer: &mut Peer<'_>) {
        let Some(session) = self.session else {
            return;
        };
        let rooms = &self.rooms;
        self.joined.retain(|joined| {
            let stays = peer.may_enter(&joined.name);
            if !stays {
                rooms.leave(&joined.name, session);
            }
            stays
        });
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            for joined in self.joined.drain(..) {
                self.rooms.leave(&joined.name, session);
            }
        }
    }
}

/// The longest [`Ending`]: that of a time with all digits of 64 bits.
const ENDING_BYTES_MAX: usize = 32;

/// How the payload of a chat ends: when it was said.
#[derive(Clone, Copy)]
struct Ending {
    of: UnixMs,
    bytes: [u8; ENDING_BYTES_MAX],
    length: u8,
}

thread_local! {
    /// The one that was written last: chats of one read have the same.
    static LAST_ENDING: Cell<Ending> = const { Cell::new(Ending::FIRST) };
}

impl Ending {
    /// That of the first moment, until another is written.
    const FIRST: Self =
        Self { of: UnixMs(0), bytes: *b",\"at\":0}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", length: 8 };

    #[inline]
    fn at(time: UnixMs) -> Self {
        let last = LAST_ENDING.get();
        if last.of == time { last } else { Self::write(time) }
    }

    fn write(time: UnixMs) -> Self {
        let mut text = br#","at":"#.to_vec();
        write_number(&mut text, time.0);
        text.push(b'}');
        let mut bytes = [0; ENDING_BYTES_MAX];
        for (slot, byte) in bytes.iter_mut().zip(&text) {
            *slot = *byte;
        }
        let ending = Self { of: time, bytes, length: u8::try_from(text.len()).unwrap_or_default() };
        LAST_ENDING.set(ending);
        ending
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The rooms that a session is in, for tests and statistics.
impl Rooms {
    /// Names of the rooms that have members.
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use wsguard::core::json::{self, ScanLimits, Tape};

    use super::*;

    #[test]
    fn a_chat_ends_with_its_time() {
        let now = 1_700_000_000_000;
        for time in [0, 7, now, now, now + 1, now, u64::MAX, 0, 9_999_999_999_999, 10_000_000_000_000, now, now] {
            let ending = Ending::at(UnixMs(time));
            assert_eq!(String::from_utf8_lossy(ending.as_bytes()), format!(r#","at":{time}}}"#));
        }
    }

    #[test]
    fn a_room_is_named_as_a_canonical_payload_names_it() {
        for name in ["lobby", "", "a \"b\" \\ /c", "tab\tand\u{2028}", "räume \u{1f6aa}", "<script>"] {
            let text = serde_json::json!({ "room": name }).to_string();
            let (mut tape, mut canonical) = (Tape::default(), Vec::new());
            let document = json::scan(&text, &ScanLimits::default(), &mut tape).unwrap();
            json::write_canonical(document.root().get("room").unwrap(), &mut canonical);
            assert_eq!(canonical, *Room::new(name).quoted, "{name}");
        }
    }
}
