//! What a flood leaves in the log: its beginning, every hundredth entry, and how many there were.
//!
//! Attack: an attacker who provokes a line with each message fills the disk, and hides the one line that matters among a
//! million (CWE-779). Entries that say the same of the same place are counted together; ordinary use never comes near the
//! limit, so a `ref` that a developer was shown is found.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use super::{Entry, Outcome};

/// Entries of one kind from one place that are all kept, within 10 seconds.
pub const FLOOD_KEPT: u64 = 100;

/// Beyond [`FLOOD_KEPT`] one entry in so many is kept.
pub const FLOOD_EVERY: u64 = 100;

/// Time over which entries of one kind are counted together, in milliseconds.
const WINDOW_MS: u64 = 10_000;

/// Is counted together, wherever it comes from. Whoever asks for nothing needs no more than an address for each entry, and
/// was told no `ref` that somebody could look for.
const CROWDED: &str = "handshake_unfinished";

/// Kinds that are counted at the same time. One that finds no slot is kept whole: more stands in the log, never less.
const SLOTS: usize = 1_024;

/// Slots that a kind may take, from its own on.
const NEIGHBOURS: usize = 4;

pub(super) struct Floods {
    seed: RandomState,
    slots: Box<[Slot]>,
    /// Slots whose window left something out.
    open: usize,
}

#[derive(Clone, Default)]
struct Slot {
    key: u64,
    began_ms: u64,
    seen: u64,
    left_out: u64,
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    action: &'static str,
    control: Option<&'static str>,
    code: Option<&'static str>,
    reason: Option<&'static str>,
    source: Option<IpAddr>,
}

impl Floods {
    pub(super) fn new() -> Self {
        Self { seed: RandomState::new(), slots: vec![Slot::default(); SLOTS].into_boxed_slice(), open: 0 }
    }

    /// Whether `entry` is kept. What a window left out stands in `told`, when the window is over.
    pub(super) fn keeps(&mut self, entry: &Entry, told: &mut Vec<Entry>) -> bool {
        if entry.outcome != Outcome::Failure {
            return true;
        }
        let kind = Kind {
            action: entry.action,
            control: entry.control,
            code: entry.code,
            reason: entry.reason,
            source: entry.source.filter(|_| entry.action != CROWDED).map(place),
        };
        let key = self.seed.hash_one(&kind);
        let home = usize::try_from(key).unwrap_or_default() % SLOTS;
        let is_over = |slot: &Slot| entry.unix_ms.saturating_sub(slot.began_ms) >= WINDOW_MS;
        let near = || (home..home.saturating_add(NEIGHBOURS)).map(|index| index % SLOTS);
        let at = |index: usize| self.slots.get(index);
        let own = near().find(|index| at(*index).is_some_and(|slot| slot.key == key));
        let free = || near().find(|index| at(*index).is_some_and(|slot| slot.kind.is_none() || is_over(slot)));
        let Some(slot) = own.or_else(free).and_then(|index| self.slots.get_mut(index)) else {
            return true;
        };
        if slot.key != key || is_over(slot) {
            if let Some(summary) = slot.end(entry.unix_ms) {
                self.open = self.open.saturating_sub(1);
                told.push(summary);
            }
            *slot = Slot { key, began_ms: entry.unix_ms, kind: Some(kind), ..Slot::default() };
        }
        slot.seen = slot.seen.saturating_add(1);
        if slot.seen <= FLOOD_KEPT || slot.seen.is_multiple_of(FLOOD_EVERY) {
            return true;
        }
        slot.left_out = slot.left_out.saturating_add(1);
        self.open = self.open.saturating_add(usize::from(slot.left_out == 1));
        false
    }

    /// Ends the windows that are over at `unix_ms`; all of them with `u64::MAX`.
    pub(super) fn end(&mut self, unix_ms: u64, told: &mut Vec<Entry>) {
        if self.open == 0 {
            return;
        }
        for slot in &mut self.slots {
            if slot.left_out > 0 && unix_ms.saturating_sub(slot.began_ms) >= WINDOW_MS {
                told.extend(slot.end(unix_ms.min(slot.began_ms.saturating_add(WINDOW_MS))));
                self.open = self.open.saturating_sub(1);
                *slot = Slot::default();
            }
        }
    }
}

impl Slot {
    fn end(&self, unix_ms: u64) -> Option<Entry> {
        let kind = self.kind.as_ref().filter(|_| self.left_out > 0)?;
        let detail = format!(
            "{} entries of {} in {} ms, {} of them left out",
            self.seen,
            kind.action,
            unix_ms.saturating_sub(self.began_ms),
            self.left_out
        );
        Some(Entry {
            control: kind.control,
            code: kind.code,
            reason: kind.reason,
            source: kind.source,
            detail: Some(detail),
            ..Entry::new(unix_ms, "log_flood", Outcome::Failure)
        })
    }
}

/// An attacker has a whole /64 of addresses.
fn place(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(unix_ms: u64, source: &str) -> Entry {
        Entry {
            reason: Some("csrf_wrong"),
            source: source.parse().ok(),
            ..Entry::new(unix_ms, "message_refused", Outcome::Failure)
        }
    }

    #[test]
    fn a_flood_leaves_its_beginning_every_hundredth_and_a_count() {
        let mut floods = Floods::new();
        let mut told = Vec::new();
        let kept = (0..10_000).filter(|at| floods.keeps(&refused(at / 2, "203.0.113.9"), &mut told)).count();
        assert_eq!(kept, 100 + 99);
        assert!(told.is_empty());
        floods.end(9_999, &mut told);
        assert!(told.is_empty(), "the window goes on");
        floods.end(10_000, &mut told);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].action, "log_flood");
        assert_eq!(
            told[0].detail.as_deref(),
            Some("10000 entries of message_refused in 10000 ms, 9801 of them left out")
        );
        told.clear();
        floods.end(u64::MAX, &mut told);
        assert!(told.is_empty(), "told once");
        assert!(floods.keeps(&refused(20_000, "203.0.113.9"), &mut told));
    }

    #[test]
    fn others_are_not_hidden_by_a_flood() {
        let mut floods = Floods::new();
        let mut told = Vec::new();
        for at in 0..5_000 {
            let _ = floods.keeps(&refused(at, "203.0.113.9"), &mut told);
        }
        for (name, entry, kept) in [
            ("another place", refused(5_000, "203.0.113.10"), true),
            ("another reason", Entry { reason: Some("csrf_missing"), ..refused(5_000, "203.0.113.9") }, true),
            ("not a refusal", Entry::new(5_000, "session_opened", Outcome::Success), true),
            ("the flood", refused(5_000, "203.0.113.9"), false),
        ] {
            assert_eq!(floods.keeps(&entry, &mut told), kept, "{name}");
        }
        for at in 0..101_u64 {
            let _ = floods.keeps(&refused(6_000, &format!("2001:db8::{at:x}")), &mut told);
        }
        assert!(!floods.keeps(&refused(6_000, "2001:db8::ffff"), &mut told), "one /64 is one place");

        let silent = |low: u8| Entry {
            source: Some(IpAddr::from([203, 0, 113, low])),
            ..Entry::new(7_000, "handshake_unfinished", Outcome::Failure)
        };
        let kept = (0..=255).filter(|low| floods.keeps(&silent(*low), &mut told)).count();
        assert_eq!(kept, 101, "who asks for nothing is one of many");
    }
}
