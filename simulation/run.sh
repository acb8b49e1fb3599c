#!/usr/bin/env bash
# simulation/run.sh [worlds|faults|soak|lint]: worlds from seeds, deliberate faults, thousands of worlds, or the lints.
#
# Builds the guard with `--cfg wsguard_simulation` into a target directory of its own (some minutes the first time).
#   WORLDS=200            how many seeds        WORLDS_FROM=0   the first of them
#   WSGUARD_WORLD=SEED…   one world alone, with its trace, as a failure names it; with FAULT=NAME that fault in it
#   SECONDS_MAX=1800      how long `soak` takes at most
#   WORLDS_LEAST=1000     how many worlds `soak` must have run by then
#   FAULT=NAME            one fault alone
# `soak` begins with another world each time, and says with which.
set -euo pipefail
cd "$(dirname "$0")"
what="${1:-worlds}"
host="$(rustc -vV | sed -n 's/^host: //p')"
# With --target the cfg reaches neither build scripts nor procedural macros.
export RUSTFLAGS="${RUSTFLAGS:-} --cfg wsguard_simulation"
run() { "${CARGO:-cargo}" test --quiet --locked --target "$host" "$@" -- --nocapture; }
case "$what" in
  worlds) run --lib --test worlds ;;
  faults) run --test faults ;;
  soak)
    export WORLDS="${WORLDS:-50000}" WORLDS_FROM="${WORLDS_FROM:-$(date +%s)}" WORLDS_SECONDS="${SECONDS_MAX:-1800}"
    export WORLDS_LEAST="${WORLDS_LEAST:-1000}"
    run --test worlds
    ;;
  lint)
    "${CARGO:-cargo}" fmt --check
    "${CARGO:-cargo}" clippy --locked --target "$host" --all-targets -- -D warnings
    ;;
  *) echo "simulation/run.sh: expected worlds, faults, soak or lint, got $what" >&2; exit 2 ;;
esac
