"""Process that reads mutated files, one after the other, and reports a verdict for each.

It reads lines "number mutations format" from stdin and writes one JSON object a line to stdout.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import resource
import shutil
import signal
import sys
import traceback
import warnings
from pathlib import Path
from random import Random
from typing import Any

from .mutations import mutate
from .other_programs import REFUSED
from .targets import Target, find
from .values import CANARY

HANG_S = 10
"""Processor time for a file; other programs on the machine do not count."""
PATIENCE = 12
"""Multiple of this time that a file may take on the clock, for readers that wait."""
START_S = 120
"""Time for a valid file, which loads libraries."""
LIMIT_BYTES = 2**30
_FORBIDDEN = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "socket.connect",
    "pickle.find_class", "webbrowser.open",
)  # fmt: skip
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.symlink",
    "os.link",
    "os.chmod",
    "os.truncate",
)


class HangError(BaseException):
    """A file that takes too long."""


def work(folder: Path, seed: int) -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    faulthandler.enable()
    signal.signal(signal.SIGALRM, _alarm)
    signal.signal(signal.SIGPROF, _alarm)
    events: list[str] = []
    watch = _Watch(folder, events)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    limited = False
    for line in sys.stdin:
        number, mutations, name = line.rstrip("\n").split(" ", 2)
        case = folder / f"case-{os.getpid()}"
        if number == "-1":
            out.write(json.dumps(read_valid(folder, case, find(name))) + "\n")
            continue
        shutil.rmtree(case, ignore_errors=True)
        path, mutated = prepare(folder, case, find(name), seed, int(number), int(mutations, 2))
        if not limited:  # after the unchanged files, which load all libraries
            limited = True
            resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + 3 * 2**30,) * 2)
            sys.addaudithook(watch)
        events.clear()
        result = read(find(name), path, HANG_S)
        if events:
            result = {"verdict": "code", "detail": "; ".join(sorted(set(events))[:5])}
        if (folder / "canary").exists():
            (folder / "canary").rmdir()
            result = {"verdict": "code", "detail": "code of the file was run"}
        out.write(json.dumps({**result, "number": int(number), "files": mutated}) + "\n")
        shutil.rmtree(case, ignore_errors=True)


def read_valid(folder: Path, case: Path, target: Target) -> dict[str, Any]:
    """Read all valid files of a format, and return the verdict on the first that cannot be read."""
    for variant in variants(folder, target):
        if variant.name.startswith(REFUSED):
            continue
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        path = case / variant.name
        (shutil.copytree if variant.is_dir() else shutil.copy)(variant, path)
        result = read(target, path, START_S)
        if result["verdict"] != "read":
            return {**result, "detail": f"{variant.name}: {result.get('detail')}"}
    return {"verdict": "read"}


def variants(folder: Path, target: Target) -> list[Path]:
    """Return the valid files and folders of a format."""
    return sorted(p for p in (folder / "valid" / target.name).iterdir() if not p.name.endswith(".lock"))


def prepare(
    folder: Path, case: Path, target: Target, seed: int, number: int, mutations: int
) -> tuple[Path, list[str]]:
    """Copy a variant of a format and mutate one to three of its files.

    Args:
        folder: Folder of the run, with the valid files.
        case: Folder of the case.
        target: The format.
        seed: Seed of the run.
        number: Number of the case.
        mutations: Bit i is 1 if the i-th mutation is applied.
    """
    choices = variants(folder, target)
    rng = Random(f"{seed} {target.name} {number}")
    variant = choices[rng.randrange(len(choices))]
    case.mkdir(parents=True)
    path = case / variant.name
    (shutil.copytree if variant.is_dir() else shutil.copy)(variant, path)
    files = (
        [path]
        if path.is_file()
        else sorted(p for p in path.rglob("*") if p.is_file() and not p.name.endswith(".lock"))
    )
    files = [file for file in files if file.name not in target.unchanged]
    others = [file.read_bytes() for file in choices if file.is_file()][:20]
    mutated = []
    for bit in range(rng.choice((1, 1, 1, 2, 3))):
        one = Random(f"{seed} {target.name} {number} {bit}")
        file = one.choice(files)
        if mutations >> bit & 1:
            mutate(one, file, others)
            mutated.append(str(file.relative_to(case)))
    return path, mutated


def read(target: Target, path: Path, limit_s: float) -> dict[str, Any]:
    """Read a variant and judge the outcome."""
    from napari_sampath.errors import SampathError

    _reset_peak()
    before = _status("VmRSS")
    result: dict[str, Any] = {"verdict": "read"}
    try:
        signal.setitimer(signal.ITIMER_REAL, PATIENCE * limit_s)
        signal.setitimer(signal.ITIMER_PROF, limit_s)
        try:
            target.read(path)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except SampathError as error:
        text = str(error)
        result = {"verdict": "refused", "detail": text[:500]}
        if len(text.splitlines()) != 1 or len(text) > 2000 or not text.rstrip().endswith((".", "?")):
            result = {
                "verdict": "traceback",
                "detail": f"not one sentence: {text[:300]!r} ... {text[-40:]!r}",
                "where": "message",
            }
    except HangError:
        result = {"verdict": "hang", "detail": traceback.format_exc(limit=-12), "where": _where()}
    except MemoryError:
        result = {"verdict": "memory", "detail": traceback.format_exc(limit=-12), "where": _where()}
    except BaseException as error:  # noqa: BLE001  # any other exception is a bug
        result = {
            "verdict": "traceback",
            "detail": traceback.format_exc(limit=-14),
            "where": f"{type(error).__name__} {_where()}",
        }
    peak = _status("VmHWM") - before
    if peak > LIMIT_BYTES and result["verdict"] in ("read", "refused"):
        result = {
            "verdict": "memory",
            "detail": f"{peak / 2**20:.0f} MB: {result.get('detail', 'read')}",
            "where": "peak",
        }
    return result


def _where() -> str:
    """Return the last frame of the exception that lies in this project's code."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    ours = [frame for frame in frames if "napari_sampath" in frame.filename]
    last = (ours or list(frames))[-1]
    return f"{last.filename.rpartition('napari_sampath/')[2]}:{last.name}"


def _alarm(*_: object) -> None:
    signal.setitimer(signal.ITIMER_REAL, 2)  # again, if a library swallows it
    raise HangError


class _Watch:
    """Audit hook that notes programs, connections, unpickled classes, and changes outside the folder of the run."""

    def __init__(self, folder: Path, events: list[str]) -> None:
        self.folder = os.path.realpath(folder)
        self.events = events
        self.allowed = (self.folder, "/dev/null", f"/proc/{os.getpid()}/")

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN:
            self.events.append(f"{event} {str(arguments[:2])[:200]}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            mode, flags = arguments[1], arguments[2]
            writes = (isinstance(mode, str) and any(c in mode for c in "wxa+")) or (
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
            )
            if writes:
                self._outside(event, arguments[0])
        elif event in _CHANGES and isinstance(arguments[0], str | bytes):
            folder = arguments[-1]
            self._outside(event, arguments[0], folder if isinstance(folder, int) and folder >= 0 else None)

    def _outside(self, event: str, path: str | bytes, folder: int | None = None) -> None:
        base = f"/proc/{os.getpid()}/fd/{folder}" if folder is not None else "."
        full = os.path.realpath(os.path.join(os.path.realpath(base), os.fsdecode(path)))
        if not full.startswith(self.allowed) and "__pycache__" not in full:
            self.events.append(f"{event} {full[:200]}")


def _status(key: str) -> int:
    """Return a value of /proc/self/status in bytes."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


if __name__ == "__main__":
    os.environ[CANARY] = str(Path(sys.argv[1]) / "canary")
    work(Path(sys.argv[1]), int(sys.argv[2]))
