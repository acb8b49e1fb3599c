//! Collects what was measured and shows medians and their ratios.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::server::{Algorithm, Kind};
use crate::{CASES, Case, Counted};

/// Everything measured so far: samples by quantity and server.
#[derive(Debug, Default)]
pub(crate) struct Report {
    samples: BTreeMap<(Quantity, Kind), Vec<f64>>,
    message_bytes: BTreeMap<Kind, u64>,
    failures: Vec<String>,
}

/// What a sample is a sample of. The order is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Quantity {
    CpuUsPerMessage { with_id: bool, in_flight: u32 },
    MessagesPerSecond { with_id: bool, in_flight: u32 },
    LatencyP50Us { with_id: bool, in_flight: u32 },
    LatencyP99Us { with_id: bool, in_flight: u32 },
    InstructionsPerMessage(Counted),
    CpuUsPerHandshake,
    CpuUsPerSignedHandshake(Algorithm),
    ResidentBytesPerIdleConnection,
    ResidentBytesPerIdleTlsConnection,
}

impl Quantity {
    /// The key in JSON.
    fn key(self) -> String {
        let case = |name: &str, with_id: bool, in_flight: u32| {
            format!("{name}_{}in_flight_{in_flight}", if with_id { "acknowledged_" } else { "" })
        };
        match self {
            Self::CpuUsPerMessage { with_id, in_flight } => case("cpu_us_per_message", with_id, in_flight),
            Self::MessagesPerSecond { with_id, in_flight } => case("messages_per_second", with_id, in_flight),
            Self::LatencyP50Us { with_id, in_flight } => case("latency_us_p50", with_id, in_flight),
            Self::LatencyP99Us { with_id, in_flight } => case("latency_us_p99", with_id, in_flight),
            Self::InstructionsPerMessage(Counted::Alike) => "instructions_per_message".to_owned(),
            Self::InstructionsPerMessage(Counted::Varied) => "instructions_per_message_of_varied_length".to_owned(),
            Self::InstructionsPerMessage(Counted::Acknowledged) => "instructions_per_acknowledged_message".to_owned(),
            Self::CpuUsPerHandshake => "cpu_us_per_handshake".to_owned(),
            Self::CpuUsPerSignedHandshake(Algorithm::Hs256) => "cpu_us_per_handshake_hs256_new".to_owned(),
            Self::CpuUsPerSignedHandshake(Algorithm::EdDsa) => "cpu_us_per_handshake_eddsa_known".to_owned(),
            Self::ResidentBytesPerIdleConnection => "resident_bytes_per_idle_connection".to_owned(),
            Self::ResidentBytesPerIdleTlsConnection => "resident_bytes_per_idle_tls_connection".to_owned(),
        }
    }

    /// The name in the table.
    fn title(self) -> String {
        let case = |name: &str, with_id: bool, in_flight: u32| {
            format!("{name}, {in_flight} in flight{}", if with_id { ", acknowledged" } else { "" })
        };
        match self {
            Self::CpuUsPerMessage { with_id, in_flight } => case("CPU us / message", with_id, in_flight),
            Self::MessagesPerSecond { with_id, in_flight } => case("messages / s", with_id, in_flight),
            Self::LatencyP50Us { with_id, in_flight } => case("latency us, median", with_id, in_flight),
            Self::LatencyP99Us { with_id, in_flight } => case("latency us, 99 %", with_id, in_flight),
            Self::InstructionsPerMessage(Counted::Alike) => "user-space instructions / message".to_owned(),
            Self::InstructionsPerMessage(Counted::Varied) => {
                "user-space instructions / message, lengths vary".to_owned()
            }
            Self::InstructionsPerMessage(Counted::Acknowledged) => {
                "user-space instructions / message, acknowledged".to_owned()
            }
            Self::CpuUsPerHandshake => "CPU us / handshake".to_owned(),
            Self::CpuUsPerSignedHandshake(Algorithm::Hs256) => "CPU us / handshake, HS256, new tokens".to_owned(),
            Self::CpuUsPerSignedHandshake(Algorithm::EdDsa) => "CPU us / handshake, EdDSA, known tokens".to_owned(),
            Self::ResidentBytesPerIdleConnection => "resident bytes / idle connection".to_owned(),
            Self::ResidentBytesPerIdleTlsConnection => "resident bytes / idle connection, TLS".to_owned(),
        }
    }

    /// How often `ours` is better than `theirs`.
    fn advantage(self, ours: f64, theirs: f64) -> f64 {
        if matches!(self, Self::MessagesPerSecond { .. }) { ours / theirs } else { theirs / ours }
    }
}

impl Report {
    /// Takes what `load` printed for a run of messages.
    pub(crate) fn messages(&mut self, kind: Kind, case: Case, outcome: Result<Value, String>) {
        let Some(value) = self.kept(kind, outcome) else {
            return;
        };
        let Case { with_id, in_flight } = case;
        self.add(kind, Quantity::CpuUsPerMessage { with_id, in_flight }, value.get("serverCpuUsPerMessage"));
        self.add(kind, Quantity::MessagesPerSecond { with_id, in_flight }, value.get("messagesPerSecond"));
        self.add(kind, Quantity::LatencyP50Us { with_id, in_flight }, value.pointer("/latencyUs/p50"));
        self.add(kind, Quantity::LatencyP99Us { with_id, in_flight }, value.pointer("/latencyUs/p99"));
        if let Some(bytes) = value.get("messageBytes").and_then(Value::as_u64) {
            self.message_bytes.insert(kind, bytes);
        }
    }

    /// Takes what `load --handshakes` printed.
    pub(crate) fn handshakes(&mut self, kind: Kind, outcome: Result<Value, String>) {
        let Some(value) = self.kept(kind, outcome) else {
            return;
        };
        self.add(kind, Quantity::CpuUsPerHandshake, value.get("serverCpuUsPerHandshake"));
    }

    /// Takes what `load --handshakes` printed of wsguard with tokens of one algorithm.
    pub(crate) fn signed_handshakes(&mut self, algorithm: Algorithm, outcome: Result<Value, String>) {
        if let Some(value) = self.kept(Kind::Wsguard, outcome) {
            let cost = value.get("serverCpuUsPerHandshake");
            self.add(Kind::Wsguard, Quantity::CpuUsPerSignedHandshake(algorithm), cost);
        }
    }

    /// Takes what `load --idle` printed.
    pub(crate) fn idle(&mut self, kind: Kind, outcome: Result<Value, String>) {
        let Some(value) = self.kept(kind, outcome) else {
            return;
        };
        self.add(kind, Quantity::ResidentBytesPerIdleConnection, value.get("residentBytesPerConnection"));
    }

    /// Takes what `load --idle` printed of wsguard with TLS.
    pub(crate) fn idle_tls(&mut self, outcome: Result<Value, String>) {
        if let Some(value) = self.kept(Kind::Wsguard, outcome) {
            let bytes = value.get("residentBytesPerConnection");
            self.add(Kind::Wsguard, Quantity::ResidentBytesPerIdleTlsConnection, bytes);
        }
    }

    /// Takes the instructions of one message.
    pub(crate) fn instructions(&mut self, kind: Kind, counted: Counted, outcome: Result<f64, String>) {
        let Some(value) = self.kept(kind, outcome) else {
            return;
        };
        self.add(kind, Quantity::InstructionsPerMessage(counted), Some(&json!(value)));
    }

    /// What could not be measured, and why.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Medians by quantity and server, and the ratios of wsguard to the others where both were measured.
    pub(crate) fn to_json(&self) -> Value {
        let mut quantities = Map::new();
        for quantity in self.quantities() {
            let mut row = Map::new();
            for kind in [Kind::Bare, Kind::Raw, Kind::Wsguard, Kind::Node] {
                if let Some(median) = self.median(quantity, kind) {
                    row.insert(kind.name().to_owned(), json!(median));
                }
            }
            for (name, other) in [("vsBare", Kind::Bare), ("vsRaw", Kind::Raw), ("vsNode", Kind::Node)] {
                if let Some(ratio) = self.ratio(quantity, other) {
                    row.insert(name.to_owned(), json!(ratio));
                }
            }
            quantities.insert(quantity.key(), Value::Object(row));
        }
        let message_bytes: Map<_, _> =
            self.message_bytes.iter().map(|(kind, bytes)| (kind.name().to_owned(), json!(bytes))).collect();
        let ceilings: Map<_, _> = self
            .ceilings()
            .map(|(in_flight, ratio)| (format!("acknowledged_in_flight_{in_flight}"), json!(ratio)))
            .collect();
        json!({
            "messageBytes": message_bytes, "quantities": quantities, "bareVsNode": ceilings, "failures": self.failures,
        })
    }

    /// The same as a Markdown table.
    pub(crate) fn to_tables(&self) -> String {
        let mut text =
            String::from("| | bare | raw | wsguard | node | vs raw | vs node |\n|---|--:|--:|--:|--:|--:|--:|\n");
        for quantity in self.quantities() {
            let cell = |kind| self.median(quantity, kind).map_or(String::new(), figure);
            let times = |kind| self.ratio(quantity, kind).map_or(String::new(), |ratio| format!("{ratio:.2}x"));
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} |",
                quantity.title(),
                cell(Kind::Bare),
                cell(Kind::Raw),
                cell(Kind::Wsguard),
                cell(Kind::Node),
                times(Kind::Raw),
                times(Kind::Node),
            );
        }
        text.push_str("\nMedians; a ratio above 1 says that wsguard is better. Message bytes:");
        for (kind, bytes) in &self.message_bytes {
            let _infallible = write!(text, " {} {bytes}", kind.name());
        }
        text.push('.');
        for (in_flight, ratio) in self.ceilings() {
            let _infallible =
                write!(text, "\nbare against node, CPU / message, {in_flight} in flight, acknowledged: {ratio:.2}x");
        }
        for failure in &self.failures {
            let _infallible = write!(text, "\nnot measured: {failure}");
        }
        text
    }

    /// How much cheaper than in the acknowledged Node stack a message can be at all: by this factor it is in the bare loop,
    /// which writes once for it too.
    fn ceilings(&self) -> impl Iterator<Item = (u32, f64)> {
        CASES.iter().filter(|case| case.with_id).filter_map(|Case { in_flight, .. }| {
            let of = |kind, with_id| self.median(Quantity::CpuUsPerMessage { with_id, in_flight: *in_flight }, kind);
            let ratio = of(Kind::Node, true)? / of(Kind::Bare, false)?;
            Some((*in_flight, ratio))
        })
    }

    fn kept<T>(&mut self, kind: Kind, outcome: Result<T, String>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(failure) => {
                let failure = format!("{}: {failure}", kind.name());
                eprintln!("bench: {failure}");
                if !self.failures.contains(&failure) {
                    self.failures.push(failure);
                }
                None
            }
        }
    }

    fn add(&mut self, kind: Kind, quantity: Quantity, value: Option<&Value>) {
        match value.and_then(Value::as_f64) {
            Some(value) => self.samples.entry((quantity, kind)).or_default().push(value),
            None => self.failures.push(format!("{}: {} is absent", kind.name(), quantity.title())),
        }
    }

    fn quantities(&self) -> Vec<Quantity> {
        let mut quantities: Vec<_> = self.samples.keys().map(|(quantity, _)| *quantity).collect();
        quantities.dedup();
        quantities
    }

    fn median(&self, quantity: Quantity, kind: Kind) -> Option<f64> {
        median(self.samples.get(&(quantity, kind))?)
    }

    fn ratio(&self, quantity: Quantity, other: Kind) -> Option<f64> {
        Some(quantity.advantage(self.median(quantity, Kind::Wsguard)?, self.median(quantity, other)?))
    }
}

/// The middle sample, or the mean of the two in the middle.
fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    sorted.get(middle - 1).map(|lower| lower.midpoint(upper))
}

/// Three significant places are more than a shared machine can promise.
fn figure(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: Case = Case { in_flight: 8, with_id: false };

    fn run(cpu_us: f64, per_second: f64) -> Value {
        json!({
            "serverCpuUsPerMessage": cpu_us, "messagesPerSecond": per_second, "messageBytes": 200,
            "latencyUs": { "p50": 1.0, "p99": 2.0 },
        })
    }

    #[test]
    fn medians_stand_in_the_middle() {
        for (name, samples, want) in [
            ("none", &[][..], None),
            ("one", &[3.0], Some(3.0)),
            ("odd", &[9.0, 1.0, 2.0], Some(2.0)),
            ("even", &[4.0, 1.0, 2.0, 9.0], Some(3.0)),
        ] {
            assert_eq!(median(samples), want, "{name}");
        }
    }

    #[test]
    fn ratios_grow_with_the_advantage_of_wsguard() {
        let mut report = Report::default();
        report.messages(Kind::Wsguard, CASE, Ok(run(2.0, 400.0)));
        report.messages(Kind::Node, CASE, Ok(run(30.0, 20.0)));
        report.messages(Kind::Raw, CASE, Ok(run(1.0, 800.0)));
        let json = report.to_json();
        let at = |path: &str| json.pointer(&format!("/quantities/{path}")).and_then(Value::as_f64);
        assert_eq!(at("cpu_us_per_message_in_flight_8/vsNode"), Some(15.0));
        assert_eq!(at("cpu_us_per_message_in_flight_8/vsRaw"), Some(0.5));
        assert_eq!(at("messages_per_second_in_flight_8/vsNode"), Some(20.0));
        assert!(
            report.to_tables().contains("| CPU us / message, 8 in flight |  | 1.00 | 2.00 | 30.00 | 0.50x | 15.00x |")
        );
        assert!(report.failures().is_empty());
    }

    #[test]
    fn the_bare_loop_says_what_is_possible() {
        let mut report = Report::default();
        report.messages(Kind::Bare, Case { in_flight: 1, with_id: false }, Ok(run(5.0, 200.0)));
        report.messages(Kind::Node, Case { in_flight: 1, with_id: true }, Ok(run(27.0, 30.0)));
        assert!(report.to_tables().contains("bare against node, CPU / message, 1 in flight, acknowledged: 5.40x"));
        let json = report.to_json();
        assert_eq!(json.pointer("/bareVsNode/acknowledged_in_flight_1"), Some(&json!(5.4)));
    }

    #[test]
    fn what_was_not_measured_is_said_once() {
        let mut report = Report::default();
        for _ in 0..2 {
            report.handshakes(Kind::Node, Err("it ended".to_owned()));
        }
        report.idle(Kind::Raw, Ok(json!({})));
        assert_eq!(report.failures(), ["node: it ended", "raw: resident bytes / idle connection is absent"]);
        assert!(report.to_tables().contains("not measured: node: it ended"));
    }
}
