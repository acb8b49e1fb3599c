//! Worlds from seeds: none breaks a promise. `simulation/run.sh` says how many; one alone is run again, with its trace, by
//! `WSGUARD_WORLD=SEED[:…]`.
#![cfg(wsguard_simulation)]

use std::time::{Duration, Instant};

use simulation::scenario::{Cut, Scenario};
use simulation::search::{REPLAY, examine_all, shrink};
use simulation::world;
use wsguard_core::fault::Fault;

/// Worlds that are run where nobody says how many.
const WORLDS: u64 = 200;

/// Worlds between two looks at the clock.
const AT_ONCE: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

#[test]
fn no_world_breaks_a_promise() {
    if let Ok(text) = std::env::var(REPLAY) {
        return replay(&text.parse().unwrap_or_else(|error| panic!("{REPLAY}: {error}")));
    }
    let (first, count) = (number("WORLDS_FROM").unwrap_or(0), number("WORLDS").unwrap_or(WORLDS));
    let until = number("WORLDS_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (mut failures, mut run) = (Vec::new(), 0);
    while run < count && failures.is_empty() && until.is_none_or(|until| Instant::now() < until) {
        let some = AT_ONCE.min(count - run);
        failures.extend(examine_all(first + run..first + run + some, None));
        run += some;
    }
    println!("{run} worlds from {first} on, each run twice, {} failed", failures.len());
    let least = number("WORLDS_LEAST").unwrap_or(count);
    assert!(!failures.is_empty() || run >= least, "{run} worlds were run, {least} are too few");
    for failure in failures.iter().skip(1) {
        println!("{failure}");
    }
    if let Some(failure) = failures.first() {
        println!("{failure}");
        panic!("cut down:\n{}", shrink(failure, None));
    }
}

fn replay(cut: &Cut) {
    let scenario = Scenario::of(cut.seed).cut(cut);
    let wanted = std::env::var("FAULT").ok();
    let fault = wanted.map(|name| {
        let known = Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
        known.unwrap_or_else(|| panic!("FAULT is no fault: {name:?}"))
    });
    let first = world::run(&scenario, fault);
    let second = world::run(&scenario, fault);
    println!("{scenario:#?}");
    for entry in &first.trace {
        println!("{entry}");
    }
    if let Some(most) = first.gauges.iter().max_by_key(|gauge| gauge.heap) {
        println!("most memory: {most:?}");
    }
    let mut violations = first.violations;
    violations.extend(simulation::checker::compare(&first.trace, &second.trace));
    for violation in &violations {
        println!("{:>8} {:?}: {}", violation.at, violation.checker, violation.what);
    }
    assert!(violations.is_empty(), "{} violations", violations.len());
}
