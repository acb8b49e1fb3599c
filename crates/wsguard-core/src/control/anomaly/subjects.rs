//! What is remembered of a subject between its sessions, and of a prefix between its handshakes: of a fixed size.

use std::sync::{Mutex, PoisonError};

use super::number::{real, whole};
use crate::control::rate::Print;
use crate::time::{Millis, Tick};

/// Slots that one key may use.
const WAYS: usize = 8;

/// Time in which address prefixes are counted together: one to two of these.
const PREFIX_SPAN: Millis = Millis(3_600_000);

/// Time in which half of a remembered score or of refused credentials is forgotten, about.
const HALF: f32 = 600_000.0;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    print: u64,
    /// One bit for each prefix, by its print: in this span and in the one before.
    prefixes: [u64; 2],
    span: u32,
    /// The highest score of a session lately, and when that was.
    score: u8,
    scored: Tick,
    /// Credentials refused lately, and when that was right.
    refused: f32,
    refused_at: Tick,
    seen: Tick,
}

/// What is known of a subject whose session begins.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// Address prefixes that it came from in the last hour or two, this one included; an estimate above about 40.
    pub prefixes: u8,
    /// The score that its sessions had, faded.
    pub score: u8,
}

/// Subjects and prefixes by print. A newcomer takes a free slot of its set, or that of who was not seen for longest: only
/// verified subjects and refused credentials come in here, so whoever wants to push somebody out has to be somebody, or to
/// spend handshakes.
#[derive(Debug)]
pub struct Subjects {
    sets: Box<[Mutex<[Slot; WAYS]>]>,
}

fn faded(value: f32, since: Millis) -> f32 {
    let ms = real(u32::try_from(since.0).unwrap_or(u32::MAX));
    value * HALF / (HALF + ms)
}

impl Subjects {
    /// A table for about `keys` keys, rounded up to a power of two.
    pub fn new(keys: usize) -> Self {
        let sets = (keys.max(WAYS) / WAYS).next_power_of_two();
        Self { sets: (0..sets).map(|_| Mutex::new([Slot::default(); WAYS])).collect() }
    }

    /// Slots, for tests of memory.
    pub fn capacity(&self) -> usize {
        self.sets.len().saturating_mul(WAYS)
    }

    /// `subject` comes from `prefix`.
    pub(super) fn arrive(&self, now: Tick, subject: Print, prefix: Print) -> Known {
        let known = self.with(now, subject, |slot| {
            let span = u32::try_from(now.0.checked_div(PREFIX_SPAN.0).unwrap_or(0)).unwrap_or(u32::MAX);
            match span.saturating_sub(slot.span) {
                0 => {}
                1 => slot.prefixes = [0, slot.prefixes[0]],
                _ => slot.prefixes = [0, 0],
            }
            slot.span = slot.span.max(span);
            slot.prefixes[0] |= 1 << (prefix.bits() >> 58);
            Known {
                prefixes: estimate(slot.prefixes[0] | slot.prefixes[1]),
                score: u8::try_from(whole(faded(f32::from(slot.score), now.since(slot.scored)))).unwrap_or(0),
            }
        });
        known.unwrap_or_default()
    }

    /// A session of `subject` scored `score`.
    pub(super) fn remember(&self, now: Tick, subject: Print, score: u8) {
        self.with(now, subject, |slot| {
            if f32::from(score) >= faded(f32::from(slot.score), now.since(slot.scored)) {
                (slot.score, slot.scored) = (score, now);
            }
        });
    }

    /// A credential from `prefix` was refused.
    pub(super) fn refuse_credential(&self, now: Tick, prefix: Print) {
        self.with(now, prefix, |slot| {
            slot.refused = faded(slot.refused, now.since(slot.refused_at)) + 1.0;
            slot.refused_at = now;
        });
    }

    /// Credentials from `prefix` that were refused lately.
    pub(super) fn credentials_refused(&self, now: Tick, prefix: Print) -> f32 {
        let Some(set) = self.set(prefix) else {
            return 0.0;
        };
        let slots = set.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots.iter().find(|slot| slot.print == prefix.bits());
        known.map_or(0.0, |slot| faded(slot.refused, now.since(slot.refused_at)))
    }

    fn set(&self, print: Print) -> Option<&Mutex<[Slot; WAYS]>> {
        let mask = self.sets.len().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, reason = "the mask keeps the low bits only")]
        self.sets.get(print.bits() as usize & mask)
    }

    fn with<T>(&self, now: Tick, print: Print, act: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let mut slots = self.set(print)?.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots.iter().position(|slot| slot.print == print.bits());
        let oldest = slots.iter().enumerate().min_by_key(|(_, slot)| slot.seen).map(|(place, _)| place);
        let slot = slots.get_mut(known.or(oldest)?)?;
        if known.is_none() {
            *slot = Slot { print: print.bits(), ..Slot::default() };
        }
        slot.seen = now;
        Some(act(slot))
    }
}

/// How many keys set these bits, by linear counting: `-64 ln(share of bits that are not set)`.
fn estimate(bits: u64) -> u8 {
    let unset = real(bits.count_zeros().max(1));
    let keys = 64.0 * std::f32::consts::LN_2 * super::number::log2(64.0 / unset);
    u8::try_from(whole(keys + 0.5)).unwrap_or(u8::MAX).max(u8::from(bits != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::rate::PrintKey;

    #[test]
    fn prefixes_are_counted_and_forgotten() {
        let key = PrintKey::new([3; 16]);
        let subjects = Subjects::new(64);
        let (ann, at) = (key.print(b's', b"ann"), |minutes: u64| Tick(PREFIX_SPAN.0 * 10 + minutes * 60_000));
        let from = |number: u8| key.print(b'p', &[number]);
        assert_eq!(subjects.arrive(at(0), ann, from(1)).prefixes, 1);
        assert_eq!(subjects.arrive(at(1), ann, from(1)).prefixes, 1, "the same again");
        for number in 0..20 {
            let _ = subjects.arrive(at(2), ann, from(number));
        }
        let many = subjects.arrive(at(3), ann, from(1)).prefixes;
        assert!((16..=24).contains(&many), "{many}");
        assert!(subjects.arrive(at(61), ann, from(1)).prefixes >= 16, "within two hours");
        assert_eq!(subjects.arrive(at(181), ann, from(1)).prefixes, 1);
        assert_eq!(subjects.arrive(at(181), key.print(b's', b"bob"), from(1)).prefixes, 1, "another subject");
    }

    #[test]
    fn scores_and_refusals_fade() {
        let key = PrintKey::new([3; 16]);
        let subjects = Subjects::new(64);
        let (ann, place) = (key.print(b's', b"ann"), key.print(b'p', b"place"));
        subjects.remember(Tick(0), ann, 80);
        subjects.remember(Tick(0), ann, 40);
        for (minutes, want) in [(0, 80), (10, 40), (30, 20), (600, 1)] {
            assert_eq!(subjects.arrive(Tick(minutes * 60_000), ann, place).score, want, "{minutes}");
        }
        for _ in 0..10 {
            subjects.refuse_credential(Tick(0), place);
        }
        assert!((subjects.credentials_refused(Tick(0), place) - 10.0).abs() < 0.1);
        assert!((subjects.credentials_refused(Tick(600_000), place) - 5.0).abs() < 0.1);
    }

    #[test]
    fn the_table_does_not_grow_and_keeps_who_is_there() {
        let key = PrintKey::new([3; 16]);
        let subjects = Subjects::new(1_024);
        let place = key.print(b'p', b"place");
        let ann = key.print(b's', b"ann");
        for number in 0..100_000_u32 {
            let now = Tick(u64::from(number));
            if number % 64 == 0 {
                subjects.remember(now, ann, 90);
            }
            let _ = subjects.arrive(now, key.print(b's', &number.to_le_bytes()), place);
        }
        assert_eq!(subjects.capacity(), 1_024);
        assert!(subjects.arrive(Tick(100_000), ann, place).score >= 80);
    }
}
