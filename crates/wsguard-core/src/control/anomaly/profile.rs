//! What is usual for a role: learnt from its sessions, of a fixed size, without a lock.
//!
//! A quantity has a histogram. What is unusual about a value is the share of values that lie as far out as it does, in
//! bits: 1 in 8 is 3 bits, 1 in 1,024 is 10. So a role that does two different things makes neither unusual, and a role
//! of which little is known makes nothing unusual: among 30 values none can be rarer than 5 bits.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::number::{log2, real, whole};
use crate::control::authorization::TYPES_MAX;
use crate::control::rate::Print;

/// Roles that have a profile of their own; further ones share the last. A role here is a set of roles in a token.
pub(super) const ROLES_MAX: usize = 32;

/// Columns of a histogram.
const COLUMNS: usize = 48;

/// Values in a histogram, or sessions of a role, at which all counts are halved: what is usual may change.
const HALVED_AT: u32 = 60_000;

/// Sessions that a role needs before a step between two types can be new to it.
const SESSIONS_MIN: u32 = 32;

/// A step is new where fewer than one in so many sessions took it.
const NEW_BELOW: u32 = 64;

/// What is measured of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    /// Messages a second.
    Rate,
    /// Bytes of a message.
    Size,
    /// Deviation of the time between messages, as a share of it.
    Unevenness,
    /// Share of payloads that were there before, beyond what is usual for their types.
    Repeats,
    /// Share of steps between types that are new to the role.
    NewSteps,
    /// Share of messages that were refused.
    Errors,
    /// Bytes to the peer for each byte from it.
    Balance,
    /// Address prefixes of the subject.
    Prefixes,
    /// Milliseconds from the beginning to the first message.
    First,
}

const QUANTITIES: usize = 9;

impl Quantity {
    /// The column of `value`.
    fn column(self, value: f32) -> usize {
        let at = match self {
            Self::Rate => 2.0 * log2(value.max(0.000_1)) + 26.0,
            Self::Size => 3.0 * log2(value.max(1.0)),
            Self::Unevenness => 3.0 * log2(value.max(0.000_5)) + 36.0,
            // Fine where shares are small: 2 % and 8 % are different things, 82 % and 88 % are not.
            Self::Repeats | Self::NewSteps | Self::Errors => 44.0 * value.max(0.0).sqrt(),
            Self::Balance => 2.0 * log2(value.max(0.001)) + 20.0,
            Self::Prefixes => value,
            Self::First => 2.5 * log2(value.max(1.0)),
        };
        usize::try_from(whole(at + 0.5)).unwrap_or(COLUMNS).min(COLUMNS - 1)
    }
}

#[derive(Debug)]
struct Histogram {
    columns: [AtomicU32; COLUMNS],
    total: AtomicU32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { columns: std::array::from_fn(|_| AtomicU32::new(0)), total: AtomicU32::new(0) }
    }
}

impl Histogram {
    fn teach(&self, column: usize) {
        if let Some(counter) = self.columns.get(column) {
            counter.fetch_add(1, Ordering::Relaxed);
            if self.total.fetch_add(1, Ordering::Relaxed) >= HALVED_AT {
                halve(self.columns.iter().chain([&self.total]));
            }
        }
    }

    /// How rare it is to lie in `column` or beyond, in bits.
    fn rarity(&self, column: usize, beyond: Tail) -> f32 {
        let (low, high) = match beyond {
            Tail::Above => (column, COLUMNS),
            Tail::Below => (0, column.saturating_add(1)),
        };
        let counters = self.columns.get(low..high).unwrap_or_default();
        let as_far = counters.iter().fold(0_u32, |sum, counter| sum.saturating_add(counter.load(Ordering::Relaxed)));
        let all = self.total.load(Ordering::Relaxed).max(as_far);
        // As if one more value had been seen, as far out as this one.
        log2((real(all) + 1.0) / (real(as_far) + 1.0)).max(0.0)
    }

    /// The column in the middle: half of the values lie at or below it. `None` while nothing is known.
    fn middle(&self) -> Option<usize> {
        let half = self.total.load(Ordering::Relaxed).div_ceil(2);
        let mut sum = 0_u32;
        (half > 0).then(|| {
            self.columns
                .iter()
                .position(|counter| {
                    sum = sum.saturating_add(counter.load(Ordering::Relaxed));
                    sum >= half
                })
                .unwrap_or(0)
        })
    }
}

/// Which side of the usual is suspicious.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tail {
    Above,
    Below,
}

/// One addition that is lost between load and store does not matter here.
fn halve<'a>(counters: impl Iterator<Item = &'a AtomicU32>) {
    for counter in counters {
        counter.store(counter.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
    }
}

/// What sessions of one role do.
#[derive(Debug)]
pub(super) struct Profile {
    histograms: [Histogram; QUANTITIES],
    sessions: AtomicU32,
    /// How many sessions took the step from a type (or the beginning) to a type.
    steps: Box<[AtomicU32]>,
    /// By type: messages that were looked at, and how many of them said what was said before.
    repeats: Box<[[AtomicU32; 2]]>,
}

/// The row of the beginning.
pub(super) const BEGINNING: u8 = 128;

impl Profile {
    fn new() -> Self {
        let cells = TYPES_MAX.saturating_mul(TYPES_MAX.saturating_add(1));
        Self {
            histograms: Default::default(),
            sessions: AtomicU32::new(0),
            steps: (0..cells).map(|_| AtomicU32::new(0)).collect(),
            repeats: (0..TYPES_MAX).map(|_| Default::default()).collect(),
        }
    }

    fn fork(&self) -> Self {
        let copy = |counter: &AtomicU32| AtomicU32::new(counter.load(Ordering::Relaxed));
        Self {
            histograms: std::array::from_fn(|number| {
                self.histograms.get(number).map_or_else(Histogram::default, |known| Histogram {
                    columns: known.columns.each_ref().map(copy),
                    total: copy(&known.total),
                })
            }),
            sessions: copy(&self.sessions),
            steps: self.steps.iter().map(copy).collect(),
            repeats: self.repeats.iter().map(|row| row.each_ref().map(copy)).collect(),
        }
    }

    fn cell(&self, from: u8, to: u8) -> Option<&AtomicU32> {
        self.steps.get(usize::from(from).saturating_mul(TYPES_MAX).saturating_add(usize::from(to)))
    }

    /// Whether sessions of this role do not go from type `from` to type `to`.
    #[inline]
    pub(super) fn is_new_step(&self, from: u8, to: u8) -> bool {
        let sessions = self.sessions.load(Ordering::Relaxed);
        let took = self.cell(from, to).map_or(0, |cell| cell.load(Ordering::Relaxed));
        sessions >= SESSIONS_MIN && took <= sessions / NEW_BELOW
    }

    pub(super) fn teach_step(&self, from: u8, to: u8) {
        if let Some(cell) = self.cell(from, to) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The share of messages of this type that say what was said before: a typing indicator always does.
    #[inline]
    pub(super) fn usual_repeats(&self, kind: u8) -> f32 {
        self.repeats.get(usize::from(kind)).map_or(0.0, |[seen, repeated]| {
            real(repeated.load(Ordering::Relaxed)) / real(seen.load(Ordering::Relaxed).max(1))
        })
    }

    pub(super) fn teach_repeat(&self, kind: u8, repeats: bool) {
        if let Some([seen, repeated]) = self.repeats.get(usize::from(kind)) {
            repeated.fetch_add(u32::from(repeats), Ordering::Relaxed);
            if seen.fetch_add(1, Ordering::Relaxed) >= HALVED_AT {
                halve([seen, repeated].into_iter());
            }
        }
    }

    fn count_session(&self) {
        if self.sessions.fetch_add(1, Ordering::Relaxed) >= HALVED_AT {
            halve(self.steps.iter().chain([&self.sessions]));
        }
    }

    pub(super) fn teach(&self, quantity: Quantity, value: f32) {
        if let Some(histogram) = self.histograms.get(quantity as usize) {
            histogram.teach(quantity.column(value));
        }
    }

    pub(super) fn rarity(&self, quantity: Quantity, value: f32, beyond: Tail) -> f32 {
        self.histograms.get(quantity as usize).map_or(0.0, |known| known.rarity(quantity.column(value), beyond))
    }

    /// The column of the usual value, from which [`usual`] makes a value again.
    pub(super) fn middle(&self, quantity: Quantity) -> Option<f32> {
        let column = self.histograms.get(quantity as usize)?.middle()?;
        Some(real(u32::try_from(column).unwrap_or(0)))
    }
}

/// The value in the middle of `column`, for people to read.
pub(super) fn usual(quantity: Quantity, column: f32) -> f32 {
    match quantity {
        Quantity::Rate => ((column - 26.0) / 2.0).exp2(),
        Quantity::Size => (column / 3.0).exp2(),
        Quantity::Unevenness => ((column - 36.0) / 3.0).exp2(),
        Quantity::Repeats | Quantity::NewSteps | Quantity::Errors => (column / 44.0) * (column / 44.0),
        Quantity::Balance => ((column - 20.0) / 2.0).exp2(),
        Quantity::Prefixes => column,
        Quantity::First => (column / 2.5).exp2(),
    }
}

/// A profile for each role, made when its first session begins. `ROLES_MAX` roles take 2.2 MiB at most.
#[derive(Debug, Default)]
pub struct Profiles {
    slots: [Slot; ROLES_MAX],
}

#[derive(Debug, Default)]
struct Slot {
    /// The print of the role; 0 while it is free.
    role: AtomicU64,
    profile: OnceLock<Arc<Profile>>,
}

impl Slot {
    fn fork(&self) -> Self {
        let profile = self.profile.get().map_or_else(OnceLock::new, |profile| Arc::new(profile.fork()).into());
        Self { role: AtomicU64::new(self.role.load(Ordering::Relaxed)), profile }
    }
}

impl Profiles {
    pub(super) fn fork(&self) -> Self {
        Self { slots: std::array::from_fn(|number| self.slots.get(number).map(Slot::fork).unwrap_or_default()) }
    }

    /// The number of the role of this print, for a session that begins.
    pub(super) fn enter(&self, role: Print) -> u8 {
        let number = self.find(role);
        if let Some(profile) = self.of(number) {
            profile.count_session();
        }
        number
    }

    /// The number of the role of this print; a free one becomes its own.
    pub(super) fn find(&self, role: Print) -> u8 {
        let last = ROLES_MAX.saturating_sub(1);
        let mine = |slot: &Slot| {
            let free = slot.role.compare_exchange(0, role.bits(), Ordering::Relaxed, Ordering::Relaxed);
            free.map_or_else(|taken| taken == role.bits(), |_| true)
        };
        let number = self.slots.iter().position(mine).unwrap_or(last);
        if let Some(slot) = self.slots.get(number) {
            slot.profile.get_or_init(|| Arc::new(Profile::new()));
        }
        u8::try_from(number).unwrap_or(0)
    }

    pub(super) fn of(&self, number: u8) -> Option<&Profile> {
        self.slots.get(usize::from(number))?.profile.get().map(AsRef::as_ref)
    }
}
