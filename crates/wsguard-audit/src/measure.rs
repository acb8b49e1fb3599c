//! Times that were measured, and what is said of them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is said of times of one kind. All of them in milliseconds; rank statistics are samples, not interpolations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Distribution {
    /// Times that were measured.
    pub count: u32,
    /// Tries that brought none: no answer in time, or an end of the connection.
    pub lost: u32,
    /// The shortest.
    pub min_ms: f64,
    /// The median.
    pub p50_ms: f64,
    /// 95 of 100 are not longer.
    pub p95_ms: f64,
    /// 99 of 100 are not longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Mean difference between a time and the one before it (as RFC 3550 §6.4.1, without its smoothing).
    pub jitter_ms: f64,
}

impl Distribution {
    /// Of these times, in the order in which they were measured; `None` of nothing at all.
    pub fn of(times: &[Duration], lost: u32) -> Option<Self> {
        let ms: Vec<f64> = times.iter().map(|time| millis(*time)).collect();
        if ms.is_empty() && lost == 0 {
            return None;
        }
        let mut sorted = ms.clone();
        sorted.sort_by(f64::total_cmp);
        let count = u32::try_from(ms.len()).unwrap_or(u32::MAX);
        let changes: Vec<f64> = ms
            .windows(2)
            .filter_map(|pair| match pair {
                [before, after] => Some((after - before).abs()),
                _ => None,
            })
            .collect();
        let steps = u32::try_from(changes.len()).unwrap_or(u32::MAX).max(1);
        Some(Self {
            count,
            lost,
            min_ms: sorted.first().copied().unwrap_or_default(),
            p50_ms: rank(&sorted, 50),
            p95_ms: rank(&sorted, 95),
            p99_ms: rank(&sorted, 99),
            max_ms: sorted.last().copied().unwrap_or_default(),
            // The sum of nothing is -0.
            jitter_ms: rounded((changes.iter().sum::<f64>() + 0.0) / f64::from(steps)),
        })
    }
}

/// The nearest-rank percentile of sorted times; zero of none.
fn rank(sorted: &[f64], percent: usize) -> f64 {
    let place = sorted.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

/// In milliseconds, to the microsecond: more digits are noise.
pub(crate) fn millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1_000.0)
}

fn rounded(ms: f64) -> f64 {
    (ms * 1_000.0).round() / 1_000.0
}

/// As people read it: `0.42 ms`, `17 ms`, `1.2 s`.
pub fn shown(ms: f64) -> String {
    match ms {
        0.0..10.0 => format!("{ms:.2} ms"),
        10.0..100.0 => format!("{ms:.1} ms"),
        100.0..1_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1_000.0),
    }
}

/// What a run measured beside its checks: how long things took at which second of it, and how many there were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Of every good handshake, from the first byte of TCP to the 101.
    pub handshake: Option<Distribution>,
    /// Of every message that was answered.
    pub answer: Option<Distribution>,
    /// Second of the run and milliseconds, of each good handshake or of a part of them.
    pub handshakes: Vec<[f64; 2]>,
    /// The same of answers.
    pub answers: Vec<[f64; 2]>,
    /// Seconds of the run at which the target said "enough".
    pub limited: Vec<f64>,
    /// Seconds that an entry of the two lists below stands for.
    pub bin_seconds: u64,
    /// Handshakes sent in each.
    pub handshakes_sent: Vec<u64>,
    /// Messages sent in each.
    pub messages_sent: Vec<u64>,
}

/// Most points of one kind that are kept, and most entries of a list of counts: what a plot can show.
const POINTS_MAX: usize = 1_000;
const BINS_MAX: usize = 120;

/// The record of a run.
#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<Points>);

#[derive(Debug, Default)]
struct Points {
    handshakes: Vec<(Duration, Duration)>,
    answers: Vec<(Duration, Duration)>,
    limited: Vec<Duration>,
    /// Handshakes and messages sent in each second.
    sent: Vec<[u64; 2]>,
}

/// Longest run that is counted by the second: `--full` and some more.
const SECONDS_MAX: usize = 2 * 60 * 60;

/// Most times of one kind that are kept for the figures.
const TIMES_MAX: usize = 50_000;

impl Record {
    fn points(&self) -> std::sync::MutexGuard<'_, Points> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A good handshake, at `at` of the run.
    pub(crate) fn handshake(&self, at: Duration, took: Duration) {
        let mut points = self.points();
        if points.handshakes.len() < TIMES_MAX {
            points.handshakes.push((at, took));
        }
    }

    /// An answer.
    pub(crate) fn answer(&self, at: Duration, took: Duration) {
        let mut points = self.points();
        if points.answers.len() < TIMES_MAX {
            points.answers.push((at, took));
        }
    }

    /// The target said "enough".
    pub(crate) fn limited(&self, at: Duration) {
        self.points().limited.push(at);
    }

    /// So much was sent.
    pub(crate) fn sent(&self, at: Duration, handshakes: u64, messages: u64) {
        let second = usize::try_from(at.as_secs()).unwrap_or(usize::MAX);
        let mut points = self.points();
        if second < SECONDS_MAX && handshakes.saturating_add(messages) > 0 {
            if points.sent.len() <= second {
                points.sent.resize(second.saturating_add(1), [0; 2]);
            }
            if let Some([before, beside]) = points.sent.get_mut(second) {
                *before = before.saturating_add(handshakes);
                *beside = beside.saturating_add(messages);
            }
        }
    }

    /// As the report has it.
    pub(crate) fn measured(&self) -> Measured {
        let points = self.points();
        let times = |list: &[(Duration, Duration)]| {
            Distribution::of(&list.iter().map(|(_, took)| *took).collect::<Vec<_>>(), 0)
        };
        // Of too many every n-th, so that the whole run is shown.
        let thin = |list: &[(Duration, Duration)]| {
            let step = list.len().div_ceil(POINTS_MAX).max(1);
            list.iter().step_by(step).map(|(at, took)| [second(*at), millis(*took)]).collect()
        };
        let bin = points.sent.len().div_ceil(BINS_MAX).max(1);
        let counts = |of: fn(&[u64; 2]) -> u64| points.sent.chunks(bin).map(|part| part.iter().map(of).sum()).collect();
        Measured {
            handshake: times(&points.handshakes),
            answer: times(&points.answers),
            handshakes: thin(&points.handshakes),
            answers: thin(&points.answers),
            limited: points.limited.iter().map(|at| second(*at)).collect(),
            bin_seconds: bin as u64,
            handshakes_sent: counts(|[handshakes, _]| *handshakes),
            messages_sent: counts(|[_, messages]| *messages),
        }
    }
}

/// To the hundredth.
fn second(at: Duration) -> f64 {
    (at.as_secs_f64() * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let times = |range: std::ops::RangeInclusive<u64>| range.map(Duration::from_millis).collect::<Vec<_>>();
        for (name, times, want) in [
            ("one", times(7..=7), (7.0, 7.0, 7.0, 0.0)),
            ("ten", times(1..=10), (5.0, 10.0, 10.0, 1.0)),
            ("a hundred", times(1..=100), (50.0, 95.0, 99.0, 1.0)),
            ("two hundred", times(1..=200), (100.0, 190.0, 198.0, 1.0)),
        ] {
            let found = Distribution::of(&times, 0).unwrap();
            assert_eq!((found.p50_ms, found.p95_ms, found.p99_ms, found.jitter_ms), want, "{name}");
        }
    }

    #[test]
    fn the_order_makes_the_jitter_and_not_the_rank() {
        let times = [10, 30, 10, 30].map(Duration::from_millis);
        let found = Distribution::of(&times, 2).unwrap();
        assert_eq!((found.jitter_ms, found.min_ms, found.max_ms, found.lost), (20.0, 10.0, 30.0, 2));
        assert_eq!(Distribution::of(&[], 0), None);
        assert_eq!(Distribution::of(&[], 3).map(|found| (found.count, found.lost)), Some((0, 3)));
    }

    #[test]
    fn a_long_record_is_thinned_and_counts_nothing_twice() {
        let record = Record::default();
        for number in 0..5_000_u64 {
            let at = Duration::from_millis(number * 100);
            record.answer(at, Duration::from_millis(1 + number % 3));
            record.sent(at, u64::from(number % 10 == 0), 1);
        }
        record.limited(Duration::from_secs(9));
        let measured = record.measured();
        assert_eq!(measured.answer.as_ref().map(|of| (of.count, of.p50_ms)), Some((5_000, 2.0)));
        assert_eq!((measured.answers.len(), measured.answers[1]), (1_000, [0.5, 3.0]));
        assert_eq!((measured.bin_seconds, measured.messages_sent.len()), (5, 100));
        assert_eq!(measured.messages_sent.iter().sum::<u64>(), 5_000);
        assert_eq!(measured.handshakes_sent.iter().sum::<u64>(), 500);
        assert_eq!((measured.limited, measured.handshake), (vec![9.0], None));
    }

    #[test]
    fn times_are_read_at_a_glance() {
        for (ms, want) in [(0.4213, "0.42 ms"), (17.04, "17.0 ms"), (250.2, "250 ms"), (1_234.0, "1.2 s")] {
            assert_eq!(shown(ms), want);
        }
    }
}
