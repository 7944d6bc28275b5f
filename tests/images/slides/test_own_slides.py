"""What every reader guarantees, checked with the slides in the folder SAMPATH_SLIDES, or else with small real ones."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from napari_sampath.errors import ImageError
from napari_sampath.images.slides import Slide, open_slide
from support.paths import ROOT

_DATA = Path(os.environ.get("SAMPATH_DATA", ROOT.parent / "shared" / "data"))
FOLDER = Path(os.environ.get("SAMPATH_SLIDES") or _DATA / "slides")
PATHS = sorted(FOLDER.iterdir()) if FOLDER.is_dir() else []
WINDOW_PX = 256


@pytest.mark.parametrize("path", PATHS, ids=[path.name for path in PATHS])
def test_a_slide_keeps_the_contract_or_is_refused_in_one_sentence(path: Path) -> None:
    try:
        slide = open_slide(path)
    except ImageError as error:
        text = str(error)
        assert str(path) in text
        assert len(text.splitlines()) == 1
        assert text.endswith(".")
        return
    with slide:
        check(slide)
        digest = slide.digest
    with open_slide(path) as again:
        assert again.digest == digest


def check(slide: Slide) -> None:
    """Check sizes, scale, colours of the levels, and reading from several threads."""
    factors = [level.factor for level in slide.levels]
    assert factors[0] == 1
    assert factors == sorted(factors)
    assert slide.mpp is None or 0.05 <= slide.mpp <= 20
    assert slide.note is None or slide.note.endswith(".")
    overview = slide.read((0, 0, *slide.hw), max(1, max(slide.hw) // WINDOW_PX))
    assert overview.dtype == np.uint8
    # Every level shows the middle of the slide in the same colours.
    side = min(1024, *slide.hw)
    top, left = (slide.hw[0] - side) // 2, (slide.hw[1] - side) // 2
    expected = slide[top : top + side, left : left + side].mean(axis=(0, 1))
    for number, level in enumerate(slide.levels):
        length = int(side / level.factor)
        if length < 16:
            continue
        row, col = int(top / level.factor), int(left / level.factor)
        box = row, col, min(row + length, level.hw[0]), min(col + length, level.hw[1])
        mean = slide.read_level(number, box).mean(axis=(0, 1))
        assert np.abs(mean - expected).max() < 8, f"level {number} has other colours"
    # Threads read what one thread reads.
    rng = np.random.default_rng(0)
    boxes = []
    for _ in range(16):
        r0, c0 = (int(rng.integers(0, length)) for length in slide.hw)
        boxes.append((r0, c0, min(r0 + WINDOW_PX, slide.hw[0]), min(c0 + WINDOW_PX, slide.hw[1])))
    first = [slide.read(box) for box in boxes]
    with ThreadPoolExecutor(8) as pool:
        for window, alone in zip(pool.map(slide.read, boxes), first, strict=True):
            np.testing.assert_array_equal(window, alone)
