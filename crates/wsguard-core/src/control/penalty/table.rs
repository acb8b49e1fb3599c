//! Standings by key: one number that drains, a rung, remembered offences; of a fixed size, fair under churn.

use std::sync::{Mutex, PoisonError};

use super::{Judged, PenaltyPolicy, Rung, Weight};
use crate::control::rate::Print;
use crate::time::Tick;

/// Where somebody stands on the ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    weight: Weight,
    /// When `weight` was right.
    at: Tick,
    rung: Rung,
    /// When the rung was climbed.
    since: Tick,
    offences: u8,
    /// When one offence is forgotten.
    forget_at: Tick,
}

impl Standing {
    /// The rung.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// The weight.
    pub fn weight(&self) -> Weight {
        self.weight
    }

    /// Offences that are remembered.
    pub fn offences(&self) -> u8 {
        self.offences
    }

    /// Whether it says nothing any more.
    fn is_fresh(&self) -> bool {
        self.weight == Weight::ZERO && self.offences == 0
    }

    /// Lets time pass: weight drains, rungs come down with it, offences are forgotten one by one.
    pub fn settle(&mut self, policy: &PenaltyPolicy, factor: u32, now: Tick) {
        self.weight = policy.drained(self.weight, now.since(self.at));
        self.at = self.at.max(now);
        self.rung = self.rung.min(policy.reaches(self.weight, factor));
        while self.offences > 0 && now >= self.forget_at {
            self.offences = self.offences.saturating_sub(1);
            self.forget_at = self.forget_at.after(policy.forget_after.max(crate::time::Millis(1)));
        }
    }

    /// Adds `weight` and says what became of it.
    pub fn charge(&mut self, policy: &PenaltyPolicy, factor: u32, now: Tick, weight: Weight) -> Judged {
        self.settle(policy, factor, now);
        let before = self.rung;
        self.weight = Weight(self.weight.0.saturating_add(weight.0)).min(policy.most(factor));
        let reaches = policy.reaches(self.weight, factor);
        // Warn and slow come at once: what slows costs nobody a message. Beyond, each rung has had its time first.
        while weight > Weight::ZERO
            && self.rung < reaches
            && (self.rung < Rung::Slow || now >= self.since.after(policy.dwell))
        {
            self.rung = self.rung.above();
            self.since = now;
            if self.rung > Rung::Slow {
                break;
            }
        }
        let judged =
            Judged { rung: self.rung, climbed: self.rung > before, weight: self.weight, offences: self.offences };
        if self.rung < Rung::Close {
            return judged;
        }
        // Being kept out pays the weight off; the offence is what stays.
        self.offences = self.offences.saturating_add(1);
        self.forget_at = now.after(policy.length_of(self.offences)).after(policy.forget_after);
        self.weight = Weight::ZERO;
        self.rung = Rung::Calm;
        Judged { offences: self.offences, ..judged }
    }
}

/// Slots that one key may use.
const WAYS: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    print: u64,
    standing: Standing,
}

/// Standings of a fixed number of keys.
///
/// A standing that says nothing is a free slot. Where none is free, a newcomer wears the lightest standing of its set down
/// by its own weight and takes the slot when nothing is left of it: whoever keeps offending stays known, and a spray of
/// keys that offend once each wears out only its like. Sets are chosen by a keyed hash, so nobody can aim at one.
#[derive(Debug)]
pub struct Standings {
    sets: Box<[Mutex<[Slot; WAYS]>]>,
}

impl Standings {
    /// A table for about `keys` keys, rounded up to a power of two.
    pub fn new(keys: usize) -> Self {
        let sets = (keys.max(WAYS) / WAYS).next_power_of_two();
        Self { sets: (0..sets).map(|_| Mutex::new([Slot::default(); WAYS])).collect() }
    }

    /// Slots, for tests of memory.
    pub fn capacity(&self) -> usize {
        self.sets.len().saturating_mul(WAYS)
    }

    /// Charges `print`; `None` where its set has no slot for it yet.
    pub(super) fn charge(
        &self,
        policy: &PenaltyPolicy,
        factor: u32,
        print: Print,
        now: Tick,
        weight: Weight,
    ) -> Option<Judged> {
        let mut slots = self.set(print)?.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots.iter().position(|slot| slot.print == print.bits());
        let place = match known {
            Some(place) => place,
            None => make_place(&mut slots, policy, factor, print, now, weight)?,
        };
        slots.get_mut(place).map(|slot| slot.standing.charge(policy, factor, now, weight))
    }

    pub(super) fn peek(&self, policy: &PenaltyPolicy, factor: u32, print: Print, now: Tick) -> Standing {
        let Some(set) = self.set(print) else {
            return Standing::default();
        };
        let slots = set.lock().unwrap_or_else(PoisonError::into_inner);
        let found = slots.iter().find(|slot| slot.print == print.bits());
        let mut standing = found.map(|slot| slot.standing).unwrap_or_default();
        standing.settle(policy, factor, now);
        standing
    }

    pub(super) fn forget(&self, print: Print) {
        if let Some(set) = self.set(print) {
            let mut slots = set.lock().unwrap_or_else(PoisonError::into_inner);
            for slot in slots.iter_mut().filter(|slot| slot.print == print.bits()) {
                *slot = Slot::default();
            }
        }
    }

    pub(super) fn kept(&self, policy: &PenaltyPolicy, factor: u32, now: Tick) -> usize {
        let mut kept = 0_usize;
        for set in &self.sets {
            for slot in set.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
                slot.standing.settle(policy, factor, now);
                kept = kept.saturating_add(usize::from(!slot.standing.is_fresh()));
            }
        }
        kept
    }

    fn set(&self, print: Print) -> Option<&Mutex<[Slot; WAYS]>> {
        let mask = self.sets.len().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, reason = "the mask keeps the low bits only")]
        self.sets.get(print.bits() as usize & mask)
    }
}

/// The slot that a newcomer of `weight` takes; `None` when it only wore another down.
fn make_place(
    slots: &mut [Slot; WAYS],
    policy: &PenaltyPolicy,
    factor: u32,
    print: Print,
    now: Tick,
    weight: Weight,
) -> Option<usize> {
    for slot in slots.iter_mut() {
        slot.standing.settle(policy, factor, now);
    }
    // Whoever only has remembered offences goes last: a spray must not buy an offender a clean sheet.
    let (place, slot) = slots.iter_mut().enumerate().min_by_key(|(_, slot)| {
        let standing = &slot.standing;
        (standing.offences, standing.weight, standing.forget_at)
    })?;
    if !slot.standing.is_fresh()
        && let Some(left) = slot.standing.weight.0.checked_sub(weight.0).filter(|left| *left > 0)
    {
        slot.standing.weight = Weight(left);
        return None;
    }
    *slot = Slot { print: print.bits(), standing: Standing::default() };
    Some(place)
}
