#!/usr/bin/env bash
# Lint, types, import contracts, manifest and all tests; the last line says how many tests ran.
# Runs every step even if one fails, so that one run shows all there is to mend.
set -uo pipefail
cd "$(dirname "$0")/.."

bin=.venv/bin
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

step() {
    local name=$1
    shift
    printf '\n== %s\n' "$name"
    "$@" </dev/null || printf '%s\n' "$name" >>"$folder/failed"
}

checks() {
    step "lint" $bin/ruff check .
    step "format" $bin/ruff format --check .
    step "types" $bin/mypy
    step "import contracts" $bin/lint-imports
    step "npe2 manifest" $bin/npe2 validate src/napari_sampath/napari.yaml
}

# Compiled once, and not by each of the processes that the tests start.
unset PYTHONDONTWRITEBYTECODE
# Three processes with a thread each keep two cores busy: tests of windows and of other processes mostly wait.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} LP_NUM_THREADS=${LP_NUM_THREADS:-1}

# Without --max-worker-restart 0 a process that dies leaves pytest waiting for good.
# What takes one core for some seconds runs beside the tests, and is shown after them.
checks >"$folder/checks" 2>&1 &
run() {
    bash scripts/under_display.sh $bin/python -m pytest --junit-xml "$folder/junit-$1.xml" "${@:2}"
}
together=(-n 3 --dist loadgroup --no-loadscope-reorder --max-worker-restart 0 --durations 15)
if [ $# -eq 0 ]; then
    step "tests" run together "${together[@]}" -m "not alone"
    wait
    step "tests that measure" run alone -m alone
else
    step "tests" run together "${together[@]}" "$@"
    wait
fi
cat "$folder/checks"

printf '\n'
$bin/python scripts/count_tests.py "$folder"/junit-*.xml || printf 'number of tests\n' >>"$folder/failed"
if [ -e "$folder/failed" ]; then
    printf 'FAILED: %s\n' "$(paste -sd, "$folder/failed")"
    exit 1
fi
printf 'All checks passed.\n'
