//! Traces through the anomaly scores: who reaches which score, and when.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    reason = "an evaluation: its own numbers, far from any limit"
)]

use std::collections::HashMap;

use crate::traces::{Character, KINDS, What, characters};
use wsguard_core::control::anomaly::{Anomalies, AnomalyPolicy, Conduct, Judged, Score, Signal};
use wsguard_core::control::penalty::{PenaltyPolicy, Rung, Standing, Weight};
use wsguard_core::control::rate::{Prefixes, Print, PrintKey};
use wsguard_core::time::{Millis, Tick};

/// Length of a trace: one connection-hour.
pub const HOUR_MS: u64 = 3_600_000;

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Hours of each honest character.
    pub honest: u64,
    /// Attacks of each hostile character.
    pub hostile: u64,
    /// Sessions of each honest character from which the roles are learnt before.
    pub learn: u64,
    /// One of so many seeds is learnt from with the hostile characters as well.
    pub poison: Option<u64>,
    /// The first seed of those.
    pub learn_from: u64,
    /// The first seed of what is evaluated.
    pub evaluate_from: u64,
}

/// What became of one trace.
#[derive(Clone, Debug)]
pub struct Outcome {
    first: Reached,
    /// The same without [`Signal::Transitions`].
    first_without: Reached,
    /// When the ladder closed it, of anomaly charges alone.
    pub closed: Option<u64>,
    /// When the ladder began to slow it.
    pub slowed: Option<u64>,
    /// The highest score, explained.
    pub highest: Score,
}

/// When each score was first reached, in ms since the attack began; the index is the score.
#[derive(Clone, Debug)]
struct Reached(Vec<Option<u64>>);

impl Reached {
    fn note(&mut self, score: u8, since: u64) {
        for first in self.0.iter_mut().take(usize::from(score) + 1).rev() {
            if first.is_some() {
                break;
            }
            *first = Some(since);
        }
    }
}

/// Which signals count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signals {
    /// All of them.
    All,
    /// All but the steps between message types.
    WithoutTransitions,
}

impl Outcome {
    /// When `score` was first reached, in ms since the attack began.
    pub fn reached(&self, signals: Signals, score: u8) -> Option<u64> {
        let first = if signals == Signals::All { &self.first } else { &self.first_without };
        first.0.get(usize::from(score)).copied().flatten()
    }
}

/// All traces of one character.
#[derive(Debug)]
pub struct Row {
    /// Who.
    pub character: Character,
    /// One for each seed.
    pub outcomes: Vec<Outcome>,
}

impl Row {
    /// The share of traces that reached `score`, and the middle of the times it took them.
    pub fn detected(&self, signals: Signals, score: u8) -> (f64, Option<u64>) {
        let mut times: Vec<u64> = self.outcomes.iter().filter_map(|outcome| outcome.reached(signals, score)).collect();
        times.sort_unstable();
        (times.len() as f64 / self.outcomes.len().max(1) as f64, times.get(times.len() / 2).copied())
    }
}

/// What became of all traces.
#[derive(Debug)]
pub struct Evaluation {
    /// By character.
    pub rows: Vec<Row>,
    /// The policy: the defaults.
    pub policy: AnomalyPolicy,
}

struct World {
    all: Anomalies,
    policy: AnomalyPolicy,
    ladder: PenaltyPolicy,
    key: PrintKey,
    /// Where virtual time stands.
    clock: u64,
    traces: u32,
}

struct Session {
    conduct: Conduct,
    subject: Print,
}

impl Evaluation {
    /// Learns the roles, then runs every honest character in turn, from which the tables go on learning. Each attack comes
    /// to a copy of the tables as they are then: it teaches its own copy alone, as one attacker among many honest peers.
    pub fn run(plan: &Plan) -> Self {
        let policy = AnomalyPolicy::default();
        let mut world = World {
            all: Anomalies::new(policy.table_keys),
            policy: policy.clone(),
            ladder: PenaltyPolicy::default(),
            key: PrintKey::new(*b"evaluation of it"),
            clock: HOUR_MS * 24,
            traces: 0,
        };
        let all = characters();
        for seed in 0..plan.learn {
            for character in &all {
                let learns = !character.hostile || plan.poison.is_some_and(|every| seed % every == 0);
                if learns {
                    world.play(character, plan.learn_from + seed);
                }
            }
        }
        let mut rows: Vec<Row> = all.into_iter().map(|character| Row { character, outcomes: Vec::new() }).collect();
        for seed in 0..plan.honest.max(plan.hostile) {
            for row in &mut rows {
                if row.character.hostile && seed < plan.hostile {
                    let learnt = world.all.fork();
                    let learnt = std::mem::replace(&mut world.all, learnt);
                    row.outcomes.push(world.play(&row.character, plan.evaluate_from + seed));
                    world.all = learnt;
                } else if !row.character.hostile && seed < plan.honest {
                    row.outcomes.push(world.play(&row.character, plan.evaluate_from + seed));
                }
            }
        }
        Self { rows, policy }
    }

    /// The lowest score that at most `share` of the honest hours reach.
    pub fn threshold(&self, signals: Signals, share: f64) -> u8 {
        (1..=100).find(|score| self.false_alarms(signals, *score) <= share).unwrap_or(101)
    }

    /// The share of honest hours in which `score` is reached.
    pub fn false_alarms(&self, signals: Signals, score: u8) -> f64 {
        let honest = || self.rows.iter().filter(|row| !row.character.hostile).flat_map(|row| &row.outcomes);
        let alarms = honest().filter(|outcome| outcome.reached(signals, score).is_some()).count();
        alarms as f64 / honest().count().max(1) as f64
    }
}

impl World {
    fn play(&mut self, character: &Character, seed: u64) -> Outcome {
        self.traces += 1;
        self.clock += 2 * HOUR_MS;
        let trace = character.trace(seed, HOUR_MS);
        let mut sessions: HashMap<u32, Session> = HashMap::new();
        let mut standings: HashMap<Print, Standing> = HashMap::new();
        let never = Reached(vec![None; 101]);
        let mut outcome = Outcome {
            first: never.clone(),
            first_without: never,
            closed: None,
            slowed: None,
            highest: Score::default(),
        };
        for event in &trace.events {
            let now = Tick(self.clock + event.at);
            let prefixes = self.prefixes(event.prefix);
            match event.what {
                What::CredentialRefused => self.all.credential_refused(now, prefixes),
                What::Connect { subject, role } => {
                    let subject = self.key.print(b's', format!("{} {subject}", self.traces).as_bytes());
                    let role = self.key.print(b'o', role.as_bytes());
                    let conduct = self.all.begin(now, subject, role, prefixes, seed ^ event.at);
                    sessions.insert(event.connection, Session { conduct, subject });
                }
                What::Gone => drop(sessions.remove(&event.connection)),
                what => {
                    let Some(session) = sessions.get_mut(&event.connection) else {
                        continue;
                    };
                    let Some(judged) = self.message(now, session, what) else {
                        continue;
                    };
                    let since = event.at.saturating_sub(trace.attack_at);
                    if event.at >= trace.attack_at {
                        outcome.note(&self.all, now, session, judged, since);
                        let standing = standings.entry(session.subject).or_default();
                        outcome.climb(&self.policy, &self.ladder, standing, now, judged, since);
                    }
                }
            }
        }
        outcome
    }

    fn message(&self, now: Tick, session: &mut Session, what: What) -> Option<Judged> {
        let conduct = &mut session.conduct;
        match what {
            What::Passed { kind, bytes, payload } => {
                let number = KINDS.iter().position(|known| *known == kind)?;
                let bytes = usize::try_from(bytes).ok()?;
                self.all.passed(now, conduct, u16::try_from(number).ok()?, bytes, &payload.to_le_bytes());
            }
            What::Duplicate { bytes } => conduct.duplicate(now, usize::try_from(bytes).ok()?),
            What::Refused { bytes } => conduct.refused(now, usize::try_from(bytes).ok()?),
            What::Sent { bytes } => {
                conduct.sent(usize::try_from(bytes).ok()?);
                return None;
            }
            What::CredentialRefused | What::Connect { .. } | What::Gone => return None,
        }
        self.all.judge(&self.policy, now, session.subject, conduct)
    }

    /// Addresses that no two traces share, one /24 for each prefix of a trace.
    fn prefixes(&self, prefix: u32) -> Prefixes {
        let network = 0x2001 << 112 | u128::from(self.traces) << 92 | u128::from(prefix) << 80 | 1;
        Prefixes::of(&self.key, std::net::Ipv6Addr::from_bits(network).into())
    }
}

impl Outcome {
    fn note(&mut self, all: &Anomalies, now: Tick, session: &Session, judged: Judged, since: u64) {
        self.first.note(judged.score, since);
        let points = Signal::ALL.into_iter().zip(Anomalies::points(now, &session.conduct));
        let without = points.filter(|(signal, _)| *signal != Signal::Transitions);
        let sum: u32 = without.map(|(_, points)| u32::from(points)).sum();
        self.first_without.note(u8::try_from(sum.min(100)).unwrap_or(100), since);
        if judged.score > self.highest.score {
            self.highest = all.explain(now, &session.conduct);
        }
    }

    fn climb(
        &mut self,
        policy: &AnomalyPolicy,
        ladder: &PenaltyPolicy,
        standing: &mut Standing,
        now: Tick,
        judged: Judged,
        since: u64,
    ) {
        if judged.charged_ms == 0 {
            return;
        }
        let weight = Weight::per_second(policy.points_per_second, judged.charged_ms);
        let reached = standing.charge(ladder, 1, now, weight);
        if reached.rung >= Rung::Slow {
            self.slowed.get_or_insert(since);
        }
        if reached.rung == Rung::Close {
            self.closed.get_or_insert(since);
        }
    }
}

/// A length of time for a table.
pub fn shown(ms: u64) -> String {
    match Millis(ms) {
        Millis(ms) if ms < 100_000 => format!("{} s", ms.div_ceil(1_000)),
        Millis(ms) => format!("{} min", ms.div_ceil(60_000)),
    }
}
