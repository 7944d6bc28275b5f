from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sampath.errors import ImageError
from napari_sampath.images import read
from support.sample_images import GREY, RGB, RNG, SMOOTH, check_image, check_sentence, grey

if TYPE_CHECKING:
    pass


def test_all_file_formats_are_read(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "bmp", "webp", "gif", "ppm"):
        options = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(GREY if suffix == "gif" else RGB).save(tmp_path / f"slide.{suffix}", **options)
        loaded = read(str(tmp_path / f"slide.{suffix}"))
        np.testing.assert_array_equal(loaded.pixels, grey(GREY) if suffix == "gif" else RGB)
        assert loaded.name == "slide"
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
def test_modes_of_pillow_are_converted(tmp_path: Path, mode: str, note: str, suffix: str) -> None:
    if (mode, suffix) == ("CMYK", "png"):
        suffix = "jpg"
    colours = SMOOTH if suffix == "jpg" else RGB
    source = Image.fromarray(colours)
    image = Image.fromarray(GREY.astype(np.uint16) * 16 + 15) if mode == "I;16" else source.convert(mode)
    assert image.mode == mode
    image.save(tmp_path / f"a.{suffix}")
    loaded = read(tmp_path / f"a.{suffix}")
    assert loaded.note is not None
    assert note.rstrip("; ") in loaded.note
    reference = grey(GREY) if mode == "I;16" else np.asarray(image.convert("RGB"))
    difference = np.abs(loaded.pixels.astype(int) - reference)
    assert difference.mean() < (5 if suffix == "jpg" else 0.01)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_with_alpha_is_read_as_grey(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(RGB).convert("LA")
    image.putalpha(Image.fromarray(GREY))
    image.save(tmp_path / f"a.{suffix}")
    loaded = read(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(loaded.pixels, grey(np.asarray(image)[..., 0]))
    assert "alpha channel was dropped" in (loaded.note or "")


def test_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    loaded = read(tmp_path / "a.gif")
    np.testing.assert_array_equal(loaded.pixels, grey(GREY))
    assert loaded.note is not None
    assert "first of its 2 frames" in loaded.note


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
def test_all_tiff_layouts_are_read(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    values = np.moveaxis(RGB, -1, 0) if "planarconfig" in options else RGB
    tifffile.imwrite(path, values, **options)
    check_image(read(path), RGB, None)


def test_all_tiff_photometrics_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY.astype(np.float32), photometric="minisblack")
    check_image(read(path), grey(GREY), "repeated as grey; float32 values")
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
    check_image(read(path), RGB, None)
    tifffile.imwrite(path, np.moveaxis(RGB, -1, 0), photometric="minisblack")
    check_image(read(path), RGB, "channels first")
    tifffile.imwrite(path, RGB[None, :, None], photometric="rgb", metadata={"axes": "ZYTXS"})
    check_image(read(path), RGB, None)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("ZYX", (3, 40, 60)), ("TYXS", (2, 40, 60, 3)), ("ZCYX", (2, 3, 40, 60)), ("CYX", (5, 40, 60))],
)
def test_stacks_are_rejected(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    photometric = "rgb" if axes.endswith("S") else "minisblack"
    values = np.resize(RGB, shape)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric=photometric, metadata={"axes": axes}, ome=True)
    with pytest.raises(ImageError, match=r"is a stack of|has 5 channels"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("is_large", [False, True])
def test_finest_level_of_a_pyramid_is_read(tmp_path: Path, levels: int, is_large: bool) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=is_large) as writer:
        writer.write(RGB, photometric="rgb", subifds=levels, tile=(16, 16))
        for level in range(1, levels + 1):  # tifffile lists the levels, and also links each to the next one.
            step = 2**level
            writer.write(RGB[::step, ::step], photometric="rgb", subfiletype=1, tile=(16, 16))
    check_image(read(path), RGB, None)


def test_first_of_pages_of_different_sizes_is_read(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RGB, photometric="rgb", metadata=None)
        writer.write(RGB[:17], photometric="rgb", metadata=None)
    check_image(read(tmp_path / "a.tif"), RGB, "only the first of its 2 series")


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
def test_resolution_of_a_tiff_is_read_as_mpp(
    tmp_path: Path, resolution: tuple[int, int], unit: str, mpp: float | None
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", resolution=resolution, resolutionunit=unit, metadata=None)
    assert read(path).mpp == pytest.approx(mpp)


def test_resolution_of_imagej_and_of_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", imagej=True, resolution=(4, 4), metadata={"unit": "um"})
    assert read(path).mpp == pytest.approx(0.25)
    tifffile.imwrite(path, RGB, photometric="rgb")
    assert read(path).mpp is None


@pytest.mark.slow
def test_large_scans_exceed_pillows_limit(tmp_path: Path) -> None:
    """180 million px are over twice Pillow's limit; one bit per pixel keeps file and test small."""
    limit = Image.MAX_IMAGE_PIXELS
    image = Image.new("1", (20_000, 9_000))
    image.putpixel((5, 5), 1)
    image.save(tmp_path / "a.png")
    loaded = read(tmp_path / "a.png")
    assert loaded.pixels.shape == (9_000, 20_000, 3)
    assert loaded.note is not None
    assert "20000 x 9000 px" in loaded.note
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_too_large_images_are_rejected_by_their_header(tmp_path: Path, suffix: str) -> None:
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
        ("a.png", b"Patient 12, see appendix\n" * 20, "not a readable image; give a JPEG, PNG or TIFF"),
        ("a.tif", b"not a tiff at all", "not a readable image"),
        ("a.tif", b"II*\0", "truncated or damaged"),
        ("a.tif", b"II*\0\xff\xff\xff\x7f" + bytes(50), "truncated or damaged"),
        ("a.tif", b"MM\0*" + bytes(500), "truncated or damaged"),
        ("a.jpg", b"", "is empty"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "not a readable image|truncated"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "not a readable image|truncated"),
    ],
)
def test_other_files_are_rejected(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match=match) as caught:
        read(path)
    check_sentence(str(caught.value), name)


def test_missing_files_folders_and_invalid_names_are_rejected(tmp_path: Path) -> None:
    for path, match in [
        (tmp_path / "gone.png", "There is no file"),
        (tmp_path, "is a folder; give an image file"),
        (Path("a\0b.png"), "cannot be opened"),
        (tmp_path / ("n" * 300 + ".png"), "cannot be opened"),
    ]:
        with pytest.raises(ImageError, match=match):
            read(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_rejected(tmp_path: Path) -> None:
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
def test_truncated_files_are_rejected(tmp_path: Path, name: str) -> None:
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
def test_damaged_files_give_an_image_or_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = encoded(path)
    rng = np.random.default_rng(3)
    early = np.minimum(len(content) - 1, rng.geometric(1 / 150, 150))
    for position in [*early.tolist(), *rng.integers(0, len(content), 50).tolist()]:
        damaged = bytearray(content)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            loaded = read(path)
        except ImageError as error:
            check_sentence(str(error), path.stem)
        else:
            assert loaded.pixels.shape[2] == 3


def test_import_does_not_load_torch() -> None:
    program = "import sys, napari_sampath.images, napari_sampath.formats; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
