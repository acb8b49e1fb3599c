#!/usr/bin/env bash
# Installs what the tests need and this machine lacks, and says what it does.
set -euo pipefail
cd "$(dirname "$0")/.."
say() { echo "setup: $*" >&2; }

root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Others may be using the package manager for a while.
apt_install() {
  root apt-get -o DPkg::Lock::Timeout=300 update -qq
  root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" >/dev/null
}

for tool in cargo node npm python3; do
  command -v "$tool" >/dev/null || { say "$tool is missing: install Rust 1.95, Node 20 and Python 3"; exit 1; }
done
chromium="${CHROMIUM:-/usr/bin/chromium}"
if [ ! -x "$chromium" ]; then
  say "installing Debian's chromium for the browser tests"
  apt_install chromium
fi
for package in packages/client packages/demo; do
  # npm writes down what it installed; a lock file that is newer asks for something else.
  if [ ! -f "$package/node_modules/.package-lock.json" ] ||
    [ "$package/package-lock.json" -nt "$package/node_modules/.package-lock.json" ]; then
    say "installing the npm packages of $package"
    npm ci --prefix "$package" --silent --no-audit --no-fund
  fi
done
say "packing the client and installing it in examples/react and examples/node, as its users do"
examples/react/install.sh
examples/node/install.sh
if ! command -v valgrind >/dev/null; then
  say "installing Debian's valgrind, which counts instructions"
  apt_install valgrind
fi
testkit/peers/install.sh
testkit/suites/install.sh
testkit/documents/install.sh
