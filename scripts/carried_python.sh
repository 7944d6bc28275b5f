# Sourced by scripts that run on a machine on which the package is not installed: . scripts/carried_python.sh FOLDER
# Sets `python` and the command `sampath` to the sources of this repository, with the packages of the folder WHEELS, if it
# is given, which are installed in FOLDER/site without a connection. PYTHON chooses the Python.
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
export PYTHONPATH="$repository/src:$repository${PYTHONPATH:+:$PYTHONPATH}"
if [ -n "${WHEELS:-}" ]; then
    [ -d "$1/site" ] || "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$1/site" "$WHEELS"/*.whl
    PYTHONPATH="$(cd "$1/site" && pwd):$PYTHONPATH"
fi
sampath() { "$python" -m napari_sampath "$@"; }
