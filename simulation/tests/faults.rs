//! Every deliberate fault of the guard is found by the checker that is meant to find it.
#![cfg(wsguard_simulation)]

use simulation::checker::finds;
use simulation::search::find;
use wsguard_core::fault::Fault;

/// Worlds in which a fault must show itself.
const WORLDS: u64 = 200;

#[test]
fn every_fault_is_found_by_its_checker() {
    std::panic::set_hook(Box::new(|_| ()));
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
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
