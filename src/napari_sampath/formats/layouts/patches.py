"""Annotated images cut into patches and brought to another scale.

Patches form a grid that starts at the first pixel. The last patch of a row or column is moved back so that it ends at
the edge of the image; an image that is smaller than a patch is extended with white pixels. An object that crosses the
border of a patch is cut: its part inside is an object of that patch if it is at least the required share of the object.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from PIL import Image

from ...arrays import BoolArray, ClassInfo, IntArray, UInt8Array
from ...errors import ImageError
from ...rasters import check_pixels
from ..labels import Box
from .sample import Sample
from .settings import VERIFIED, ExportSettings

WHITE = 255


class AnnotatedImage(Protocol):
    """An image with its labels, read window by window; boxes are (r0, c0, r1, c1) in its pixels."""

    @property
    def hw(self) -> tuple[int, int]:
        """Size (H, W)."""

    @property
    def is_slide(self) -> bool:
        """Whether it may be too large for the memory."""

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel, if known."""

    @property
    def areas(self) -> dict[int, int]:
        """Object number -> area in pixels."""

    def pixels(self, box: Box, step: float) -> UInt8Array:
        """Read (h, w, 3) uint8 RGB, about one pixel for each `step` x `step` pixels if `step` is above 1."""

    def maps(self, box: Box) -> tuple[UInt8Array, IntArray, BoolArray]:
        """Return class map, instance map and verified area (h, w)."""


@dataclass(slots=True)
class CutCounts:
    """Counts of objects and patches that were cut or left out."""

    cut: int = 0
    """Parts of objects that were cut by the border of a patch and are exported."""
    slivers: int = 0
    """Parts of objects below the required share, which are not exported as objects."""
    vanished: set[tuple[str, int]] = field(default_factory=set)
    """Image and number of objects that have no pixel in a patch at the exported scale."""
    exported: set[tuple[str, int]] = field(default_factory=set)
    """Image and number of objects that are exported, as a whole or in parts."""
    empty: int = 0
    """Patches left out because they have neither objects nor verified pixels."""
    unverified: int = 0
    """Images or patches left out because they are not completely verified."""

    def add(self, other: CutCounts) -> None:
        """Add the counts of an exported patch."""
        self.cut += other.cut
        self.slivers += other.slivers
        self.vanished |= other.vanished
        self.exported |= other.exported

    @property
    def too_small(self) -> int:
        """Number of objects that are in no exported image, because they are smaller than a pixel there."""
        return len(self.vanished - self.exported)


@dataclass(frozen=True, slots=True)
class _Grid:
    """The exported pixels of an image."""

    hw: tuple[int, int]
    """Size (H, W) at the exported scale."""
    scale: float
    """Exported pixels for each pixel of the image."""


def samples_of(
    image: AnnotatedImage, template: Sample, settings: ExportSettings, counts: CutCounts
) -> Iterator[Sample | None]:
    """Yield the samples of one image; None for each patch that is left out.

    Args:
        image: The image.
        template: Its name, split, slide and classes.
        settings: Patches, scale, and which are exported.
        counts: Extended by the counts of this image.

    Raises:
        ImageError: If its scale is unknown but another one is wanted, or it is too large without patches.
    """
    grid = _grid(image, settings, template.source)
    side = settings.patch_px
    if image.is_slide and not side:
        raise ImageError(f"'{template.source}' is a slide; set patch_px to export it as patches.")
    if not side:
        check_pixels(*grid.hw, template.source)
    boxes = list(_boxes(grid.hw, side, settings.overlap_px)) if side else [(0, 0, *grid.hw)]
    for box in boxes:
        seen = CutCounts()
        labels = _labels(image, template, settings, grid, box, seen)
        verified = labels.verified
        if settings.images == VERIFIED and not verified.all():
            counts.unverified += 1
            yield None
        elif side and not labels.class_map.any() and not verified.any():
            counts.empty += 1
            yield None
        else:
            counts.add(seen)
            yield _with_pixels(image, labels, settings, grid, box)


def starts(length: int, side: int, overlap: int) -> list[int]:
    """Return the first pixel of each patch along one side of an image.

    Args:
        length: Length of the image in pixels.
        side: Length of a patch in pixels.
        overlap: Overlap of neighbouring patches in pixels.
    """
    if length <= side:
        return [0]
    step = side - overlap
    return [*range(0, length - side, step), length - side]


def _grid(image: AnnotatedImage, settings: ExportSettings, name: str) -> _Grid:
    if not settings.mpp:
        return _Grid(image.hw, 1.0)
    mpp = image.mpp or settings.assumed_mpp
    if not mpp:
        raise ImageError(
            f"The scale of '{name}' is unknown, so it cannot be brought to {settings.mpp:g} um/px; set assumed_mpp, or "
            "export each image at its own scale (mpp 0)."
        )
    scale = mpp / settings.mpp
    height, width = (max(1, round(side * scale)) for side in image.hw)
    return _Grid((height, width), scale)


def _boxes(hw: tuple[int, int], side: int, overlap: int) -> Iterator[Box]:
    for row in starts(hw[0], side, overlap):
        for col in starts(hw[1], side, overlap):
            yield row, col, min(row + side, hw[0]), min(col + side, hw[1])


def _labels(
    image: AnnotatedImage,
    template: Sample,
    settings: ExportSettings,
    grid: _Grid,
    box: Box,
    counts: CutCounts,
) -> Sample:
    """Return the sample of an exported box without its pixels, because most patches of a slide are left out."""
    rows, cols = (_centres(box[axis], box[axis + 2], grid.scale, image.hw[axis]) for axis in (0, 1))
    r0, c0, r1, c1 = _window(image, box, grid.scale)
    classes, instances, verified = image.maps((r0, c0, r1, c1))
    window = np.ix_(rows - r0, cols - c0)
    instance_map = instances[window]
    dropped = _count(image.areas, instances, instance_map, template.source, settings, counts)
    instance_map = np.where(np.isin(instance_map, dropped), 0, instance_map)
    return replace(
        template,
        name=f"{template.name}_x{c0}_y{r0}" if settings.patch_px else template.name,
        origin_rc=(r0, c0),
        class_map=classes[window],
        instance_map=instance_map,
        verified=verified[window],
        mpp=settings.mpp or image.mpp or settings.assumed_mpp or None,
    )


def _with_pixels(
    image: AnnotatedImage, labels: Sample, settings: ExportSettings, grid: _Grid, box: Box
) -> Sample:
    """Add the pixels to a sample, and extend it to the size of a patch."""
    pixels = _pixels(image, _window(image, box, grid.scale), box, grid.scale)
    height, width = pixels.shape[:2]
    margin = ((0, max(0, settings.patch_px - height)), (0, max(0, settings.patch_px - width)))
    return replace(
        labels,
        image=np.pad(pixels, (*margin, (0, 0)), constant_values=WHITE),
        class_map=np.pad(labels.class_map, margin),
        instance_map=np.pad(labels.instance_map, margin),
        # There is nothing to label in the added pixels.
        verified=np.pad(labels.verified, margin, constant_values=True),
    )


def _window(image: AnnotatedImage, box: Box, scale: float) -> Box:
    """Return the pixels of the image that an exported box touches."""
    r0, r1 = _span(box[0], box[2], scale, image.hw[0])
    c0, c1 = _span(box[1], box[3], scale, image.hw[1])
    return r0, c0, r1, c1


def _count(
    areas: dict[int, int],
    instances: IntArray,
    shown: IntArray,
    name: str,
    settings: ExportSettings,
    counts: CutCounts,
) -> list[int]:
    """Count the objects of a window, and return the numbers of those with too small a visible share."""
    inside, sizes = np.unique(instances[instances > 0], return_counts=True)
    present = set(np.unique(shown).tolist())
    dropped: list[int] = []
    for number, size in zip(inside.tolist(), sizes.tolist(), strict=True):
        if number not in present:
            counts.vanished.add((name, number))
            continue
        share = size / max(areas.get(number, size), size)
        if share < settings.min_visible:
            dropped.append(number)
            counts.slivers += 1
            continue
        counts.exported.add((name, number))
        counts.cut += share < 1
    return dropped


def _span(start: int, stop: int, scale: float, length: int) -> tuple[int, int]:
    """Return the pixels of the image that exported pixels `start` to `stop` touch."""
    first = min(math.floor(start / scale + 1e-6), length - 1)
    return first, max(first + 1, min(math.ceil(stop / scale - 1e-6), length))


def _centres(start: int, stop: int, scale: float, length: int) -> IntArray:
    """Return the pixel of the image at the centre of each exported pixel."""
    centres: IntArray = np.floor((np.arange(start, stop) + 0.5) / scale).astype(np.int64)
    return np.minimum(centres, length - 1)


def _pixels(image: AnnotatedImage, window: Box, box: Box, scale: float) -> UInt8Array:
    """Read the pixels of `window` of the image at the scale of the exported `box`."""
    if scale == 1:
        return image.pixels(window, 1)
    r0, c0, r1, c1 = window
    values = image.pixels(window, max(1.0, 1 / scale))
    height, width = box[2] - box[0], box[3] - box[1]
    # Edges of the exported box in pixels of the values, which may have been averaged already
    rows, cols = values.shape[0] / (r1 - r0), values.shape[1] / (c1 - c0)
    edges = (
        (box[1] / scale - c0) * cols,
        (box[0] / scale - r0) * rows,
        min((box[3] / scale - c0) * cols, values.shape[1]),
        min((box[2] / scale - r0) * rows, values.shape[0]),
    )
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    resized = Image.fromarray(np.ascontiguousarray(values)).resize((width, height), method, box=edges)
    return np.asarray(resized)


def no_pixels(name: str, split: str, slide: str, source: str, classes: tuple[ClassInfo, ...]) -> Sample:
    """Return the template of the samples of an image."""
    empty = np.zeros((0, 0), np.uint8)
    image = np.zeros((0, 0, 3), np.uint8)
    return Sample(
        name,
        split,
        slide,
        source,
        (0, 0),
        image,
        empty,
        empty.astype(np.int32),
        empty.astype(np.bool_),
        classes,
    )
