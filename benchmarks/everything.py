"""Segment everything against SamAutomaticMaskGenerator: same weights, image and settings, on the CPU.

Time is the wall clock of whole calls, encoder included. Memory is the peak resident set of a process of its
own for each side (`memory.peak_bytes`, which sees torch, numpy and the interpreter alike), and its rise
above the peak after loading the model and a warm-up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .memory import peak_bytes
from .models import load, tissue
from .table import REPEATS, Row, alternate, timed

if TYPE_CHECKING:
    import numpy as np
    from segment_anything import SamAutomaticMaskGenerator

    from napari_sampath.predict import EverythingSettings, Model

SHARES = 0.35, 0.5
"""Of candidates: those with a predicted IoU that passes, and of these those that are stable enough."""
SIDE_PX = 1024


def rows(quick: bool = False) -> Iterator[Row]:
    """A grid of 32 x 32 points with SAM's decoder."""
    yield from compared("random", 2 if quick else 32, 1 if quick else REPEATS, None if quick else 3.0)


def compared(weights: str, points: int, repeats: int, bar: float | None) -> Iterator[Row]:
    """Time and memory of both sides with one model."""
    from napari_sampath.predict import segment_everything

    model, image = load(weights), tissue(SIDE_PX)
    settings = filters(model, image, points)
    generator = package(model, settings)
    found: dict[str, int] = {}

    def theirs() -> None:
        found["theirs"] = len(generator.generate(image))

    def ours() -> None:
        found["ours"] = len(segment_everything(image, model, settings))

    medians = alternate({"theirs": theirs, "ours": ours}, repeats)
    if abs(found["ours"] - found["theirs"]) > 0.01 * found["theirs"] + 1:
        raise AssertionError(f"Masks found: {found}.")
    name = f"segment everything, {points} x {points} grid, {weights} weights"
    yield timed(name, medians, bar, f"{found['ours']} masks, theirs {found['theirs']}")
    (peak, rise), (their_peak, their_rise) = (child(side, weights, settings) for side in ("ours", "theirs"))
    added = Row(f"{name}: memory", f"{rise:.0f} MB", f"{their_rise:.0f} MB", their_rise / max(rise, 1), bar)
    yield replace(added, note="peak above the loaded model")
    whole = Row(f"{name}: process", f"{peak:.0f} MB", f"{their_peak:.0f} MB", their_peak / peak, None)
    yield replace(whole, note="peak of the process, interpreter and PyTorch included")


def package(model: Model, settings: EverythingSettings) -> SamAutomaticMaskGenerator:
    """Build the package's generator around the same networks."""
    import torch
    from segment_anything import SamAutomaticMaskGenerator
    from segment_anything.modeling import Sam

    class Embedding(torch.nn.Module):
        """The encoder with the interface of the package's."""

        img_size = model.input_px

        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.encoder

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.encoder(pixels)["embedding"]

    mean, std = (values.flatten().tolist() for values in (model.encoder.pixel_mean, model.encoder.pixel_std))
    parts = model.decoder
    sam = Sam(Embedding(), parts.prompt_encoder, parts.mask_decoder, mean, std).eval()
    options = asdict(settings)
    del options["drop_over_half_image"]
    return SamAutomaticMaskGenerator(sam, output_mode="uncompressed_rle", **options)


def filters(model: Model, image: np.ndarray, points: int) -> EverythingSettings:
    """Choose thresholds by which `SHARES` of the candidates pass, whatever the weights: a share of SAM's order."""
    import numpy as np

    from napari_sampath.predict import EverythingSettings, segment_everything

    every = EverythingSettings(
        points_per_side=min(6, points), pred_iou_thresh=-1e9, stability_score_thresh=0.0, box_nms_thresh=1.0
    )
    found = segment_everything(image, model, every)
    iou = float(np.quantile([one.predicted_iou for one in found], 1 - SHARES[0]))
    stable = [one.stability_score for one in found if one.predicted_iou > iou]
    least = float(np.nanquantile(stable, 1 - SHARES[1]))
    return EverythingSettings(points_per_side=points, pred_iou_thresh=iou, stability_score_thresh=least)


def child(side: str, weights: str, settings: EverythingSettings) -> tuple[float, float]:
    """Measure memory in a process of its own: peak and its rise, in MB."""
    told = json.dumps({"side": side, "weights": weights, "settings": asdict(settings)})
    words = [sys.executable, "-m", "benchmarks.everything", told]
    root = Path(__file__).resolve().parent.parent
    result = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    if result.returncode:
        raise RuntimeError(result.stderr)
    peak, rise = json.loads(result.stdout.splitlines()[-1])
    return peak, rise


def memory(side: str, weights: str, settings: dict[str, Any]) -> tuple[float, float]:
    """Run one side in this process, which must be new: peak and its rise above a loaded model, in MB."""
    from napari_sampath.predict import EverythingSettings, segment_everything

    model, image = load(weights), tissue(SIDE_PX)

    def call(chosen: EverythingSettings) -> None:
        if side == "ours":
            segment_everything(image, model, chosen)
        else:
            package(model, chosen).generate(image)

    chosen = EverythingSettings(**settings)
    call(replace(chosen, points_per_side=1))
    before = peak_bytes()
    call(chosen)
    return peak_bytes() / 2**20, (peak_bytes() - before) / 2**20


if __name__ == "__main__":
    print(json.dumps(memory(**json.loads(sys.argv[1]))))
