"""Rank regions of a slide by uncertainty, from the results of heads on the whole slide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...annotations import Box
from ...errors import ImageError
from ...formats.maps import slide_result
from ...images.slides.tissue import find_tissue
from ...jobs import Job, Progress
from ...tiling import tile_starts
from .uncertain import REGION_COUNT, REGION_PX, Reason, UncertainRegion, distance_map

if TYPE_CHECKING:
    from ...arrays import BoolArray, FloatArray
    from ...formats.maps.slide_result import Block, SlideResult
    from ...images.slides import Slide

_STEP = 1 << (slide_result.LEVELS - 1)
"""Pixels of the result per pixel of its coarsest level, which is ranked."""
_CELLS = REGION_PX // _STEP
"""Side of a region in pixels of the coarsest level."""
_INNER = np.arange(1, 255) / 255
_ENTROPY = np.pad(-(_INNER * np.log2(_INNER) + (1 - _INNER) * np.log2(1 - _INNER)), 1)
"""Normalised entropy for each value of the confidence, 0 to 255; 0 where there is no tissue, whose confidence is 0."""


def uncertain_slide_job(
    by: Reason,
    hw: tuple[int, int],
    verified: Callable[[Box], BoolArray],
    results: Sequence[SlideResult],
    count: int = REGION_COUNT,
) -> Job[list[UncertainRegion]]:
    """Make a job that ranks the regions of a slide like `uncertain_regions`, without those that have no tissue.

    Args:
        by: Ranking criterion.
        hw: Size (H, W) of level 0 in pixels.
        verified: Returns the mask of the verified pixels of a box in level-0 pixels.
        results: Complete results of heads on the slide, the newest first; "disagreement" needs two at the same scale.
        count: Maximum number of regions.

    Returns:
        Regions of `REGION_PX` pixels of the first result, in level-0 pixels of the slide.

    Raises:
        ImageError: If `by` needs more results.
        StorageError: If a result cannot be read.
    """
    first = results[0]
    others = [result for result in results[1:] if (result.hw, result.factor) == (first.hw, first.factor)]
    if by == "disagreement" and not others:
        raise ImageError(
            "Two heads are compared where both have segmented the slide at the same scale; segment it with another "
            "head, too."
        )
    scored: list[tuple[float, Box]] = []
    for done, block in enumerate(first.blocks):
        yield Progress(done, len(first.blocks), "Looking for uncertain regions", "blocks")
        values = _values(by, first, others, block)
        tops, lefts = (np.arange(0, side, _CELLS) for side in values.shape)
        sums = np.add.reduceat(np.add.reduceat(values, tops, axis=0), lefts, axis=1)
        for row, col in zip(*np.nonzero(sums), strict=True):
            cells = values[tops[row] :, lefts[col] :][:_CELLS, :_CELLS].size
            box = _box(first, block, int(tops[row]), int(lefts[col]), hw)
            scored.append((float(sums[row, col]) / cells, box))
    scored.sort(key=lambda item: (-item[0], item[1]))
    return (yield from _unverified(by, scored, verified, count))


def distant_regions_job(
    slide: Slide, verified: Callable[[Box], BoolArray], count: int = REGION_COUNT
) -> Job[list[UncertainRegion]]:
    """Make a job that ranks the regions of a slide with tissue by their distance from the verified area.

    It ends as soon as `count` regions are as far away as counts, so that it looks at few regions of most slides.

    Args:
        slide: The slide.
        verified: As in `uncertain_slide_job`.
        count: Maximum number of regions.
    """
    yield Progress(0, 0, "Looking for tissue")
    tissue, (height, width) = find_tissue(slide), slide.hw
    side = min(REGION_PX, height), min(REGION_PX, width)
    regions: list[UncertainRegion] = []
    for top in tile_starts(height, side[0], 0):
        yield Progress(top, height, "Looking for uncertain regions", "rows")
        for left in tile_starts(width, side[1], 0):
            box = top, left, top + side[0], left + side[1]
            if not tissue.touches(box):
                continue
            distance = distance_map(box, slide.hw, verified, REGION_PX)
            score = float(np.where(verified(box), 0.0, distance).mean())
            if score > 0:
                regions.append(UncertainRegion(box, score, "distance"))
        if sum(region.score == 1 for region in regions) >= count:
            break  # Those in the next rows come after them.
    return sorted(regions, key=lambda region: (-region.score, region.box))[:count]


def _values(by: Reason, first: SlideResult, others: Sequence[SlideResult], block: Block) -> FloatArray:
    """Return the uncertainty of each pixel of a block at the coarsest level."""
    level = slide_result.LEVELS - 1
    box = tuple(-(-side // _STEP) for side in block.box)
    confidence = first.confidence(box, level)  # type: ignore[arg-type]
    if by == "distance":
        return (confidence > 0).astype(np.float64)
    if by == "entropy":
        entropy: FloatArray = _ENTROPY[confidence]
        return entropy
    # Heads number their classes differently: map the ids of each head to numbers shared by name.
    results = first, others[0]
    names = {info.name for result in results for info in result.classes_of_head}
    numbers = {name: number for number, name in enumerate(sorted(names), start=1)}
    maps = []
    for result in results:
        table = np.zeros(256, np.int64)
        for info in result.classes_of_head:
            table[info.id] = numbers[info.name]
        maps.append(table[result.classes(box, level)])  # type: ignore[arg-type]
    differs: FloatArray = (maps[0] != maps[1]).astype(np.float64)
    return differs


def _box(result: SlideResult, block: Block, top: int, left: int, hw: tuple[int, int]) -> Box:
    """Return the region that starts at a pixel of a block at the coarsest level, in level-0 pixels."""
    r0, c0 = block.box[0] + top * _STEP, block.box[1] + left * _STEP
    r1, c1 = min(r0 + REGION_PX, block.box[2]), min(c0 + REGION_PX, block.box[3])
    r0, c0, r1, c1 = (round(value * result.factor) for value in (r0, c0, r1, c1))
    return r0, c0, min(r1, hw[0]), min(c1, hw[1])


def _unverified(
    by: Reason, scored: list[tuple[float, Box]], verified: Callable[[Box], BoolArray], count: int
) -> Job[list[UncertainRegion]]:
    """Reduce the scores by the verified share of each region, from the highest until no other one can be higher."""
    regions: list[UncertainRegion] = []
    for number, (score, box) in enumerate(scored):
        yield Progress(number, len(scored), "Looking for uncertain regions", "regions")
        if len(regions) == count and regions[-1].score >= score:
            break
        left = score * (1 - float(verified(box).mean()))
        if left > 0:
            regions = sorted(
                [*regions, UncertainRegion(box, left, by)], key=lambda region: (-region.score, region.box)
            )
            del regions[count:]
    return regions
