//! The metrics, in the `OpenMetrics` text format.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use wsguard::core::policy::{MessageType, Policy};
use wsguard::{Guard, ROUND_TRIP_MS};

use super::Admin;

/// All metrics as text.
pub(super) fn text(admin: &Admin) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("wsguard");
    registry
        .register_collector(Box::new(Snapshot { guard: admin.guard.clone(), log_dropped: admin.journal.dropped() }));
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
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(gauge)?;
        }
        for (name, help, value) in [
            ("connections", "Connections since the start", stats.connections_total()),
            ("sessions", "Sessions since the start", stats.sessions_total()),
            ("message_bytes", "Bytes of messages read", stats.bytes_in()),
            ("queue_drops", "Connections cut off because they did not read", stats.queue_drops()),
            ("shadowed", "Messages that limits in shadow mode would have refused", stats.shadowed()),
            ("duplicates", "Messages with a known id: answered, not handled", stats.duplicates()),
            ("replayed_frames", "Frames sent again behind a resume", stats.replayed()),
            ("panics", "Connection tasks that panicked", stats.panics()),
            ("policy_reloads", "Policies that came into force while the server ran", stats.reloads()),
            ("log_dropped", "Security log entries that found the queue full", self.log_dropped),
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

        let help = "Round-trip times of pings in milliseconds";
        let mut histogram = encoder.encode_descriptor("round_trip_ms", help, None, MetricType::Histogram)?;
        let (sum, counts) = stats.round_trips();
        let bounds = ROUND_TRIP_MS.iter().map(|bound| number(*bound)).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        histogram.encode_histogram::<NoLabelSet>(number(sum), counts.iter().sum(), &buckets, None)?;

        let mut info = encoder.encode_descriptor("build", "The version", None, MetricType::Info)?;
        info.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds, far below 2^53")]
fn number(value: u64) -> f64 {
    value as f64
}
