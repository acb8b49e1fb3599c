#!/usr/bin/env bash
# fuzz/run.sh [SECONDS] [TARGET...]: searches for inputs that break a promise, one minute a target by default.
#
# Installs nothing. libFuzzer comes with the crate libfuzzer-sys and needs a C++ compiler; the coverage that guides it comes
# from flags that stable Rust has. As many targets run at once as there are cores (FUZZ_JOBS=1: one). What is built, learnt
# and logged on the way goes to fuzz/target, what breaks a promise to fuzz/artifacts. Exit code 1: something was found.
set -euo pipefail
cd "$(dirname "$0")"
say() { echo "fuzz: $*" >&2; }
built="${CARGO_TARGET_DIR:-target}"
host="$(rustc -vV | sed -n 's/^host: //p')"

# One process a target, which ends at its first finding. Five seconds or 2 GiB for 4 KiB of input is a finding too.
search() {
  local seconds="$1" target="$2" grown="$built/corpus/$2" crashes="artifacts/$2" before seeds input
  mkdir -p "$grown" "$crashes" "found/$target"
  before="$(find "$crashes" -type f | wc -l)"
  seeds="$(find "corpus/$target" "found/$target" -type f | wc -l)"
  say "$target: $seconds s from $seeds seeds"
  "$built/$host/release/$target" "$grown" "corpus/$target" "found/$target" -artifact_prefix="$crashes/" \
    -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=2048 >"$built/$target.log" 2>&1 &
  while kill -0 $! 2>/dev/null; do
    sleep 5
    say "$target: $(grep -aE '^#[0-9]+' "$built/$target.log" | tail -1)"
  done
  if [ "$(find "$crashes" -type f | wc -l)" -gt "$before" ]; then
    input="$(find "$crashes" -type f -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)"
    grep -aE -A2 'panicked at|^==.*ERROR' "$built/$target.log" | head -6 >&2 || true
    say "$target: FOUND fuzz/$input"
    say "  replay: (cd fuzz && $built/$host/release/$target $input)"
    say "  keep:   cp fuzz/$input fuzz/found/$target/WHAT-WENT-WRONG   # cargo test -p testkit --test fuzz_corpus holds it"
    return 1
  elif ! grep -aq '^Done ' "$built/$target.log"; then
    say "$target: ended early, see fuzz/$built/$target.log"
    return 1
  fi
  say "$target: nothing found. $(grep -a '^Done ' "$built/$target.log")"
}

if [ "${1:-}" = --one ]; then search "$2" "$3"; exit; fi

seconds=60
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then seconds="$1"; shift; fi
all=(frame scan schema envelope handshake token config content)
targets=("$@")
[ $# -gt 0 ] || targets=("${all[@]}")
for target in "${targets[@]}"; do
  [[ " ${all[*]} " == *" $target "* ]] || { say "no target $target; there are: ${all[*]}"; exit 2; }
done
command -v c++ >/dev/null || { say "c++ is missing: install a C++ compiler (Debian: g++)"; exit 2; }

# With --target the flags reach neither build scripts nor procedural macros.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
say "building ${targets[*]} (some minutes the first time)"
bins=()
for target in "${targets[@]}"; do bins+=(--bin "$target"); done
RUSTFLAGS="$flags" "${CARGO:-cargo}" build --release --locked --target "$host" "${bins[@]}"

printf '%s\n' "${targets[@]}" | xargs -P "${FUZZ_JOBS:-$(nproc)}" -I '{}' ./run.sh --one "$seconds" '{}' ||
  { say "findings: see above"; exit 1; }
say "nothing found"
