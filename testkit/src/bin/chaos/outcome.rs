//! What came of a scenario, and whether it is good.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use testkit::log_table;

use crate::attack::Tally;
use crate::crowd::{Noted, Phase, Sample, Suffered};
use crate::scenario::{Finding, Told};
use crate::watch::Look;

/// How many times its quiet value the p99 of honest messages may have while the server is attacked.
pub(crate) const TIMES_MAX: f64 = 3.0;

/// A quiet p99 above this many milliseconds is that of a busy machine: a ratio to it proves nothing.
pub(crate) const QUIET_MS_MAX: f64 = 5.0;

/// Lines that are held against the table of events: a flood says the same again and again.
const LINES_HELD_MAX: usize = 5_000;

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) count: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Figures {
    pub(crate) fn of(samples: &[Sample], phase: Phase) -> Self {
        let took = samples.iter().filter(|sample| sample.phase == phase).map(|sample| sample.took);
        Self::of_times(took.collect())
    }

    fn of_times(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let ms = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        let last = times.len().saturating_sub(1);
        Self { count: times.len(), p50_ms: ms(last / 2), p99_ms: ms(last * 99 / 100), max_ms: ms(last) }
    }
}

/// One second of the run, or a fifth of one for the memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Course {
    /// Seconds since the beginning at which attacks began and ended.
    pub(crate) attacks: Vec<(f64, f64)>,
    /// Seconds, MiB.
    pub(crate) memory: Vec<(f64, f64)>,
    /// Seconds, p50 and p99 of that second in milliseconds.
    pub(crate) latency: Vec<(f64, f64, f64)>,
    pub(crate) seconds: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) rounds: u32,
    pub(crate) quiet: Figures,
    pub(crate) beside: Option<Figures>,
    pub(crate) attack: Figures,
    pub(crate) entry_quiet: Figures,
    pub(crate) entry_attack: Figures,
    /// What honest clients suffered while it was quiet, and while the server was attacked; how often.
    pub(crate) suffered_quiet: BTreeMap<String, u64>,
    pub(crate) suffered_attack: BTreeMap<String, u64>,
    pub(crate) lost_with_the_process: u32,
    pub(crate) rest_mib: f64,
    pub(crate) peak_mib: f64,
    pub(crate) bound_mib: u64,
    /// Cores in use.
    pub(crate) cpu_quiet: f64,
    pub(crate) cpu_attack: f64,
    pub(crate) tally: Tally,
    /// What was to be told, by whom, and how often it was.
    pub(crate) told: Vec<(String, u64)>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) log_lines: u64,
    pub(crate) log_bytes: u64,
    /// Exit code of `wsguard log verify`.
    pub(crate) log_verdict: i32,
    /// How the process ended, if it did.
    pub(crate) fault: Option<String>,
    pub(crate) course: Course,
}

impl Outcome {
    pub(crate) fn times(&self) -> f64 {
        self.attack.p99_ms / self.quiet.p99_ms.max(f64::MIN_POSITIVE)
    }

    /// Whether it was quiet enough to say anything about the p99.
    pub(crate) fn is_decided(&self) -> bool {
        self.quiet.p99_ms <= QUIET_MS_MAX
    }

    /// `good`, or what was missed, or that nothing was proved.
    pub(crate) fn verdict(&self) -> String {
        let missed = self.missed();
        match (missed.is_empty(), self.is_decided()) {
            (true, true) => "good".to_owned(),
            (true, false) => "p99 undecided: the machine was too busy; the rest good".to_owned(),
            (false, _) => format!("**missed**: {}", missed.join("; ")),
        }
    }

    /// Every goal that was missed, as a sentence.
    pub(crate) fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        if self.quiet.count == 0 || self.attack.count == 0 {
            missed.push("no honest message was measured".to_owned());
        }
        if self.times() > TIMES_MAX {
            missed.push(format!("honest p99 {:.1} times the quiet one", self.times()));
        }
        for (what, count) in &self.suffered_attack {
            missed.push(format!("{count} x {what}"));
        }
        if self.peak_mib > self.bound_mib as f64 {
            missed.push(format!("{:.0} MiB, above the bound of {}", self.peak_mib, self.bound_mib));
        }
        if self.log_verdict != 0 {
            missed.push("the log does not verify".to_owned());
        }
        missed.extend(self.told.iter().filter(|(_, count)| *count == 0).map(|(what, _)| format!("not told: {what}")));
        let broken = self.findings.iter().filter(|finding| !finding.holds);
        missed.extend(broken.map(|finding| format!("not so: {} ({})", finding.claim, finding.evidence)));
        missed.extend(self.fault.clone());
        missed
    }
}

/// What honest clients suffered in `phase`, counted.
pub(crate) fn counted(suffered: &[Suffered], phase: Phase) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for one in suffered.iter().filter(|one| one.phase == phase) {
        *counts.entry(one.what.clone()).or_default() += 1;
    }
    counts
}

/// Events of the security log by action and reason, with what a flood left out.
#[derive(Debug, Default)]
pub(crate) struct Log {
    events: BTreeMap<(String, String), u64>,
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    /// A line that is not as `docs/log.md` says.
    pub(crate) fault: Option<String>,
}

impl Log {
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self, String> {
        let mut log = Self::default();
        let table = log_table::events();
        for path in files {
            let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
            for line in BufReader::new(file).lines() {
                let line = line.map_err(|e| e.to_string())?;
                log.lines += 1;
                log.bytes += line.len() as u64 + 1;
                if log.lines <= LINES_HELD_MAX as u64 && log.fault.is_none() {
                    log.fault = log_table::fault_of(&table, &line);
                }
                let Ok(entry) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                *log.events.entry((text("event.action"), text("event.reason"))).or_default() += 1;
            }
        }
        Ok(log)
    }

    pub(crate) fn count(&self, action: &str, reason: &str) -> u64 {
        let fits = |held: &(String, String)| {
            (action.is_empty() || held.0 == action) && (reason.is_empty() || held.1 == reason)
        };
        self.events.iter().filter(|(held, _)| fits(held)).map(|(_, count)| count).sum()
    }
}

/// How often each was told.
pub(crate) fn told(wanted: &[Told], log: &Log, metrics: &BTreeMap<String, f64>, tally: &Tally) -> Vec<(String, u64)> {
    let of = |told: &Told| match *told {
        Told::Log(action, "") => (format!("log: {action}"), log.count(action, "")),
        Told::Log(action, reason) => (format!("log: {action} {reason}").replace("  ", " "), log.count(action, reason)),
        Told::Metric(name) => {
            let sum: f64 = metrics.iter().filter(|(held, _)| held.starts_with(name)).map(|(_, value)| value).sum();
            (format!("metrics: {name}"), whole(sum))
        }
        Told::Peers(what) => {
            let sum = tally.iter().filter(|(held, _)| held.starts_with(what)).map(|(_, count)| count).sum();
            (format!("peers: {what}"), sum)
        }
    };
    wanted.iter().map(of).collect()
}

/// A count that came as a floating-point number.
fn whole(value: f64) -> u64 {
    format!("{:.0}", value.max(0.0)).parse().unwrap_or(u64::MAX)
}

/// The times at which phases were entered.
#[derive(Debug, Default)]
pub(crate) struct Calendar(Vec<(Instant, Phase)>);

impl Calendar {
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.0.push((Instant::now(), phase));
    }

    fn spans(&self) -> impl Iterator<Item = (Instant, Instant, Phase)> + '_ {
        self.0.iter().zip(self.0.iter().skip(1)).map(|(from, to)| (from.0, to.0, from.1))
    }

    /// Cores in use in `phase`.
    pub(crate) fn cores(&self, looks: &[Look], phase: Phase) -> f64 {
        let (mut cpu_ns, mut seconds) = (0_u64, 0.0);
        for (from, to, _) in self.spans().filter(|span| span.2 == phase) {
            let within: Vec<_> = looks.iter().filter(|look| look.at >= from && look.at < to).collect();
            for (first, second) in within.iter().zip(within.iter().skip(1)) {
                // A new process begins at zero.
                cpu_ns += second.cpu_ns.saturating_sub(first.cpu_ns);
                seconds += second.at.duration_since(first.at).as_secs_f64();
            }
        }
        Duration::from_nanos(cpu_ns).as_secs_f64() / f64::max(seconds, f64::MIN_POSITIVE)
    }

    pub(crate) fn course(&self, began: Instant, looks: &[Look], noted: &Noted) -> Course {
        let since = |at: Instant| at.saturating_duration_since(began).as_secs_f64();
        let attacks = self.spans().filter(|span| span.2 == Phase::Attack).map(|(from, to, _)| (since(from), since(to)));
        let memory = looks.iter().step_by(2).map(|look| (since(look.at), mib(look.resident_bytes)));
        let mut seconds: BTreeMap<u64, Vec<Duration>> = BTreeMap::new();
        for sample in &noted.messages {
            seconds.entry(sample.at.as_secs()).or_default().push(sample.took);
        }
        let latency = seconds.into_iter().map(|(second, times)| {
            let figures = Figures::of_times(times);
            (second as f64 + 0.5, figures.p50_ms, figures.p99_ms)
        });
        let last = self.0.last().map_or(0.0, |(at, _)| since(*at));
        Course { attacks: attacks.collect(), memory: memory.collect(), latency: latency.collect(), seconds: last }
    }
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(phase: Phase, ms: u64) -> Sample {
        Sample { at: Duration::ZERO, phase, took: Duration::from_millis(ms) }
    }

    #[test]
    fn figures_are_those_of_their_phase() {
        let mut samples: Vec<_> = (1..=101).rev().map(|ms| sample(Phase::Attack, ms)).collect();
        samples.push(sample(Phase::Quiet, 7));
        let attack = Figures::of(&samples, Phase::Attack);
        assert_eq!((attack.count, attack.p50_ms, attack.p99_ms, attack.max_ms), (101, 51.0, 100.0, 101.0));
        let quiet = Figures::of(&samples, Phase::Quiet);
        assert_eq!((quiet.count, quiet.p50_ms, quiet.p99_ms), (1, 7.0, 7.0));
        assert_eq!(Figures::of(&samples, Phase::Beside).count, 0);
    }

    #[test]
    fn what_was_told_is_counted_and_what_was_not_is_zero() {
        let mut log = Log::default();
        for (action, reason, count) in
            [("handshake_refused", "token_malformed", 3), ("handshake_refused", "draining", 2)]
        {
            log.events.insert((action.to_owned(), reason.to_owned()), count);
        }
        let metrics = BTreeMap::from([("wsguard_a{x=\"1\"}".to_owned(), 4.0), ("wsguard_a{x=\"2\"}".to_owned(), 5.0)]);
        let tally = Tally::from([("closed with 1008".to_owned(), 6)]);
        for (name, wanted, count) in [
            ("an action", Told::Log("handshake_refused", ""), 5),
            ("a reason", Told::Log("handshake_refused", "draining"), 2),
            ("a reason of any action", Told::Log("", "token_malformed"), 3),
            ("nothing in the log", Told::Log("ban_begun", ""), 0),
            ("a family", Told::Metric("wsguard_a"), 9),
            ("one of it", Told::Metric("wsguard_a{x=\"2\"}"), 5),
            ("what peers saw", Told::Peers("closed"), 6),
            ("what none saw", Told::Peers("refused"), 0),
        ] {
            let told = told(&[wanted], &log, &metrics, &tally);
            assert_eq!(told.iter().map(|told| told.1).sum::<u64>(), count, "{name}");
        }
    }

    #[test]
    fn every_goal_can_be_missed() {
        let figures = |p99_ms| Figures { count: 100, p50_ms: 1.0, p99_ms, max_ms: p99_ms };
        let good = Outcome {
            name: "test".to_owned(),
            rounds: 1,
            quiet: figures(2.0),
            beside: None,
            attack: figures(6.0),
            entry_quiet: figures(2.0),
            entry_attack: figures(2.0),
            suffered_quiet: BTreeMap::new(),
            suffered_attack: BTreeMap::new(),
            lost_with_the_process: 0,
            rest_mib: 30.0,
            peak_mib: 50.0,
            bound_mib: 50,
            cpu_quiet: 0.1,
            cpu_attack: 0.9,
            tally: Tally::new(),
            told: vec![("log: a".to_owned(), 1)],
            findings: Vec::new(),
            log_lines: 1,
            log_bytes: 1,
            log_verdict: 0,
            fault: None,
            course: Course { attacks: Vec::new(), memory: Vec::new(), latency: Vec::new(), seconds: 1.0 },
        };
        assert_eq!((good.missed(), good.verdict().as_str()), (Vec::<String>::new(), "good"));
        let busy = Outcome { quiet: figures(5.1), ..good.clone() };
        assert!(busy.missed().is_empty() && busy.verdict().contains("undecided"), "{}", busy.verdict());
        let finding = Finding { claim: "it holds".to_owned(), holds: false, evidence: "it does not".to_owned() };
        for (name, bad) in [
            ("slow", Outcome { attack: figures(6.1), ..good.clone() }),
            ("nothing measured", Outcome { attack: Figures::default(), ..good.clone() }),
            (
                "refused",
                Outcome { suffered_attack: BTreeMap::from([("refused with 429".to_owned(), 1)]), ..good.clone() },
            ),
            ("memory", Outcome { peak_mib: 50.1, ..good.clone() }),
            ("log", Outcome { log_verdict: 1, ..good.clone() }),
            ("untold", Outcome { told: vec![("log: a".to_owned(), 0)], ..good.clone() }),
            ("finding", Outcome { findings: vec![finding], ..good.clone() }),
            ("dead", Outcome { fault: Some("signal 11".to_owned()), ..good.clone() }),
        ] {
            assert_eq!(bad.missed().len(), 1, "{name}");
        }
    }
}
