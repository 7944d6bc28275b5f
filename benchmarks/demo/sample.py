"""Image of the demo and the objects that it prompts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import label, regionprops

from napari_sampath.errors import ImageError
from napari_sampath.images import read, to_loaded_image

if TYPE_CHECKING:
    from napari_sampath.arrays import BoolArray, UInt8Array

GLANDS = "ebhi_glands"
GLAND_IMAGE = "Polyp_GTXC2110503-1-400-005"
"""Image of the validation split with eight separate glands; no shipped model was trained on it."""
MIN_AREA_PX = 400


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Object to prompt, in image pixels (x, y)."""

    click: tuple[float, float]
    box: tuple[float, float, float, float]
    """Bounding box (x0, y0, x1, y1)."""
    stroke: tuple[tuple[float, float], ...]
    """Zigzag path that roughly covers the object."""
    truth: BoolArray | None = None
    """True mask (H, W)."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Image with objects to prompt."""

    pixels: UInt8Array
    """(H, W, 3) uint8 RGB."""
    name: str
    source: str
    """Source of the image, for the report."""
    targets: tuple[Target, ...]
    """At least three objects."""
    truth: BoolArray | None = None
    """True mask of all objects (H, W)."""


def open_sample(image: Path | None = None, mask: Path | None = None) -> Sample:
    """Open the image of the demo.

    Args:
        image: Image file; by default a gland image from SAMPATH_DATA or, without that, the sample of scikit-image.
        mask: File of the true mask; object pixels are not 0.

    Raises:
        ImageError: If a file cannot be read, or image and mask differ in size.
    """
    if image is not None:
        loaded = read(image)
        truth = None if mask is None else read(mask).pixels[..., 0] > 0
        if truth is not None and truth.shape != loaded.pixels.shape[:2]:
            raise ImageError(
                f"The mask '{mask}' has the shape {truth.shape}, but the image has {loaded.pixels.shape[:2]}; "
                "give a mask of the same size."
            )
        return _sample(loaded.pixels, loaded.name, str(image), truth)
    folder = Path(os.environ.get("SAMPATH_DATA") or "../shared/data") / GLANDS
    path = folder / "images" / f"{GLAND_IMAGE}.jpg"
    if path.is_file():
        truth = _labels(folder / "masks" / f"{GLAND_IMAGE}.png") > 0
        return _sample(read(path).pixels, "colon glands", f"EBHI-Seg, {GLAND_IMAGE} (CC BY 4.0)", truth)
    from skimage.data import immunohistochemistry

    pixels = to_loaded_image(immunohistochemistry(), "tissue").pixels
    return Sample(pixels, "colon tissue", "skimage.data.immunohistochemistry()", IHC_TARGETS)


def _labels(path: Path) -> UInt8Array:
    from PIL import Image

    # The image reader would scale class ids 0..6 to 0..255, and refuse constant images.
    with Image.open(path) as labels:
        return np.asarray(labels)


def _zigzag(
    box: tuple[float, float, float, float], mask: BoolArray | None = None
) -> tuple[tuple[float, float], ...]:
    """Return a zigzag path inside an object, or inside the ellipse in its box."""
    x0, y0, x1, y1 = box
    path: list[tuple[float, float]] = []
    for number, share in enumerate(np.linspace(0.15, 0.85, 8).tolist()):
        y = y0 + share * (y1 - y0)
        half = (x1 - x0) / 2 * (1 - (2 * share - 1) ** 2) ** 0.5
        left, right = (x0 + x1) / 2 - half, (x0 + x1) / 2 + half
        if mask is not None:
            inside = np.flatnonzero(mask[round(y)])
            left, right = float(inside[0]), float(inside[-1])
        ends = [(left + 0.15 * (right - left), y), (right - 0.15 * (right - left), y)]
        path += ends if number % 2 == 0 else ends[::-1]
    return tuple(path)


def _target_in_box(x: float, y: float, box: tuple[float, float, float, float]) -> Target:
    return Target((x, y), box, _zigzag(box))


IHC_TARGETS = (
    _target_in_box(312, 405, (247, 310, 382, 510)),
    _target_in_box(130, 130, (20, 20, 265, 265)),
    _target_in_box(430, 150, (280, 20, 462, 300)),
)
"""Glands of the sample image, measured by hand. No box starts at the border of the image, where the mouse would resize
the dock."""


def _sample(pixels: UInt8Array, name: str, source: str, truth: BoolArray | None) -> Sample:
    height, width = pixels.shape[:2]
    if truth is None:
        middle = width / 2, height / 2
        targets = tuple(
            _target_in_box(x, y, (x - width / 8, y - height / 8, x + width / 8, y + height / 8))
            for x, y in (middle, (width / 4, height / 4), (3 * width / 4, 3 * height / 4))
        )
        return Sample(pixels, name, source, targets)
    regions = [region for region in regionprops(label(truth)) if region.area >= MIN_AREA_PX]
    if len(regions) < 3:
        raise ImageError(
            f"The mask of '{name}' has {len(regions)} objects of at least {MIN_AREA_PX} px; "
            "choose an image with three objects."
        )
    # Complete and round objects first.
    regions.sort(key=lambda region: (_touches_border(region.bbox, (height, width)), -region.solidity))
    return Sample(pixels, name, source, tuple(_target(region, truth.shape) for region in regions), truth)


def _touches_border(box: tuple[int, int, int, int], hw: tuple[int, int]) -> bool:
    r0, c0, r1, c1 = box
    return r0 == 0 or c0 == 0 or r1 == hw[0] or c1 == hw[1]


def _target(region: object, hw: tuple[int, ...]) -> Target:
    r0, c0, r1, c1 = region.bbox  # type: ignore[attr-defined]  # scikit-image is untyped
    row, col = region.centroid  # type: ignore[attr-defined]
    truth = np.zeros(hw, dtype=np.bool_)
    truth[r0:r1, c0:c1] = region.image  # type: ignore[attr-defined]
    box = (c0, r0, c1 - 1, r1 - 1)
    return Target((col, row), box, _zigzag(box, truth), truth)
