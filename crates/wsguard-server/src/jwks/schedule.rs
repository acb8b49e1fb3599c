//! When to ask the issuer again, and when its keys are too old: a function of events and times.
//!
//! Attacks: strangers whose tokens name keys that nobody knows, so that this server asks the issuer at their rate (a
//! bucket bounds it); an attacker who keeps this server from learning that a key was withdrawn (known keys end after
//! `stale_max`, and then nothing is accepted).

use wsguard::core::control::rate::{Bucket, Quota};
use wsguard::core::time::{Millis, Tick};

/// Times that an unknown `kid` may make us ask at once, and how often one more is allowed. Two cover a rotation whose
/// first answer came from an old cache; a storm of made-up ids costs the issuer one small request a minute.
pub(super) const ASKED_AT_ONCE: u32 = 2;
pub(super) const ASKED_EVERY: Millis = Millis(60_000);

/// First and longest wait behind a failure; doubled in between, each with a random half.
const BACKOFF_FIRST: Millis = Millis(1_000);
const BACKOFF_MAX: Millis = Millis(120_000);

/// The state of one source of keys.
#[derive(Debug)]
pub(super) struct Schedule {
    refresh: Millis,
    stale_max: Millis,
    due: Tick,
    /// The latest answer that was good, as long as its keys are in force.
    good: Option<Tick>,
    failures: u32,
    asked: Bucket,
    /// Somebody asked when the bucket was empty; the fetch that comes for it is charged when it begins.
    asked_in_vain: bool,
}

impl Schedule {
    /// A source that was never asked: it is due at once.
    pub(super) fn new(refresh: Millis, stale_max: Millis, now: Tick) -> Self {
        Self { refresh, stale_max, due: now, good: None, failures: 0, asked: Bucket::default(), asked_in_vain: false }
    }

    /// When something is to be done next.
    pub(super) fn next(&self) -> Tick {
        self.due.min(self.stale_at())
    }

    fn stale_at(&self) -> Tick {
        self.good.map_or(Tick::NEVER, |good| good.after(self.stale_max))
    }

    /// Whether the known keys have just become too old; says so once.
    pub(super) fn has_gone_stale(&mut self, now: Tick) -> bool {
        let stale = now >= self.stale_at();
        if stale {
            self.good = None;
        }
        stale
    }

    /// Whether it is time to ask; if so, the caller does, and says how it went.
    pub(super) fn begins(&mut self, now: Tick) -> bool {
        if now < self.due {
            return false;
        }
        if std::mem::take(&mut self.asked_in_vain) {
            let _ = quota().charge(&mut self.asked, now, 1);
        }
        true
    }

    /// A token named an unknown key.
    pub(super) fn unknown_key(&mut self, now: Tick) {
        // Behind a failure the back-off decides alone: the issuer has trouble enough.
        if self.failures > 0 || self.asked_in_vain || self.due <= now {
            return;
        }
        let at = match quota().charge(&mut self.asked, now, 1) {
            Ok(()) => now,
            Err(wait) => {
                self.asked_in_vain = true;
                now.after(wait)
            }
        };
        self.due = self.due.min(at);
    }

    /// The answer was good.
    pub(super) fn succeeded(&mut self, now: Tick) {
        self.good = Some(now);
        self.failures = 0;
        self.due = now.after(self.refresh);
    }

    /// There was no answer, or a bad one. `random` spreads those who wait for the same issuer.
    pub(super) fn failed(&mut self, now: Tick, random: u16) {
        let doubled = BACKOFF_FIRST.0.saturating_mul(1_u64.checked_shl(self.failures).unwrap_or(u64::MAX));
        let half = doubled.min(BACKOFF_MAX.0) / 2;
        let spread = half.saturating_mul(u64::from(random)) / 65_535;
        self.failures = self.failures.saturating_add(1).min(32);
        self.due = now.after(Millis(half.saturating_add(spread)));
    }
}

fn quota() -> Quota {
    Quota::per(1, ASKED_EVERY, ASKED_AT_ONCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Tick = Tick(1_000_000);
    const REFRESH: Millis = Millis(300_000);
    const STALE: Millis = Millis(3_600_000);

    fn at(ms: u64) -> Tick {
        START.after(Millis(ms))
    }

    fn good() -> Schedule {
        let mut schedule = Schedule::new(REFRESH, STALE, START);
        assert!(schedule.begins(START), "never asked: due at once");
        schedule.succeeded(START);
        schedule
    }

    #[test]
    fn a_good_answer_is_asked_for_again_after_the_refresh() {
        let mut schedule = good();
        assert_eq!(schedule.next(), at(300_000));
        assert!(!schedule.begins(at(299_999)));
        assert!(schedule.begins(at(300_000)));
    }

    #[test]
    fn a_storm_of_unknown_keys_asks_twice_and_then_once_a_minute() {
        let mut schedule = good();
        let mut asked = Vec::new();
        // Ten unknown keys a second for nine minutes; each fetch takes no time.
        for ms in (0..540_000).step_by(100) {
            schedule.unknown_key(at(ms));
            if schedule.begins(at(ms)) {
                schedule.succeeded(at(ms));
                asked.push(ms);
            }
        }
        assert_eq!(asked, [0, 100, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000]);
    }

    #[test]
    fn what_was_asked_in_vain_is_asked_as_soon_as_it_may() {
        let mut schedule = good();
        for _ in 0..3 {
            schedule.unknown_key(at(1_000));
            if schedule.begins(at(1_000)) {
                schedule.succeeded(at(1_000));
            }
        }
        assert_eq!(schedule.next(), at(61_000), "a rotation in the middle of a storm is learnt within a minute");
    }

    #[test]
    fn failures_wait_longer_each_time_and_nobody_can_hurry_them() {
        let mut schedule = good();
        let mut now = at(300_000);
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert!(schedule.begins(now));
            schedule.failed(now, u16::MAX);
            schedule.unknown_key(now);
            waits.push(schedule.due.since(now).0);
            now = schedule.due;
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 120_000, 120_000, 120_000]);
        schedule.failed(now, 0);
        assert_eq!(schedule.due.since(now).0, 60_000, "half of it is random");
        schedule.succeeded(now);
        schedule.failed(now, u16::MAX);
        assert_eq!(schedule.due.since(now).0, 1_000, "a success begins anew");
    }

    #[test]
    fn lost_keys_end_once_and_come_back() {
        let mut schedule = good();
        schedule.failed(at(300_000), 0);
        assert!(!schedule.has_gone_stale(at(3_599_999)));
        assert!(schedule.has_gone_stale(at(3_600_000)));
        assert!(!schedule.has_gone_stale(at(3_600_001)), "told once");
        schedule.succeeded(at(4_000_000));
        assert!(!schedule.has_gone_stale(at(7_599_999)));
        assert!(schedule.has_gone_stale(at(7_600_000)));
    }

    #[test]
    fn the_end_of_the_keys_wakes_even_while_a_failure_waits() {
        let mut schedule = good();
        let mut now = at(300_000);
        for _ in 0..40 {
            schedule.failed(now, u16::MAX);
            now = now.max(schedule.due).min(at(3_599_000));
        }
        assert_eq!(schedule.next(), at(3_600_000));
    }
}
