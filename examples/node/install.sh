#!/usr/bin/env bash
# Packs the client as it would be published and installs it here, with what the example needs besides.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p vendor
[ -d ../../packages/client/node_modules ] || npm ci --prefix ../../packages/client --silent --no-audit --no-fund
here=$PWD
tarball="$(cd ../../packages/client && npm pack --silent --pack-destination "$here/vendor")"
mv "vendor/$tarball" vendor/wsguard-client.tgz
# npm remembers a tarball by its name: what it has unpacked of an older one goes first.
rm -rf node_modules/@wsguard
npm ci --silent --no-audit --no-fund
