"""The image of the demonstration, and places on it worth clicking."""

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
"""Of the val split, which no shipped model has seen: eight whole glands, well apart."""
MIN_AREA_PX = 400


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One structure to point at, in image pixels (x, y)."""

    click: tuple[float, float]
    box: tuple[float, float, float, float]
    """(x0, y0, x1, y1)."""
    stroke: tuple[tuple[float, float], ...]
    """A zigzag that roughly covers it."""
    truth: BoolArray | None = None
    """(H, W), its true mask."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """An image with structures to point at."""

    pixels: UInt8Array
    """(H, W, 3)."""
    name: str
    source: str
    """Where it is from, for the report."""
    targets: tuple[Target, ...]
    """Three at least."""
    truth: BoolArray | None = None
    """(H, W), true where the structures are."""


def open_sample(image: Path | None = None, mask: Path | None = None) -> Sample:
    """Open the image of the demonstration.

    Args:
        image: An image of the user's own; if left out, a gland image of the folder that SAMPATH_DATA names,
            or what ships with scikit-image where that is absent.
        mask: Its true mask, not 0 where the structures are.

    Raises:
        ImageError: If a file cannot be read, or image and mask do not fit together.
    """
    if image is not None:
        picture = read(image)
        truth = None if mask is None else read(mask).pixels[..., 0] > 0
        if truth is not None and truth.shape != picture.pixels.shape[:2]:
            raise ImageError(
                f"The mask '{mask}' has {truth.shape} pixels and the image {picture.pixels.shape[:2]}; "
                "give a mask of the same size."
            )
        return _sample(picture.pixels, picture.name, str(image), truth)
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

    # Class ids 0..6 would be stretched to 0..255 by the image reader, and refused if all are one.
    with Image.open(path) as picture:
        return np.asarray(picture)


def _zigzag(
    box: tuple[float, float, float, float], mask: BoolArray | None = None
) -> tuple[tuple[float, float], ...]:
    """Go to and fro over a structure a little inside its edge, or over the ellipse in its box."""
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


def _by_eye(x: float, y: float, box: tuple[float, float, float, float]) -> Target:
    return Target((x, y), box, _zigzag(box))


IHC_TARGETS = (
    _by_eye(312, 405, (247, 310, 382, 510)),
    _by_eye(130, 130, (20, 20, 265, 265)),
    _by_eye(430, 150, (280, 20, 462, 300)),
)
"""Glands of the sample image, found by eye. No box begins at the image's border: there lies the edge of the
dock, which a press would drag."""


def _sample(pixels: UInt8Array, name: str, source: str, truth: BoolArray | None) -> Sample:
    height, width = pixels.shape[:2]
    if truth is None:
        middle = width / 2, height / 2
        targets = tuple(
            _by_eye(x, y, (x - width / 8, y - height / 8, x + width / 8, y + height / 8))
            for x, y in (middle, (width / 4, height / 4), (3 * width / 4, 3 * height / 4))
        )
        return Sample(pixels, name, source, targets)
    regions = [region for region in regionprops(label(truth)) if region.area >= MIN_AREA_PX]
    if len(regions) < 3:
        raise ImageError(
            f"The mask of '{name}' has {len(regions)} structures of {MIN_AREA_PX} px or more; "
            "choose an image with three."
        )
    # Whole and round ones first: a person would not begin with what the edge cuts off.
    regions.sort(key=lambda region: (_cut(region.bbox, (height, width)), -region.solidity))
    return Sample(pixels, name, source, tuple(_target(region, truth.shape) for region in regions), truth)


def _cut(box: tuple[int, int, int, int], hw: tuple[int, int]) -> bool:
    r0, c0, r1, c1 = box
    return r0 == 0 or c0 == 0 or r1 == hw[0] or c1 == hw[1]


def _target(region: object, hw: tuple[int, ...]) -> Target:
    r0, c0, r1, c1 = region.bbox  # type: ignore[attr-defined]  # scikit-image is untyped
    row, col = region.centroid  # type: ignore[attr-defined]
    truth = np.zeros(hw, dtype=np.bool_)
    truth[r0:r1, c0:c1] = region.image  # type: ignore[attr-defined]
    box = (c0, r0, c1 - 1, r1 - 1)
    return Target((col, row), box, _zigzag(box, truth), truth)
