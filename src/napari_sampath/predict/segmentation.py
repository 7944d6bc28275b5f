"""Segmentation of an image with a trained head, tile by tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..arrays import ClassInfo, Features, FloatArray, UInt8Array
from ..config import load_config
from ..errors import ImageError, WeightsError
from ..geometry import Frame
from ..heads import Head, LoadedHead, load_head
from ..jobs import Job, Progress, run
from ..store import Store
from ..tiling import TILE_PX
from .blending import WHOLE, Canvas, Part, Region, part_of
from .decoder.mask_upscaling import image_logits
from .foreign.compare import compared_frames, start_comparison
from .head_tiles import head_tile_px, head_tiles
from .loading import load_model_job
from .model import Model, as_pixels

KEEP_BYTES = 2**28
"""Maximum size of the probabilities of all classes (float16) in a result: 67 megapixels for two classes."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The segmentation of an image by a head."""

    labels: UInt8Array
    """(H, W) uint8, id of the most probable class per pixel."""
    confidence: FloatArray
    """(H, W) float32, 0..1, probability of that class."""
    probabilities: FloatArray | None
    """(K, H, W) float16, 0..1, one channel per class; None if larger than `KEEP_BYTES`."""
    classes: tuple[ClassInfo, ...]
    """The classes of the head, in the order of the channels."""
    head: str
    """Name of the head."""
    origin_rc: tuple[int, int] = (0, 0)
    """Position (row, col) of the first pixel in the image, if only a region was segmented."""
    tile_px: int = TILE_PX
    """Side of the tiles on which the head ran, in image pixels."""
    warning: str = ""
    """How the image differs from the training images of the head, one sentence; empty if it does not, or if the bundle
    has no statistics of them."""
    depth: FloatArray | None = None
    """(H, W) float16, 0..1, depth of each pixel in its object; None if the head does not predict it."""


def segment(
    image: Any,
    head: LoadedHead | str | Path,
    model: Model | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    region: Region | None = None,
    mpp: float | None = None,
    tile_px: int | None = None,
) -> Segmentation:
    """Segment an image with a trained head.

    The head runs on tiles that show the tissue at the size at which the head was trained, see `head_tiles`.

    Args:
        image: (H, W, 3) uint8 RGB; other arrays are converted like image files.
        head: A loaded head, the name of a shipped one, or the path of a bundle.
        model: The model whose encoder the head was trained on; loaded, with the feature store of the user's cache, if
            left out.
        on_progress: Called with the progress of every tile.
        region: Segment only this region (r0, c0, r1, c1), with the same result as in the whole image.
        mpp: Micrometres per pixel of the image; None if unknown.
        tile_px: Side of the tiles in image pixels, 128 to 4,096. By default, it is that of the training images, or if
            both scales are known, the side that shows as much tissue.

    Returns:
        Class map, confidence and, up to `KEEP_BYTES`, probabilities.

    Raises:
        WeightsError: If the head was trained on another model, or its bundle is damaged.
        UnknownNameError: If there is no such head.
        ImageError: If the array is not an image, or the region lies outside.
        ConfigError: If `tile_px` is out of range.
    """
    return run(segment_job(image, head, model, region, mpp=mpp, tile_px=tile_px), on_progress)


def segment_job(
    image: Any,
    head: LoadedHead | str | Path,
    model: Model | None = None,
    region: Region | None = None,
    mpp: float | None = None,
    tile_px: int | None = None,
) -> Job[Segmentation]:
    """Make a job for `segment` that can be cancelled between tiles.

    Memory beyond the result grows with the width of the image, not its area: rows are finished as soon as no further
    tile covers them.
    """
    loaded, model = yield from load_head_job(head, model)
    check_match(loaded, model)
    pixels = as_pixels(image)
    hw = int(pixels.shape[0]), int(pixels.shape[1])
    region = _clip(region or (0, 0, *hw), hw)
    side = head_tile_px(loaded, mpp, tile_px)
    frames = head_tiles(hw, side, region)
    network = loaded.head.to(model.device).eval()
    keep = len(loaded.classes) * (region[2] - region[0]) * (region[3] - region[1]) * 2 <= KEEP_BYTES
    canvas = Canvas(frames, region, loaded.classes, probabilities=keep, with_depth=network.predicts_depth)
    comparison = start_comparison(loaded)
    compared = set() if comparison is None else set(compared_frames(frames))
    yield Progress(0, len(frames), f"Segmenting with {loaded.name}", "tiles")
    for done, features in enumerate(model.read_tiles(pixels, frames, network.spec), start=1):
        frame = frames[done - 1]
        canvas.add(frame, *tile_probabilities(network, features, part_of(frame, region)))
        if comparison is not None and frame in compared:
            comparison.add(np.asarray(pixels[frame.slices]), features)
        yield Progress(done, len(frames), f"Segmenting with {loaded.name}", "tiles")
    warning = "" if comparison is None else comparison.sentence
    canvas.finish()
    return Segmentation(
        canvas.labels,
        canvas.confidence,
        canvas.probabilities,
        loaded.classes,
        loaded.name,
        (region[0], region[1]),
        max(frames[0].hw),
        warning,
        canvas.depth,
    )


def load_head_job(head: LoadedHead | str | Path, model: Model | None) -> Job[tuple[LoadedHead, Model]]:
    """Make a job that loads a head and, if left out, its model with the feature store of the user's cache."""
    loaded = head if isinstance(head, LoadedHead) else load_head(head)
    if model is None:
        config = load_config()
        store = Store.from_config(config)
        model = yield from load_model_job(loaded.encoder_name, config.device, store=store)
    return loaded, model


def _clip(region: Region, hw: tuple[int, int]) -> Region:
    r0, c0, r1, c1 = max(0, region[0]), max(0, region[1]), min(hw[0], region[2]), min(hw[1], region[3])
    if r1 <= r0 or c1 <= c0:
        raise ImageError(
            f"The region {region} (first row, first column, last row, last column) lies outside the image of "
            f"{hw[1]} x {hw[0]} px (width x height); choose a region in the image."
        )
    return r0, c0, r1, c1


def check_match(loaded: LoadedHead, model: Model) -> None:
    """Raise a `WeightsError` unless the head was trained on features of this model."""
    encoder = model.encoder
    loaded.check_encoder(model.name, encoder.weights_digest, encoder.preprocessing_version)


def matches(loaded: LoadedHead, model: Model) -> bool:
    """Return whether the head was trained on features of this model."""
    try:
        check_match(loaded, model)
    except WeightsError:
        return False
    return True


def tile_probabilities(
    head: Head, features: Features, part: Part = WHOLE
) -> tuple[FloatArray, FloatArray | None]:
    """Run a head on one tile, and upscale its logits in the same way as SAM's masks.

    Args:
        head: The head, on the device of the features.
        features: The tile.
        part: Rows and columns to compute, relative to the tile.

    Returns:
        (K, h, w) float32, class probabilities at the size of the tile's window, which sum to 1; and (h, w) float32, the
        depth of each pixel in its object, or None if the head does not predict it.
    """
    with torch.inference_mode():
        maps = {name: values.unsqueeze(0) for name, values in features.maps.items()}
        logits, depth = head.forward_with_depth(maps)
    probabilities = upscaled_probabilities(features.frame, logits[0].float().cpu().numpy(), part)
    return probabilities, None if depth is None else image_logits(
        features.frame, depth[0, 0].float().cpu().numpy(), *part
    )


def tile_logits(head: Head, features: Features) -> FloatArray:
    """Run a head on one tile; returns its logits (K, h', w') float32."""
    with torch.inference_mode():
        logits = head({name: values.unsqueeze(0) for name, values in features.maps.items()})[0]
    low: FloatArray = logits.float().cpu().numpy()
    return low


def upscaled_probabilities(frame: Frame, logits: FloatArray, part: Part = WHOLE) -> FloatArray:
    """Upscale the logits of a tile, and convert them to probabilities.

    Args:
        frame: Frame of the features.
        logits: (K, h', w') float32.
        part: Rows and columns to compute, relative to the tile.

    Returns:
        (K, h, w) float32, class probabilities; they sum to 1.
    """
    first = image_logits(frame, logits[0], *part)
    large = np.empty((len(logits), *first.shape), dtype=np.float32)
    large[0] = first
    for number, channel in enumerate(logits[1:], start=1):
        large[number] = image_logits(frame, channel, *part)
    probabilities: FloatArray = torch.from_numpy(large).softmax(dim=0).numpy()
    return probabilities
