//! The built-in application: `echo`, rooms, `chat`. A user of the library like any other.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use wsguard::core::control::session::SessionId;
use wsguard::core::effect::Message;
use wsguard::core::effect::write_number;
use wsguard::core::json::{Value, write_string};
use wsguard::core::time::UnixMs;
use wsguard::protocol::ErrorCode;
use wsguard::{Encoded, Handled, Handler, Outbox, OwnFrame, Peer};

/// The room that every connection enters at its welcome, and where `chat` without a room goes.
const LOBBY: &str = "lobby";

/// Its name as JSON text.
const LOBBY_QUOTED: &str = r#""lobby""#;

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
        Self { name: name.into(), members: RwLock::default(), size: AtomicUsize::new(0) }
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
    /// How the payload of every chat of this peer begins: its subject, up to the room.
    opening: Vec<u8>,
}

impl App {
    /// The application of a new connection.
    pub fn new(rooms: Arc<Rooms>) -> Self {
        Self { rooms, session: None, joined: Vec::new(), opening: Vec::new() }
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
        let named = payload.get("room");
        let is_meant = |room: &&Arc<Room>| named.map_or(*room.name == *LOBBY, |named| named.str_eq(&room.name));
        let Some(room) = self.joined.iter().find(is_meant) else {
            return Handled::Refused(ErrorCode::Forbidden, "room_not_joined");
        };
        let quoted = named.map_or(LOBBY_QUOTED.as_bytes(), Value::raw_bytes);
        let chat = Chat { opening: &self.opening, room: quoted, text: text.raw_bytes(), at: peer.now().unix };
        let expected = chat.expected();
        if room.is_of_one() {
            peer.send_written(OwnFrame { kind: "chat", room: Some(&room.name), expected }, |out| chat.write(out));
        } else {
            // Encoded once for all; only the sequence number differs from member to member.
            let message = Encoded::write(Some(&room.name), "chat", expected, |out| chat.write(out));
            self.send_to_all(room, &message, peer);
        }
        Handled::Done
    }

    fn send_to_all(&self, room: &Room, message: &Encoded, peer: &mut Peer<'_>) {
        let members = room.read();
        let others = members.iter().filter(|(member, _)| Some(**member) != self.session);
        Outbox::send_to_all(others.map(|(_, outbox)| outbox), message);
        peer.send_encoded(message);
    }
}

/// The payload of a chat. What passed is canonical: its parts are JSON text as they stand.
struct Chat<'a> {
    opening: &'a [u8],
    room: &'a [u8],
    text: &'a [u8],
    at: UnixMs,
}

impl Chat<'_> {
    /// About how many bytes it takes.
    fn expected(&self) -> usize {
        [self.opening.len(), self.room.len(), self.text.len(), 40].into_iter().fold(0, usize::saturating_add)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "written from one place for one receiver, from another for many")]
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.opening);
        out.extend_from_slice(self.room);
        out.extend_from_slice(br#","message":"#);
        out.extend_from_slice(self.text);
        out.extend_from_slice(br#","at":"#);
        write_time(out, self.at);
        out.push(b'}');
    }
}

impl Handler for App {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.session = peer.session();
        if let Some(identity) = peer.identity() {
            self.opening.extend_from_slice(br#"{"from":"#);
            write_string(&identity.claims.subject, &mut self.opening);
            self.opening.extend_from_slice(br#","room":"#);
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

/// Digits of a time from 2001 to 2286.
const TIME_DIGITS: usize = 13;

thread_local! {
    /// The last time that was written and its digits: chats of one read have the same.
    static LAST_TIME: Cell<Option<(UnixMs, [u8; TIME_DIGITS])>> = const { Cell::new(None) };
}

/// Appends `time` in decimal.
fn write_time(out: &mut Vec<u8>, time: UnixMs) {
    if let Some((_, digits)) = LAST_TIME.get().filter(|(last, _)| *last == time) {
        return out.extend_from_slice(&digits);
    }
    let start = out.len();
    write_number(out, time.0);
    if let Some(digits) = out.get(start..).and_then(|digits| digits.try_into().ok()) {
        LAST_TIME.set(Some((time, digits)));
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
    use super::*;

    #[test]
    fn times_are_written_as_numbers_are() {
        let now = 1_700_000_000_000;
        for time in [0, 7, now, now, now + 1, now, u64::MAX, 0, 9_999_999_999_999, 10_000_000_000_000, now, now] {
            let (mut time_out, mut number_out) = (b"at:".to_vec(), b"at:".to_vec());
            write_time(&mut time_out, UnixMs(time));
            write_number(&mut number_out, time);
            assert_eq!(time_out, number_out, "{time}");
        }
    }
}
