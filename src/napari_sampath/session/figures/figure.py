"""The content of a figure and the places of its parts, in pixels of the figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...annotations import AnnotatedObject, Box, Document
from ...arrays import ClassInfo, FloatArray, LocalMask, UInt8Array
from ...errors import ImageError
from ...formats import rings
from ...formats.objects import boxes_of
from ...images.slides.slide import Slide
from ...settings import check_settings, setting

MARGIN = 0.6
"""Margin around text and bars, in heights of a line."""
TOLERANCE_PX = 0.75
"""Maximum distance by which smoothing moves outlines, in pixels of the image."""


MAX_STEP = 256
"""Largest step, in pixels, at which maps are read."""


@dataclass(frozen=True, slots=True)
class FigureSettings:
    """Content and size of a figure."""

    width_px: int = setting(1600, min=100, max=20_000, step=100, label="Longer side (px)")
    """Longer side of the image in the figure, in pixels."""
    line_px: float = setting(2.5, min=0, max=50, step=0.5, label="Line width (px)")
    """Width of the outlines; 0 draws none."""
    fill: float = setting(0.0, min=0, max=1, step=0.05, label="Fill")
    """Opacity of the fill of objects."""
    legend: bool = setting(True, label="Legend")
    """Class names with their colours, and the number of objects."""
    scale_bar: bool = setting(True, label="Scale bar")
    """A bar with its length in micrometres, if the scale is known."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One object of a figure."""

    class_id: int
    rings: tuple[FloatArray, ...]
    """Closed rings (N, 2) of (x, y) in pixels of the figure; holes are rings, too."""


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A horizontal bar."""

    length_px: float
    text: str
    """Its length with the unit."""


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One class of the legend."""

    info: ClassInfo
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """An image with outlines."""

    image: UInt8Array
    """(H, W, 3) uint8 RGB."""
    outlines: tuple[Outline, ...]
    colors: dict[int, tuple[int, int, int]]
    """Class -> colour."""
    legend: tuple[LegendEntry, ...]
    scale_bar: ScaleBar | None
    settings: FigureSettings
    title: str
    """Alternative text, for readers who cannot see the figure."""
    notes: tuple[str, ...] = ()
    """Messages for the user."""

    @property
    def line_height_px(self) -> float:
        """Height of a line of text."""
        height, width = self.image.shape[:2]
        return max(12.0, max(int(height), int(width)) / 36)


def make_figure(
    image: UInt8Array | Slide,
    document: Document,
    box: Box,
    name: str,
    mpp: float | None = None,
    settings: FigureSettings | None = None,
    hidden: frozenset[int] = frozenset(),
) -> Figure:
    """Make a figure of a part of an image.

    Args:
        image: (H, W, 3) uint8, or a slide.
        document: The objects.
        box: The part (r0, c0, r1, c1) in image pixels.
        name: Name of the image.
        mpp: Micrometres per pixel; without it there is no scale bar.
        settings: Content and size of the figure.
        hidden: Classes that are not drawn.

    Raises:
        ImageError: If the part has no pixels.
    """
    settings = settings or FigureSettings()
    r0, c0, r1, c1 = _inside(box, document.hw, name)
    scale = settings.width_px / max(r1 - r0, c1 - c0)
    size = max(1, round((c1 - c0) * scale)), max(1, round((r1 - r0) * scale))
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    window = (
        image.read((r0, c0, r1, c1), max(1.0, 1 / scale)) if isinstance(image, Slide) else image[r0:r1, c0:c1]
    )
    pixels = np.asarray(Image.fromarray(np.ascontiguousarray(window)).resize(size, method))
    factors = np.array([size[0] / (c1 - c0), size[1] / (r1 - r0)])
    shown, outlines = [], []
    for number, parts in _rings(document, (r0, c0, r1, c1), scale):
        obj = document.objects[number]
        if obj.class_id not in hidden:
            shown.append(obj)
            placed = tuple((_smooth(ring) - (c0, r0)) * factors for ring in parts)
            outlines.append(Outline(obj.class_id, placed))
    notes = []
    if settings.scale_bar and mpp is None:
        notes.append(f"The scale of '{name}' is unknown, so the figure has no scale bar.")
    classes = [info for info in document.classes if info.id not in hidden]
    bar = None if mpp is None or not settings.scale_bar else scale_bar(mpp / scale, size[0])
    return Figure(
        pixels,
        tuple(outlines),
        {info.id: info.color for info in document.classes},
        _legend(classes, shown) if settings.legend else (),
        bar,
        settings,
        f"{name}, rows {r0} to {r1}, columns {c0} to {c1}",
        tuple(notes),
    )


def _legend(classes: Sequence[ClassInfo], objects: Sequence[AnnotatedObject]) -> tuple[LegendEntry, ...]:
    """Return an entry for each class with objects: its name, its number of objects, and how many are unreviewed."""
    entries = []
    for info in classes:
        members = [obj for obj in objects if obj.class_id == info.id]
        unreviewed = sum(obj.trust == 0 for obj in members)
        if members:
            text = f"{info.name} ({len(members)}{f', {unreviewed} not reviewed' if unreviewed else ''})"
            entries.append(LegendEntry(info, text))
    return tuple(entries)


def scale_bar(mpp: float, width_px: int) -> ScaleBar:
    """Return a bar of 1, 2 or 5 times a power of ten, at most a quarter of the width.

    Args:
        mpp: Micrometres per pixel of the figure.
        width_px: Width of the figure in pixels.
    """
    longest = mpp * width_px / 4
    power = 10.0 ** math.floor(math.log10(longest))
    length_um = next(factor * power for factor in (5, 2, 1) if factor * power <= longest * (1 + 1e-9))
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    return ScaleBar(length_um / mpp, text)


def _inside(box: Box, hw: tuple[int, int], name: str) -> Box:
    r0, c0, r1, c1 = max(0, box[0]), max(0, box[1]), min(hw[0], box[2]), min(hw[1], box[3])
    if r1 <= r0 or c1 <= c0:
        raise ImageError(
            f"The region {box} (first row, first column, last row, last column) has no pixels in '{name}' "
            f"({hw[1]} x {hw[0]} px, width x height); choose another region."
        )
    return r0, c0, r1, c1


def _rings(document: Document, box: Box, scale: float) -> Iterator[tuple[int, list[FloatArray]]]:
    """Yield the number and the rings (N, 2) of (x, y) in image pixels of each object in a box.

    The map is read with a margin, so that edges cut at the box lie outside the figure, and at a coarser step if the
    figure is much smaller than the box.
    """
    step = 1
    while step * 4 * scale <= 1 and step < MAX_STEP:
        step *= 2
    top, left = (max(0, edge // step - 2) * step for edge in box[:2])
    bottom, right = (
        min(side, (edge // step + 3) * step) for edge, side in zip(box[2:], document.hw, strict=True)
    )
    ids = document.instance_map.read((top, left, bottom, right), step)
    inner = (
        (box[0] - top) // step,
        (box[1] - left) // step,
        -(-(box[2] - top) // step),
        -(-(box[3] - left) // step),
    )
    visible = set(np.unique(ids[inner[0] : inner[2], inner[1] : inner[3]]).tolist())
    for number, (r0, c0, r1, c1) in sorted(boxes_of(ids).items()):
        if number in visible:
            mask = LocalMask(r0, c0, ids[r0:r1, c0:c1] == number)
            polygons = rings.trace(mask)
            corners = [np.asarray(ring, np.float64) for polygon in polygons for ring in polygon]
            yield number, [ring * step + (left, top) for ring in corners]


def _smooth(ring: npt.ArrayLike) -> FloatArray:
    """Simplify a ring along pixel edges, at most by `TOLERANCE_PX`."""
    from skimage.measure import approximate_polygon  # Slow to import.

    corners = np.asarray(ring, dtype=np.float64)
    simple: FloatArray = approximate_polygon(corners, TOLERANCE_PX)
    return simple if len(simple) > 3 else corners
