#!/usr/bin/env bash
# Sets up system libraries, .venv and Python packages; does nothing if everything is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
stamp=$venv/.installed-from-pyproject.toml

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# Packages that Qt, OpenGL and a virtual display need on Debian and Ubuntu.
system_packages=(
    xvfb xauth libgl1 libegl1 libopengl0 libgl1-mesa-dri libglx-mesa0 libglib2.0-0
    libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
    libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1 libdbus-1-3 libfontconfig1
)

is_installed() { # Newer releases append t64 to some names.
    local package
    for package in "$1" "$1t64"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] && return 0
    done
    return 1
}

apt_install() {
    local privilege=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null ||
            fail "system packages are missing and this user has no permission to install them; run: sudo apt-get install $*"
        privilege=(sudo -n)
    fi
    say "installing system packages: $*"
    # Update the package list and retry: an outdated list is the usual cause of a failure.
    "${privilege[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 </dev/null ||
        { "${privilege[@]}" apt-get update -qq >&2 </dev/null &&
            "${privilege[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 </dev/null; } ||
        fail "apt-get could not install: $*"
}

system_libraries() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        [ "$(uname)" = Linux ] && ! command -v xvfb-run >/dev/null &&
            say "this system is neither Debian nor Ubuntu; install Xvfb, Mesa's OpenGL and xcb-cursor by hand"
        return 0
    fi
    local missing=() package
    for package in "${system_packages[@]}"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    fail "Python 3.11 or newer is required; install it, or give its path: make test PYTHON=/path/to/python3.12"
}

make_venv() {
    local python=$1
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null && command -v apt-get >/dev/null; then
        apt_install "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    say "creating $venv with $("$python" --version)"
    "$python" -m venv "$venv" || fail "'$python -m venv $venv' failed; see the output above"
}

is_ready() {
    cmp -s pyproject.toml "$stamp" &&
        "$venv/bin/python" - <<'PYTHON' 2>/dev/null
import importlib.metadata as metadata
import importlib.util as util
import sys

needed = "napari_sampath torch torchvision timm segment_anything napari PyQt6 pytest pytestqt hypothesis mypy importlinter npe2"
missing = [name for name in needed.split() if util.find_spec(name) is None]
metadata.version("ruff")
sys.exit(bool(missing))
PYTHON
}

python_packages() {
    if is_ready; then
        return 0
    fi
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
        local python
        python=$(find_python) || exit 1
        make_venv "$python"
    fi
    say "installing Python packages; the first time this downloads about 3 GB and takes some minutes"
    # Dependency groups need pip 25.1.
    "$venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1' </dev/null &&
        "$venv/bin/python" -m pip install --quiet --progress-bar off -e '.[gui]' 'napari[pyqt6]' --group test --group dev </dev/null ||
        fail "pip could not install the packages; see the output above and check the network connection"
    cp pyproject.toml "$stamp"
    is_ready || { rm -f "$stamp"; fail "the installed packages cannot be imported; delete $venv and try again"; }
    say "ready"
}

system_libraries
python_packages
