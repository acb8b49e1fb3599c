#!/usr/bin/env bash
# Builds the demo page into the server's assets. The built page is committed, so without Node the committed one is served.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v npm >/dev/null; then
  echo "demo: no npm here; serving the committed page" >&2
  exit 0
fi
cd packages/demo
[ -d node_modules ] || { echo "demo: installing the page's build tools with npm" >&2; npm ci --silent --no-audit --no-fund; }
npm run --silent build
