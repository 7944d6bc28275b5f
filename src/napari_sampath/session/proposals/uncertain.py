"""Where correcting pays most: regions of an image ranked by how little is known of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import ndimage

from ...annotations import Box
from ...arrays import BoolArray, FloatArray
from ...errors import ImageError
from ...geometry import tile_starts
from ...jobs import Job, Progress
from .components import Segmentation

Reason: TypeAlias = Literal["entropy", "disagreement", "distance"]
REGION_PX = 256
"""Side of a region: what fits into a window at full resolution."""
REGION_COUNT = 20
"""Regions that are listed."""


@dataclass(frozen=True, slots=True)
class UncertainRegion:
    """A window worth looking at."""

    box: Box
    score: float
    """Mean uncertainty of its pixels, 0..1, those already annotated counting as 0."""
    reason: Reason
    """What it was ranked by."""

    @property
    def centre_rc(self) -> tuple[float, float]:
        """Where to move the camera, (row, col) in image pixels."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


def uncertain_regions(
    by: Reason,
    hw: tuple[int, int],
    annotated: Callable[[Box], BoolArray],
    segmentations: Sequence[Segmentation] = (),
    region_px: int = REGION_PX,
    count: int = REGION_COUNT,
) -> list[UncertainRegion]:
    """Rank regions of an image, most uncertain first. Reads region by region: memory does not grow with the image.

    Args:
        by: "entropy": the first head's own doubt, as the normalised entropy of its class probabilities (where it kept
            only its confidence c, that of c against all others together). "disagreement": share of pixels that the
            heads give different class names. "distance": how far pixels are from anything annotated, 1 from
            `region_px` on; needs no head.
        hw: Size (H, W) of the image.
        annotated: Verified pixels of a box, see `Document.verified`.
        segmentations: What heads found, each of the image's size.
        region_px: Side of a region in image pixels.
        count: At most so many.

    Returns:
        Regions with a score above 0, none overlapping another by more than the image's edge forces.

    Raises:
        ImageError: If a segmentation is missing that `by` needs, or is of another size.
    """
    need = {"entropy": 1, "disagreement": 2, "distance": 0}[by]
    if len(segmentations) < need:
        raise ImageError(
            f"Ranking by {by} needs the results of {need} head(s) and there are {len(segmentations)} of this part of "
            "the image; segment it first."
        )
    for one in segmentations:
        if tuple(one.labels.shape) != hw:
            raise ImageError(f"A result has shape {one.labels.shape} and the image {hw}; segment this image.")
    measure = _measure(by, segmentations, hw, annotated, region_px)
    height, width = min(region_px, hw[0]), min(region_px, hw[1])
    found = []
    for top in tile_starts(hw[0], height, 0):
        for left in tile_starts(hw[1], width, 0):
            box = (top, left, top + height, left + width)
            score = float(np.where(annotated(box), 0.0, measure(box)).mean())
            if score > 0:
                found.append(UncertainRegion(box, score, by))
    return sorted(found, key=lambda region: (-region.score, region.box))[:count]


def uncertain_job(
    by: Reason,
    hw: tuple[int, int],
    annotated: Callable[[Box], BoolArray],
    segmentations: Sequence[Segmentation] = (),
    count: int = REGION_COUNT,
) -> Job[list[UncertainRegion]]:
    """Make a job of `uncertain_regions`, for results on a region of the image, too; regions are told in image pixels.

    Results on other parts than the first one's are left out. Regions are smaller on a small image, so that there are
    several of them.
    """
    yield Progress(0, 0, "Looking for uncertain regions")
    top, left = 0, 0
    if segmentations:
        top, left, *size = part = _part(segmentations[0])
        hw = size[0], size[1]
        segmentations = [one for one in segmentations if _part(one) == part]

    def inside(box: Box) -> BoolArray:
        return annotated((box[0] + top, box[1] + left, box[2] + top, box[3] + left))

    side_px = max(16, min(REGION_PX, max(hw) // 4))
    found = uncertain_regions(by, hw, inside, segmentations, side_px, count)
    return [
        replace(one, box=(one.box[0] + top, one.box[1] + left, one.box[2] + top, one.box[3] + left))
        for one in found
    ]


def _part(segmentation: Segmentation) -> tuple[int, int, int, int]:
    """Return the part of the image that a head looked at, as (row, col, height, width)."""
    top, left = getattr(segmentation, "origin_rc", (0, 0))
    height, width = segmentation.labels.shape
    return int(top), int(left), int(height), int(width)


def mean_uncertainty(
    segmentation: Segmentation,
    hw: tuple[int, int],
    annotated: Callable[[Box], BoolArray],
    block_px: int = 1024,
) -> float:
    """Return the mean entropy of a head's result, 0..1, annotated pixels counting as 0: how much there is to review."""
    total = 0.0
    for top in range(0, hw[0], block_px):
        for left in range(0, hw[1], block_px):
            box = (top, left, min(top + block_px, hw[0]), min(left + block_px, hw[1]))
            total += float(np.where(annotated(box), 0.0, _entropy(segmentation, box)).sum())
    return total / (hw[0] * hw[1])


def _measure(
    by: Reason,
    segmentations: Sequence[Segmentation],
    hw: tuple[int, int],
    annotated: Callable[[Box], BoolArray],
    region_px: int,
) -> Callable[[Box], FloatArray]:
    if by == "entropy":
        return lambda box: _entropy(segmentations[0], box)
    if by == "disagreement":
        names = [{info.id: info.name for info in one.classes} for one in segmentations]
        ids = {name: k for k, name in enumerate(sorted({n for one in names for n in one.values()} | {""}))}
        tables = [np.array([ids[one.get(value, "")] for value in range(256)]) for one in names]

        def disagreement(box: Box) -> FloatArray:
            r0, c0, r1, c1 = box
            seen = [
                table[np.asarray(one.labels[r0:r1, c0:c1])]
                for table, one in zip(tables, segmentations, strict=True)
            ]
            differs: FloatArray = np.any([other != seen[0] for other in seen[1:]], axis=0).astype(np.float64)
            return differs

        return disagreement
    return lambda box: _distance(box, hw, annotated, region_px)


def _entropy(segmentation: Segmentation, box: Box) -> FloatArray:
    """Normalised entropy, 0..1, of the class probabilities of each pixel of a box."""
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


def _distance(
    box: Box, hw: tuple[int, int], annotated: Callable[[Box], BoolArray], region_px: int
) -> FloatArray:
    """Distance of each pixel of a box from what is annotated, in units of `region_px`, at most 1."""
    r0, c0, r1, c1 = box
    wide = (
        max(0, r0 - region_px),
        max(0, c0 - region_px),
        min(hw[0], r1 + region_px),
        min(hw[1], c1 + region_px),
    )
    known = annotated(wide)
    if not known.any():
        return np.ones((r1 - r0, c1 - c0))
    distance = ndimage.distance_transform_edt(~known)
    part: FloatArray = distance[r0 - wide[0] : r1 - wide[0], c0 - wide[1] : c1 - wide[1]]
    near: FloatArray = np.minimum(part / region_px, 1.0)
    return near
