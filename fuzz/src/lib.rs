//! What `fuzz_targets/` hands to libFuzzer. `testkit/tests/fuzz_corpus.rs` includes the same bodies, so that the seeds and
//! every input that was found run on each `make test`, without libFuzzer.

pub mod targets;
