#!/usr/bin/env bash
# Fetches the programs that the documents' files are for, where they are missing: nginx and HAProxy from Debian's packages,
# unpacked and not installed, and a parser of Prometheus's expressions from PyPI, all into .cache/documents of the repository.
# Says what it does on standard error.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=$PWD/.cache/documents
[ -e "$cache/complete" ] && exit 0
echo "documents: unpacking nginx, HAProxy and a parser of Prometheus's rules into .cache/documents" >&2
rm -rf "$cache"
mkdir -p "$cache/bin"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$cache/python" \
  promql-parser==0.12.0 pyyaml==6.0.4 >&2

unpack() {
  PYTHONPATH=testkit/lab python3 -c 'import sys; from labkit.stack import install_debian; [install_debian(name) for name in sys.argv[1:]]' "$@"
}
for program in nginx haproxy; do
  if found=$(command -v "$program"); then
    ln -s "$found" "$cache/bin/$program"
    continue
  fi
  unpack "$program" || {
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    unpack "$program"
  }
  {
    echo '#!/bin/sh'
    PYTHONPATH=testkit/lab python3 -c "from labkit.stack import debian_environment as of; print('export LD_LIBRARY_PATH=' + of()['LD_LIBRARY_PATH'])"
    echo "exec '$PWD/testkit/lab/.debian/root/usr/sbin/$program' \"\$@\""
  } >"$cache/bin/$program"
  chmod +x "$cache/bin/$program"
done
touch "$cache/complete"
