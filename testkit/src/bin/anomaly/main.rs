//! Evaluates the anomaly scores on traces that nobody tuned them on, and writes what came out into `docs/anomaly.md` and
//! `docs/anomaly.svg`.
//!
//! Three ranges of seeds that do not meet: one from which the roles are learnt, one for whoever tunes (`--tune`), one that
//! is held back for the figures. The same binary gives the same figures.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "an evaluation: numbers far from any limit, and a table on standard output"
)]

mod plot;
mod report;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use testkit::evaluation::{Evaluation, Plan};

/// Seeds from which the roles are learnt.
const SEEDS_LEARN: u64 = 1_000_000;

/// Seeds for whoever tunes.
const SEEDS_TUNE: u64 = 2_000_000;

/// Seeds of the figures. A range that led to a change of the scores belongs to whoever tunes from then on: 3,000,000 did.
const SEEDS_HELD_BACK: u64 = 4_000_000;

/// Evaluates the anomaly scores on traces in virtual time.
#[derive(Debug, Parser)]
struct Arguments {
    /// Hours of each honest character.
    #[arg(long, default_value_t = 2_000)]
    honest: u64,
    /// Attacks of each hostile character, an hour each at most.
    #[arg(long, default_value_t = 300)]
    hostile: u64,
    /// Sessions of each honest character from which the roles are learnt before.
    #[arg(long, default_value_t = 200)]
    learn: u64,
    /// Uses the seeds for tuning, prints more, and writes nothing.
    #[arg(long)]
    tune: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = Plan {
        honest: arguments.honest,
        hostile: arguments.hostile,
        learn: arguments.learn,
        poison: None,
        learn_from: SEEDS_LEARN,
        evaluate_from: if arguments.tune { SEEDS_TUNE } else { SEEDS_HELD_BACK },
    };
    let evaluation = Evaluation::run(&plan);
    if arguments.tune {
        print!("{}{}", report::tables(&plan, &evaluation), report::signals(&evaluation));
        return ExitCode::SUCCESS;
    }
    let few = Plan { honest: 0, hostile: arguments.hostile.min(100), ..plan };
    let of = |plan: Plan| Evaluation::run(&plan);
    let others = [
        ("0 sessions", of(Plan { learn: 0, ..few })),
        ("10", of(Plan { learn: 10, ..few })),
        ("50", of(Plan { learn: 50, ..few })),
        ("1 in 50 hostile", of(Plan { poison: Some(50), ..few })),
        ("1 in 5 hostile", of(Plan { poison: Some(5), ..few })),
    ];
    let measured = format!("{}{}", report::tables(&plan, &evaluation), report::others(&others, &evaluation));
    print!("{measured}");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let written = report::put_into(&docs.join("anomaly.md"), &measured)
        .and_then(|()| fs::write(docs.join("anomaly.svg"), plot::svg(&evaluation)));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("could not write docs/anomaly.md: {error}");
            ExitCode::FAILURE
        }
    }
}
