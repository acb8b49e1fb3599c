#!/usr/bin/env bash
# Installs the package managers that `make e2e` sets projects up with, besides npm.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -d packages/client/node_modules ] || npm ci --prefix packages/client --silent --no-audit --no-fund
if [ ! -x .cache/setup/managers/node_modules/.bin/pnpm ]; then
  echo "setup: installing pnpm and yarn in .cache/setup" >&2
  mkdir -p .cache/setup/managers
  npm install --prefix .cache/setup/managers --silent --no-audit --no-fund pnpm@10.20.0 yarn@1.22.22
fi
