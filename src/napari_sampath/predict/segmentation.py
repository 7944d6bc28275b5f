"""Segmentation of an image with a trained head, tile by tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from ..arrays import ClassInfo, Features, FloatArray, UInt8Array
from ..config import load_config
from ..errors import ImageError
from ..geometry import Frame
from ..heads import Head, LoadedHead, load_head
from ..jobs import Job, Progress, run
from ..store import Store
from ..tiling import TILE_PX
from .decoder.mask_upscaling import image_logits
from .foreign.compare import compared_frames, start_comparison
from .head_tiles import head_tile_px, head_tiles
from .loading import load_model_job
from .model import Model, as_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

Region: TypeAlias = tuple[int, int, int, int]
"""(r0, c0, r1, c1) in image pixels; r1 and c1 are exclusive."""

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
    is_blank: Callable[[Frame], bool] = lambda frame: False,
    mpp: float | None = None,
    tile_px: int | None = None,
    compare: bool = True,
) -> Job[Segmentation]:
    """Make a job for `segment` that can be cancelled between tiles.

    Memory beyond the result grows with the width of the image, not its area: rows are finished as soon as no further
    tile covers them. Tiles for which `is_blank` is true are not encoded and count as background (class 0).
    Without `compare`, the image is not compared with the training images, and `Segmentation.warning` is empty.
    """
    loaded, model = yield from load_head_job(head, model)
    check_match(loaded, model)
    pixels = as_pixels(image)
    hw = int(pixels.shape[0]), int(pixels.shape[1])
    region = _clip(region or (0, 0, *hw), hw)
    side = head_tile_px(loaded, mpp, tile_px)
    frames = [frame for frame in head_tiles(hw, side) if overlaps(frame, region)]
    network = loaded.head.to(model.device).eval()
    canvas = _Canvas(frames, loaded.classes, network.predicts_depth)
    blank = {frame for frame in frames if loaded.classes[0].id == 0 and is_blank(frame)}
    encoded = model.read_tiles(pixels, [frame for frame in frames if frame not in blank], network.spec)
    comparison = start_comparison(loaded) if compare else None
    compared = set() if comparison is None else set(compared_frames(frames))
    yield Progress(0, len(frames), f"Segmenting with {loaded.name}", "tiles")
    for done, frame in enumerate(frames, start=1):
        if frame in blank:
            canvas.add_background(frame)
        else:
            features = next(encoded)
            canvas.add(frame, *tile_probabilities(network, features))
            if comparison is not None and frame in compared:
                comparison.add(np.asarray(pixels[frame.slices]), features)
        yield Progress(done, len(frames), f"Segmenting with {loaded.name}", "tiles")
    warning = "" if comparison is None else comparison.sentence
    return replace(canvas.finish(loaded.name, region), tile_px=max(frames[0].hw), warning=warning)


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


def overlaps(frame: Frame, region: Region) -> bool:
    """Return True if a tile and a region share a pixel."""
    r0, c0, r1, c1 = region
    return (
        frame.top < r1 and r0 < frame.top + frame.height and frame.left < c1 and c0 < frame.left + frame.width
    )


def check_match(loaded: LoadedHead, model: Model) -> None:
    """Raise a `WeightsError` unless the head was trained on features of this model."""
    encoder = model.encoder
    loaded.check_encoder(model.name, encoder.weights_digest, encoder.preprocessing_version)


def tile_probabilities(head: Head, features: Features) -> tuple[FloatArray, FloatArray | None]:
    """Run a head on one tile, and upscale its logits in the same way as SAM's masks.

    Args:
        head: The head, on the device of the features.
        features: The tile.

    Returns:
        (K, h, w) float32, class probabilities at the size of the tile's window, which sum to 1; and (h, w) float32, the
        depth of each pixel in its object, or None if the head does not predict it.
    """
    with torch.inference_mode():
        maps = {name: values.unsqueeze(0) for name, values in features.maps.items()}
        logits, depth = head.forward_with_depth(maps)
    large = np.stack([image_logits(features.frame, channel) for channel in logits[0].float().cpu().numpy()])
    probabilities: FloatArray = torch.from_numpy(large).softmax(dim=0).numpy()
    return probabilities, None if depth is None else image_logits(
        features.frame, depth[0, 0].float().cpu().numpy()
    )


class _Canvas:
    """Blends overlapping tiles, row by row, into a segmentation.

    The canvas covers every tile that overlaps the region, so pixels in it are blended as in the whole image.

    Args:
        frames: The tiles in order, row by row; the canvas is their bounding box.
        classes: One class per channel.
        with_depth: Whether the head predicts the depth.
    """

    def __init__(self, frames: Sequence[Frame], classes: tuple[ClassInfo, ...], with_depth: bool) -> None:
        self._first_rc = min(frame.top for frame in frames), min(frame.left for frame in frames)
        moved = [self._moved(frame) for frame in frames]
        bottom = max(frame.top + frame.height for frame in moved)
        hw = bottom, max(frame.left + frame.width for frame in moved)
        self._classes = classes
        self._ids = np.array([info.id for info in classes], dtype=np.uint8)
        self._row_weights = blend_weights({frame.top: frame.height for frame in moved}, hw[0])
        self._col_weights = blend_weights({frame.left: frame.width for frame in moved}, hw[1])
        self._labels = np.zeros(hw, dtype=np.uint8)
        self._confidence = np.zeros(hw, dtype=np.float32)
        keep = len(classes) * hw[0] * hw[1] * 2 <= KEEP_BYTES
        self._probabilities = np.zeros((len(classes), *hw), dtype=np.float16) if keep else None
        self._depth = np.zeros(hw, dtype=np.float16) if with_depth else None
        self._top = 0
        self._band = np.zeros((len(classes) + with_depth, frames[0].height, hw[1]), dtype=np.float32)
        """(K, rows, W) weighted sums of the unfinished rows, followed by that of the depth if the head predicts it; the
        first row is row `_top` of the canvas."""

    def _moved(self, frame: Frame) -> Frame:
        return replace(frame, top=frame.top - self._first_rc[0], left=frame.left - self._first_rc[1])

    def add(self, frame: Frame, probabilities: FloatArray, depth: FloatArray | None = None) -> None:
        """Add the probabilities (K, h, w) and the depth (h, w) of one tile."""
        frame = self._moved(frame)
        if frame.top > self._top:
            done = frame.top - self._top
            self._finish_rows(done)
            self._band[:, :-done] = self._band[:, done:]
            self._band[:, -done:] = 0
            self._top = frame.top
        weight = self._row_weights[frame.top][:, None] * self._col_weights[frame.left]
        values = probabilities if depth is None else np.concatenate([probabilities, depth[None]])
        self._band[: len(values), : frame.height, frame.left : frame.left + frame.width] += values * weight

    def add_background(self, frame: Frame) -> None:
        """Add a tile whose pixels belong to the first class."""
        probabilities = np.zeros((len(self._classes), *frame.hw), dtype=np.float32)
        probabilities[0] = 1
        self.add(frame, probabilities)

    def finish(self, head: str, region: Region) -> Segmentation:
        """Finish the remaining rows and return the result in a region (r0, c0, r1, c1) of the image."""
        self._finish_rows(self._labels.shape[0] - self._top)
        top, left = self._first_rc
        inside = slice(region[0] - top, region[2] - top), slice(region[1] - left, region[3] - left)
        labels, confidence = self._labels[inside], self._confidence[inside]
        probabilities = None if self._probabilities is None else self._probabilities[:, *inside]
        depth = None if self._depth is None else self._depth[inside]
        if labels.shape != self._labels.shape:  # Release the memory around the region.
            labels, confidence = labels.copy(), confidence.copy()
            probabilities = None if probabilities is None else probabilities.copy()
            depth = None if depth is None else depth.copy()
        origin = region[0], region[1]
        return Segmentation(labels, confidence, probabilities, self._classes, head, origin, depth=depth)

    def _finish_rows(self, rows: int) -> None:
        values = self._band[: len(self._classes), :rows]
        target = slice(self._top, self._top + rows)
        self._labels[target] = self._ids[values.argmax(axis=0)]
        self._confidence[target] = np.minimum(values.max(axis=0), 1)
        if self._probabilities is not None:
            self._probabilities[:, target] = values
        if self._depth is not None:
            self._depth[target] = self._band[-1, :rows]


def blend_weights(lengths: dict[int, int], total: int) -> dict[int, FloatArray]:
    """Compute blending weights along one axis, with which overlapping windows fade into each other.

    Args:
        lengths: First pixel of each window -> its length; together they cover the axis.
        total: Length of the axis in pixels.

    Returns:
        First pixel of each window -> (length,) float32 weights > 0; at each pixel they sum to 1.
    """
    windows = {
        start: np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2 for start, length in lengths.items()
    }
    summed = np.zeros(total)
    for start, window in windows.items():
        summed[start : start + len(window)] += window
    return {
        start: (window / summed[start : start + len(window)]).astype(np.float32)
        for start, window in windows.items()
    }
