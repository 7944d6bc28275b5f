"""Uncertain regions of a slide, from the results of heads on the whole slide."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import ImageError
from napari_sampath.formats.maps.slide_result import SlideResult
from napari_sampath.images.slides import ArraySlide
from napari_sampath.jobs import run
from napari_sampath.session import Session
from napari_sampath.session.proposals.uncertain import REGION_PX, uncertain_regions
from support.slide_files import use_small_blocks

BLOCK_PX = 1024
HW = (1500, 2600)
"""Six blocks, with parts of regions at the edges."""
SURE = (1101, 1101, 1102, 1102)
"""A box between the pixels of the coarsest level."""
CLASSES = (ClassInfo(0, "background", (0, 0, 0)), ClassInfo(1, "gland", (255, 0, 0)))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    use_small_blocks(monkeypatch, BLOCK_PX)


def result_of(
    path: Path,
    uncertain: tuple[int, int, int, int],
    factor: float = 1.0,
    classes: tuple[ClassInfo, ...] = CLASSES,
    labels: int = 1,
) -> SlideResult:
    """A result that is certain except in a box, and has no tissue in the first block."""
    hw = tuple(int(np.ceil(side / factor)) for side in HW)
    result, _ = SlideResult.open(path, hw, None, factor, classes, {"head": path.stem})  # type: ignore[arg-type]
    confidence, values = np.full(hw, 255, np.uint8), np.full(hw, labels, np.uint8)
    confidence[:BLOCK_PX, :BLOCK_PX] = values[:BLOCK_PX, :BLOCK_PX] = 0
    r0, c0, r1, c1 = uncertain
    confidence[r0:r1, c0:c1] = 140
    for block in result.blocks:
        part = np.s_[block.box[0] : block.box[2], block.box[1] : block.box[3]]
        result.write(block, values[part], confidence[part])
    return result


@pytest.fixture
def session() -> Session:
    return Session(ArraySlide([np.full((*HW, 3), 200, np.uint8)], "slide"), "slide", None)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_most_uncertain_region_of_a_slide_comes_first(
    factor: float, session: Session, tmp_path: Path
) -> None:
    result = result_of(tmp_path / "a.ome.zarr", (256, 1024, 512, 1280), factor)
    (first,) = run(session.proposals.uncertain_job("entropy", [result]))
    assert first.box == tuple(round(side * factor) for side in (256, 1024, 512, 1280))
    assert first.score == pytest.approx(0.99, abs=0.02)


def test_verified_pixels_are_certain(session: Session, tmp_path: Path) -> None:
    result = result_of(tmp_path / "a.ome.zarr", (256, 1024, 512, 1536))
    session.area.mark((256, 1024, 384, 1536))
    session.area.mark((256, 1024, 512, 1280))
    (region,) = run(session.proposals.uncertain_job("entropy", [result]))
    assert region.box == (256, 1280, 512, 1536), "the other one is verified completely"
    assert region.score == pytest.approx(0.5, abs=0.02)


def test_regions_without_tissue_are_left_out(session: Session, tmp_path: Path) -> None:
    result = result_of(tmp_path / "a.ome.zarr", SURE)
    regions = run(session.proposals.uncertain_job("distance", [result], 10**6))
    rows, cols = (-(-side // REGION_PX) for side in HW)
    assert len(regions) == rows * cols - (BLOCK_PX // REGION_PX) ** 2
    assert max(region.box[2] for region in regions) == HW[0]
    assert max(region.box[3] for region in regions) == HW[1]


def test_without_a_result_the_nearest_tissue_that_is_far_from_verified_areas_comes_first() -> None:
    """As before the slide is segmented; regions of glass are left out, and no more are looked at than needed."""
    pixels = np.full((4000, 6000, 3), 240, np.uint8)
    pixels[2000:4000, 1500:5000] = (200, 60, 160)
    session = Session(ArraySlide([pixels], "slide", 0.5), "slide", None)
    session.area.mark((2000, 1500, 2900, 6000))
    asked: list[object] = []
    verified_snapshot = session.document.verified_snapshot

    def counting() -> Callable[[tuple[int, int, int, int]], np.ndarray]:
        verified = verified_snapshot()
        return lambda box: (asked.append(box), verified(box))[1]

    session.document.verified_snapshot = counting  # type: ignore[method-assign]
    regions = run(session.proposals.uncertain_job("distance", count=10))
    assert len(regions) == 10
    assert {region.score for region in regions} == {1.0}
    assert min(region.box[0] for region in regions) > 2900
    for r0, c0, r1, c1 in (region.box for region in regions):
        assert pixels[max(r0 - 200, 0) : r1 + 200, max(c0 - 200, 0) : c1 + 200, 1].min() == 60, "near tissue"
    assert len(asked) < 2 * (4000 // REGION_PX) * (6000 // REGION_PX)
    session.document.verified_snapshot = verified_snapshot  # type: ignore[method-assign]
    everything = {
        region.box: region.score for region in run(session.proposals.uncertain_job("distance", count=10**6))
    }
    whole = {
        region.box: region.score
        for region in uncertain_regions("distance", (4000, 6000), session.document.verified, count=10**6)
    }
    assert 0 < len(everything) < len(whole)
    assert everything.items() <= whole.items()


def test_two_heads_are_compared_by_the_names_of_their_classes(session: Session, tmp_path: Path) -> None:
    other = (CLASSES[0], ClassInfo(7, "gland", (0, 0, 255)), ClassInfo(1, "tumour", (0, 255, 0)))
    first, same, different, scaled = (
        result_of(tmp_path / f"{name}.ome.zarr", SURE, factor, classes, labels)
        for name, factor, classes, labels in (
            ("first", 1.0, CLASSES, 1),
            ("same", 1.0, other, 7),
            ("different", 1.0, other, 1),
            ("scaled", 2.0, CLASSES, 1),
        )
    )
    job = session.proposals.uncertain_job
    assert run(job("disagreement", [first, same])) == []
    assert run(job("disagreement", [different, first]))[0].score == 1.0
    for results in ([first], [first, scaled]):
        with pytest.raises(ImageError, match="Two heads are compared"):
            run(job("disagreement", results))
