//! Controls that only say what they would have done.
//!
//! Attack: a protection that nobody dares to switch on, because nobody knows whom it would hit. In shadow a control counts
//! and logs, and the message passes. Only controls whose refusals keep a peer from too much or from the wrong shape can
//! be shadowed; those that decide who speaks and what may be read at all cannot: a shadowed door is an open one.
//!
//! # Specification
//! docs/operations.md, "Shadow mode"

use std::sync::atomic::{AtomicU64, Ordering};

use crate::verdict::ControlId;

/// The controls that can be shadowed.
///
/// Not among them: the frame layer, the upgrade and the scan (what is not well-formed cannot be handed over), Host, Origin
/// and credential (who speaks), liveness (whether the speaker still may), authorization (what it may), and the
/// application.
pub const SHADOWABLE: [ControlId; 7] = [
    ControlId::HandshakeRate,
    ControlId::SessionCap,
    ControlId::Rate,
    ControlId::Csrf,
    ControlId::RateType,
    ControlId::Schema,
    ControlId::Content,
];

/// A set of controls in shadow; only members of [`SHADOWABLE`] can be in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShadowSet(u8);

impl ShadowSet {
    /// Puts `control` into shadow; `false` when it must not be.
    #[must_use]
    pub fn insert(&mut self, control: ControlId) -> bool {
        let bit = bit_of(control);
        self.0 |= bit;
        bit != 0
    }

    /// Whether `control` is in shadow.
    pub fn contains(self, control: ControlId) -> bool {
        self.0 & bit_of(control) != 0
    }

    /// The controls in it.
    pub fn iter(self) -> impl Iterator<Item = ControlId> {
        SHADOWABLE.into_iter().filter(move |control| self.contains(*control))
    }
}

fn bit_of(control: ControlId) -> u8 {
    SHADOWABLE.iter().position(|known| *known == control).map_or(0, |place| 1 << place)
}

/// Why something would have been refused. Words that are not here share the last row of their control.
const REASONS: [(ControlId, &str); 26] = [
    (ControlId::HandshakeRate, "handshakes_of_prefix"),
    (ControlId::HandshakeRate, "handshakes_of_wide_prefix"),
    (ControlId::HandshakeRate, "foreign_handshakes_of_prefix"),
    (ControlId::HandshakeRate, "handshake_table_full"),
    (ControlId::HandshakeRate, OTHER),
    (ControlId::SessionCap, "sessions_of_subject"),
    (ControlId::Rate, "bytes_of_session"),
    (ControlId::Rate, "messages_of_server"),
    (ControlId::Rate, "messages_of_subject"),
    (ControlId::Rate, "quota_of_prefix"),
    (ControlId::Rate, "quota_of_wide_prefix"),
    (ControlId::Rate, "rate_table_full"),
    (ControlId::Rate, OTHER),
    (ControlId::Csrf, "csrf_missing"),
    (ControlId::Csrf, "csrf_wrong"),
    (ControlId::Csrf, OTHER),
    (ControlId::RateType, "messages_of_type"),
    (ControlId::RateType, OTHER),
    (ControlId::Schema, "schema"),
    (ControlId::Schema, "payload_missing"),
    (ControlId::Schema, OTHER),
    (ControlId::Content, "markup_refused"),
    (ControlId::Content, "html_too_complex"),
    (ControlId::Content, OTHER),
    (ControlId::SessionCap, OTHER),
    (ControlId::Anomaly, "score_high"),
];

const OTHER: &str = "other";

/// Counts of what would have been refused, by control and reason. Each is one relaxed addition, without a lock.
#[derive(Debug)]
pub struct ShadowCounts([AtomicU64; REASONS.len()]);

impl Default for ShadowCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl ShadowCounts {
    /// Counts one refusal by `control` for `reason` that was not made.
    pub fn count(&self, control: ControlId, reason: &str) {
        let exact = REASONS.iter().position(|(known, word)| *known == control && *word == reason);
        let place = exact.or_else(|| REASONS.iter().position(|row| *row == (control, OTHER)));
        if let Some(counter) = place.and_then(|place| self.0.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Control, reason and count of what was not refused, those that happened.
    pub fn seen(&self) -> impl Iterator<Item = (ControlId, &'static str, u64)> + '_ {
        let counts = self.0.iter().map(|counter| counter.load(Ordering::Relaxed));
        REASONS
            .into_iter()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
            .map(|((control, word), count)| (control, word, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_cannot_be_shadowed() {
        let mut set = ShadowSet::default();
        for control in ControlId::ALL {
            assert_eq!(set.insert(control), SHADOWABLE.contains(&control), "{}", control.as_str());
            assert_eq!(set.contains(control), SHADOWABLE.contains(&control), "{}", control.as_str());
        }
        for door in [
            ControlId::Frame,
            ControlId::Upgrade,
            ControlId::Host,
            ControlId::Origin,
            ControlId::Credential,
            ControlId::Liveness,
            ControlId::Scan,
            ControlId::Authorization,
        ] {
            assert!(!set.contains(door), "{}", door.as_str());
        }
        assert_eq!(set.iter().count(), SHADOWABLE.len());
    }

    #[test]
    fn what_was_not_refused_is_counted_by_its_reason() {
        let counts = ShadowCounts::default();
        counts.count(ControlId::Schema, "schema");
        counts.count(ControlId::Schema, "schema");
        counts.count(ControlId::Content, "a word of the future");
        counts.count(ControlId::Origin, "origin_foreign");
        let seen: Vec<_> = counts.seen().collect();
        assert_eq!(seen, [(ControlId::Schema, "schema", 2), (ControlId::Content, "other", 1)]);
    }
}
