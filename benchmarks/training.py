"""Time of an epoch on stored features, time to correct and retrain on ten tiles, and peak memory of training."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .memory import peak_bytes
from .models import tissue
from .table import Row, limited, seconds
from .tiny_sam import tiny_model

if TYPE_CHECKING:
    from napari_sampath.predict import Model

ENCODED = "Encoding the training images"


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure all three; `quick` uses a small SAM and few images."""
    with tempfile.TemporaryDirectory() as folder:
        yield cached_epoch(Path(folder) / "epoch", quick)
        yield from correction(Path(folder) / "correct", quick)
        for head in ("cnn",) if quick else ("cnn", "sampath", "unet"):
            yield peak_memory(Path(folder) / head, head, quick)


def make_dataset(folder: Path, images: int, side: int) -> Any:
    """Save images of synthetic tissue with labelled nuclei, plus two for validation."""
    from napari_sampath.arrays import ClassInfo
    from napari_sampath.formats import DatasetFolder, Snapshot

    dataset = DatasetFolder.create(folder, [ClassInfo(1, "nucleus", (0, 158, 115))])
    image = tissue(side)
    for number in range(images + 2):
        # Different pixels, so that the store has no features of the image.
        pixels = np.roll(image, 37 * number, axis=(0, 1)[number % 2])
        labels = (pixels.mean(axis=2) < 150).astype(np.uint8)
        dataset.save_image(Snapshot(f"tile {number}", pixels, labels), group="b" if number >= images else "a")
    dataset.set_split("a", "train")
    dataset.set_split("b", "val")
    return dataset


def vit_b(quick: bool) -> Model:
    """Build SAM's ViT-B, or a small SAM with `quick`, with random weights and a store in memory."""
    import torch
    from segment_anything import sam_model_registry

    from napari_sampath.encoders import registry
    from napari_sampath.encoders.sam.sam import assemble
    from napari_sampath.encoders.sam.sam_format import deduce, sam_keys
    from napari_sampath.predict import Model
    from napari_sampath.store import MemoryTier, Store

    store = Store(MemoryTier(2**31))
    if quick:
        return tiny_model(store)
    torch.manual_seed(0)
    state = sam_keys(sam_model_registry["vit_b"]().state_dict(), "random")
    return Model(assemble(state, deduce(state, "random"), registry["vit_b"].info), torch.device("cpu"), store)


def cached_epoch(folder: Path, quick: bool) -> Row:
    """Time an epoch on stored features, and compare it with an epoch that encodes its 20 tiles."""
    from napari_sampath.training import TrainingConfig, open_dataset, train_job
    from napari_sampath.training.heads.trainer import TrainingProgress

    images = 2 if quick else 20
    data = open_dataset(make_dataset(folder, images, 256 if quick else 1024).path)
    config = TrainingConfig(epochs=2, patience=0, batch_size=4)
    started: dict[str, float] = {}
    ended: dict[str, float] = {}
    for progress in train_job(data, "cnn", config, vit_b(quick), folder / "h.safetensors"):
        now = time.perf_counter()
        epoch = getattr(progress, "epoch", 0)
        name = f"epoch {epoch}" if isinstance(progress, TrainingProgress) else progress.message
        started.setdefault(name, now)
        ended[name] = now
    encoding = ended[ENCODED] - started[ENCODED]
    # From the end of epoch 1 to the end of epoch 2, including validation.
    epoch_s = ended["epoch 2"] - ended["epoch 1"]
    return Row(
        f"epoch of {images} tiles, ViT-B shapes, CNN head",
        seconds(epoch_s),
        seconds(epoch_s + encoding),
        (epoch_s + encoding) / epoch_s,
        None if quick else 20.0,
        "compared with encoding each image again; with validation on 2 tiles",
    )


def correction(folder: Path, quick: bool) -> Iterator[Row]:
    """Time saving ten corrected tiles, training the CNN head on them and segmenting another image."""
    from napari_sampath import load_model
    from napari_sampath.formats import Snapshot
    from napari_sampath.predict import segment
    from napari_sampath.store import MemoryTier, Store
    from napari_sampath.training import TrainingConfig, train

    images = 2 if quick else 10
    dataset = make_dataset(folder, images, 512 if quick else 1024)
    model = load_model("sampath-tiny", device="cpu", store=Store(MemoryTier(2**30)))
    config = TrainingConfig(epochs=2 if quick else 20)
    for state in ("not encoded before", "encoded during annotation"):
        start = time.perf_counter()
        for name in list(dataset.images)[:images]:
            item = dataset.read(name)
            corrected = item.labels.copy()
            corrected[: 8 if "not" in state else 16] = 0
            dataset.save_image(Snapshot(name, item.pixels, corrected), group="a")
        bundle = train(dataset.path, "cnn", config, model, folder / "h.safetensors")
        segment(np.roll(dataset.read("tile 0").pixels, 501, axis=0), bundle, model)
        seconds_taken = time.perf_counter() - start
        yield limited(
            f"correct, retrain, predict: {images} tiles, {state}",
            seconds_taken,
            60,
            "s",
            f"CNN head, sampath-tiny, {os.cpu_count()} cores",
        )


def peak_memory(folder: Path, head: str, quick: bool) -> Row:
    """Measure the peak resident set of a process that trains a head with batch size 4."""
    dataset = make_dataset(folder, 4, 256 if quick else 1024)
    command = [sys.executable, "-m", "benchmarks.training", str(dataset.path), head]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = json.loads(done.stdout.splitlines()[-1])["peak_bytes"] / 2**30
    return limited(
        f"peak memory of training '{head}' with batch size 4",
        peak,
        3,
        "GiB",
        "sampath-tiny, the whole process",
    )


def _train_and_print_peak(data: str, head: str) -> None:
    """Train in this process and print its peak resident set."""
    from napari_sampath import load_model, train
    from napari_sampath.training import TrainingConfig

    arguments = {"variant": "sam_only"} if head == "sampath" else {}
    config = TrainingConfig(epochs=1, batch_size=4, window_cells=64, head_arguments=arguments)
    train(data, head, config, load_model("sampath-tiny", device="cpu"), Path(data) / "h.safetensors")
    print(json.dumps({"peak_bytes": peak_bytes(), "recipe": dataclasses.asdict(config)}))


if __name__ == "__main__":
    _train_and_print_peak(sys.argv[1], sys.argv[2])
