"""Uncertain regions of a slide, from the results of heads on the whole slide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import ImageError
from napari_sampath.formats.maps import slide_result
from napari_sampath.formats.maps.slide_result import SlideResult
from napari_sampath.images.slides import ArraySlide
from napari_sampath.jobs import run
from napari_sampath.session import Session
from napari_sampath.session.proposals.uncertain import REGION_PX

BLOCK_PX = 1024
HW = (1500, 2600)
"""Six blocks, with parts of regions at the edges."""
SURE = (1101, 1101, 1102, 1102)
"""A box between the pixels of the coarsest level."""
CLASSES = (ClassInfo(0, "background", (0, 0, 0)), ClassInfo(1, "gland", (255, 0, 0)))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide_result, "BLOCK_PX", BLOCK_PX)
    monkeypatch.setattr(slide_result, "CHUNK_PX", BLOCK_PX >> (slide_result.LEVELS - 1))


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
