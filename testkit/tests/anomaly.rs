//! The anomaly scores on traces that nobody tuned them on: who is honest is left alone at the defaults, who is not is
//! found. `make anomaly` does the same at length and writes down the figures.

use testkit::evaluation::{Evaluation, Plan, Signals};

#[test]
fn honest_hours_are_never_closed_and_attacks_are_found_at_the_defaults() {
    let plan =
        Plan { honest: 12, hostile: 4, learn: 40, poison: None, learn_from: 5_000_000, evaluate_from: 6_000_000 };
    let evaluation = Evaluation::run(&plan);
    let (alert_at, charge_at) = (evaluation.policy.alert_at, evaluation.policy.charge_at);
    for row in &evaluation.rows {
        let name = row.character.name;
        if !row.character.hostile {
            for outcome in &row.outcomes {
                assert_eq!((outcome.slowed, outcome.closed), (None, None), "{name}: {}", outcome.highest);
                assert!(outcome.highest.score < charge_at, "{name}: {}", outcome.highest);
            }
        }
        let closed = row.outcomes.iter().filter(|outcome| outcome.closed.is_some()).count();
        match name {
            "fuzzer" | "takeover" => assert!(closed >= 3, "{name}: {closed} of 4 closed"),
            "spam bot" | "low and slow" => {
                let (found, _) = row.detected(Signals::All, alert_at);
                assert!(found >= 0.75, "{name}: {found}");
            }
            _ => {}
        }
    }
}

#[test]
fn the_same_seeds_give_the_same_scores() {
    let plan = Plan { honest: 1, hostile: 1, learn: 2, poison: None, learn_from: 7, evaluate_from: 9 };
    let scores = || {
        let evaluation = Evaluation::run(&plan);
        evaluation.rows.iter().flat_map(|row| &row.outcomes).map(|outcome| outcome.highest.clone()).collect::<Vec<_>>()
    };
    assert_eq!(scores(), scores());
}
