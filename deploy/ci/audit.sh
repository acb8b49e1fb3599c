#!/usr/bin/env bash
# What action.yml runs: the audit with the inputs of the action, its outputs, and the report as the summary of the job.
# Ends as the audit does: 0 good, 1 a finding, 2 wrong usage, 3 not reached.
set -uo pipefail

arguments=(audit --url "$INPUT_URL" --out "$INPUT_OUT" --fail-on "$INPUT_FAIL_ON")
if [ -n "${INPUT_ORIGIN:-}" ]; then arguments+=(--origin "$INPUT_ORIGIN"); fi
# A line is an argument, whatever it holds.
while IFS= read -r line; do
  if [ -n "$line" ]; then arguments+=("$line"); fi
done <<<"${INPUT_ARGUMENTS:-}"
# An empty variable is no token.
if [ -z "${WSGUARD_AUDIT_TOKEN:-}" ]; then unset WSGUARD_AUDIT_TOKEN; fi

# Reports of an earlier run are not this one's.
rm -f "$INPUT_OUT/report.sarif" "$INPUT_OUT/report.md"
"${WSGUARD:-wsguard}" "${arguments[@]}"
status=$?

if [ -f "$INPUT_OUT/report.sarif" ]; then
  grade=$(sed -n 's/^\*\*Grade \([^*]*\)\*\*.*/\1/p' "$INPUT_OUT/report.md" | head -n 1)
  {
    echo "sarif=$INPUT_OUT/report.sarif"
    echo "grade=$grade"
  } >>"${GITHUB_OUTPUT:-/dev/null}"
  cat "$INPUT_OUT/report.md" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
fi
exit "$status"
