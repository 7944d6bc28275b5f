"""Copies of slides with tiles and coarse levels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile

from napari_sampath.cli import main
from napari_sampath.errors import ImageError
from napari_sampath.images.slides import ArraySlide, open_slide, pyramid, tiff
from napari_sampath.images.slides.pyramid import pyramid_job
from napari_sampath.jobs import run
from support.slide_files import MPP
from support.slide_files import pyramid as levels

LAYOUTS: dict[str, dict[str, Any]] = {
    "compressed strips": {"rowsperstrip": 7, "compression": "zlib"},
    "one plain strip": {"rowsperstrip": 2000},
    "tiles": {"tile": (128, 128), "compression": "lzw"},
}


@pytest.fixture
def picture() -> np.ndarray:
    return levels()[0]


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that make a picture of 1,533 x 1,001 px a large one."""
    monkeypatch.setattr(tiff, "MAX_STRIPPED_PX", 10_000)
    monkeypatch.setattr(tiff, "MAX_CHUNK_BYTES", 1_000_000)
    monkeypatch.setattr(pyramid, "_COARSEST_PX", 200)


def write(folder: Path, picture: np.ndarray, layout: str) -> Path:
    path = folder / "Fälle µ 7.tif"
    scale = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, picture, photometric="rgb", metadata=None, **scale, **LAYOUTS[layout])
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_copy_has_coarse_levels_the_scale_and_the_same_picture(
    layout: str, picture: np.ndarray, small_limits: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, copy = write(tmp_path, picture, layout), tmp_path / "copy.tif"
    if layout == "compressed strips":
        with pytest.raises(ImageError, match="sampath slide pyramid"):
            open_slide(source)
    assert main(["slide", "pyramid", str(source), "-o", str(copy), "--quiet"]) == 0
    with open_slide(copy) as slide:
        assert [level.factor for level in slide.levels] == [1, 4, 16]
        assert slide.mpp == pytest.approx(MPP)
        for number, step in enumerate((1, 4, 16)):
            ours = slide.read_level(number, (0, 0, *slide.levels[number].hw)).astype(int)
            expected = ArraySlide([picture]).read((0, 0, *picture.shape[:2]), step)
            assert np.abs(ours - expected).mean() < 6
    with openslide.OpenSlide(copy) as theirs:
        assert theirs.level_count == 3
        assert theirs.dimensions == (1533, 1001)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Fälle µ 7.tif", "copy.tif"]
    before = copy.read_bytes()
    assert main(["slide", "pyramid", str(source), "-o", str(copy)]) == 1
    assert "exists" in capsys.readouterr().err
    assert copy.read_bytes() == before


def test_plain_rows_of_any_size_are_read_in_windows(
    picture: np.ndarray, small_limits: None, tmp_path: Path
) -> None:
    for values in (picture, picture[..., 0]):
        path = tmp_path / "plain.tif"
        tifffile.imwrite(
            path, values, rowsperstrip=2000, photometric="rgb" if values.ndim == 3 else "minisblack"
        )
        with open_slide(path) as slide:
            expected = values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=2)
            np.testing.assert_array_equal(slide[300:700, 900:1533], expected[300:700, 900:1533])
            digest = slide.digest
        path = path.rename(tmp_path / "renamed.tif")
        with open_slide(path) as slide:
            assert slide.digest == digest


def test_a_slide_without_coarse_levels_says_how_to_get_them() -> None:
    large = ArraySlide([np.broadcast_to(np.uint8(200), (9000, 9000, 3))], "large")
    assert "'sampath slide pyramid'" in (large.note or "")
    small = ArraySlide([np.broadcast_to(np.uint8(200), (900, 900, 3))], "small")
    assert small.note is None


class _Stubborn(ArraySlide):
    """Fails after the first rows, or waits there until the job is cancelled."""

    def __init__(self, picture: np.ndarray, writers: list[Any] | None) -> None:
        super().__init__([picture])
        self._writers = writers

    def read(self, box: Any, step: float = 1) -> Any:
        if box[0] > 0:
            if self._writers is None:
                raise ImageError("The disk is gone.")
            while not self._writers[0].is_cancelled:
                time.sleep(0.001)
        return super().read(box, step)


@pytest.mark.parametrize("ends_by", ["cancelling", "an error"])
def test_a_copy_that_is_not_finished_leaves_nothing(
    ends_by: str, picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers: list[Any] = []

    class Writer(pyramid._Writer):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            writers.append(self)

    monkeypatch.setattr(pyramid, "_Writer", Writer)
    slide = _Stubborn(picture, writers if ends_by == "cancelling" else None)
    job = pyramid_job(slide, tmp_path / "copy.tif")
    if ends_by == "cancelling":
        next(job)
        job.close()
    else:
        with pytest.raises(ImageError, match="The disk is gone"):
            run(job)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["pyramid"], ["pyramid", "-o", "copy.png"], ["info", "-o", "copy.tif"]])
def test_arguments_that_do_not_fit_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slide", words[0], "no-such-slide.svs", *words[1:]]) == 1
    assert "-o" in capsys.readouterr().err
