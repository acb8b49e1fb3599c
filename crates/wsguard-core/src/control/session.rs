//! Sessions: ids, seats, the idle and the absolute end.
//!
//! Attack: one identity that opens sockets without end (CWE-770), sessions that never end (CWE-613), ids that can be
//! guessed (CWE-330). An id has 128 bits of the caller's randomness.
//!
//! # Specification
//! OWASP ASVS 5.0 7.2.3, 7.3.1, 7.3.2; 13.1.2

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::rate::Print;
use crate::fault::{self, Fault};
use crate::time::Millis;

/// The id of a session: 128 random bits, not a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand: sixteen calls of the formatter cost more than the rest of a log line.
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for SessionId {
    type Err = SessionIdInvalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match u128::from_str_radix(text, 16) {
            Ok(number) if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Ok(Self(number.to_be_bytes()))
            }
            _ => Err(SessionIdInvalid),
        }
    }
}

/// A text that is not a session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a session id of 32 hexadecimal digits")]
pub struct SessionIdInvalid;

/// How long sessions live and how many there may be.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    /// A session whose client sent no message for so long is closed with 4408. 30 minutes: what OWASP gives as usual.
    pub idle: Millis,
    /// The longest life of a session, however often its token is refreshed.
    pub max: Millis,
    /// Open sessions of one subject: browser tabs and devices of one person, not more.
    pub per_subject: u32,
    /// Time that a session waits for its client after a lost connection. 2 minutes: a change of network or a short
    /// sleep. Zero: none waits, and no resume token is handed out.
    pub resume_window: Millis,
    /// Sessions of one subject that wait at once; one more ends the one that waited longest.
    pub detached_per_subject: u32,
    /// Sessions of the server that wait at once; one more ends the one that waited longest.
    pub detached_max: u32,
    /// Bytes that are kept to be replayed to one session: some hundred messages of a chat.
    pub replay_bytes: usize,
    /// The same for all sessions together.
    pub replay_bytes_total: usize,
    /// What becomes of one more.
    pub on_cap: OnCap,
}

/// What becomes of a session more than a subject may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCap {
    /// It is refused: who is there stays, and whoever stole a token cannot put out its owner.
    #[default]
    Refuse,
    /// The oldest is closed with 4409: who comes gets in, also where dead connections were not noticed yet.
    CloseOldest,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self {
            idle: Millis::from_secs(30 * 60),
            max: Millis::from_secs(24 * 3_600),
            per_subject: 32,
            resume_window: Millis::from_secs(120),
            detached_per_subject: 4,
            detached_max: 8_192,
            replay_bytes: 64 * 1_024,
            replay_bytes_total: 64 * 1_024 * 1_024,
            on_cap: OnCap::Refuse,
        }
    }
}

/// Shards of the seat table: a power of two well above the number of threads.
const SHARDS: usize = 64;

/// The open sessions of each subject, oldest first.
#[derive(Debug)]
pub struct Seats {
    shards: Box<[Mutex<Subjects>]>,
    next: AtomicU64,
}

/// The places of each subject.
type Subjects = HashMap<Print, Vec<Place>>;

#[derive(Clone, Copy, Debug)]
struct Place {
    /// INVARIANT: no two places have the same.
    number: u64,
    /// `None` until the handshake has become a session.
    session: Option<SessionId>,
}

/// One open session of a subject; dropping it frees the place.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    subject: Print,
    number: u64,
}

/// A seat, and who lost one for it.
#[derive(Debug)]
pub struct Taken {
    /// The seat.
    pub seat: Seat,
    /// The session that was the subject's oldest, if it has begun; it is to be woken, so that it finds itself displaced.
    pub displaced: Option<SessionId>,
    /// Whether any seat was lost.
    pub is_displacing: bool,
}

impl Default for Seats {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), next: AtomicU64::new(0) }
    }
}

impl Seats {
    /// Takes a seat for `subject`. Where `policy.per_subject` are taken, there is none, or the oldest loses its own.
    pub fn take(self: &Arc<Self>, subject: Print, policy: &SessionPolicy) -> Option<Taken> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.with(subject, |subjects| {
            let places = subjects.entry(subject).or_insert_with(|| Vec::with_capacity(1));
            let is_full = u32::try_from(places.len()).unwrap_or(u32::MAX) >= policy.per_subject
                && !fault::is_on(Fault::SessionsUncounted);
            if is_full && (policy.on_cap == OnCap::Refuse || places.is_empty()) {
                if places.is_empty() {
                    subjects.remove(&subject);
                }
                return None;
            }
            let displaced = is_full.then(|| places.remove(0));
            places.push(Place { number, session: None });
            let seat = Seat { seats: Arc::clone(self), subject, number };
            let (is_displacing, displaced) = (displaced.is_some(), displaced.and_then(|place| place.session));
            Some(Taken { seat, displaced, is_displacing })
        })
    }

    fn with<T>(&self, subject: Print, act: impl FnOnce(&mut Subjects) -> T) -> T {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        // Prints are keyed hashes already; this only spreads them over the shards.
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(subject);
        #[expect(clippy::cast_possible_truncation, reason = "the low bits choose a shard")]
        let index = hash as usize % SHARDS;
        match self.shards.get(index) {
            Some(shard) => act(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)),
            None => act(&mut HashMap::new()),
        }
    }
}

impl Seat {
    /// The handshake has become `session`.
    pub fn begin(&self, session: SessionId) {
        self.with_places(|places| {
            if let Some(place) = places.iter_mut().find(|place| place.number == self.number) {
                place.session = Some(session);
            }
        });
    }

    /// Whether the seat was lost to a later session of the subject.
    pub fn is_displaced(&self) -> bool {
        !self.with_places(|places| places.iter().any(|place| place.number == self.number)).unwrap_or(false)
    }

    fn with_places<T>(&self, act: impl FnOnce(&mut Vec<Place>) -> T) -> Option<T> {
        self.seats.with(self.subject, |subjects| subjects.get_mut(&self.subject).map(act))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.with(self.subject, |subjects| {
            if let Some(places) = subjects.get_mut(&self.subject) {
                places.retain(|place| place.number != self.number);
                if places.is_empty() {
                    subjects.remove(&self.subject);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::rate::PrintKey;

    fn policy(on_cap: OnCap) -> SessionPolicy {
        SessionPolicy { per_subject: 2, on_cap, ..SessionPolicy::default() }
    }

    #[test]
    fn seats_are_counted_and_given_back() {
        let seats = Arc::new(Seats::default());
        let key = PrintKey::new([1; 16]);
        let (ann, bob) = (key.print(b's', b"ann"), key.print(b's', b"bob"));
        let policy = policy(OnCap::Refuse);
        let first = seats.take(ann, &policy).unwrap();
        let _second = seats.take(ann, &policy).unwrap();
        assert!(seats.take(ann, &policy).is_none());
        assert!(seats.take(bob, &policy).is_some(), "another subject is not concerned");
        assert!(!first.seat.is_displaced());
        drop(first);
        assert!(seats.take(ann, &policy).is_some());
        let subjects = seats.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>();
        assert_eq!(subjects, 1, "bob's entry is gone");
        let none = SessionPolicy { per_subject: 0, on_cap: OnCap::CloseOldest, ..policy };
        assert!(seats.take(bob, &none).is_none());
        let subjects = seats.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>();
        assert_eq!(subjects, 1, "a refusal leaves nothing");
    }

    #[test]
    fn the_oldest_makes_room_and_gives_nothing_back_twice() {
        let seats = Arc::new(Seats::default());
        let ann = PrintKey::new([1; 16]).print(b's', b"ann");
        let policy = policy(OnCap::CloseOldest);
        let mut open: Vec<Seat> = Vec::new();
        for number in 0..6_u8 {
            let taken = seats.take(ann, &policy).unwrap();
            let oldest = number.checked_sub(2).map(|oldest| SessionId([oldest; 16]));
            assert_eq!((taken.displaced, taken.is_displacing), (oldest, oldest.is_some()), "{number}");
            taken.seat.begin(SessionId([number; 16]));
            open.push(taken.seat);
            let kept = open.iter().filter(|seat| !seat.is_displaced()).count();
            assert!(kept <= 2, "{number}: {kept} are within the cap");
        }
        // A displaced one that ends frees no place: it has none.
        open.drain(..4);
        let taken = seats.take(ann, &policy).unwrap();
        assert_eq!(taken.displaced, Some(SessionId([4; 16])));
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = SessionId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string().parse::<SessionId>(), Ok(id));
        for bad in ["", "0", "+0000000000000000000000000000001", "000102030405060708090a0b0c0d0eff0", "zz"] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad}");
        }
    }
}
