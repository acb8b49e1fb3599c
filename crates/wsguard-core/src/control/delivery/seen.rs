//! The ids of messages that were handled, or are being handled.
//!
//! Numbers stand in a bitmap below the highest one seen; strings, and numbers far from the others, as keyed hashes. An id
//! is known for the next 1,024 ids or for 5 minutes, whichever ends first; it may be known longer, so a client uses an id
//! once in a session.
//!
//! A hash has 64 bits under a key that changes with each start: nobody can choose ids that fall together, and by chance a
//! new id is taken for a known one about once in 10^16 messages.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use wsguard_protocol::limits::{ID_WINDOW, ID_WINDOW_MS};

use crate::control::rate::{Print, PrintKey};
use crate::fault::{self, Fault};
use crate::time::{Millis, Tick};

/// Messages of one session that the application may be handling at once. A loop that answers later is handed 64; beyond
/// this the application does not keep up, and what it is sent is refused.
pub const UNDER_WAY_MAX: usize = 1_024;

/// Words of the bitmap: twice the window, so that a client with as many refused ids as handled ones still fits.
const WORDS: usize = 32;

/// The same as a difference of word numbers.
const WORDS_WIDE: u64 = 32;

/// Bits of a word.
const BITS: u64 = 64;

/// The ids of one session. Nothing is allocated before the first.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    numbers: Option<Box<Numbers>>,
    hashes: Option<Box<Hashes>>,
    under_way: Vec<Id>,
}

/// What is known of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing: handle it.
    Fresh,
    /// It was handled: acknowledge it again.
    Handled,
    /// The application has it: the acknowledgement comes when it is done.
    UnderWay,
    /// Nothing, but the application has [`UNDER_WAY_MAX`] others.
    Crowded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Number(u64),
    Hash(Print),
}

impl Id {
    /// Reads an id from its canonical JSON text.
    fn of(key: &PrintKey, text: &str) -> Self {
        // A canonical number begins with a digit; `parse` alone would take a sign.
        match text.parse() {
            Ok(number) if text.starts_with(|first: char| first.is_ascii_digit()) => Self::Number(number),
            _ => Self::Hash(key.print(b'i', text.as_bytes())),
        }
    }
}

impl Seen {
    /// What is known of `id`, its canonical JSON text.
    pub(crate) fn look(&self, key: &PrintKey, id: &str) -> Look {
        if fault::is_on(Fault::IdForgotten) {
            return Look::Fresh;
        }
        if self.numbers.is_none() && self.hashes.is_none() && self.under_way.is_empty() {
            return Look::Fresh;
        }
        let id = Id::of(key, id);
        if self.under_way.contains(&id) {
            return if fault::is_on(Fault::DeferredAcknowledged) { Look::Handled } else { Look::UnderWay };
        }
        let handled = match id {
            Id::Number(number) => {
                self.numbers.as_ref().is_some_and(|numbers| numbers.holds(number))
                    || self.hashes.as_ref().is_some_and(|hashes| hashes.holds(hash_of(key, number)))
            }
            Id::Hash(hash) => self.hashes.as_ref().is_some_and(|hashes| hashes.holds(hash)),
        };
        match handled {
            true => Look::Handled,
            false if self.under_way.len() >= UNDER_WAY_MAX => Look::Crowded,
            false => Look::Fresh,
        }
    }

    /// The application has the message of `id` and answers later.
    pub(crate) fn begin(&mut self, key: &PrintKey, id: &str) {
        if !fault::is_on(Fault::DeferredForgotten) {
            self.under_way.push(Id::of(key, id));
        }
    }

    /// The message of `id` was handled.
    pub(crate) fn handled(&mut self, key: &PrintKey, now: Tick, id: &str) {
        let id = Id::of(key, id);
        self.done(id);
        let Self { numbers, hashes, .. } = self;
        let mut remember = |hash| hashes.get_or_insert_default().insert(hash, now);
        match id {
            Id::Hash(hash) => remember(hash),
            Id::Number(number) => {
                let numbers = numbers.get_or_insert_with(|| Box::new(Numbers::ending_with(number)));
                if !numbers.insert(number, |spilled| remember(hash_of(key, spilled))) {
                    remember(hash_of(key, number));
                }
            }
        }
    }

    /// The application refused the message of `id`: the client may send it again.
    pub(crate) fn refused(&mut self, key: &PrintKey, id: &str) {
        if !fault::is_on(Fault::RefusedStaysUnderWay) {
            self.done(Id::of(key, id));
        }
    }

    fn done(&mut self, id: Id) {
        if let Some(place) = self.under_way.iter().position(|known| *known == id) {
            self.under_way.swap_remove(place);
        }
        if self.under_way.is_empty() {
            self.under_way = Vec::new();
        }
    }
}

fn hash_of(key: &PrintKey, number: u64) -> Print {
    key.print(b'n', &number.to_le_bytes())
}

/// The numbers up to the highest one: a ring of words, each for the 64 numbers that share their upper bits.
#[derive(Debug)]
struct Numbers {
    /// The word number of the highest number.
    top: u64,
    words: [u64; WORDS],
}

impl Numbers {
    fn ending_with(number: u64) -> Self {
        Self { top: number / BITS, words: [0; WORDS] }
    }

    fn place(word: u64) -> usize {
        usize::try_from(word % WORDS_WIDE).unwrap_or(0)
    }

    const fn bit(number: u64) -> u64 {
        1 << (number % BITS)
    }

    fn covers(&self, word: u64) -> bool {
        word <= self.top && self.top.saturating_sub(word) < WORDS_WIDE
    }

    fn holds(&self, number: u64) -> bool {
        let word = number / BITS;
        self.covers(word) && self.words.get(Self::place(word)).is_some_and(|bits| bits & Self::bit(number) != 0)
    }

    /// Notes `number`; `false` where it lies below the bitmap. What leaves the bitmap too early goes to `spill`.
    fn insert(&mut self, number: u64, mut spill: impl FnMut(u64)) -> bool {
        let word = number / BITS;
        if word > self.top {
            self.advance(word, &mut spill);
        }
        if !self.covers(word) {
            return false;
        }
        if let Some(bits) = self.words.get_mut(Self::place(word)) {
            *bits |= Self::bit(number);
        }
        true
    }

    /// Moves the top to `word`. A word that falls out is forgotten once [`ID_WINDOW`] newer numbers are known; before
    /// that (a client that counts in steps, or leaps) its numbers are spilled.
    fn advance(&mut self, word: u64, spill: &mut impl FnMut(u64)) {
        let steps = word.saturating_sub(self.top).min(WORDS_WIDE);
        for step in 1..=steps {
            // The ring's next place holds the oldest word.
            let oldest = self.top.saturating_add(step).saturating_sub(WORDS_WIDE);
            let place = Self::place(self.top.saturating_add(step));
            let all = self.words.iter().fold(0_u32, |sum, bits| sum.saturating_add(bits.count_ones()));
            let Some(bits) = self.words.get_mut(place) else {
                continue;
            };
            let mut left = std::mem::take(bits);
            if usize::try_from(all.saturating_sub(left.count_ones())).unwrap_or(0) >= ID_WINDOW {
                continue;
            }
            while left != 0 {
                let lowest = u64::from(left.trailing_zeros());
                spill(oldest.saturating_mul(BITS).saturating_add(lowest));
                left &= left.wrapping_sub(1);
            }
        }
        self.top = word;
    }
}

/// Hashes of ids in two generations: when the young one is full or old it becomes the old one, and that is forgotten.
#[derive(Debug, Default)]
struct Hashes {
    young: HashSet<Print, BuildHasherDefault<AsItIs>>,
    old: HashSet<Print, BuildHasherDefault<AsItIs>>,
    since: Tick,
}

impl Hashes {
    fn holds(&self, hash: Print) -> bool {
        self.young.contains(&hash) || self.old.contains(&hash)
    }

    fn insert(&mut self, hash: Print, now: Tick) {
        if self.young.is_empty() && self.old.is_empty() {
            self.since = now;
        }
        if self.young.len() >= ID_WINDOW || now.since(self.since) >= Millis(ID_WINDOW_MS) {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        self.young.insert(hash);
    }
}

/// A print is a keyed hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PrintKey {
        PrintKey::new([7; 16])
    }

    fn handle(seen: &mut Seen, ids: impl IntoIterator<Item = String>) {
        for id in ids {
            assert_eq!(seen.look(&key(), &id), Look::Fresh, "{id}");
            seen.handled(&key(), Tick(0), &id);
            assert_eq!(seen.look(&key(), &id), Look::Handled, "{id}");
        }
    }

    #[test]
    fn the_last_1024_ids_are_known() {
        let numbers = |from: u64, step: usize| (from..).step_by(step).take(1_024).map(|n| n.to_string());
        let strings = || (0..1_024).map(|n| format!("\"id {n}\""));
        let cases: [(&str, Vec<String>); 9] = [
            ("counting", numbers(1, 1).collect()),
            ("counting from far up", numbers(9_007_199_254_739_000, 1).collect()),
            ("in steps of 2", numbers(0, 2).collect()),
            ("in steps of 63", numbers(5, 63).collect()),
            ("in leaps", numbers(0, 1_000_003).collect()),
            ("backwards", numbers(1, 1).collect::<Vec<_>>().into_iter().rev().collect()),
            ("backwards in leaps", numbers(1, 4_099).collect::<Vec<_>>().into_iter().rev().collect()),
            ("strings", strings().collect()),
            ("strings and numbers", strings().take(512).chain(numbers(1, 3).take(512)).collect()),
        ];
        for (name, ids) in cases {
            let mut seen = Seen::default();
            handle(&mut seen, ids.clone());
            for id in &ids {
                assert_eq!(seen.look(&key(), id), Look::Handled, "{name}: {id}");
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_old_ids_are_forgotten() {
        let mut seen = Seen::default();
        handle(&mut seen, (1..=100_000_u64).map(|n| n.to_string()));
        assert!(seen.hashes.is_none(), "a client that counts needs the bitmap alone");
        assert_eq!(seen.look(&key(), "1"), Look::Fresh);
        let mut seen = Seen::default();
        handle(&mut seen, (1..=100_000_u64).map(|n| format!("\"{n}\"")));
        let hashes = seen.hashes.unwrap();
        assert!(hashes.young.len() <= ID_WINDOW && hashes.old.len() <= ID_WINDOW);
        assert!(hashes.young.capacity() <= 2 * ID_WINDOW);
    }

    #[test]
    fn a_string_is_known_for_five_minutes_at_least() {
        let mut seen = Seen::default();
        let minutes = |count: u64| Tick(count * 60_000);
        seen.handled(&key(), minutes(0), "\"a\"");
        seen.handled(&key(), minutes(4), "\"b\"");
        seen.handled(&key(), minutes(5), "\"c\"");
        assert_eq!(seen.look(&key(), "\"b\""), Look::Handled);
        seen.handled(&key(), minutes(9), "\"d\"");
        assert_eq!(seen.look(&key(), "\"b\""), Look::Handled, "five minutes old");
        seen.handled(&key(), minutes(10), "\"e\"");
        assert_eq!(seen.look(&key(), "\"b\""), Look::Fresh, "six");
        assert_eq!(seen.look(&key(), "\"c\""), Look::Handled, "the generation of the fifth minute");
    }

    #[test]
    fn a_number_and_a_string_of_the_same_letters_are_two_ids() {
        let mut seen = Seen::default();
        seen.handled(&key(), Tick(0), "7");
        assert_eq!(seen.look(&key(), "\"7\""), Look::Fresh);
        assert_eq!(seen.look(&key(), "7"), Look::Handled);
    }

    #[test]
    fn a_message_under_way_is_neither_fresh_nor_handled() {
        let mut seen = Seen::default();
        for (name, id) in [("number", "5"), ("string", "\"x\"")] {
            seen.begin(&key(), id);
            assert_eq!(seen.look(&key(), id), Look::UnderWay, "{name}");
            seen.refused(&key(), id);
            assert_eq!(seen.look(&key(), id), Look::Fresh, "{name}: refused is not remembered");
            seen.begin(&key(), id);
            seen.handled(&key(), Tick(0), id);
            assert_eq!(seen.look(&key(), id), Look::Handled, "{name}");
        }
        assert_eq!(seen.under_way.capacity(), 0, "nothing is kept for what is done");
        for id in 0..UNDER_WAY_MAX {
            seen.begin(&key(), &format!("\"{id}\""));
        }
        assert_eq!(seen.look(&key(), "99"), Look::Crowded);
        assert_eq!(seen.look(&key(), "5"), Look::Handled, "what is known is acknowledged all the same");
    }
}
