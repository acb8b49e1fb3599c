//! Every deliberate fault of the guard is found by the checker that is meant to find it, and a failing world is cut down to
//! what it needs to fail.
#![cfg(wsguard_simulation)]

use simulation::checker::{Checker, finds};
use simulation::panics;
use simulation::scenario::{Cut, Scenario};
use simulation::search::{Failure, REPLAY, examine, find, shrink};
use wsguard_core::fault::Fault;

/// Worlds in which a fault must show itself.
const WORLDS: u64 = 200;

#[test]
fn every_fault_is_found_by_its_checker() {
    panics::be_quiet();
    let mut missed = Vec::new();
    let only = std::env::var("FAULT").ok();
    for fault in Fault::ALL {
        if only.as_ref().is_some_and(|only| *only != format!("{fault:?}")) {
            continue;
        }
        let checker = finds(fault);
        if let Some((seed, count)) = find(fault, checker, 0..WORLDS) {
            println!("{fault:?}: {checker:?} finds it in world {seed}, {count} times");
        } else {
            println!("{fault:?}: {checker:?} does not find it in {WORLDS} worlds");
            missed.push(fault);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn a_failing_world_is_cut_down_and_fails_again_by_its_printed_name() {
    panics::be_quiet();
    let fault = Fault::RolesIgnored;
    let (seed, _) = find(fault, Checker::Roles, 0..WORLDS).expect("a world that shows it");
    let whole = Scenario::of(seed);
    let mut violations = examine(&whole, Some(fault));
    violations.retain(|violation| violation.checker == Checker::Roles);
    let small = shrink(&Failure { cut: whole.as_cut(), violations }, Some(fault));

    let parts = |cut: &Cut| [&cut.peers, &cut.hardships].map(|some| some.as_ref().map_or(0, Vec::len));
    assert_eq!(parts(&small.cut), [1, 0], "one peer and no hardship show it: {}", small.cut);
    assert!(small.cut.length < Some(whole.length), "{}", small.cut);

    let printed = small.to_string();
    let name = printed.rsplit_once(&format!("{REPLAY}=")).and_then(|(_, rest)| rest.split(' ').next());
    let again: Cut = name.expect("how to run it again").parse().expect("a name");
    let again = Scenario::of(again.seed).cut(&again);
    assert!(examine(&again, Some(fault)).iter().any(|violation| violation.checker == Checker::Roles), "{printed}");
    assert!(examine(&again, None).is_empty(), "without the fault nothing is wrong");
}
