#!/usr/bin/env bash
# Builds the wheel and the source archive into dist/ and checks them: make package
set -euo pipefail
cd "$(dirname "$0")/.."

tools=build/package-tools
[ -x $tools/bin/twine ] || "${PYTHON:-python3}" -m venv $tools
$tools/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
$tools/bin/python -m pip install --quiet --group package
rm -rf dist
$tools/bin/python -m build --outdir dist .
$tools/bin/twine check --strict dist/*
$tools/bin/check-wheel-contents dist/*.whl
$tools/bin/npe2 validate src/napari_sampath/napari.yaml
# Bar of the size in docs/benchmarks.md; PyPI accepts 100 MB.
size=$(stat -c %s dist/*.whl 2>/dev/null || stat -f %z dist/*.whl)
printf 'wheel: %s bytes\n' "$size"
[ "$size" -le 50000000 ] || { echo "The wheel is larger than 50 MB." >&2; exit 1; }
