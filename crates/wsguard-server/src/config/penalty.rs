//! `penalty.*` and `shadow.controls`.

use wsguard_core::control::penalty::PenaltyPolicy;
use wsguard_core::control::shadow::{SHADOWABLE, ShadowSet};

use super::{limit, mode, read::Reader};

/// Reads the ladder.
pub(super) fn read(reader: &mut Reader) -> PenaltyPolicy {
    PenaltyPolicy {
        mode: mode(reader, "penalty.mode"),
        decay_per_second: reader.count(&limit::PENALTY_DECAY),
        slow_at: reader.count(&limit::PENALTY_SLOW_AT),
        drop_at: reader.count(&limit::PENALTY_DROP_AT),
        close_at: reader.count(&limit::PENALTY_CLOSE_AT),
        dwell: reader.time(&limit::PENALTY_DWELL),
        pause_max: reader.time(&limit::PENALTY_PAUSE_MAX),
        close_for: reader.time(&limit::PENALTY_CLOSE_FOR),
        ban_first: reader.time(&limit::PENALTY_BAN_FIRST),
        ban_max: reader.time(&limit::PENALTY_BAN_MAX),
        forget_after: reader.time(&limit::PENALTY_FORGET_AFTER),
        prefix_factor: reader.count(&limit::PENALTY_PREFIX_FACTOR),
        ..PenaltyPolicy::default()
    }
}

/// Reads the controls that are in shadow. One that decides who speaks is a mistake, not a setting.
pub(super) fn read_shadow(reader: &mut Reader) -> ShadowSet {
    let expected = "one of handshake_rate, session_cap, rate, csrf, rate_type, schema, content: the others decide who \
                    speaks and what can be read at all";
    let named = |name: &str| SHADOWABLE.into_iter().find(|control| control.as_str() == name);
    let mut set = ShadowSet::default();
    for control in reader.list("shadow.controls", expected, named, |_| None).unwrap_or_default() {
        let _ = set.insert(control);
    }
    set
}
