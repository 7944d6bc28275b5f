#!/usr/bin/env bash
# Lint, types, import contracts, manifest and all tests; the last line says how many tests ran.
# Runs every step even if one fails, so that one run shows all there is to mend.
set -uo pipefail
cd "$(dirname "$0")/.."

bin=.venv/bin
report=$(mktemp -d)/junit.xml
trap 'rm -rf "$(dirname "$report")"' EXIT
failed=()

step() {
    local name=$1
    shift
    printf '\n== %s\n' "$name"
    "$@" </dev/null || failed+=("$name")
}

# Compiled once, and not by each of the processes that the tests start.
unset PYTHONDONTWRITEBYTECODE
# Three processes with a thread each keep two cores busy: tests of windows and of other processes mostly wait.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

step "lint" $bin/ruff check .
step "format" $bin/ruff format --check .
step "types" $bin/mypy
step "import contracts" $bin/lint-imports
step "npe2 manifest" $bin/npe2 validate src/napari_sampath/napari.yaml
step "tests" bash scripts/under_display.sh $bin/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder \
    --junit-xml "$report" --durations 15 "$@"

printf '\n'
$bin/python scripts/count_tests.py "$report" || failed+=("number of tests")
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "$(IFS=,; echo "${failed[*]}")"
    exit 1
fi
printf 'All checks passed.\n'
