"""Real slides of `SAMPATH_DATA`, compared with OpenSlide."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tifffile import TiffFile

from napari_sampath.errors import ImageError
from napari_sampath.images.slides import is_slide, open_slide
from napari_sampath.images.slides.openslide_reader import OpenSlideSlide
from support.paths import ROOT

FOLDER = Path(os.environ.get("SAMPATH_DATA", ROOT.parent / "shared" / "data")) / "slides"

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"there are no slides in '{FOLDER}' (SAMPATH_DATA)"
)


@pytest.mark.parametrize(
    "name", ["CMU-1-Small-Region.svs", "derived_aperio_like.svs", "derived_generic_pyramid.tif"]
)
def test_tiff_reader_gives_the_pixels_of_openslide(name: str) -> None:
    with open_slide(FOLDER / name) as ours, OpenSlideSlide(FOLDER / name) as theirs:
        assert ours.reader.startswith("tifffile")
        assert [level.hw for level in ours.levels] == [level.hw for level in theirs.levels]
        for number, level in enumerate(ours.levels):
            box = (0, 0, *level.hw)
            np.testing.assert_array_equal(ours.read_level(number, box), theirs.read_level(number, box))
        assert ours.mpp == pytest.approx(theirs.mpp)


@pytest.mark.parametrize(
    ("name", "hw", "levels", "mpp", "reader", "colour"),
    [
        ("CMU-1-Small-Region.svs", (2967, 2220), 1, 0.499, "tifffile", (214, 195, 208)),
        ("CMU-1-Small-Region_dicom", (2967, 2220), 1, 0.499, "OpenSlide", (214, 195, 208)),
        ("OS-1-detail.ome.tif", (1101, 1101), 1, 0.227, "tifffile", (144, 124, 180)),
        ("OS-2-ndpi.ome.tif", (2202, 2202), 1, 0.227, "tifffile", (181, 188, 200)),
        ("instanseg_HE_example.tif", (1484, 1380), 1, 0.5, "tifffile", (178, 139, 194)),
        ("derived_pyramid.ome.tif", (2816, 2048), 4, 0.499, "tifffile", (211, 192, 205)),
        ("derived_v0.4.ome.zarr", (1408, 1024), 3, 0.998, "zarr", (212, 192, 206)),
        ("derived_v0.5.ome.zarr", (1408, 1024), 3, 0.998, "zarr", (212, 192, 206)),
        ("large_image_yb10kx5k.zstd.tiff", (5000, 10000), 5, None, "tifffile", (51, 51, 204)),
        ("large_image_grey10kx5k.tif", (5000, 10000), 1, None, "tifffile", (90, 90, 90)),
        ("openslide-python_boxes.tiff", (250, 300), 4, None, "tifffile", (163, 167, 194)),
        ("openslide-python_boxes_1.dcm", (16, 16), 1, 0.499, "OpenSlide", (238, 234, 237)),
    ],
)
def test_size_scale_and_colours_are_as_known(
    name: str, hw: tuple[int, int], levels: int, mpp: float | None, reader: str, colour: tuple[int, int, int]
) -> None:
    with open_slide(FOLDER / name) as slide:
        assert (slide.hw, len(slide.levels), slide.reader.split()[0]) == (hw, levels, reader)
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp, abs=1e-3))
        # Swapped channels or a wrong colour flag change the mean by far more.
        assert np.abs(slide.read((0, 0, *hw), 8).mean(axis=(0, 1)) - colour).max() < 1.5
        coarsest = slide.levels[-1]
        assert slide.read_level(levels - 1, (0, 0, *coarsest.hw)).shape == (*coarsest.hw, 3)


def test_label_and_macro_pictures_are_never_read(tmp_path: Path) -> None:
    """They can show a patient's name; a copy in which they are destroyed is opened and read like the slide."""
    name = "CMU-1-Small-Region.svs"
    content = bytearray((FOLDER / name).read_bytes())
    with TiffFile(FOLDER / name) as file:
        pictures = [page for page in file.pages if page.description.split()[-2] in ("label", "macro")]
        assert len(pictures) == 2
        for page in pictures:
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                content[offset : offset + count] = bytes(count)
    copy = tmp_path / name
    copy.write_bytes(content)
    with open_slide(FOLDER / name) as slide, open_slide(copy) as other:
        assert other.digest == slide.digest
        assert other.remarks == slide.remarks
        np.testing.assert_array_equal(other.read((0, 0, *other.hw), 4), slide.read((0, 0, *slide.hw), 4))


def test_print_resolution_is_no_scale_and_is_said() -> None:
    with open_slide(FOLDER / "openslide-python_boxes.tiff") as slide:
        assert slide.mpp is None
        assert "352.778" in slide.remarks[0]


def test_two_dicom_slides_in_a_folder_are_opened_one_by_one(tmp_path: Path) -> None:
    files = sorted((FOLDER / "CMU-1-Small-Region_dicom").iterdir(), key=lambda path: path.stat().st_size)
    content = [file.read_bytes() for file in files]
    series = b"1.2.826.0.1.3680043.8.498.21577574112843936045397065457192622591"
    for number, data in enumerate(content):
        (tmp_path / f"a{number}").write_bytes(data)
        (tmp_path / f"b{number}").write_bytes(data.replace(series, series[:-1] + b"2"))
    with pytest.raises(ImageError, match=r"2 DICOM slides \('a3', 'b3'\); give one of these files"):
        open_slide(tmp_path)
    for name in ("a0", "a3", "b0", "b3"):
        with open_slide(tmp_path / name) as slide:
            assert (slide.hw, slide.name) == ((2967, 2220), name)
    (tmp_path / "b3").unlink()
    with open_slide(tmp_path) as slide:
        assert slide.hw == (2967, 2220)
    with pytest.raises(ImageError, match="b0' holds no DICOM slide, only 1 label, 1 overview, 1 thumbnail;"):
        open_slide(tmp_path / "b0")
    (tmp_path / "a3").unlink()
    with pytest.raises(ImageError, match="2 label, 2 overview, 2 thumbnail;"):
        open_slide(tmp_path)


def test_a_slide_is_closed_after_the_last_thread_has_read_it() -> None:
    slide = open_slide(FOLDER / "CMU-1-Small-Region_dicom")
    expected, reads, go_on = slide[:64, :64], threading.Event(), threading.Event()
    freed: list[bool] = []

    class Handle:
        """The handle of OpenSlide, which waits while it reads."""

        def __init__(self, real: Any) -> None:
            self._real = real

        def read_region(self, *args: Any) -> Any:
            reads.set()
            assert go_on.wait(60)
            assert not freed
            return self._real.read_region(*args)

        def close(self) -> None:
            freed.append(True)
            self._real.close()

        __del__ = close

    slide._file = Handle(slide._file)  # type: ignore[attr-defined]
    with ThreadPoolExecutor(1) as pool:
        window = pool.submit(lambda: slide[:64, :64])
        assert reads.wait(60)
        slide.close()
        go_on.set()
        np.testing.assert_array_equal(window.result(), expected)
    del window
    assert freed
    with pytest.raises(ImageError, match="is closed; open the slide again"):
        slide.read((0, 0, 10, 10))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken.svs", "not read"),
        ("openslide-python_unopenable.tiff", "compression 52479"),
        ("openslide-python_unreadable.svs", "damaged"),
        ("derived_bgr24.czi", "QuPath"),
    ],
)
def test_unreadable_slides_are_refused(name: str, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        open_slide(FOLDER / name)
    assert not is_slide(FOLDER / name)


def test_levels_of_unequal_factors_keep_whole_factors() -> None:
    with open_slide(FOLDER / "large_image_yb10kx5k.zstd.tiff") as slide:
        assert [level.factor for level in slide.levels] == [1, 2, 4, 8, 16]
        # 312 rows of 16 pixels lack the last 8 of 5,000.
        assert slide.read((4900, 9900, 5000, 10000), 16).shape == (7, 7, 3)
