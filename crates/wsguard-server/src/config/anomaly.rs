//! `anomaly.*`.

use wsguard_core::control::anomaly::AnomalyPolicy;

use super::{limit, mode, read::Reader};

/// Reads when an unusual session is told and charged.
pub(super) fn read(reader: &mut Reader) -> AnomalyPolicy {
    let score = |score: u32| u8::try_from(score).unwrap_or(u8::MAX);
    AnomalyPolicy {
        mode: mode(reader, "anomaly.mode"),
        alert_at: score(reader.count(&limit::ANOMALY_ALERT_AT)),
        charge_at: score(reader.count(&limit::ANOMALY_CHARGE_AT)),
        points_per_second: reader.count(&limit::ANOMALY_POINTS),
        ..AnomalyPolicy::default()
    }
}
