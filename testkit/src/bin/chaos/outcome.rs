//! What came of a scenario, and whether it is good.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use testkit::log_table;

use crate::attack::{self, Tally};
use crate::crowd::{Noted, Phase, Sample, Suffered};
use crate::scenario::{By, Finding, Known, Told};
use crate::server::lines_with;
use crate::watch::Look;

/// How many times its quiet value the p99 of honest messages may have while the server is attacked.
pub(crate) const TIMES_MAX: f64 = 3.0;

/// A quiet p99 above this many milliseconds is that of a busy machine: a ratio to it proves nothing.
pub(crate) const QUIET_MS_MAX: f64 = 5.0;

/// The p99 of newcomers, from `connect` to `welcome`, in milliseconds: a tenth of a second is not felt as waiting.
pub(crate) const ENTRY_MS_MAX: f64 = 100.0;

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

    /// Of one attack, counted from 1.
    pub(crate) fn of_round(samples: &[Sample], round: u32) -> Self {
        let within = samples.iter().filter(|sample| sample.phase == Phase::Attack && sample.round == round);
        Self::of_times(within.map(|sample| sample.took).collect())
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

/// What was to be told, by whom, how often it was and had to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Telling {
    pub(crate) what: String,
    pub(crate) count: u64,
    pub(crate) least: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) rounds: u32,
    pub(crate) quiet: Figures,
    pub(crate) beside: Option<Figures>,
    /// All attacks together.
    pub(crate) attack: Figures,
    /// Each attack by itself.
    pub(crate) attacks: Vec<Figures>,
    pub(crate) entry_quiet: Figures,
    pub(crate) entry_attack: Figures,
    /// Newcomers who need not have been served, and whether the scenario says that there are any.
    pub(crate) entries_exempt: usize,
    pub(crate) may_exempt: bool,
    /// What honest clients suffered while nobody attacked, while another server was attacked, and while this one was or
    /// right behind that; how often.
    pub(crate) suffered_quiet: BTreeMap<String, u64>,
    pub(crate) suffered_beside: BTreeMap<String, u64>,
    pub(crate) suffered_attack: BTreeMap<String, u64>,
    pub(crate) lost_with_the_process: u32,
    /// The kernel gave honest clients the core before the server.
    #[serde(default)]
    pub(crate) crowd_first: bool,
    pub(crate) rest_mib: f64,
    pub(crate) peak_mib: f64,
    pub(crate) bound_mib: u64,
    /// Cores in use.
    pub(crate) cpu_quiet: f64,
    pub(crate) cpu_attack: f64,
    pub(crate) tally: Tally,
    pub(crate) told: Vec<Telling>,
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
    /// The median of the p99 of each attack.
    pub(crate) fn attack_p99_ms(&self) -> f64 {
        median(self.attacks.iter().map(|figures| figures.p99_ms).collect())
    }

    /// The p99 of the attack in which it was worst.
    pub(crate) fn worst_p99_ms(&self) -> f64 {
        self.attacks.iter().map(|figures| figures.p99_ms).fold(0.0, f64::max)
    }

    pub(crate) fn times(&self) -> f64 {
        self.times_of(self.attack_p99_ms())
    }

    fn times_of(&self, p99_ms: f64) -> f64 {
        p99_ms / self.quiet.p99_ms.max(f64::MIN_POSITIVE)
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
        if self.quiet.count == 0 || self.attacks.is_empty() || self.attacks.iter().any(|attack| attack.count == 0) {
            missed.push("no honest message was measured".to_owned());
        }
        let together = self.times_of(self.attack.p99_ms);
        if self.times() > TIMES_MAX {
            missed.push(format!("honest p99 {:.1} times the quiet one", self.times()));
        } else if together > TIMES_MAX {
            missed.push(format!("honest p99 of all attacks together {together:.1} times the quiet one"));
        }
        if self.entry_attack.count == 0 {
            missed.push("no newcomer was measured".to_owned());
        }
        if self.entry_attack.p99_ms > ENTRY_MS_MAX {
            missed.push(format!("newcomers' p99 {:.0} ms, above {ENTRY_MS_MAX:.0}", self.entry_attack.p99_ms));
        }
        if self.entries_exempt > 0 && !self.may_exempt {
            missed.push(format!("{} newcomers were exempt without a reason", self.entries_exempt));
        }
        for (suffered, when) in [
            (&self.suffered_attack, ""),
            (&self.suffered_beside, " while another server was attacked"),
            (&self.suffered_quiet, " while nobody attacked"),
        ] {
            missed.extend(suffered.iter().map(|(what, count)| format!("{count} x {what}{when}")));
        }
        if self.peak_mib > self.bound_mib as f64 {
            missed.push(format!("{:.0} MiB, above the bound of {}", self.peak_mib, self.bound_mib));
        }
        if self.log_verdict != 0 {
            missed.push("the log does not verify".to_owned());
        }
        let untold = self.told.iter().filter(|told| told.count < told.least);
        missed.extend(untold.map(|told| format!("told too seldom: {}: {} of {}", told.what, told.count, told.least)));
        let broken = self.findings.iter().filter(|finding| !finding.holds);
        missed.extend(broken.map(|finding| format!("not so: {} ({})", finding.claim, finding.evidence)));
        missed.extend(self.fault.clone());
        missed
    }
}

/// The one in the middle, or between the two there.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    let last = values.len().saturating_sub(1);
    f64::midpoint(at(last / 2), at(last.div_ceil(2)))
}

/// What honest clients suffered in phases of a kind, counted.
pub(crate) fn counted(suffered: &[Suffered], is_meant: impl Fn(Phase) -> bool) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for one in suffered.iter().filter(|one| is_meant(one.phase)) {
        *counts.entry(one.what.clone()).or_default() += 1;
    }
    counts
}

/// Events of the security log by action and reason, with what a flood left out.
#[derive(Debug, Default)]
pub(crate) struct Log {
    events: BTreeMap<(String, String), u64>,
    /// Entries that did not fit the queue, of whatever kind.
    dropped: u64,
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
                log.note(text("event.action"), text("event.reason"), &text("message"));
            }
        }
        Ok(log)
    }

    /// Counts an entry, and those that it says are not there.
    fn note(&mut self, action: String, reason: String, message: &str) {
        match action.as_str() {
            "log_flood" => {
                if let Some((left_out, of)) = left_out(message) {
                    *self.events.entry((of, reason.clone())).or_default() += left_out;
                }
            }
            "journal_dropped" => self.dropped += first_number(message),
            _ => {}
        }
        *self.events.entry((action, reason)).or_default() += 1;
    }

    pub(crate) fn count(&self, action: &str, reason: &str) -> u64 {
        let fits = |held: &(String, String)| {
            (action.is_empty() || held.0 == action) && (reason.is_empty() || held.1 == reason)
        };
        self.events.iter().filter(|(held, _)| fits(held)).map(|(_, count)| count).sum()
    }
}

/// `10000 entries of message_refused in 10000 ms, 9801 of them left out`: how many, and of which action.
fn left_out(message: &str) -> Option<(u64, String)> {
    let (before, _) = message.split_once(" of them left out")?;
    let (_, count) = before.rsplit_once(' ')?;
    let (_, of) = message.split_once(" entries of ")?;
    Some((count.parse().ok()?, of.split(' ').next()?.to_owned()))
}

fn first_number(message: &str) -> u64 {
    message.split(' ').find_map(|word| word.parse().ok()).unwrap_or_default()
}

/// Where the story stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) log: &'a Log,
    pub(crate) metrics: &'a BTreeMap<String, f64>,
    pub(crate) stderr: &'a str,
}

/// How often each was told.
pub(crate) fn told(wanted: &[Told], sources: Sources<'_>, known: &Known<'_>) -> Vec<Telling> {
    let of = |told: &Told| {
        let (what, count) = match told.by {
            By::Log(action, reason) => (format!("log: {action} {reason}"), sources.log.count(action, reason)),
            By::LogOrDropped(action, reason) => {
                (format!("log: {action} {reason} or dropped"), sources.log.count(action, reason) + sources.log.dropped)
            }
            By::Metric(name) => {
                let held = sources.metrics.iter().filter(|(held, _)| held.starts_with(name));
                (format!("metrics: {name}"), whole(held.map(|(_, value)| value).sum()))
            }
            By::Peers(what) => (format!("peers: {what}"), attack::seen(known.tally, what)),
            By::Stderr(text) => (format!("stderr: {text}"), lines_with(sources.stderr, text)),
        };
        // What was never to be told is told by nothing.
        let least = (told.least)(known).max(1);
        Telling { what: what.replace("  ", " ").trim_end().to_owned(), count, least }
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
pub(crate) mod tests {
    use super::*;

    fn sample(phase: Phase, round: u32, ms: u64) -> Sample {
        Sample { at: Duration::ZERO, phase, round, took: Duration::from_millis(ms) }
    }

    fn figures(p99_ms: f64) -> Figures {
        Figures { count: 100, p50_ms: 1.0, p99_ms, max_ms: p99_ms }
    }

    /// An outcome that misses nothing, each figure at its bound.
    pub(crate) fn good() -> Outcome {
        Outcome {
            name: "test".to_owned(),
            rounds: 1,
            quiet: figures(2.0),
            beside: None,
            attack: figures(6.0),
            attacks: vec![figures(6.0)],
            entry_quiet: figures(2.0),
            entry_attack: figures(ENTRY_MS_MAX),
            entries_exempt: 0,
            may_exempt: false,
            suffered_quiet: BTreeMap::new(),
            suffered_beside: BTreeMap::new(),
            suffered_attack: BTreeMap::new(),
            lost_with_the_process: 0,
            crowd_first: true,
            rest_mib: 30.0,
            peak_mib: 50.0,
            bound_mib: 50,
            cpu_quiet: 0.1,
            cpu_attack: 0.9,
            tally: Tally::new(),
            told: vec![Telling { what: "log: a".to_owned(), count: 7, least: 7 }],
            findings: Vec::new(),
            log_lines: 1,
            log_bytes: 1,
            log_verdict: 0,
            fault: None,
            course: Course { attacks: Vec::new(), memory: Vec::new(), latency: Vec::new(), seconds: 1.0 },
        }
    }

    #[test]
    fn figures_are_those_of_their_phase_and_round() {
        let mut samples: Vec<_> = (1..=101).rev().map(|ms| sample(Phase::Attack, 1, ms)).collect();
        samples.push(sample(Phase::Quiet, 1, 7));
        samples.push(sample(Phase::Attack, 2, 9));
        let attack = Figures::of_round(&samples, 1);
        assert_eq!((attack.count, attack.p50_ms, attack.p99_ms, attack.max_ms), (101, 51.0, 100.0, 101.0));
        assert_eq!((Figures::of_round(&samples, 2).p99_ms, Figures::of_round(&samples, 3).count), (9.0, 0));
        let quiet = Figures::of(&samples, Phase::Quiet);
        assert_eq!((quiet.count, quiet.p50_ms, quiet.p99_ms), (1, 7.0, 7.0));
        assert_eq!((Figures::of(&samples, Phase::Attack).count, Figures::of(&samples, Phase::Beside).count), (102, 0));
    }

    #[test]
    fn several_attacks_give_a_median_and_their_worst() {
        for (name, p99s, middle, worst) in
            [("one", vec![4.0], 4.0, 4.0), ("two", vec![6.0, 4.0], 5.0, 6.0), ("three", vec![9.0, 1.0, 2.0], 2.0, 9.0)]
        {
            let outcome = Outcome { attacks: p99s.into_iter().map(figures).collect(), ..good() };
            assert_eq!((outcome.attack_p99_ms(), outcome.worst_p99_ms()), (middle, worst), "{name}");
        }
    }

    #[test]
    fn what_a_flood_left_out_of_the_log_counts() {
        let mut log = Log::default();
        for _ in 0..100 {
            log.note("handshake_refused".to_owned(), "quota".to_owned(), "");
        }
        let message = "2000 entries of handshake_refused in 10000 ms, 1881 of them left out";
        log.note("log_flood".to_owned(), "quota".to_owned(), message);
        log.note("log_flood".to_owned(), "quota".to_owned(), "as nobody says it");
        log.note("journal_dropped".to_owned(), String::new(), "5 entries were dropped, 5 since the start");
        log.note("journal_dropped".to_owned(), String::new(), "7 entries were dropped, 12 since the start");
        assert_eq!(log.count("handshake_refused", "quota"), 100 + 1_881);
        assert_eq!((log.count("handshake_refused", "other"), log.count("log_flood", ""), log.dropped), (0, 2, 12));
    }

    #[test]
    fn what_was_told_is_counted_and_held_against_the_least() {
        let mut log = Log { dropped: 4, ..Log::default() };
        for (action, reason, count) in
            [("handshake_refused", "token_malformed", 3), ("handshake_refused", "draining", 2)]
        {
            log.events.insert((action.to_owned(), reason.to_owned()), count);
        }
        let metrics = BTreeMap::from([("wsguard_a{x=\"1\"}".to_owned(), 4.0), ("wsguard_a{x=\"2\"}".to_owned(), 5.0)]);
        let tally =
            Tally::from([("closed with 1008".to_owned(), 6), ("most: ms".to_owned(), 9), ("sent".to_owned(), 8)]);
        let sources = Sources { log: &log, metrics: &metrics, stderr: "no files\nnothing\nno files" };
        let known = Known { rounds: 2, quick: true, tally: &tally, chats: 40 };
        for (name, by, count) in [
            ("an action", By::Log("handshake_refused", ""), 5),
            ("a reason", By::Log("handshake_refused", "draining"), 2),
            ("a reason of any action", By::Log("", "token_malformed"), 3),
            ("nothing in the log", By::Log("ban_begun", ""), 0),
            ("with what was dropped", By::LogOrDropped("handshake_refused", ""), 9),
            ("a family", By::Metric("wsguard_a"), 9),
            ("one of it", By::Metric("wsguard_a{x=\"2\"}"), 5),
            ("what peers saw", By::Peers("closed"), 6),
            ("all that they saw", By::Peers(""), 14),
            ("what none saw", By::Peers("refused"), 0),
            ("standard error", By::Stderr("no files"), 2),
        ] {
            let told = told(&[Told { by, least: |_| 0 }], sources, &known);
            assert_eq!(told.iter().map(|told| (told.count, told.least)).collect::<Vec<_>>(), [(count, 1)], "{name}");
        }
        for (name, least, want) in [
            ("each round", (|known| known.each(30)) as fn(&Known<'_>) -> u64, 60),
            ("a tenth of the peers", |known| known.scaled(30), 6),
            ("a third of the time", |known| known.turns(30, Duration::from_secs(9), Duration::from_secs(1)), 18),
            ("what the peers saw", |known| known.seen("closed with 1008"), 6),
            ("more than the honest", |known| known.chats + known.seen("sent"), 48),
        ] {
            let told = told(&[Told { by: By::Peers(""), least }], sources, &known);
            assert_eq!(told.iter().map(|told| told.least).sum::<u64>(), want, "{name}");
        }
    }

    #[test]
    fn every_goal_can_be_missed() {
        assert_eq!((good().missed(), good().verdict().as_str()), (Vec::<String>::new(), "good"));
        let busy = Outcome { quiet: figures(5.1), ..good() };
        assert!(busy.missed().is_empty() && busy.verdict().contains("undecided"), "{}", busy.verdict());
        let finding = Finding { claim: "it holds".to_owned(), holds: false, evidence: "it does not".to_owned() };
        let one = || BTreeMap::from([("a chatting client: silence".to_owned(), 1)]);
        for (name, bad) in [
            ("slow", Outcome { attack: figures(6.1), attacks: vec![figures(6.1)], ..good() }),
            ("slow in most attacks", Outcome { attacks: vec![figures(5.0), figures(7.2)], ..good() }),
            ("slow in all of them together", Outcome { attack: figures(6.1), ..good() }),
            ("nothing measured", Outcome { attacks: Vec::new(), ..good() }),
            ("nothing measured in one attack", Outcome { attacks: vec![figures(6.0), Figures::default()], ..good() }),
            ("newcomers wait", Outcome { entry_attack: figures(ENTRY_MS_MAX + 1.0), ..good() }),
            ("no newcomer", Outcome { entry_attack: Figures::default(), ..good() }),
            ("newcomers exempt for nothing", Outcome { entries_exempt: 1, ..good() }),
            ("lost to an attack", Outcome { suffered_attack: one(), ..good() }),
            ("lost beside", Outcome { suffered_beside: one(), ..good() }),
            ("lost in quiet", Outcome { suffered_quiet: one(), ..good() }),
            ("memory", Outcome { peak_mib: 50.1, ..good() }),
            ("log", Outcome { log_verdict: 1, ..good() }),
            (
                "told too seldom",
                Outcome { told: vec![Telling { what: "log: a".to_owned(), count: 6, least: 7 }], ..good() },
            ),
            ("finding", Outcome { findings: vec![finding], ..good() }),
            ("dead", Outcome { fault: Some("signal 11".to_owned()), ..good() }),
        ] {
            assert_eq!(bad.missed().len(), 1, "{name}: {:?}", bad.missed());
        }
    }
}
