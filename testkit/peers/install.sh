#!/bin/sh
# Installs the clients that others wrote, where they are missing: the npm package `ws` beside this script and the
# Python package `websockets` into .cache/peers of the repository. Says what it does on standard error.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache="$here/../../.cache/peers"

if [ ! -d "$here/node_modules/ws" ]; then
    echo "installing the npm packages of testkit/peers" >&2
    (cd "$here" && npm ci --no-audit --no-fund >&2)
fi
if ! cmp -s "$here/requirements.txt" "$cache/requirements.txt"; then
    echo "installing the Python packages of testkit/peers into .cache/peers" >&2
    rm -rf "$cache"
    mkdir -p "$cache"
    # A target folder works without the venv module and where the system's Python is managed by its distribution.
    python3 -m pip install --quiet --disable-pip-version-check --target "$cache" -r "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$cache/requirements.txt"
fi
