//! Scores what is unusual about a session, and says why; what scores high is charged to the ladder of penalties.
//!
//! Attack: a peer with a good credential that keeps every single limit and is still not what it claims to be: a script in
//! somebody's session, a token that many share, a scraper, a program that guesses (OWASP API6:2023, CWE-799, CWE-307).
//! No message is refused for being unusual. Signals add up to a score from 0 to 100 in which each has a share of its own,
//! so that the score is its own explanation, and fade with time.
//!
//! What is usual is learnt, not set: the shape of a role from all its sessions ([`Profiles`]), the rate of a session from
//! itself. A role of which little is known makes nothing unusual. A session teaches at its windows 1, 2, 4, 8, … only, so
//! that neither a long one nor a busy one decides what is usual, and not while its score is high.
//!
//! Everything here is a function of events and times; nothing allocates until somebody asks for an explanation.
//!
//! # Specification
//! docs/anomaly.md; OWASP ASVS 5.0 2.4.1

mod conduct;
mod number;
mod profile;
mod score;
mod subjects;

use std::sync::atomic::{AtomicU64, Ordering};

pub use conduct::{Conduct, Judged};
pub use profile::Profiles;
pub use score::{Part, SIGNALS, Score, Signal};
pub use subjects::{Known, Subjects};

use super::rate::{Mode, Prefixes, Print};
use crate::time::{Millis, Tick};

/// Shortest time between two judgements of a session: a handful of messages of whoever goes fast. Who goes slowly is
/// judged at each message.
pub const WINDOW: Millis = Millis(5_000);

/// Longest time that one judgement charges for: a session that was silent for an hour was not suspicious for an hour.
const CHARGED_MAX: Millis = Millis(30_000);

/// Time between two log entries about one session whose score stays high.
const TOLD_EVERY: Millis = Millis(60_000);

/// When a score is told and charged.
#[derive(Clone, Debug)]
pub struct AnomalyPolicy {
    /// Whether a high score is charged to the ladder. In shadow it is counted and told all the same.
    pub mode: Mode,
    /// The score from which on the log tells of it.
    pub alert_at: u8,
    /// The score from which on it is charged; [`AnomalyPolicy::alert_at`] at least.
    pub charge_at: u8,
    /// Points of the ladder for each second at such a score. 16 against the 10 that drain: closed after about half a
    /// minute of it, and a moment of it is forgotten.
    pub points_per_second: u32,
    /// Keys in the table of subjects. 16,384 keys take 1 MiB.
    pub table_keys: usize,
}

impl Default for AnomalyPolicy {
    fn default() -> Self {
        Self { mode: Mode::Enforce, alert_at: 45, charge_at: 65, points_per_second: 16, table_keys: 16_384 }
    }
}

/// What all sessions share: what is usual for each role, what is known of each subject, and counts.
#[derive(Debug)]
pub struct Anomalies {
    profiles: Profiles,
    subjects: Subjects,
    alerts: [AtomicU64; SIGNALS],
    scores: [AtomicU64; SCORES.len()],
    score_sum: AtomicU64,
    charged: AtomicU64,
}

/// Upper bounds of the histogram of scores.
pub const SCORES: [u8; 10] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100];

impl Anomalies {
    /// Nothing known yet, with room for about `keys` subjects.
    pub fn new(keys: usize) -> Self {
        Self {
            profiles: Profiles::default(),
            subjects: Subjects::new(keys),
            alerts: Default::default(),
            scores: Default::default(),
            score_sum: AtomicU64::new(0),
            charged: AtomicU64::new(0),
        }
    }

    /// A copy that goes on by itself: what would it say if this happened now? Its counts begin at nothing.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { profiles: self.profiles.fork(), ..Self::new(self.subjects.capacity()) }
    }

    /// A session of `subject` in the role of print `role` begins, from `prefixes`. `salt` is any number of the session's.
    pub fn begin(&self, now: Tick, subject: Print, role: Print, prefixes: Prefixes, salt: u64) -> Conduct {
        let known = self.subjects.arrive(now, subject, prefixes.coarse);
        let refused = self.subjects.credentials_refused(now, prefixes.coarse);
        let role = self.profiles.enter(role);
        Conduct::begin(now, role, self.profiles.of(role), known, refused, salt)
    }

    /// The session goes on in another role or from another place.
    pub fn moved(&self, now: Tick, conduct: &mut Conduct, subject: Print, role: Print, prefixes: Prefixes) {
        let known = self.subjects.arrive(now, subject, prefixes.coarse);
        conduct.moved(self.profiles.find(role), known.prefixes);
    }

    /// A credential from `prefixes` was refused.
    pub fn credential_refused(&self, now: Tick, prefixes: Prefixes) {
        self.subjects.refuse_credential(now, prefixes.coarse);
    }

    /// A message of type `kind` with the canonical `payload` passed every control.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "called from one place")]
    pub fn passed(&self, now: Tick, conduct: &mut Conduct, kind: u16, bytes: usize, payload: &[u8]) {
        conduct.passed(now, kind, bytes, payload, self.profiles.of(conduct.role()));
    }

    /// Judges the session where it is time to: at the first message after [`WINDOW`]. To be called after each message that
    /// was counted.
    #[inline]
    pub fn judge(&self, policy: &AnomalyPolicy, now: Tick, subject: Print, conduct: &mut Conduct) -> Option<Judged> {
        conduct.is_due().then(|| self.judge_now(policy, now, subject, conduct))
    }

    #[cold]
    fn judge_now(&self, policy: &AnomalyPolicy, now: Tick, subject: Print, conduct: &mut Conduct) -> Judged {
        let judged = conduct.judge(policy, now, self.profiles.of(conduct.role()));
        let place = SCORES.iter().position(|bound| judged.score <= *bound);
        if let Some(counter) = place.and_then(|place| self.scores.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.score_sum.fetch_add(u64::from(judged.score), Ordering::Relaxed);
        if judged.tell
            && let Some(counter) = self.alerts.get(conduct.leading(now) as usize)
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if judged.charged_ms > 0 {
            self.charged.fetch_add(1, Ordering::Relaxed);
        }
        // What was carried over is not carried over again: a past alone must not keep itself alive.
        let own = judged.score.saturating_sub(conduct.carried(now));
        if u32::from(own) * 2 >= u32::from(policy.alert_at) {
            self.subjects.remember(now, subject, own);
        }
        judged
    }

    /// The score of a session and what it is made of.
    pub fn explain(&self, now: Tick, conduct: &Conduct) -> Score {
        conduct.explain(now, self.profiles.of(conduct.role()))
    }

    /// The points of each signal, in the order of [`Signal::ALL`].
    pub fn points(now: Tick, conduct: &Conduct) -> [u8; SIGNALS] {
        conduct.shown_points(now)
    }

    /// How often a score reached [`AnomalyPolicy::alert_at`], by the signal that led.
    pub fn alerts(&self) -> impl Iterator<Item = (Signal, u64)> + '_ {
        Signal::ALL.into_iter().zip(self.alerts.iter().map(|counter| counter.load(Ordering::Relaxed)))
    }

    /// Judgements by score, up to each bound of [`SCORES`].
    pub fn scores(&self) -> [(u8, u64); SCORES.len()] {
        let mut scores = SCORES.map(|bound| (bound, 0));
        for (row, counter) in scores.iter_mut().zip(&self.scores) {
            row.1 = counter.load(Ordering::Relaxed);
        }
        scores
    }

    /// The sum of all scores at judgements, and how many there were.
    pub fn total(&self) -> (u64, u64) {
        let count = self.scores.iter().fold(0_u64, |sum, counter| sum.saturating_add(counter.load(Ordering::Relaxed)));
        (self.score_sum.load(Ordering::Relaxed), count)
    }

    /// Judgements that were charged to the ladder, or would have been.
    pub fn charged(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    /// The table of subjects, for tests of memory.
    pub fn subjects(&self) -> &Subjects {
        &self.subjects
    }
}

#[cfg(test)]
mod tests;
