#!/usr/bin/env bash
# Checks what needs a CUDA device, in at most 4 minutes: the tests marked 'gpu' and the GPU rows of the benchmarks.
#   bash scripts/gpu_check.sh [FOLDER]   # FOLDER receives carried packages, see carried_python.sh; build/gpu if left out
# Exits with 1 if a test fails or none ran. SMALL=1 checks on any device that everything starts: tests may be skipped, and
# the benchmarks run briefly on the CPU.
set -uo pipefail
folder=${1:-build/gpu}
mkdir -p "$folder"
. "$(dirname "$0")/carried_python.sh" "$folder"
export SAMPATH_CACHE=$folder/cache SAMPATH_USER_DATA=$folder/data
failed=0

# Only the files with such tests are read, because others need packages of the window. The settings of pytest-qt in
# pyproject.toml are unknown without it.
mapfile -t files < <(cd "$repository" && grep -rlF pytest.mark.gpu tests)
(cd "$repository" && timeout 120 "$python" -m pytest -p no:pytest-qt -o addopts=--import-mode=importlib \
    -o filterwarnings=default -q -rs -m gpu --junit-xml "$(realpath "$folder")/gpu-tests.xml" "${files[@]}") || failed=1
"$python" "$repository/scripts/count_tests.py" "$folder/gpu-tests.xml" || [ -n "${SMALL:-}" ] || failed=1
timeout 115 "$python" -m benchmarks.gpu ${SMALL:+--quick} || failed=1
exit "$failed"
