//! Runs worlds, twice each, and cuts a failing one down to what it needs to fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use wsguard_core::fault::Fault;

use crate::checker::{Checker, Violation, compare};
use crate::scenario::{Cut, Scenario};
use crate::world;

/// The environment variable that names a seed, or a cut of one, to run alone.
pub const REPLAY: &str = "WSGUARD_WORLD";

/// Runs that shrinking may take.
const SHRINKING_MAX: u32 = 120;

/// A scenario that broke an invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What names it.
    pub cut: Cut,
    /// What went wrong.
    pub violations: Vec<Violation>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "world {} breaks a promise:", self.cut)?;
        for violation in self.violations.iter().take(12) {
            writeln!(f, "  {:>8} {:?}: {}", violation.at, violation.checker, violation.what)?;
        }
        if self.violations.len() > 12 {
            writeln!(f, "  and {} more", self.violations.len() - 12)?;
        }
        write!(f, "again, with its trace: {REPLAY}={} simulation/run.sh", self.cut)
    }
}

/// Runs `scenario` twice and says what went wrong.
pub fn examine(scenario: &Scenario, fault: Option<Fault>) -> Vec<Violation> {
    let first = world::run(scenario, fault);
    let second = world::run(scenario, fault);
    let mut violations = first.violations;
    violations.extend(compare(&first.trace, &second.trace));
    violations
}

/// Examines the scenarios of `seeds` on as many threads as there are cores, and returns the failures in their order.
pub fn examine_all(seeds: std::ops::Range<u64>, fault: Option<Fault>) -> Vec<Failure> {
    let (next, failures) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let scenario = Scenario::of(seed);
                    let violations = examine(&scenario, fault);
                    if !violations.is_empty() {
                        let failure = Failure { cut: scenario.as_cut(), violations };
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.cut.seed);
    failures
}

/// Leaves out peers, hardships and time, one after the other, for as long as the same checker still complains.
pub fn shrink(failure: &Failure, fault: Option<Fault>) -> Failure {
    let wanted = failure.violations.first().map(|violation| violation.checker);
    let mut smallest = failure.clone();
    let mut runs = 0;
    let mut attempt = |cut: Cut, smallest: &mut Failure| {
        runs += 1;
        if runs > SHRINKING_MAX {
            return false;
        }
        let scenario = Scenario::of(cut.seed).cut(&cut);
        let violations = examine(&scenario, fault);
        let fails = violations.iter().any(|violation| Some(violation.checker) == wanted);
        if fails {
            *smallest = Failure { cut: scenario.as_cut(), violations };
        }
        fails
    };
    loop {
        let before = smallest.cut.clone();
        if let Some(at) = smallest.violations.iter().find(|it| Some(it.checker) == wanted).map(|violation| violation.at)
        {
            let length = smallest.cut.length.map_or(at, |length| length.min(at.saturating_add(1)));
            let _ = attempt(Cut { length: Some(length), ..smallest.cut.clone() }, &mut smallest);
        }
        for number in smallest.cut.hardships.clone().unwrap_or_default() {
            let hardships = smallest.cut.hardships.clone().unwrap_or_default();
            let left = hardships.into_iter().filter(|other| *other != number).collect();
            let _ = attempt(Cut { hardships: Some(left), ..smallest.cut.clone() }, &mut smallest);
        }
        for number in smallest.cut.peers.clone().unwrap_or_default() {
            let peers = smallest.cut.peers.clone().unwrap_or_default();
            let left = peers.into_iter().filter(|other| *other != number).collect();
            let _ = attempt(Cut { peers: Some(left), ..smallest.cut.clone() }, &mut smallest);
        }
        if smallest.cut == before {
            return smallest;
        }
    }
}

/// The first of `seeds` in whose world `checker` finds `fault`, and how often.
pub fn find(fault: Fault, checker: Checker, seeds: std::ops::Range<u64>) -> Option<(u64, usize)> {
    let (next, best) = (AtomicU64::new(seeds.start), Mutex::new(None::<(u64, usize)>));
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_found =
                        best.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|(best, _)| best < seed);
                    if seed >= seeds.end || is_found {
                        return;
                    }
                    let violations = examine(&Scenario::of(seed), Some(fault));
                    let count = violations.iter().filter(|violation| violation.checker == checker).count();
                    if count > 0 {
                        let mut best = best.lock().unwrap_or_else(PoisonError::into_inner);
                        *best = Some(best.map_or((seed, count), |best| best.min((seed, count))));
                    }
                }
            });
        }
    });
    best.into_inner().unwrap_or_else(PoisonError::into_inner)
}
