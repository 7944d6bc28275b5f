"""Install the built wheel and source archive as users do, each into a new environment, and use them in a window.

    python -m build && python scripts/try_package.py dist

Each installation opens napari, finds the panel in the menu, clicks on the sample, commits, and quits. With the source
archive, some of its own tests run, too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

WALK = Path(__file__).with_name("walk_installed.py")
TESTS = ["tests/package/test_package.py", "tests/package/test_packaging.py", "tests/cli/test_readme.py"]
"""Tests that read files of the repository, so that they show what is missing in the source archive."""


def main() -> int:
    """Try every file in the folder; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with the wheel and the source archive")
    parser.add_argument(
        "--qt", default="pyqt6", choices=["pyqt6", "pyside6"], help="Qt binding (default: %(default)s)"
    )
    parser.add_argument(
        "--reuse",
        type=Path,
        metavar="ENVIRONMENT",
        help="use the installed packages of this environment except napari-sampath, instead of downloading 3 GB",
    )
    args = parser.parse_args()
    packages = sorted(
        path for path in args.folder.resolve().iterdir() if path.name.endswith((".whl", ".tar.gz"))
    )
    if not packages:
        parser.error(f"'{args.folder}' holds no wheel and no source archive; run: python -m build")
    for package in packages:
        with tempfile.TemporaryDirectory(prefix="sampath-try-", ignore_cleanup_errors=True) as folder:
            try_package(package, Path(folder), args.qt, args.reuse)
    return 0


def try_package(package: Path, folder: Path, qt: str, reuse: Path | None) -> None:
    """Install a package into a new environment, and run the walk and, of a source archive, some tests."""
    say(f"{package.name}: installing")
    python = install(package, folder / "environment", qt, reuse)
    home = folder / "home"
    home.mkdir()
    # A person has no journals, caches and settings of ours.
    own = {
        "SAMPATH_CACHE": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
    }
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    environment |= own
    run(
        [python, "-c", "import sys, napari_sampath as ns; sys.exit(sys.prefix not in ns.__file__)"],
        home,
        environment,
    )
    run([python.with_name("sampath"), "models"], home, environment)
    run([python.with_name("npe2"), "validate", "napari-sampath"], home, environment)
    run([*display(), python, WALK, Path("walk.png").resolve()], home, environment)
    if package.name.endswith(".tar.gz"):
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")
        (source,) = (path.parent for path in folder.glob("*/pyproject.toml"))
        run(
            [python, "-m", "pytest", "-n0", "-q", "-o", "filterwarnings=default", *TESTS], source, environment
        )


def install(package: Path, environment: Path, qt: str, reuse: Path | None) -> Path:
    """Make an environment with the package; return its Python."""
    venv.create(environment, with_pip=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet"]
    if reuse is None:
        run([*pip, f"{package}[gui]", f"napari[{qt}]"], environment)
        run([*pip, "--upgrade", "pip>=25.1"], environment)
        run([*pip, "--group", f"{Path(__file__).parents[1] / 'pyproject.toml'}:test"], environment)
        return python
    (purelib,) = (environment / "lib").glob("python*/site-packages")
    (other,) = (reuse.resolve() / "lib").glob("python*/site-packages")
    # Links instead of a path file, because the editable installation of the reused environment must stay invisible.
    for entry in other.iterdir():
        if "napari_sampath" not in entry.name and not (purelib / entry.name).exists():
            (purelib / entry.name).symlink_to(entry)
    run([*pip, "--no-deps", package], environment)
    for name in ("npe2", "pytest"):
        script = python.with_name(name)
        script.write_text(f"#!{python}\nfrom {name}.__main__ import main\nraise SystemExit(main())\n")
        script.chmod(0o755)
    return python


def display() -> list[str]:
    """Return the command that gives the walk a display of its own, where there is one."""
    return ["xvfb-run", "-a", "-s", "-screen 0 1280x1024x24"] if shutil.which("xvfb-run") else []


def run(command: list[str | Path], folder: Path, environment: dict[str, str] | None = None) -> None:
    """Run a command; end this program with its output if it fails or shows a traceback."""
    words = [str(word) for word in command]
    say(" ".join(Path(word).name if os.sep in word else word for word in words))
    result = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode or "Traceback" in result.stderr:
        raise SystemExit(f"{result.stdout[-4000:]}\n{result.stderr[-4000:]}\nfailed: {' '.join(words)}")
    lines = result.stdout.strip().splitlines()
    say("".join(f"\n    {line[:160]}" for line in lines[-6:]))


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
