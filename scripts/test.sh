#!/usr/bin/env bash
# Runs lint, types, import contracts, manifest and all tests, and prints how many tests ran.
# Every step runs even if one fails, so that one run shows all problems.
set -uo pipefail
cd "$(dirname "$0")/.."

bin=.venv/bin
# Journals, exports and samples are synced to the disk, which takes no time in memory.
place=${TMPDIR:-/tmp}
if [ -w /dev/shm ] && [ "$(df -Pk /dev/shm | awk 'END { print $4 }')" -gt 8000000 ]; then place=/dev/shm; fi
folder=$(mktemp -d "$place/sampath-tests.XXXXXX")
chmod 755 "$folder"  # Tests with several users share it.
trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder

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

# Keep compiled files, so that not every process of the tests compiles them again.
unset PYTHONDONTWRITEBYTECODE
# Three single-threaded processes keep two cores busy, because tests of windows and of other processes mostly wait.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} LP_NUM_THREADS=${LP_NUM_THREADS:-1}

# --max-worker-restart 0: otherwise pytest waits for ever for a worker that died.
# The checks take one core for some seconds, so they run during the tests and are shown afterwards.
checks >"$folder/checks" 2>&1 &
run() {
    bash scripts/under_display.sh $bin/python -m pytest --junit-xml "$folder/junit-$1.xml" "${@:2}"
}
together=(-n 3 --dist loadgroup --no-loadscope-reorder --max-worker-restart 0 --durations 15)
# Tests of windows share the processors. If a few fail, these run once more, one after the other: a test that fails again
# counts, and one that passes is listed, so that it can be made stable.
tests() {
    run together "${together[@]}" "$@" && return
    local failed
    failed=$($bin/python scripts/count_tests.py "$folder/junit-together.xml" | sed 's/.*ran, \([0-9]*\) failed.*/\1/')
    [ "$failed" -ge 1 ] && [ "$failed" -le 5 ] || return 1
    printf '\n== UNSTABLE unless they fail again: %s tests run once more, alone\n' "$failed"
    run again -n 1 --dist loadgroup --last-failed --last-failed-no-failures none -v "$@"
}
if [ $# -eq 0 ]; then
    step "tests" tests -m "not alone"
    wait
    step "tests that measure" run alone -m alone $(grep -rlF pytest.mark.alone tests)
else
    step "tests" tests "$@"
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
