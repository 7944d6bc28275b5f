from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from napari_sampath.errors import ImageError
from napari_sampath.images import Picture, read, to_picture
from napari_sampath.rasters import MAX_PIXELS

if TYPE_CHECKING:
    import numpy.typing as npt

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
GREY = RGB[..., 0]
SMOOTH = np.asarray(Image.fromarray(RGB[:5, :6]).resize((60, 40)))
"""Survives JPEG."""


def refused(array: Any, match: str, name: str = "slide 7") -> None:
    with pytest.raises(ImageError, match=match) as caught:
        to_picture(array, name)
    check_sentence(str(caught.value), name)


def check_sentence(text: str, name: str) -> None:
    assert name in text
    assert text.endswith(".")
    assert "\n" not in text
    assert "; " in text or ": " in text, "says what to do"
    assert len(text) < 300


def check_picture(picture: Picture, expected: npt.NDArray[np.uint8], note: str | None) -> None:
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous
    np.testing.assert_array_equal(picture.pixels, expected)
    if note is None:
        assert picture.note is None
    else:
        assert picture.note is not None
        assert note in picture.note
        assert picture.note.endswith(".")


def grey(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, axis=2)


# Arrays


def test_rgb_is_taken_as_it_is() -> None:
    picture = to_picture(RGB, "a")
    check_picture(picture, RGB, None)
    assert (picture.name, picture.mpp) == ("a", None)
    assert np.shares_memory(picture.pixels, RGB)


@pytest.mark.parametrize(
    ("array", "expected", "note"),
    [
        (GREY, grey(GREY), "one channel was repeated as grey"),
        (GREY[..., None], grey(GREY), "one channel was repeated as grey"),
        (GREY[None], grey(GREY), "(1, 40, 60) was taken as channels first; one channel"),
        (np.dstack([RGB, GREY]), RGB, "the alpha channel was dropped"),
        (np.moveaxis(RGB, -1, 0), RGB, "(3, 40, 60) was taken as channels first"),
        (np.moveaxis(np.dstack([RGB, GREY]), -1, 0), RGB, "channels first; the alpha channel was dropped"),
        (np.asfortranarray(RGB), RGB, None),
        (RGB[::-1, ::2], RGB[::-1, ::2], None),
        (RGB.tolist(), RGB, "taken as 0..255"),
        (dask.array.from_array(RGB, chunks=(16, 16, 3)), RGB, None),
        (GREY > 99, grey((GREY > 99).astype(np.uint8) * 255), "false and true were made 0 and 255"),
        (RGB / 255, RGB, "float64 values from 0 to 1 were scaled from 0..1 to 0..255"),
        ((RGB / 255).astype(np.float16), RGB, "float16 values from 0 to 1 were scaled from 0..1"),
        (RGB.astype(np.float32), RGB, "float32 values from 0 to 255 were taken as 0..255"),
        (RGB.astype(np.int64), RGB, "int64 values from 0 to 255 were taken as 0..255"),
        (RGB.astype(np.uint16) * 257, RGB, "uint16 values from 0 to 65535 were scaled from 0..65535"),
        ((RGB.astype(np.uint16) * 257).astype(">u2"), RGB, "scaled from 0..65535"),
        (
            RGB.astype(np.uint32) * 16843009,
            RGB,
            "uint32 values from 0 to 4.29497e+09 were scaled from 0..4294967295",
        ),
        (RGB.astype(np.uint16) * 16 + 15, RGB, "uint16 values from 15 to 4095 were stretched to 0..255"),
        (RGB.astype(np.int16) - 128, RGB, "int16 values from -128 to 127 were stretched to 0..255"),
        (RGB / 51 - 7.0, RGB, "float64 values from -7 to -2 were stretched to 0..255"),
        ((RGB / 255 * 2 - 1) * 1.7e308, RGB, "were stretched to 0..255"),
    ],
)
def test_conversions(array: Any, expected: npt.NDArray[np.uint8], note: str | None) -> None:
    check_picture(to_picture(array), expected, note)


@given(
    values=hnp.arrays(
        dtype=st.sampled_from([np.uint8, np.uint16, np.int16, np.int32, np.uint64, np.float32, np.float64]),
        shape=st.tuples(st.integers(16, 20), st.integers(16, 20)),
        fill=st.just(0),
    )
)
@settings(max_examples=150, deadline=None)
def test_any_numbers_keep_their_order(values: npt.NDArray[Any]) -> None:
    """Scaling may merge values but never swaps or wraps them; else there is one sentence."""
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            picture = to_picture(values, "slide 7")
    except ImageError as error:
        check_sentence(str(error), "slide 7")
        return
    assert np.isfinite(values).all()
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(picture.pixels[..., 0].ravel()[order].astype(int)) >= 0).all()
    assert picture.pixels.min() < picture.pixels.max()


def test_a_very_wide_image_is_taken_with_a_note() -> None:
    wide = np.resize(RGB, (20, 20_000, 3))
    check_picture(to_picture(wide), wide, "its 20000 x 20 px (width x height) are encoded tile by tile")


def test_large_scaling_works_in_blocks() -> None:
    large = RNG.integers(0, 65536, (3000, 3000), dtype=np.uint16)
    picture = to_picture(large)
    np.testing.assert_array_equal(picture.pixels[..., 1], np.rint(large / 257).astype(np.uint8))


@pytest.mark.parametrize("side", [1536, 1537])
def test_tiling_note_begins_above_1536_px(side: int) -> None:
    note = to_picture(np.resize(RGB, (side, 20, 3))).note
    assert (note is not None) == (side > 1536)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((40, 60, 2), np.uint8), r"has 2 channels \(shape \(40, 60, 2\)\); allowed"),
        (np.zeros((2, 40, 60), np.uint8), "has 2 channels"),
        (np.zeros((40, 60, 5), np.uint8), "has 5 channels"),
        (np.zeros((7, 40, 60), np.uint8), "60 channels"),
        (np.zeros(60, np.uint8), r"has 1 dimensions \(shape \(60\)\)"),
        (np.zeros((1, 40, 60, 3), np.uint8), "has 4 dimensions"),
        (np.uint8(7), "has 0 dimensions"),
        (np.zeros((0, 60, 3), np.uint8), r"is empty \(shape \(0, 60, 3\)\)"),
        (np.zeros((40, 60, 0), np.uint8), "is empty"),
        ([], "is empty"),
        (RGB[:, :3], "is 3 x 40 px .* at least 16 x 16 px"),
        (RGB[:15], "is 60 x 15 px"),
        (np.moveaxis(RGB[:3], -1, 0), "is 60 x 3 px"),
        (np.zeros((40, 60, 3), np.uint8), "same value, 0, 0, 0; there is nothing to segment"),
        (np.full((40, 60, 3), (200, 100, 150), np.uint8), "same value, 200, 100, 150"),
        (np.full((40, 60), 1000, np.uint16), "same value, 0 after scaling"),
        (np.full((40, 60), 0.5), r"same value, 128 after scaling"),
        (np.where(GREY > 200, np.nan, GREY), "not numbers"),
        (np.where(GREY > 200, np.inf, GREY), "not numbers"),
        (RGB.astype(complex), "type complex128; allowed"),
        (np.full((40, 60), "a"), "type <U1"),
        (np.full((40, 60), None), "type object"),
        ([[1, 2], [3]], "is no array of numbers"),
        (None, "0 dimensions|type object"),
        ("file.png", "0 dimensions|type <U"),
    ],
)
def test_bad_arrays(array: Any, match: str) -> None:
    refused(array, match)


def test_a_lazy_array_that_is_too_large_is_refused_before_it_is_computed() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    refused(dask.array.zeros((side, side, 3), dtype=np.uint8, chunks=1024), "more than 1,073,741,824 px")


def test_a_lazy_array_that_fails() -> None:
    def fail(block: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        raise OSError("chunk 3 is gone")

    array = dask.array.from_array(RGB, chunks=40).map_blocks(
        fail, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    refused(array, "chunk 3 is gone")


# Files


def test_files_of_every_kind(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "bmp", "webp", "gif", "ppm"):
        options = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(GREY if suffix == "gif" else RGB).save(tmp_path / f"slide.{suffix}", **options)
        picture = read(str(tmp_path / f"slide.{suffix}"))
        np.testing.assert_array_equal(picture.pixels, grey(GREY) if suffix == "gif" else RGB)
        assert picture.name == "slide"
    Image.fromarray(SMOOTH).save(tmp_path / "slide.jpg", quality=95)
    assert np.abs(read(tmp_path / "slide.jpg").pixels.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize(
    ("mode", "note"),
    [
        ("L", "repeated as grey"),
        ("RGBA", "alpha channel was dropped"),
        ("P", "converted from P to RGB"),
        ("1", "repeated as grey"),
        ("CMYK", "converted from CMYK to RGB"),
        ("I;16", "stretched to 0..255; "),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_modes_of_pillow(tmp_path: Path, mode: str, note: str, suffix: str) -> None:
    if (mode, suffix) == ("CMYK", "png"):
        suffix = "jpg"
    colours = SMOOTH if suffix == "jpg" else RGB
    source = Image.fromarray(colours)
    image = Image.fromarray(GREY.astype(np.uint16) * 16 + 15) if mode == "I;16" else source.convert(mode)
    assert image.mode == mode
    image.save(tmp_path / f"a.{suffix}")
    picture = read(tmp_path / f"a.{suffix}")
    assert picture.note is not None
    assert note.rstrip("; ") in picture.note
    reference = grey(GREY) if mode == "I;16" else np.asarray(image.convert("RGB"))
    difference = np.abs(picture.pixels.astype(int) - reference)
    assert difference.mean() < (5 if suffix == "jpg" else 0.01)


def test_grey_with_alpha_is_two_channels(tmp_path: Path) -> None:
    Image.fromarray(RGB).convert("LA").save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="2 channels"):
        read(tmp_path / "a.png")


def test_an_animation_gives_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    picture = read(tmp_path / "a.gif")
    np.testing.assert_array_equal(picture.pixels, grey(GREY))
    assert picture.note is not None
    assert "first of its 2 pictures" in picture.note


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb"},
        {"photometric": "rgb", "compression": "zlib", "tile": (16, 16)},
        {"photometric": "rgb", "compression": "lzw", "predictor": True},
        {"photometric": "rgb", "bigtiff": True},
        {"photometric": "rgb", "byteorder": ">"},
        {"photometric": "rgb", "planarconfig": "separate"},
        {"photometric": "rgb", "metadata": {"axes": "YXS"}, "ome": True},
    ],
)
def test_tiff_of_every_layout(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    values = np.moveaxis(RGB, -1, 0) if "planarconfig" in options else RGB
    tifffile.imwrite(path, values, **options)
    check_picture(read(path), RGB, None)


def test_tiff_of_every_meaning(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY.astype(np.float32), photometric="minisblack")
    check_picture(read(path), grey(GREY), "repeated as grey; float32 values")
    tifffile.imwrite(path, GREY, photometric="miniswhite")
    np.testing.assert_array_equal(read(path).pixels, grey(255 - GREY))
    Image.fromarray(SMOOTH).convert("YCbCr").save(path, compression="jpeg")
    assert np.abs(read(path).pixels.astype(int) - SMOOTH).mean() < 5
    palette = RNG.integers(0, 256, (3, 256)).astype(np.uint16) * 257
    tifffile.imwrite(path, GREY, photometric="palette", colormap=palette)
    np.testing.assert_array_equal(read(path).pixels, (palette // 257).astype(np.uint8).T[GREY])
    tifffile.imwrite(
        path, np.moveaxis(RGB, -1, 0), photometric="minisblack", metadata={"axes": "CYX"}, ome=True
    )
    check_picture(read(path), RGB, None)
    tifffile.imwrite(path, np.moveaxis(RGB, -1, 0), photometric="minisblack")
    check_picture(read(path), RGB, "channels first")
    tifffile.imwrite(path, RGB[None, :, None], photometric="rgb", metadata={"axes": "ZYTXS"})
    check_picture(read(path), RGB, None)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("ZYX", (3, 40, 60)), ("TYXS", (2, 40, 60, 3)), ("ZCYX", (2, 3, 40, 60)), ("CYX", (5, 40, 60))],
)
def test_stacks_are_refused(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    values = np.resize(RGB, shape)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric, metadata={"axes": axes}, ome=True)
    with pytest.raises(ImageError, match=r"is a stack \(axes|has 5 channels"):
        read(tmp_path / "a.tif")


def test_a_pyramid_gives_its_finest_level(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RGB, photometric="rgb", subifds=1, tile=(16, 16))
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1, tile=(16, 16))
    check_picture(read(tmp_path / "a.tif"), RGB, None)


def test_pages_of_different_size_give_the_first(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RGB, photometric="rgb", metadata=None)
        writer.write(RGB[:17], photometric="rgb", metadata=None)
    check_picture(read(tmp_path / "a.tif"), RGB, "only the first of its 2 series")


@pytest.mark.parametrize(
    ("resolution", "unit", "mpp"),
    [
        ((20_000, 20_000), "CENTIMETER", 0.5),
        ((101_600, 101_600), "INCH", 0.25),
        ((72, 72), "INCH", None),
        ((300, 300), "INCH", None),
        ((20_000, 20_000), "NONE", None),
        ((20_000, 10_000), "CENTIMETER", None),
        ((10_000_000, 10_000_000), "CENTIMETER", None),
    ],
)
def test_scale_of_tiff(tmp_path: Path, resolution: tuple[int, int], unit: str, mpp: float | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", resolution=resolution, resolutionunit=unit, metadata=None)
    assert read(path).mpp == pytest.approx(mpp)


def test_scale_of_imagej_and_of_none(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", imagej=True, resolution=(4, 4), metadata={"unit": "um"})
    assert read(path).mpp == pytest.approx(0.25)
    tifffile.imwrite(path, RGB, photometric="rgb")
    assert read(path).mpp is None


@pytest.mark.slow
def test_a_large_scan_passes_pillows_limit(tmp_path: Path) -> None:
    """180 million px are over twice Pillow's limit; one bit a pixel keeps file and test small."""
    limit = Image.MAX_IMAGE_PIXELS
    image = Image.new("1", (20_000, 9_000))
    image.putpixel((5, 5), 1)
    image.save(tmp_path / "a.png")
    picture = read(tmp_path / "a.png")
    assert picture.pixels.shape == (9_000, 20_000, 3)
    assert picture.note is not None
    assert "20000 x 9000 px" in picture.note
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_more_than_memory_is_refused_from_the_header(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        image = tifffile.memmap(path, shape=(70_000, 70_000), dtype=np.uint8, bigtiff=True)
        del image
    else:
        Image.new("1", (8, 8)).save(path)
        content = bytearray(path.read_bytes())
        content[16:24] = struct.pack(">II", 20_000, 60_000)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        path.write_bytes(content)
    with pytest.raises(ImageError, match=r"more than 1,073,741,824 px.*lower magnification"):
        read(path)
    path.unlink()


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.png", b"Patient 12, see appendix\n" * 20, "no image that can be read; give a JPEG, PNG or TIFF"),
        ("a.tif", b"not a tiff at all", "no image that can be read"),
        ("a.tif", b"II*\0", "truncated or damaged"),
        ("a.tif", b"II*\0\xff\xff\xff\x7f" + bytes(50), "truncated or damaged"),
        ("a.tif", b"MM\0*" + bytes(500), "truncated or damaged"),
        ("a.jpg", b"", "is empty"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "no image|truncated"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "no image|truncated"),
    ],
)
def test_what_is_no_image(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=match) as caught:
        read(path)
    check_sentence(str(caught.value), name)


def test_a_missing_file_a_folder_and_a_name_that_cannot_be(tmp_path: Path) -> None:
    for path, match in [
        (tmp_path / "gone.png", "There is no file"),
        (tmp_path, "is a folder; give one image file"),
        (Path("a\0b.png"), "cannot be opened"),
        (tmp_path / ("n" * 300 + ".png"), "cannot be opened"),
    ]:
        with pytest.raises(ImageError, match=match):
            read(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(ImageError, match="cannot be opened"):
        read(path)


def encoded(path: Path) -> bytes:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if path.name == "plain.tif":
        tifffile.imwrite(path, noise, photometric="rgb", rowsperstrip=8)
    elif path.name == "zlib.tif":
        tifffile.imwrite(path, noise, photometric="rgb", compression="zlib", tile=(16, 16))
    elif path.name == "jpeg.tif":
        tifffile.imwrite(path, noise, photometric="ycbcr", compression="jpeg", tile=(16, 16))
    elif path.name == "end.tif":
        Image.fromarray(noise).save(path)
    else:
        Image.fromarray(noise).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "plain.tif", "zlib.tif", "jpeg.tif", "end.tif"])
def test_no_truncated_file_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = encoded(path)
    assert read(path).pixels.shape == (64, 64, 3)
    sizes = sorted({1, 2, 3, 5, 9, *np.linspace(10, len(content) * 0.98, 60).astype(int).tolist()})
    for size in sizes:
        path.write_bytes(content[:size])
        with pytest.raises(ImageError) as caught:
            read(path)
        check_sentence(str(caught.value), name)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "plain.tif", "zlib.tif", "jpeg.tif", "end.tif"])
def test_a_damaged_file_gives_a_picture_or_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = encoded(path)
    rng = np.random.default_rng(3)
    early = np.minimum(len(content) - 1, rng.geometric(1 / 150, 150))
    for position in [*early.tolist(), *rng.integers(0, len(content), 50).tolist()]:
        damaged = bytearray(content)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            picture = read(path)
        except ImageError as error:
            check_sentence(str(error), path.stem)
        else:
            assert picture.pixels.shape[2] == 3


def test_importing_costs_no_torch() -> None:
    program = "import sys, napari_sampath.images, napari_sampath.formats; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
