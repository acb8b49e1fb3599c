//! The seeds of the fuzz targets and every input that was found, through the same functions, without libFuzzer: what broke
//! once stays a test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a promise that does not hold must fail the test"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/src/targets/mod.rs"]
#[allow(unreachable_pub, reason = "the fuzz crate shows them to its binaries")]
mod targets;

/// A target, and the seeds that it has at least.
const TARGETS: [(&str, fn(&[u8]), usize); 8] = [
    ("config", targets::config::run, 20),
    ("content", targets::content::run, 30),
    ("envelope", targets::envelope::run, 30),
    ("frame", targets::frame::run, 30),
    ("handshake", targets::handshake::run, 30),
    ("scan", targets::scan::run, 30),
    ("schema", targets::schema::run, 30),
    ("token", targets::token::run, 15),
];

#[test]
fn seeds_and_found_inputs_keep_every_promise() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut wrong = Vec::new();
    for (name, run, seeds_min) in TARGETS {
        let mut count = 0;
        for folder in ["corpus", "found"].map(|folder| fuzz.join(folder).join(name)) {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let input = fs::read(&path).unwrap();
                count += 1;
                if catch_unwind(|| run(&input)).is_err() {
                    wrong.push(path.display().to_string());
                }
            }
        }
        assert!(count >= seeds_min, "{name}: {count} inputs, at least {seeds_min}");
    }
    assert!(wrong.is_empty(), "broken by:\n{}", wrong.join("\n"));
}
