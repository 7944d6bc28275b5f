"""Time to import the package and to start commands, and size of the wheel."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .table import REPEATS, Row, limited

ROOT = Path(__file__).resolve().parent.parent
WHEEL_MB = 50.0
HELP_S, PROMPT_S, IMPORT_S = 0.3, 2.5, 0.05
PANEL_S, IDLE_MB = 1.0, 150.0


def rows(quick: bool = False) -> Iterator[Row]:
    """Time new processes; the time of an empty one is subtracted from that of the import."""
    repeats = 2 if quick else REPEATS
    python = [sys.executable, "-c"]
    empty = elapsed([*python, "pass"], repeats)
    import_s = elapsed([*python, "import napari_sampath"], repeats) - empty
    note = f"above the {1e3 * empty:.0f} ms of an empty Python process"
    yield limited("import napari_sampath", 1e3 * import_s, 1e3 * IMPORT_S, "ms", note)
    command = [sys.executable, "-m", "napari_sampath"]
    yield limited("sampath --help", elapsed([*command, "--help"], repeats), HELP_S, "s")
    with tempfile.TemporaryDirectory() as folder:
        sample = ROOT / "src" / "napari_sampath" / "images" / "samples" / "CMU-1-region.jpg"
        image = Path(shutil.copy(sample, folder))
        own = {"SAMPATH_CACHE": f"{folder}/cache", "SAMPATH_USER_DATA": f"{folder}/data"}
        prompt = [*command, "prompt", str(image), "--point", "500,500", "-o", f"{folder}/mask.png", "--quiet"]
        elapsed(prompt, 1, own)
        torch = elapsed([*python, "import torch"], repeats)
        seconds = elapsed(prompt, repeats, own)
        yield limited(
            "sampath prompt, image encoded before",
            seconds,
            PROMPT_S,
            "s",
            f"import torch alone: {torch:.2f} s",
        )
    yield from window_rows()
    yield wheel()


def window_rows() -> Iterator[Row]:
    """Open the window in a new process, twice; the second run counts, because it finds compiled files."""
    with tempfile.TemporaryDirectory() as folder:
        own = {"SAMPATH_CACHE": f"{folder}/cache", "SAMPATH_USER_DATA": f"{folder}/data"}
        command = [
            "bash",
            str(ROOT / "scripts" / "under_display.sh"),
            sys.executable,
            "-m",
            f"{__package__}.startup_window",
        ]
        for _ in range(2):
            output = subprocess.run(
                command, check=True, capture_output=True, text=True, env=os.environ | own, cwd=ROOT
            ).stdout
    values = json.loads(output.strip().splitlines()[-1])
    yield limited("SamPath panel, after its menu entry was chosen", values["panel_s"], PANEL_S, "s")
    note = f"not encoded before; napari's window itself: {values['window_s']:.1f} s"
    yield Row(
        "sample ready for clicks, with a new window", f"{values['ready_s']:.1f} s", "", None, None, note
    )
    note = f"{values['idle_mb']:.0f} MB, of which napari {values['napari_mb']:.0f} MB"
    yield limited(
        "memory at idle, panel open, beyond napari",
        values["idle_mb"] - values["napari_mb"],
        IDLE_MB,
        "MB",
        note,
    )
    yield Row("memory with the sample open and encoded", f"{values['image_mb']:.0f} MB", "", None, None)


def elapsed(command: list[str], repeats: int, environment: dict[str, str] | None = None) -> float:
    """Return the median wall-clock seconds of a process, after one run that is not counted."""
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=os.environ | (environment or {}))
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def wheel() -> Row:
    """Return the size of the newest wheel in dist/."""
    files = sorted((ROOT / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)
    if not files:
        return Row("wheel", "not built", f"at most {WHEEL_MB:g} MB", None, None, "run `make package` first")
    return limited("wheel", files[-1].stat().st_size / 1e6, WHEEL_MB, "MB")
