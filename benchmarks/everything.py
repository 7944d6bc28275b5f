"""Segment everything against SamAutomaticMaskGenerator: same weights, image and settings, on the CPU.

    python benchmarks/everything.py                       # 32 x 32 points, 1,024 px, 7 alternating runs
    python benchmarks/everything.py --points 8 --repeats 1
    python benchmarks/everything.py --weights random      # SAM's own decoder with random weights

Time is the wall clock of whole calls, encoder included, alternating in one process; medians. Memory is the
peak resident set of a process of its own for each side (`resource.getrusage`, which sees torch, numpy and
the interpreter alike), and its rise above the peak after loading the model and a warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from segment_anything import SamAutomaticMaskGenerator

    from napari_sampath.predict import EverythingSettings, Model

SHARES = 0.35, 0.5
"""Of candidates: those with a predicted IoU that passes, and of these those that are stable enough."""


def tissue(side: int) -> np.ndarray:
    """Paint (side, side, 3) uint8: some hundred purple nuclei of 12 to 40 px on pink."""
    import numpy as np

    rng = np.random.default_rng(0)
    image = np.full((side, side, 3), (228, 182, 209), dtype=np.float32)
    image += rng.normal(0, 6, image.shape)
    rows, cols = np.mgrid[:side, :side]
    for _ in range(max(4, side * side // 7000)):
        row, col = rng.uniform(0, side, 2)
        a, b = rng.uniform(6, 20, 2)
        angle = rng.uniform(0, np.pi)
        u = (rows - row) * np.cos(angle) + (cols - col) * np.sin(angle)
        v = (cols - col) * np.cos(angle) - (rows - row) * np.sin(angle)
        image[(u / a) ** 2 + (v / b) ** 2 < 1] = np.array([104, 70, 150]) + rng.normal(0, 12, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def load(weights: str) -> Model:
    if weights != "random":
        from napari_sampath import load_model

        return load_model(weights, device="cpu")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from tiny_sam import tiny_model

    return tiny_model()


def package(model: Model, settings: EverythingSettings) -> SamAutomaticMaskGenerator:
    """Build the package's generator around the same networks."""
    from dataclasses import asdict

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
        points_per_side=6, pred_iou_thresh=-1e9, stability_score_thresh=0.0, box_nms_thresh=1.0
    )
    found = segment_everything(image, model, every)
    iou = float(np.quantile([one.predicted_iou for one in found], 1 - SHARES[0]))
    stable = [one.stability_score for one in found if one.predicted_iou > iou]
    least = float(np.nanquantile(stable, 1 - SHARES[1]))
    return EverythingSettings(points_per_side=points, pred_iou_thresh=iou, stability_score_thresh=least)


def measure_time(
    model: Model, image: np.ndarray, settings: EverythingSettings, repeats: int
) -> dict[str, Any]:
    import torch

    from napari_sampath.predict.everything import segment_everything

    generator = package(model, settings)
    seconds: dict[str, list[float]] = {"theirs": [], "ours": []}
    found: dict[str, int] = {}
    for _ in range(repeats):
        for name, call in (
            ("theirs", lambda: generator.generate(image)),
            ("ours", lambda: segment_everything(image, model, settings)),
        ):
            start = time.perf_counter()
            found[name] = len(call())
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {"seconds": medians, "masks": found, "threads": torch.get_num_threads()}


def measure_memory(
    side: str, model: Model, image: np.ndarray, settings: EverythingSettings
) -> dict[str, float]:
    import resource
    from dataclasses import replace

    from napari_sampath.predict.everything import segment_everything

    def call(chosen: EverythingSettings) -> None:
        if side == "ours":
            segment_everything(image, model, chosen)
        else:
            package(model, chosen).generate(image)

    def peak_mb() -> float:
        # Kilobytes on Linux, bytes on macOS.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            2**20 if sys.platform == "darwin" else 2**10
        )

    call(replace(settings, points_per_side=1))
    before = peak_mb()
    call(settings)
    return {"peak_mb": peak_mb(), "rise_mb": peak_mb() - before}


def child(options: argparse.Namespace, what: str, thresholds: dict[str, float] | None) -> dict[str, Any]:
    """Run one measurement in a process of its own; this one stays small, since a child inherits its peak."""
    words = [sys.executable, __file__, "--measure", what, "--thresholds", json.dumps(thresholds)]
    for name in ("side", "points", "repeats", "weights"):
        words += [f"--{name}", str(getattr(options, name))]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr)
    values: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return values


def measure(options: argparse.Namespace) -> dict[str, Any]:
    from napari_sampath.predict import EverythingSettings

    model, image = load(options.weights), tissue(options.side)
    if options.measure == "filters":
        settings = filters(model, image, options.points)
        names = ("pred_iou_thresh", "stability_score_thresh")
        return {name: getattr(settings, name) for name in names}
    settings = EverythingSettings(points_per_side=options.points, **json.loads(options.thresholds))
    if options.measure == "time":
        return measure_time(model, image, settings, options.repeats)
    return measure_memory(options.measure, model, image, settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024, help="side of the image in pixels")
    parser.add_argument("--points", type=int, default=32, help="points along a side of the grid")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each side")
    parser.add_argument("--weights", default="sampath-tiny", help="an encoder's name, or 'random'")
    parser.add_argument("--measure", choices=["filters", "time", "ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--thresholds", default="{}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    thresholds = child(options, "filters", {})
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {options.weights} weights")
    print(
        f"{options.points} x {options.points} points, {options.side} px, predicted IoU over "
        f"{thresholds['pred_iou_thresh']:.3f}, stability of {thresholds['stability_score_thresh']:.3f}"
    )
    memory = {name: child(options, name, thresholds) for name in ("theirs", "ours")}
    timed = child(options, "time", thresholds)
    seconds, masks = timed["seconds"], timed["masks"]
    print(
        f"{'':24}{'package':>10}{'ours':>10}{'ratio':>8}   ({timed['threads']} threads, medians of {options.repeats})"
    )
    rows = (
        ("seconds", seconds["theirs"], seconds["ours"]),
        ("peak memory, MB", memory["theirs"]["peak_mb"], memory["ours"]["peak_mb"]),
        ("its rise, MB", memory["theirs"]["rise_mb"], memory["ours"]["rise_mb"]),
    )
    for name, theirs, ours in rows:
        print(f"{name:24}{theirs:10.2f}{ours:10.2f}{theirs / max(ours, 1e-9):7.1f}x")
    print(f"{'masks':24}{masks['theirs']:10d}{masks['ours']:10d}")


if __name__ == "__main__":
    main()
