#!/usr/bin/env bash
# Runs every test: Rust, TypeScript, and the demo page in a real browser against the real server.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; }

step "Rust: build"
cargo build --workspace --locked
step "Rust: tests"
cargo test --workspace --locked --no-fail-fast
step "book: built, every link followed"
scripts/docs.sh
step "simulation: 200 worlds, and every fault found by its checker"
simulation/run.sh worlds
simulation/run.sh faults
step "TypeScript client"
npm test --prefix packages/client
step "lab: the independent probes demonstrate what is written of three real servers"
testkit/lab/lab.py prove --quick ws-8-guarded ws-7-open tornado-current
step "TypeScript client against the real server, in Node and in Chromium"
npm run --silent test:e2e --prefix packages/client
step "React example: built from the packed client, and two people in Chromium"
npm run --silent build --prefix examples/react
node --test --test-force-exit examples/react/e2e.test.mjs
step "demo page: types and freshness of the committed build"
npm run --silent check --prefix packages/demo
step "report of the audit: light and dark, wide and narrow, and on paper, in Chromium"
node testkit/browser/report.mjs

step "demo page: two people and every attack, in Chromium"
log="$(mktemp)"
"${CARGO_TARGET_DIR:-target}/debug/wsguard" serve --dev --listen 127.0.0.1:0 --admin 127.0.0.1:0 2>"$log" &
server=$!
trap 'kill -KILL "$server" 2>/dev/null || true; rm -f "$log"' EXIT
for _ in $(seq 600); do
  grep -q '^ready' "$log" && break
  kill -0 "$server" 2>/dev/null || { cat "$log" >&2; exit 1; }
  sleep 0.1
done
page="$(sed -n 's/^demo page *//p' "$log")"
node testkit/browser/demo.mjs "$page"

step "markup: what passed the judge does nothing in Chromium, as text and as cleaned HTML"
# The script is resolved from where playwright-core is installed. That it sees, with either flag, is a test of
# testkit/tests/hostile.rs: it is given the hostile markup as it was sent.
cp testkit/browser/markup-judge.mjs packages/demo/node_modules/.markup-judge.mjs
mutations() { "${CARGO_TARGET_DIR:-target}/debug/examples/markup_mutations" 7 1500 "$1" <vectors/markup.json; }
mutations text | node packages/demo/node_modules/.markup-judge.mjs
mutations html | node packages/demo/node_modules/.markup-judge.mjs --html
