#!/usr/bin/env bash
# Tests the lowest versions that pyproject.toml allows, in an environment of its own: bash scripts/test_lowest.sh
# Needs uv. Only tests of files and formats run, because they depend most on the behaviour of other packages.
set -euo pipefail
cd "$(dirname "$0")/.."

folder="${LOWEST_ENV:-build/lowest}"
uv venv --quiet --allow-existing --python "${LOWEST_PYTHON:-3.11}" "$folder"
export VIRTUAL_ENV="$PWD/$folder"
# TORCH_BACKEND=auto takes PyTorch from the usual index, if that of PyTorch cannot be reached.
uv pip install --quiet --resolution lowest-direct --torch-backend "${TORCH_BACKEND:-cpu}" --editable . --group test
uv pip list | grep -iE "^(numpy|zarr|numcodecs|tifffile|imagecodecs|pillow|torch|scikit-image|scipy) "

# Without napari there is no Qt for pytest-qt. Old versions of other packages warn about Python and about each other.
"$folder/bin/python" -m pytest -p no:pytest-qt -o "addopts=-ra --import-mode=importlib" -o filterwarnings=default \
	-m "not slow" tests/formats tests/images tests/annotations tests/store tests/encoders/test_weights.py \
	tests/heads/test_bundle.py tests/package/test_json_reader.py "$@"
