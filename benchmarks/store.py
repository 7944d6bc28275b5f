"""Time to reopen an image with stored features, and memory of a cached tile."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .click import click
from .models import tissue
from .table import REPEATS, Row, limited
from .tiny_sam import tiny_model

SIDE_PX = 1024


def rows(quick: bool = False) -> Iterator[Row]:
    """Fill a store, then open the image with an empty memory tier."""
    for across in (1, 2 if quick else 3):
        with tempfile.TemporaryDirectory() as folder:
            yield from reopening(Path(folder), across, 2 if quick else REPEATS)


def reopening(folder: Path, across: int, repeats: int) -> Iterator[Row]:
    """Time the reopening of an image of `across` x `across` tiles."""
    import torch

    from napari_sampath.geometry import Frame
    from napari_sampath.store import DiskTier, MemoryTier, Store

    # All tiles cost the same, so nine of them are enough.
    image = np.tile(tissue(SIDE_PX), (across, across, 1))
    frames = [
        Frame(row * SIDE_PX, col * SIDE_PX, SIDE_PX, SIDE_PX)
        for row in range(across)
        for col in range(across)
    ]
    for number, frame in enumerate(frames):
        image[frame.slices][0, 0] = number
    disk, calls = DiskTier(folder, 10**9), []
    model = tiny_model(Store(MemoryTier(10**9), disk))
    model.encoder.register_forward_hook(lambda *_: calls.append(1))

    def keep_embedding(
        module: object, inputs: object, maps: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        return {"embedding": maps["embedding"]}

    model.encoder.register_forward_hook(keep_embedding)
    for frame in frames:
        model.encode(image, frame)
    encoded = len(calls)
    to_features, to_answer, decoding = [], [], []
    for _ in range(repeats + 1):
        model.store = Store(MemoryTier(10**9), disk)
        start = time.perf_counter()
        features = [model.encode(image, frame) for frame in frames]
        to_features.append(time.perf_counter() - start)
        click(model, features[0], (512.0, 512.0))
        to_answer.append(time.perf_counter() - start)
        start = time.perf_counter()
        click(model, features[0], (500.0, 512.0))
        decoding.append(time.perf_counter() - start)
    if len(calls) > encoded:
        raise AssertionError(f"Reopening called the encoder {len(calls) - encoded} times.")
    count = len(frames)
    size = "1 tile" if count == 1 else f"{count} tiles"
    limit = 20 + 5 * count
    ready, answered, decoded = (
        1e3 * statistics.median(values[1:]) for values in (to_features, to_answer, decoding)
    )
    yield limited(f"reopening, {size}, to features", ready, limit, "ms", "encoder calls: 0")
    note = f"of which decoding takes {decoded:.0f} ms, as for any click"
    yield limited(f"reopening, {size}, to first answer", answered, limit, "ms", note)
    yield limited(f"reopening, {size}, first answer minus a later click", answered - decoded, limit, "ms")
    if count == 1:
        size_mb = model.store.memory.info().size_bytes / 1e6
        yield limited("memory of one cached tile, `embedding` only", round(size_mb, 2), 2.1, "MB", "float16")
