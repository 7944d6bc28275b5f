"""Memory of "segment everything", compared with SamAutomaticMaskGenerator: same weights, image and settings, CPU.

Each implementation runs in its own process. The benchmark measures the peak resident set size (`memory.peak_bytes`,
which includes PyTorch, numpy and the interpreter) and its increase after the model is loaded and warmed up. Random
weights are the worst case, since their masks are specks all over the image.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .everything import SIDE_PX, filters, package
from .memory import peak_bytes
from .models import load, tissue
from .table import Row

if TYPE_CHECKING:
    from napari_sampath.predict import EverythingSettings


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure a grid of 32 x 32 points with random and with trained weights."""
    points = 2 if quick else 32
    for weights in ("random",) if quick else ("random", "sampath-tiny"):
        settings = filters(load(weights), tissue(SIDE_PX), points)
        (peak, rise), (their_peak, their_rise) = (
            child(side, weights, settings) for side in ("ours", "theirs")
        )
        name = f"segment everything, {points} x {points} grid, {weights} weights"
        bar = None if quick else 3.0
        added = Row(
            f"{name}: memory", f"{rise:.0f} MB", f"{their_rise:.0f} MB", their_rise / max(rise, 1), bar
        )
        yield replace(added, note="peak above the loaded model")
        whole = Row(f"{name}: process", f"{peak:.0f} MB", f"{their_peak:.0f} MB", their_peak / peak, None)
        yield replace(whole, note="peak of the process, including the interpreter and PyTorch")


def child(side: str, weights: str, settings: EverythingSettings) -> tuple[float, float]:
    """Measure one implementation in a separate process; return the peak and its increase in MB."""
    arguments = json.dumps({"side": side, "weights": weights, "settings": asdict(settings)})
    words = [sys.executable, "-m", "benchmarks.everything_memory", arguments]
    root = Path(__file__).resolve().parent.parent
    result = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    if result.returncode:
        raise RuntimeError(result.stderr)
    peak, rise = json.loads(result.stdout.splitlines()[-1])
    return peak, rise


def memory(side: str, weights: str, settings: dict[str, Any]) -> tuple[float, float]:
    """Measure one implementation in this fresh process; return the peak and its increase in MB."""
    from napari_sampath.predict import EverythingSettings, segment_everything

    model, image = load(weights), tissue(SIDE_PX)

    def call(values: EverythingSettings) -> None:
        if side == "ours":
            segment_everything(image, model, values)
        else:
            package(model, values).generate(image)

    chosen = EverythingSettings(**settings)
    call(replace(chosen, points_per_side=1))
    before = peak_bytes()
    call(chosen)
    return peak_bytes() / 2**20, (peak_bytes() - before) / 2**20


if __name__ == "__main__":
    print(json.dumps(memory(**json.loads(sys.argv[1]))))
