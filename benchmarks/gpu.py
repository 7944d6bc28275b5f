"""Encoding of tiles and training on a CUDA device; without one, there is nothing to measure.

    python -m benchmarks.gpu [--quick]

`--quick` checks that everything runs, with small networks and on the CPU if there is no CUDA device.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from napari_sampath.config import resolve_precision
from napari_sampath.encoders.sam.sam import OFFICIAL
from napari_sampath.encoders.tiny import tiny
from napari_sampath.geometry import Frame
from napari_sampath.predict import Model
from napari_sampath.store import DiskTier, MemoryTier, Store
from napari_sampath.training.data.instances import NUCLEUS, InstanceImage
from napari_sampath.training.prompts.config import PromptTuningConfig
from napari_sampath.training.prompts.prompt_tuning import tune

from .encoding import SMALL, networks
from .table import Row, alternate, seconds, timed, to_text

GIGAFLOP = 972
"""Floating point operations of one image in SAM's ViT-B, in 1e9; a multiply-add counts as two."""


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure on a CUDA device; with `quick`, on the CPU if there is none."""
    if torch.cuda.is_available():
        device = torch.device("cuda")
    elif quick:
        device = torch.device("cpu")
    else:
        return
    yield vit_b(device, quick)
    yield from stores(device, 1 if quick else 96)
    yield training(device, quick)


@torch.inference_mode()
def vit_b(device: torch.device, quick: bool) -> Row:
    """Compare the rate of SAM's ViT-B in bfloat16 with the package, and with one large matrix product."""
    architecture, batch, side = (SMALL, 2, 256) if quick else (OFFICIAL["vit_b"], 16, 8192)
    ours, theirs = (network.to(device) for network in networks(architecture))
    pixels = torch.randn(batch, 3, architecture.input_px, architecture.input_px, device=device)
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)

    def reduced() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            ours(pixels)
        _finish(device)

    def package() -> None:
        theirs(pixels)
        _finish(device)

    def peak() -> None:
        torch.mm(matrix, matrix)
        _finish(device)

    medians = alternate({"ours": reduced, "theirs": package, "peak": peak}, repeats=1 if quick else 7)
    rate = batch / medians["ours"]
    note = f"{rate:.1f} images/s"
    if not quick:
        share = rate * GIGAFLOP * 1e9 / (2 * side**3 / medians["peak"])
        note += f", {share:.0%} of the rate of one large matrix product"
    what = f"encode ViT-B, batch of {batch}, {_name(device)} bfloat16, package float32"
    return timed(what, medians, None if quick else 6.0, note)


def stores(device: torch.device, count: int) -> Iterator[Row]:
    """Compare encoding without a store with encoding and storing in memory or on disk."""
    side = 16 * count
    image = np.random.default_rng(0).integers(0, 256, (1024, 1024 + side, 3), np.uint8)
    frames = [Frame(0, 16 * index, 1024, 1024) for index in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        kept = {
            "theirs": None,
            "memory": Store(MemoryTier(2**33)),
            "disk": Store(MemoryTier(0), DiskTier(Path(folder), 2**33)),
        }
        parts, precision = tiny.SAMPATH_TINY.build(), resolve_precision("auto", device)
        models = {name: Model(parts, device, store, precision=precision) for name, store in kept.items()}

        def encode(name: str) -> None:
            for _ in models[name].encode_tiles(image, frames):
                pass
            _finish(device)
            if (store := kept[name]) is not None:
                store.clear()

        calls = {name: partial(encode, name) for name in kept}
        medians = alternate(calls, repeats=1 if count < 10 else 3)
    for tier in ("memory", "disk"):
        note = f"{count / medians[tier]:.1f} tiles/s; the limit is the time without a store"
        yield timed(
            f"encode {count} tiles with sampath-tiny and store them, {tier}, {_name(device)}",
            {"ours": medians[tier], "theirs": medians["theirs"]},
            None,
            note,
        )


def training(device: torch.device, quick: bool) -> Row:
    """Time a step of `sampath tune` with prompts and random tissue."""
    rng = np.random.default_rng(0)
    discs = np.hypot(*(np.indices((224, 224)) % 32 - 16)) < 10
    numbers = (np.indices((224, 224)) // 32 * np.array([7, 1])[:, None, None]).sum(axis=0) + 1
    pixels = np.where(discs[..., None], 90, 210) + rng.normal(0, 9, (224, 224, 3))
    image = InstanceImage(
        "discs",
        NUCLEUS,
        pixels.clip(0, 255).astype(np.uint8),
        np.where(discs, numbers, 0).astype(np.int32),
        20,
    )
    windows, steps = (1, 1) if quick else (32, 20)
    config = PromptTuningConfig(
        steps=steps,
        windows=windows,
        side_px=64 if quick else 512,
        part_px=64 if quick else 256,
        parts=2,
        prompts=2 if quick else 12,
        iterations=2,
        full_frame_share=0.0,
        train_only="all",
        device=str(device),
    )
    job = tune(tiny.SAMPATH_TINY.build(), [image], config)
    next(job)  # the first step also starts the device
    _finish(device)
    started = time.perf_counter()
    for _ in job:
        pass
    _finish(device)
    step_s = (time.perf_counter() - started) / max(1, steps - 1)
    note = f"{windows / step_s:.1f} windows/s" if steps > 1 else ""
    what = f"train sampath-tiny, {windows} windows per step, {_name(device)}"
    return Row(what, seconds(step_s), "", None, None, note)


def _name(device: torch.device) -> str:
    return "GPU" if device.type == "cuda" else "CPU"


def _finish(device: torch.device) -> None:
    """Wait until the device has computed everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only check that everything runs")
    measured = list(rows(parser.parse_args().quick))
    print(to_text(measured))
    return int(any(row.missed for row in measured))


if __name__ == "__main__":
    sys.exit(main())
