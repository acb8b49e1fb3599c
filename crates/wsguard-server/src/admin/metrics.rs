//! The metrics, in the `OpenMetrics` text format.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use wsguard::core::policy::{MessageType, Policy};
use wsguard::{Guard, ROUND_TRIP_MS};

use super::Admin;
use crate::jwks::JwksStats;
use crate::pending::{Pending, Unfinished};

/// All metrics as text.
pub(super) fn text(admin: &Admin) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("wsguard");
    registry.register_collector(Box::new(Snapshot {
        guard: admin.guard.clone(),
        log_dropped: admin.journal.dropped(),
        log_write_failures: admin.journal.write_failures(),
        jwks: admin.jwks.clone(),
        pending: Arc::clone(&admin.pending),
    }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// The label of a message type, `None` for a number that no type has; what is not a type of the policy shares one.
pub(super) fn type_name(policy: &Policy, number: Option<usize>) -> Option<&str> {
    match number {
        None => Some("other"),
        Some(number) => policy.messages().get(number).map(MessageType::name),
    }
}

#[derive(Debug)]
struct Snapshot {
    guard: Guard,
    log_dropped: u64,
    log_write_failures: u64,
    jwks: Option<Arc<JwksStats>>,
    pending: Arc<Pending>,
}

impl Snapshot {
    /// Keys in force and what was verified with them; where they come from an issuer, how that goes.
    fn encode_keys(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let context = self.guard.context();
        let of_issuer = self.jwks.as_ref().map(|jwks| jwks.keys.load(Ordering::Relaxed));
        for (name, help, value) in [
            ("keys", "Keys that verify tokens", u64::try_from(context.keys().keys().len()).ok()),
            ("jwks_keys", "Of these, keys that the issuer publishes", of_issuer),
            ("verified_tokens", "Verified tokens that are remembered", u64::try_from(context.verified_tokens()).ok()),
        ] {
            if let Some(value) = value {
                let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(gauge)?;
            }
        }
        if let Some(jwks) = &self.jwks {
            let help = "Requests to the issuer for its keys, by outcome";
            let mut family = encoder.encode_descriptor("jwks_fetches", help, None, MetricType::Counter)?;
            for (outcome, count) in [("success", &jwks.fetched), ("failure", &jwks.failed)] {
                let count = count.load(Ordering::Relaxed);
                ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
            }
        }
        Ok(())
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let handle = self.guard.handle();
        let stats = handle.stats();
        let open = i64::try_from(stats.connections_open()).unwrap_or(i64::MAX);
        let gauge =
            encoder.encode_descriptor("connections_open", "Connections that are open", None, MetricType::Gauge)?;
        ConstGauge::new(open).encode(gauge)?;
        let revoked = i64::try_from(self.guard.context().revocations().len()).unwrap_or(i64::MAX);
        let gauge = encoder.encode_descriptor("revocations", "Revocations in force", None, MetricType::Gauge)?;
        ConstGauge::new(revoked).encode(gauge)?;
        for (name, help, value) in [
            ("sessions_detached", "Sessions that wait to be resumed", handle.detached()),
            ("replay_bytes", "Bytes kept to be replayed", handle.replay_bytes()),
            ("handshakes_pending", "Connections whose request is not answered yet", self.pending.count()),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(gauge)?;
        }
        for (name, help, value) in [
            ("connections", "Connections since the start", stats.connections_total()),
            ("sessions", "Sessions since the start", stats.sessions_total()),
            ("message_bytes", "Bytes of messages read", stats.bytes_in()),
            ("queue_drops", "Connections cut off because they did not read", stats.queue_drops()),
            ("shadowed", "Messages that controls in shadow would have refused", stats.shadowed()),
            ("bidi_controls", "Bidirectional control characters in messages that passed", stats.bidi_controls()),
            ("duplicates", "Messages with a known id: answered, not handled", stats.duplicates()),
            ("replayed_frames", "Frames sent again behind a resume", stats.replayed()),
            ("panics", "Connection tasks that panicked", stats.panics()),
            (
                "accept_failures",
                "Connections that the system could not give: no descriptors",
                self.pending.not_accepted(),
            ),
            ("policy_reloads", "Policies that came into force while the server ran", stats.reloads()),
            ("log_dropped", "Security log entries that found the queue full", self.log_dropped),
            (
                "log_write_failures",
                "Writes of the security log that failed: disk full, file gone",
                self.log_write_failures,
            ),
        ] {
            let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(counter)?;
        }

        let mut family = encoder.encode_descriptor("handshakes", "Handshakes by outcome", None, MetricType::Counter)?;
        let admitted = ("101".to_owned(), stats.handshakes_admitted());
        let refused = stats.handshakes_refused().map(|(status, count)| (status.to_string(), count));
        for (status, count) in std::iter::once(admitted).chain(refused) {
            ConstCounter::new(count).encode(family.encode_family(&[("status", status)])?)?;
        }

        let help = "Connections that ended before their request was read, by reason";
        let mut family = encoder.encode_descriptor("handshakes_unfinished", help, None, MetricType::Counter)?;
        for how in Unfinished::ALL {
            let labels = [("reason", how.as_str())];
            ConstCounter::new(self.pending.unfinished(how)).encode(family.encode_family(&labels)?)?;
        }

        let help = "Connections that asked for a session, by outcome";
        let mut family = encoder.encode_descriptor("resumes", help, None, MetricType::Counter)?;
        for (outcome, count) in stats.resumes() {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }

        let help = "Messages by type and verdict";
        let mut family = encoder.encode_descriptor("messages", help, None, MetricType::Counter)?;
        let policy = self.guard.policy();
        for (number, verdicts) in stats.messages() {
            let Some(name) = type_name(&policy, number) else {
                continue;
            };
            for (verdict, count) in verdicts {
                ConstCounter::new(count).encode(family.encode_family(&[("type", name), ("verdict", verdict)])?)?;
            }
        }

        let mut family = encoder.encode_descriptor("refusals", "Refusals by control", None, MetricType::Counter)?;
        for (control, count) in stats.refusals() {
            ConstCounter::new(count).encode(family.encode_family(&[("control", control)])?)?;
        }

        let penalties = self.guard.context().penalties();
        for (family, help, counts) in [
            (
                "penalties",
                "Steps of the ladder that were reached",
                penalties.counts().map(|(step, count, _)| (step, count)),
            ),
            (
                "penalties_shadowed",
                "Steps that the ladder in shadow mode would have reached",
                penalties.counts().map(|(step, _, count)| (step, count)),
            ),
        ] {
            let mut family = encoder.encode_descriptor(family, help, None, MetricType::Counter)?;
            for (step, count) in counts {
                ConstCounter::new(count).encode(family.encode_family(&[("step", step)])?)?;
            }
        }
        let mut family = encoder.encode_descriptor("bans", "Bans in force by kind", None, MetricType::Gauge)?;
        for (kind, count) in penalties.in_force(wsguard::now().tick) {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(family.encode_family(&[("kind", kind)])?)?;
        }
        let anomalies = self.guard.context().anomalies();
        let help = "Sessions whose anomaly score reached anomaly.alert_at, by the signal that led";
        let mut family = encoder.encode_descriptor("anomaly_alerts", help, None, MetricType::Counter)?;
        for (signal, count) in anomalies.alerts() {
            ConstCounter::new(count).encode(family.encode_family(&[("signal", signal.as_str())])?)?;
        }
        let help = "Judgements charged to the ladder for an anomaly score, or that would have been in shadow mode";
        let counter = encoder.encode_descriptor("anomaly_charges", help, None, MetricType::Counter)?;
        ConstCounter::new(anomalies.charged()).encode(counter)?;
        let help = "Anomaly scores at judgements";
        let mut histogram = encoder.encode_descriptor("anomaly_score", help, None, MetricType::Histogram)?;
        let buckets: Vec<(f64, u64)> = anomalies
            .scores()
            .into_iter()
            .map(|(bound, count)| (f64::from(bound), count))
            .chain([(f64::MAX, 0)])
            .collect();
        let (sum, count) = anomalies.total();
        histogram.encode_histogram::<NoLabelSet>(number(sum), count, &buckets, None)?;

        let help = "What controls in shadow would have refused, by reason";
        let mut family = encoder.encode_descriptor("shadow_refusals", help, None, MetricType::Counter)?;
        for (control, reason, count) in self.guard.context().shadow().seen() {
            let labels = [("control", control.as_str()), ("reason", reason)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }

        let help = "Round-trip times of pings in milliseconds";
        let mut histogram = encoder.encode_descriptor("round_trip_ms", help, None, MetricType::Histogram)?;
        let (sum, counts) = stats.round_trips();
        let bounds = ROUND_TRIP_MS.iter().map(|bound| number(*bound)).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        histogram.encode_histogram::<NoLabelSet>(number(sum), counts.iter().sum(), &buckets, None)?;

        self.encode_keys(&mut encoder)?;

        let mut info = encoder.encode_descriptor("build", "The version", None, MetricType::Info)?;
        info.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds, far below 2^53")]
fn number(value: u64) -> f64 {
    value as f64
}
