"""One body of tests for all slide readers."""

from __future__ import annotations

import json
import logging
import os
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr
import zarr.codecs
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sampath.arrays import UInt8Array
from napari_sampath.errors import ImageError
from napari_sampath.images import open_image
from napari_sampath.images.slides import Slide, open_slide
from support.slide_files import KINDS, MPP, WRITERS, make_slide, pyramid

LEVELS = pyramid()


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Slide]]:
    folder = tmp_path_factory.mktemp("slides")
    opened = {kind: make_slide(kind, folder, LEVELS) for kind in KINDS}
    yield opened
    for slide in opened.values():
        slide.close()


@pytest.fixture(params=KINDS)
def slide(request: pytest.FixtureRequest, slides: dict[str, Slide]) -> Slide:
    return slides[request.param]


def area_mean(level: UInt8Array, box: tuple[int, int, int, int], step: int) -> np.ndarray:
    """Average the pixels of a box over blocks of `step` pixels, repeating the last row and column."""
    r0, c0, r1, c1 = box
    window = level[r0:r1, c0:c1].astype(np.float64)
    rows, cols = -(-window.shape[0] // step), -(-window.shape[1] // step)
    padding = (0, rows * step - window.shape[0]), (0, cols * step - window.shape[1]), (0, 0)
    padded = np.pad(window, padding, mode="edge")
    return padded.reshape(rows, step, cols, step, 3).mean(axis=(1, 3))


def test_levels_scale_and_array_interface(slide: Slide) -> None:
    count = 1 if "strips" in slide.name else 3
    assert [level.hw for level in slide.levels] == [level.shape[:2] for level in LEVELS[:count]]
    assert [level.factor for level in slide.levels] == [1, 2, 4][:count]
    assert slide.mpp == pytest.approx(MPP)
    assert (slide.shape, slide.dtype, slide.ndim, len(slide)) == (LEVELS[0].shape, np.uint8, 3, 1001)


def test_stored_pixels_are_read_exactly_at_every_level(slide: Slide) -> None:
    for number, level in enumerate(slide.levels):
        box = (level.hw[0] // 3, 5, level.hw[0], level.hw[1])
        np.testing.assert_array_equal(
            slide.read_level(number, box), LEVELS[number][box[0] : box[2], box[1] : box[3]]
        )
    np.testing.assert_array_equal(slide.read((0, 0, *slide.hw)), LEVELS[0])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_slicing_equals_numpy(slides: dict[str, Slide], data: st.DataObject) -> None:
    slide = slides[data.draw(st.sampled_from(KINDS))]
    r0, r1 = sorted(data.draw(st.tuples(st.integers(-5, 1001), st.integers(-5, 1100))))
    c0, c1 = sorted(data.draw(st.tuples(st.integers(-5, 1533), st.integers(-5, 1600))))
    np.testing.assert_array_equal(slide[r0:r1, c0:c1], LEVELS[0][r0:r1, c0:c1])
    np.testing.assert_array_equal(slide[3, ..., :2], LEVELS[0][3, ..., :2])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_steps_average_the_coarsest_level_that_is_fine_enough(
    slides: dict[str, Slide], data: st.DataObject
) -> None:
    slide = slides[data.draw(st.sampled_from(["plain", "strips", "zarr 0.5"]))]
    exponent = data.draw(st.integers(0, 5))
    number = min(exponent, len(slide.levels) - 1)
    stored, rest = 2**number, 2 ** (exponent - number)
    # Boxes whose corners lie on pixels of the level
    rows, cols = (length // stored for length in (1000, 1532))
    top, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    bottom, right = data.draw(st.integers(top + 1, rows)), data.draw(st.integers(left + 1, cols))
    box = tuple(stored * value for value in (top, left, bottom, right))
    pixels = slide.read(box, 2**exponent)
    expected = area_mean(LEVELS[number], (top, left, bottom, right), rest)
    assert pixels.shape == expected.shape
    # Rows and columns are averaged one after the other, each rounded.
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize("step", [3, 6.5])
def test_steps_between_levels_keep_the_mean(slide: Slide, step: float) -> None:
    height, width = slide.hw
    pixels = slide.read((0, 0, height, width), step)  # type: ignore[arg-type]
    assert pixels.shape == (-(-height // step), -(-width // step), 3)
    assert pixels.mean() == pytest.approx(LEVELS[0].mean(), abs=1)


def test_threads_read_the_same_pixels(slide: Slide) -> None:
    rng = np.random.default_rng(0)
    corners = [(int(rng.integers(0, 745)), int(rng.integers(0, 1277))) for _ in range(40)]
    boxes = [(row, col, row + 256, col + 256) for row, col in corners]
    with ThreadPoolExecutor(8) as pool:
        for box, pixels in zip(boxes, pool.map(slide.read, boxes), strict=True):
            np.testing.assert_array_equal(pixels, LEVELS[0][box[0] : box[2], box[1] : box[3]])


@pytest.mark.parametrize(
    ("box", "step"), [((0, 0, 0, 5), 1), ((-1, 0, 5, 5), 1), ((0, 0, 1002, 5), 1), ((0, 0, 5, 5), 0)]
)
def test_windows_outside_are_refused(slide: Slide, box: tuple[int, int, int, int], step: int) -> None:
    with pytest.raises(ImageError, match=r"1533 x 1001 px"):
        slide.read(box, step)


@pytest.mark.parametrize("kind", WRITERS)
def test_digest_follows_the_pixels_and_not_the_name(kind: str, tmp_path: Path) -> None:
    changed = [level.copy() for level in LEVELS]
    for level in changed:
        level[: len(level) // 2] //= 2
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    first = WRITERS[kind](folders[0], LEVELS)
    WRITERS[kind](folders[1], LEVELS)
    path = WRITERS[kind](folders[2], changed)
    renamed = first.with_name("other " + first.name)
    first.rename(renamed)
    with open_slide(renamed) as moved, open_slide(folders[1] / first.name) as copy, open_slide(path) as other:
        assert moved.digest == copy.digest != other.digest
        assert len(moved.digest) == 32


@pytest.mark.parametrize("kind", ["plain", "aperio", "ome"])
def test_damaged_and_missing_chunks_are_white_with_one_warning(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = WRITERS[kind](tmp_path, LEVELS)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        offsets, counts = page.dataoffsets, page.databytecounts
        place = page.tags["TileByteCounts"].valueoffset
        size = page.tags["TileByteCounts"].dtype_name
    with path.open("r+b") as stream:
        stream.seek(offsets[0])
        stream.write(bytes(counts[0]))  # the first chunk is damaged
        stream.seek(place + 4)
        assert size == "LONG", size
        stream.write(bytes(4))  # the second is empty
    with caplog.at_level(logging.WARNING), open_slide(path) as slide:
        pixels = slide.read((0, 0, 128, 384))
        slide.read((0, 0, 128, 384))
    assert (pixels[:, :256] == 255).all()
    np.testing.assert_array_equal(pixels[:, 256:], LEVELS[0][:128, 256:384])
    assert [record.message.startswith("A part of") for record in caplog.records] == [True]


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    path = WRITERS["plain"](tmp_path, LEVELS[:1])
    with tifffile.TiffFile(path) as tiff:
        middle = tiff.pages[0].dataoffsets[48]
    os.truncate(path, middle)
    with pytest.raises(ImageError, match=r"plain\.tif' is truncated"):
        open_slide(path)


@pytest.mark.parametrize(
    ("tag", "value"), [("TileLength", 65520), ("TileWidth", 16), ("PlanarConfiguration", (1, 2))]
)
def test_damaged_tags_are_one_sentence_or_white(tag: str, value: Any, tmp_path: Path) -> None:
    path = WRITERS["plain"](tmp_path, LEVELS[:1])
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags[tag].overwrite(value)
    try:
        slide = open_slide(path)
    except ImageError:
        return
    with slide:
        assert slide.read((0, 0, 100, 100)).shape == (100, 100, 3)


@pytest.mark.parametrize("hw", [(1, 3000), (3000, 1), (1, 1)])
def test_slides_of_one_row_or_column(hw: tuple[int, int], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    path = tmp_path / "thin.svs"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(64, 64), metadata=None)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read((0, 0, *hw)), pixels)


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (np.zeros((64, 64, 3), np.uint16), {"photometric": "rgb"}, "uint16"),
        (np.zeros((5, 64, 64), np.uint8), {"photometric": "minisblack"}, "stack"),
        (np.zeros((64, 64), bool), {}, "type bool"),
        (np.zeros((64, 64, 4), np.uint8), {"photometric": "separated"}, "CMYK"),
        (
            np.zeros((64, 64, 3), np.uint8),
            {"photometric": "rgb", "extratags": [(274, 3, 1, 6, True)]},
            "turned",
        ),
    ],
)
def test_unusable_files_are_refused_in_one_sentence(
    array: np.ndarray, options: dict[str, object], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, array, tile=(64, 64), **options)
    with pytest.raises(ImageError, match=words) as raised:
        open_slide(path)
    assert str(path) in str(raised.value)
    assert str(raised.value).endswith(".")


def test_paths_without_a_slide_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").touch()
    (tmp_path / "text.ndpi").write_text("no slide")
    (tmp_path / "olympus.vsi").write_bytes(b"\1" * 100)
    os.mkfifo(tmp_path / "pipe.svs")
    for name, words in {
        "missing.svs": "no file",
        "empty.svs": "empty",
        "text.ndpi": "not read",
        "olympus.vsi": "Olympus VSI is not read",
        "pipe.svs": "regular file",
        ".": "folder without a slide",
    }.items():
        with pytest.raises(ImageError, match=words):
            open_slide(tmp_path / name)


@pytest.mark.parametrize("kind", ["zarr 0.4", "zarr 0.5"])
def test_omezarr_with_an_unknown_codec_is_refused_before_it_is_opened(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path, LEVELS)
    file = path / "0" / (".zarray" if kind == "zarr 0.4" else "zarr.json")
    content = json.loads(file.read_text())
    if kind == "zarr 0.4":
        content["compressor"] = {"id": "pickle"}
    else:
        content["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
    file.write_text(json.dumps(content))
    with pytest.raises(ImageError, match="pickle"):
        open_slide(path)


@pytest.mark.parametrize("kind", ["zarr 0.4", "zarr 0.5"])
@pytest.mark.parametrize("content", ["a bomb", "garbage"])
def test_damaged_and_oversized_chunks_of_zarr_are_white(
    kind: str, content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = WRITERS[kind](tmp_path, LEVELS)
    bomb = imagecodecs.zstd_encode(bytes(2**27))
    chunk = path / "0" / ("0.0.0.0" if kind == "zarr 0.4" else "c/0/0/0")
    assert chunk.is_file()
    chunk.write_bytes(bomb if content == "a bomb" else b"garbage")
    with caplog.at_level(logging.WARNING), open_slide(path) as slide:
        tracemalloc.start()
        pixels = slide.read((0, 0, 200, 400))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (pixels[:, :200] == 255).all()
    np.testing.assert_array_equal(pixels[:, 200:], LEVELS[0][:200, 200:400])
    assert [record.message.startswith("A part of") for record in caplog.records] == [True]
    assert peak < 2**24


@pytest.mark.parametrize("axes", ["yxc", "cyx", "xyc", "tczxy"])
@pytest.mark.parametrize(
    ("version", "options"),
    [
        (2, {"order": "F", "compressors": numcodecs.Blosc("lz4", shuffle=2)}),
        (2, {"chunk_key_encoding": {"name": "v2", "separator": "/"}, "compressors": None}),
        (3, {"shards": 256, "compressors": zarr.codecs.BloscCodec(cname="zstd")}),
        (3, {"chunk_key_encoding": {"name": "v2", "separator": "."}, "compressors": zarr.codecs.GzipCodec()}),
    ],
    ids=[
        "F order",
        "nested",
        "shards",
        "gzip",
    ],  # the codecs print sets, whose order differs between processes
)
def test_layouts_of_zarr(axes: str, version: Any, options: dict[str, Any], tmp_path: Path) -> None:
    image = LEVELS[1][:300, :333]
    axis_of = {"y": 0, "x": 1, "c": 2}
    values = image.transpose([axis_of[axis] for axis in axes if axis in axis_of])
    values = values.reshape([image.shape[axis_of[axis]] if axis in axis_of else 1 for axis in axes])
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    chunks = tuple(128 if axis in "yx" else 1 for axis in axes)
    if "shards" in options:
        options = options | {"shards": tuple(256 if axis in "yx" else 1 for axis in axes)}
    array = group.create_array("0", shape=values.shape, dtype="uint8", chunks=chunks, **options)
    array[:] = values
    multiscales = [{"axes": [{"name": axis} for axis in axes], "datasets": [{"path": "0"}]}]
    group.attrs.update({"multiscales": multiscales})
    with open_slide(tmp_path / "a.zarr") as slide:
        np.testing.assert_array_equal(slide.read((0, 0, 300, 333)), image)
        np.testing.assert_array_equal(slide.read((17, 250, 290, 320)), image[17:290, 250:320])


@pytest.mark.parametrize("damage", ["{", "[]", '{"attributes": {"ome": {"multiscales": [{}]}}}'])
def test_omezarr_with_damaged_metadata_is_one_sentence(damage: str, tmp_path: Path) -> None:
    path = WRITERS["zarr 0.5"](tmp_path, LEVELS)
    (path / "zarr.json").write_text(damage)
    with pytest.raises(ImageError, match=r"v3-yxc\.ome\.zarr"):
        open_slide(path)


@pytest.mark.parametrize("kind", ["plain", "zarr 0.4", "zarr 0.5"])
def test_a_small_slide_is_opened_as_an_image(kind: str, tmp_path: Path) -> None:
    with open_image(WRITERS[kind](tmp_path, LEVELS)) as image:
        np.testing.assert_array_equal(image.pixels, LEVELS[0])
        assert image.mpp == pytest.approx(MPP)


@pytest.mark.parametrize("kind", ["plain", "zarr 0.4", "zarr 0.5"])
def test_a_slide_that_is_closed_or_gone_is_not_read_as_empty(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path, LEVELS)
    slide = open_slide(path)
    if kind == "plain":
        slide.close()
    else:
        path.rename(tmp_path / "gone.ome.zarr")
    with pytest.raises(ImageError, match=r"closed|cannot be read any more"):
        slide.read((0, 0, 10, 10))
