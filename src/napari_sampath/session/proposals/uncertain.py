"""Rank regions of an image by uncertainty, so that the user corrects where it helps most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import ndimage

from ...annotations import Box
from ...arrays import BoolArray, FloatArray
from ...errors import ImageError
from ...jobs import Job, Progress
from ...tiling import tile_starts
from .new_objects import Segmentation

Reason: TypeAlias = Literal["entropy", "disagreement", "distance"]
REGION_PX = 256
"""Side length of a region in pixels."""
REGION_COUNT = 20
"""Maximum number of ranked regions."""


@dataclass(frozen=True, slots=True)
class UncertainRegion:
    """A region and its uncertainty."""

    box: Box
    score: float
    """Mean uncertainty of the pixels, 0..1; verified pixels count as 0."""
    reason: Reason
    """The measure of uncertainty."""

    @property
    def centre_rc(self) -> tuple[float, float]:
        """Centre (row, col) in image pixels."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


def uncertain_regions(
    by: Reason,
    hw: tuple[int, int],
    verified: Callable[[Box], BoolArray],
    segmentations: Sequence[Segmentation] = (),
    region_px: int = REGION_PX,
    count: int = REGION_COUNT,
) -> list[UncertainRegion]:
    """Rank regions of an image, most uncertain first; memory does not grow with the image.

    Args:
        by: "entropy": normalised entropy of the first head's class probabilities (of its confidence c and 1 - c if it
            has no probabilities). "disagreement": share of pixels to which the heads give different class names.
            "distance": distance from the verified area in units of `region_px`, at most 1; needs no head.
        hw: Size (H, W) of the image.
        verified: Returns the mask of the verified pixels of a box, see `Document.verified`.
        segmentations: Results of heads, each with the size of the image.
        region_px: Side length of a region in image pixels.
        count: Maximum number of regions.

    Returns:
        Regions with a score above 0; they overlap only at the edges of the image.

    Raises:
        ImageError: If `by` needs more segmentations, or one of them has a different size.
    """
    needed = {"entropy": 1, "disagreement": 2, "distance": 0}[by]
    if len(segmentations) < needed:
        raise ImageError(
            f"Ranking by {by} needs the results of {needed} head(s), but this part of the image has "
            f"{len(segmentations)}; segment it first."
        )
    for segmentation in segmentations:
        shape = tuple(segmentation.labels.shape)
        if shape != hw:
            raise ImageError(f"The result has shape {shape}, but the image has {hw}; segment this image.")
    measure = _measure(by, segmentations, hw, verified, region_px)
    height, width = min(region_px, hw[0]), min(region_px, hw[1])
    regions = []
    for top in tile_starts(hw[0], height, 0):
        for left in tile_starts(hw[1], width, 0):
            box = (top, left, top + height, left + width)
            score = float(np.where(verified(box), 0.0, measure(box)).mean())
            if score > 0:
                regions.append(UncertainRegion(box, score, by))
    return sorted(regions, key=lambda region: (-region.score, region.box))[:count]


def uncertain_job(
    by: Reason,
    hw: tuple[int, int],
    verified: Callable[[Box], BoolArray],
    segmentations: Sequence[Segmentation] = (),
    count: int = REGION_COUNT,
) -> Job[list[UncertainRegion]]:
    """Make a job that ranks regions like `uncertain_regions`, also for results that cover only a part of the image.

    Only the part that the first result covers is ranked; results for other parts are ignored. In a small image or part,
    regions are smaller, so that there are several. Boxes are in image pixels.
    """
    yield Progress(0, 0, "Looking for uncertain regions")
    top, left = 0, 0
    if segmentations:
        top, left, *size = part = _part(segmentations[0])
        hw = size[0], size[1]
        segmentations = [segmentation for segmentation in segmentations if _part(segmentation) == part]

    def shifted(box: Box) -> Box:
        return box[0] + top, box[1] + left, box[2] + top, box[3] + left

    side_px = max(16, min(REGION_PX, max(hw) // 4))
    regions = uncertain_regions(by, hw, lambda box: verified(shifted(box)), segmentations, side_px, count)
    return [replace(region, box=shifted(region.box)) for region in regions]


def _part(segmentation: Segmentation) -> tuple[int, int, int, int]:
    """Return the segmented part of the image as (row, col, height, width)."""
    top, left = getattr(segmentation, "origin_rc", (0, 0))
    height, width = segmentation.labels.shape
    return int(top), int(left), int(height), int(width)


def mean_uncertainty(
    segmentation: Segmentation,
    hw: tuple[int, int],
    verified: Callable[[Box], BoolArray],
    block_px: int = 1024,
) -> float:
    """Return the mean entropy of a head's result, 0..1, with verified pixels counting as 0."""
    total = 0.0
    for top in range(0, hw[0], block_px):
        for left in range(0, hw[1], block_px):
            box = (top, left, min(top + block_px, hw[0]), min(left + block_px, hw[1]))
            total += float(np.where(verified(box), 0.0, _entropy(segmentation, box)).sum())
    return total / (hw[0] * hw[1])


def _measure(
    by: Reason,
    segmentations: Sequence[Segmentation],
    hw: tuple[int, int],
    verified: Callable[[Box], BoolArray],
    region_px: int,
) -> Callable[[Box], FloatArray]:
    """Return the function from a box to the uncertainty of its pixels."""
    if by == "entropy":
        return lambda box: _entropy(segmentations[0], box)
    if by == "distance":
        return lambda box: distance_map(box, hw, verified, region_px)
    # Heads number their classes differently: map the ids of each head to numbers shared by name.
    names = [{info.id: info.name for info in segmentation.classes} for segmentation in segmentations]
    numbers = {name: k for k, name in enumerate({"", *(n for by_id in names for n in by_id.values())})}
    tables = [np.array([numbers[by_id.get(value, "")] for value in range(256)]) for by_id in names]

    def disagreement(box: Box) -> FloatArray:
        r0, c0, r1, c1 = box
        maps = [
            table[np.asarray(segmentation.labels[r0:r1, c0:c1])]
            for table, segmentation in zip(tables, segmentations, strict=True)
        ]
        differs: FloatArray = np.any([labels != maps[0] for labels in maps[1:]], axis=0).astype(np.float64)
        return differs

    return disagreement


def _entropy(segmentation: Segmentation, box: Box) -> FloatArray:
    """Return the normalised entropy, 0..1, of the class probabilities of each pixel of a box."""
    r0, c0, r1, c1 = box
    probabilities: Any = getattr(segmentation, "probabilities", None)
    if probabilities is not None:
        p = np.asarray(probabilities[:, r0:r1, c0:c1], dtype=np.float64)
    else:
        confidence = np.asarray(segmentation.confidence[r0:r1, c0:c1], dtype=np.float64)
        p = np.stack([confidence, 1 - confidence])
    p = np.clip(p, 1e-12, 1.0)
    entropy: FloatArray = -(p * np.log(p)).sum(axis=0) / np.log(max(2, len(p)))
    return entropy


def distance_map(
    box: Box, hw: tuple[int, int], verified: Callable[[Box], BoolArray], region_px: int
) -> FloatArray:
    """Return the distance of each pixel of a box from the verified area, in units of `region_px`, at most 1."""
    r0, c0, r1, c1 = box
    top, left = max(0, r0 - region_px), max(0, c0 - region_px)
    area = verified((top, left, min(hw[0], r1 + region_px), min(hw[1], c1 + region_px)))
    if not area.any():
        return np.ones((r1 - r0, c1 - c0))
    distance = ndimage.distance_transform_edt(~area)[r0 - top : r1 - top, c0 - left : c1 - left]
    near: FloatArray = np.minimum(distance / region_px, 1.0)
    return near
