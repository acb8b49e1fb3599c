//! Sessions: ids, seats, the idle and the absolute end.
//!
//! Attack: one identity that opens sockets without end (CWE-770), sessions that never end (CWE-613), ids that can be
//! guessed (CWE-330). An id has 128 bits of the caller's randomness.
//!
//! # Specification
//! OWASP ASVS 5.0 7.2.3, 7.3.1, 7.3.2; 13.1.2

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::rate::Print;
use crate::time::Millis;

/// The id of a session: 128 random bits, not a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        }
    }
}

/// Shards of the seat table: a power of two well above the number of threads.
const SHARDS: usize = 64;

/// Counts open sessions by subject.
#[derive(Debug)]
pub struct Seats {
    shards: Box<[Mutex<HashMap<Print, u32>>]>,
}

/// One open session of a subject; dropping it frees the place.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    subject: Print,
}

impl Default for Seats {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Seats {
    /// Takes a seat for `subject` unless `per_subject` are taken.
    pub fn take(self: &Arc<Self>, subject: Print, per_subject: u32) -> Option<Seat> {
        self.with(subject, |count| {
            let taken = count.entry(subject).or_default();
            if *taken >= per_subject {
                return None;
            }
            *taken = taken.saturating_add(1);
            Some(Seat { seats: Arc::clone(self), subject })
        })
    }

    fn with<T>(&self, subject: Print, act: impl FnOnce(&mut HashMap<Print, u32>) -> T) -> T {
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

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.with(self.subject, |count| {
            if let Some(taken) = count.get_mut(&self.subject) {
                *taken = taken.saturating_sub(1);
                if *taken == 0 {
                    count.remove(&self.subject);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::rate::PrintKey;

    #[test]
    fn seats_are_counted_and_given_back() {
        let seats = Arc::new(Seats::default());
        let key = PrintKey::new([1; 16]);
        let (ann, bob) = (key.print(b's', b"ann"), key.print(b's', b"bob"));
        let first = seats.take(ann, 2).unwrap();
        let _second = seats.take(ann, 2).unwrap();
        assert!(seats.take(ann, 2).is_none());
        assert!(seats.take(bob, 2).is_some(), "another subject is not concerned");
        drop(first);
        assert!(seats.take(ann, 2).is_some());
        assert_eq!(
            seats.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>(),
            1,
            "bob's entry is gone"
        );
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
