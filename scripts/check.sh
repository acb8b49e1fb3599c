#!/usr/bin/env bash
# Everything that can be said about the sources without running them.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
simulation/run.sh lint
cargo xtask codegen --check
cargo xtask tidy
cargo xtask links
# What would be published, from every crate that is: no file missing, nothing that belongs elsewhere.
cargo package --workspace --no-verify --allow-dirty --locked --quiet --exclude testkit --exclude xtask
