"""Images of every photometric interpretation and mode, as a person sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from skimage.color import rgb2lab

from napari_sampath.errors import ImageError
from napari_sampath.images import read, to_loaded_image
from napari_sampath.rasters import read_labels, read_raster
from support.sample_images import GREY, RGB, SMOOTH, check_sentence, grey


def written(path: Path, values: npt.NDArray[Any], **options: Any) -> npt.NDArray[np.uint8]:
    tifffile.imwrite(path, values, **options)
    return read(path).pixels


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_white_is_zero_is_inverted_for_display(tmp_path: Path, dtype: npt.DTypeLike, byteorder: str) -> None:
    values = GREY > 100 if dtype is bool else GREY.astype(dtype) * (257 if dtype is np.uint16 else 1)
    shown = written(tmp_path / "a.tif", values, photometric="miniswhite", byteorder=byteorder)
    expected = np.where(values, 0, 255) if dtype is bool else 255 - GREY
    np.testing.assert_array_equal(shown, grey(expected.astype(np.uint8)))


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_fax_images_are_shown_as_by_pillow(tmp_path: Path, compression: str, white_is_zero: bool) -> None:
    path = tmp_path / "a.tif"
    tags = {262: 0} if white_is_zero else {}
    Image.fromarray(GREY > 100).save(path, compression=compression, tiffinfo=tags)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read(path).pixels, expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("scale", [257, 1], ids=["16-bit colours", "8-bit colours"])
def test_palettes_are_applied(tmp_path: Path, bits: int, scale: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 2**bits)).astype(np.uint16)
    values = GREY.astype(np.uint16) * 100 if bits == 16 else GREY
    shown = written(tmp_path / "a.tif", values, photometric="palette", colormap=colours * scale)
    np.testing.assert_array_equal(shown, colours.T.astype(np.uint8)[values])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", [False, True])
def test_inks_are_shown_as_by_pillow(tmp_path: Path, dtype: npt.DTypeLike, planar: bool) -> None:
    inks = np.asarray(Image.fromarray(SMOOTH).convert("CMYK"))
    inks = inks // 2 + np.asarray(Image.fromarray(SMOOTH).convert("L"))[..., None] // 4
    values = inks.astype(dtype) * (257 if dtype is np.uint16 else 1)
    options = {"planarconfig": "separate" if planar else "contig", "photometric": "separated"}
    shown = written(tmp_path / "a.tif", np.moveaxis(values, -1, 0) if planar else values, **options)
    expected = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))
    assert np.abs(shown.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("kind", ["cielab", "icclab"])
def test_lab_is_shown_in_the_right_colours(tmp_path: Path, kind: str) -> None:
    lab = rgb2lab(SMOOTH, illuminant="D50")
    stored = np.empty(SMOOTH.shape, dtype=np.uint8)
    stored[..., 0] = np.rint(lab[..., 0] * 2.55)
    ab = np.rint(lab[..., 1:]).clip(-128, 127).astype(np.int8)
    stored[..., 1:] = ab.view(np.uint8) if kind == "cielab" else (ab.astype(int) + 128).astype(np.uint8)
    shown = written(tmp_path / "a.tif", stored, photometric=kind)
    assert np.abs(shown.astype(int) - SMOOTH).mean() < 25, "equal except for the white point of the screen"
    path = tmp_path / "grey.tif"
    lightness = np.zeros((32, 32, 3), dtype=np.uint8)
    lightness[..., 0] = np.arange(32) * 8
    lightness[..., 1:] = 0 if kind == "cielab" else 128
    greys = written(path, lightness, photometric=kind).astype(int)
    assert np.ptp(greys, axis=2).max() <= 2, "no colour"
    assert (np.diff(greys[0, :, 0]) >= 0).all()
    assert greys[0, -1, 0] > 230


def test_uncompressed_ycbcr_is_converted(tmp_path: Path) -> None:
    values = np.asarray(Image.fromarray(SMOOTH).convert("YCbCr"))
    tags = [(530, "H", 2, (1, 1), True)]
    shown = written(tmp_path / "a.tif", values, photometric="ycbcr", extratags=tags, metadata=None)
    assert np.abs(shown.astype(int) - SMOOTH).mean() < 2


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
def test_subsampled_jpeg_in_tiff_is_read(tmp_path: Path, subsampling: tuple[int, int]) -> None:
    smooth = np.asarray(Image.fromarray(SMOOTH[::8, ::8]).resize((64, 48), Image.Resampling.BICUBIC))
    options = {"compression": "jpeg", "compressionargs": {"level": 95}, "photometric": "rgb"}
    shown = written(tmp_path / "a.tif", smooth, subsampling=subsampling, tile=(16, 16), **options)
    assert np.abs(shown.astype(int) - smooth).mean() < 12
    with Image.open(tmp_path / "a.tif") as image:
        assert np.abs(shown.astype(int) - np.asarray(image.convert("RGB"))).mean() < 3


@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("channels", [1, 3])
def test_opacity_is_dropped(tmp_path: Path, alpha: str, channels: int) -> None:
    colours = RGB if channels == 3 else GREY[..., None]
    values = np.dstack([colours, GREY])
    kind = "rgb" if channels == 3 else "minisblack"
    options = {"extrasamples": [alpha], "planarconfig": "contig"}
    shown = written(tmp_path / "a.tif", values, photometric=kind, **options)
    np.testing.assert_array_equal(shown, colours if channels == 3 else grey(GREY))


def test_further_channels_besides_rgb_are_dropped_and_said(tmp_path: Path) -> None:
    values = np.dstack([RGB, GREY, 255 - GREY])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric="rgb", extrasamples=["unspecified"] * 2, planarconfig="contig")
    loaded = read(path)
    np.testing.assert_array_equal(loaded.pixels, RGB)
    assert "2 channels besides RGB were dropped" in (loaded.note or "")


def test_two_channels_that_are_no_opacity_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.stack([GREY, GREY]), photometric="minisblack", metadata={"axes": "CYX"}, ome=True
    )
    with pytest.raises(ImageError, match="2 channels"):
        read(path)
    tifffile.imwrite(path, np.stack([GREY] * 4), photometric="minisblack", metadata={"axes": "CYX"}, ome=True)
    with pytest.raises(ImageError, match="4 channels") as caught:
        read(path)
    check_sentence(str(caught.value), "a.tif")


@pytest.mark.parametrize("kind", ["logl", "cfa", "linear_raw", "itulab"])
def test_other_colours_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    try:
        tifffile.imwrite(path, RGB if kind == "itulab" else GREY, photometric=kind)
    except ValueError:
        pytest.skip(f"tifffile does not write {kind}")
    with pytest.raises(ImageError, match="cannot be shown") as caught:
        read(path)
    check_sentence(str(caught.value), "a.tif")


@pytest.mark.parametrize(
    "mode",
    [
        "1",
        "L",
        "P",
        "PA",
        "LA",
        "La",
        "RGB",
        "RGBA",
        "RGBa",
        "RGBX",
        "CMYK",
        "YCbCr",
        "HSV",
        "LAB",
        "I;16",
        "I",
        "F",
    ],
)
def test_pillow_images_of_every_mode_are_converted(mode: str) -> None:
    source = Image.fromarray(SMOOTH)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
        image = ImageCms.applyTransform(source, transform)
    elif mode in ("I;16", "I", "F"):
        image = source.convert("L").convert("I").convert(mode)
    elif mode in ("PA", "La"):
        image = source.convert("P").convert("PA") if mode == "PA" else source.convert("LA").convert("La")
    else:
        image = source.convert("RGBA").convert(mode) if mode == "RGBa" else source.convert(mode)
    assert image.mode == mode
    shown = to_loaded_image(image, "p").pixels
    if mode in ("1", "P", "PA"):
        expected = np.asarray(image.convert("RGB"))
    elif mode in ("L", "LA", "La", "I", "I;16", "F"):
        expected = grey(np.asarray(source.convert("L")))
    else:
        expected = SMOOTH
    assert np.abs(shown.astype(int) - expected).mean() < 4


KINDS = st.sampled_from(["minisblack", "miniswhite", "rgb", "palette"])
TYPES = st.sampled_from([bool, np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64])


@settings(max_examples=150, deadline=None)
@given(
    kind=KINDS,
    dtype=TYPES,
    byteorder=st.sampled_from(["<", ">"]),
    compression=st.sampled_from([None, "zlib", "lzw", "packbits", "lzma", "zstd"]),
    planar=st.booleans(),
    tiled=st.booleans(),
    bigtiff=st.booleans(),
    opacity=st.sampled_from([None, "unassalpha", "assocalpha"]),
    seed=st.integers(0, 2**31),
)
def test_stored_values_are_those_of_tifffile(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    dtype: Any,
    byteorder: str,
    compression: str | None,
    planar: bool,
    tiled: bool,
    bigtiff: bool,
    opacity: str | None,
    seed: int,
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2 if dtype is bool else 100, (32, 48)).astype(dtype)
    options: dict[str, Any] = {"photometric": kind, "byteorder": byteorder, "compression": compression}
    options |= {"tile": (16, 16)} if tiled else {}
    values = labels
    if kind == "palette":
        if dtype not in (np.uint8, np.uint16):
            return
        options["colormap"] = rng.integers(0, 2**16, (3, 2 ** (8 * labels.itemsize))).astype(np.uint16)
    if kind == "rgb":
        if dtype is bool:
            return
        channels = [labels] * 3 + ([np.full_like(labels, 7)] if opacity else [])
        values = np.stack(channels, axis=0 if planar else -1)
        options |= {"planarconfig": "separate" if planar else "contig"}
        options |= {"extrasamples": [opacity]} if opacity else {}
    tifffile.imwrite(path, values, bigtiff=bigtiff, **options)
    stored = tifffile.imread(path)
    np.testing.assert_array_equal(read_labels(path, labels.shape).values, labels)
    raster = read_raster(path, indexed=True)
    arranged = np.moveaxis(stored, 0, -1) if kind == "rgb" and planar else stored
    np.testing.assert_array_equal(raster.values, arranged)
    if kind == "minisblack":
        np.testing.assert_array_equal(read_raster(path).values, stored)
