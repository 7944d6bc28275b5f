#!/usr/bin/env bash
# Runs the tests of the window with other versions of napari and with the other Qt binding: make test-matrix
# CASES="napari==0.6.2 PyQt6;napari==0.9.* PySide6" chooses cases, ARGS="-k panel" what pytest runs.
# Each case has its own environment in build/matrix, with everything that napari needs; other packages, such as PyTorch,
# come from .venv, so that a case takes 500 MB instead of 4 GB.
set -uo pipefail
cd "$(dirname "$0")/.."

default="napari==0.6.2 PyQt6;napari==0.8.* PyQt6;napari==0.9.* PyQt6;napari==0.9.* PySide6"
IFS=';' read -ra cases <<<"${CASES:-$default}"
tests=(tests/widgets)
[ $# -eq 0 ] || tests=("$@")
failed=()
# As in test.sh: single-threaded processes keep the cores busy.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} LP_NUM_THREADS=${LP_NUM_THREADS:-1}

prepare() { # folder, napari, binding
    local python=$1/bin/python options=() napari=$2 binding=$3
    [ "$napari" = napari-pre ] && napari=napari && options=(--pre)
    # Each signal of PySide6 6.12.0 drops a reference to True, which ends Python before 3.12.
    [ "$binding" = PySide6 ] && binding='PySide6!=6.12.0'
    [ -x "$python" ] || .venv/bin/python -m venv "$1"
    "$python" -m pip install --quiet --upgrade 'pip>=25.1' &&
        "$python" -m pip install --quiet "${options[@]}" "$napari" "$binding" pytest-qt pytest-timeout pytest-xdist 'pytest<9.2' || return 1
    local site
    site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # The packages of the environment precede those of .venv.
    printf '%s\n' "$PWD/src" >"$site/0_source.pth"
    .venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/1_shared.pth"
}

for case in "${cases[@]}"; do
    read -r napari binding <<<"$case"
    folder=build/matrix/$(tr -c 'a-zA-Z0-9\n' '-' <<<"$napari-$binding")
    printf '\n== %s\n' "$case"
    if ! prepare "$folder" "$napari" "$binding"; then
        failed+=("$case: not installed")
        continue
    fi
    api=$(tr 'A-Z' 'a-z' <<<"$binding")
    QT_API=$api "$folder/bin/python" -c 'import napari, qtpy; print("napari", napari.__version__, qtpy.API_NAME, qtpy.QT_VERSION)'
    # Other versions of packages warn about each other.
    QT_API=$api PYTEST_QT_API=$api bash scripts/under_display.sh "$folder/bin/python" -m pytest -o filterwarnings=default \
        -o qt_api="$api" -n "${WORKERS:-2}" --dist loadgroup -q "${tests[@]}" </dev/null || failed+=("$case")
done

printf '\n'
if [ ${#failed[@]} -gt 0 ]; then
    printf 'FAILED: %s\n' "${failed[@]}"
    exit 1
fi
printf 'All %d cases passed.\n' "${#cases[@]}"
