"""Files that are no slide, or an unusual one: each is refused in one sentence that says what to do, or read right."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_sampath.errors import ImageError
from napari_sampath.images.slides import is_slide, open_slide, tiff

RED = np.full((96, 128, 3), (200, 30, 60), np.uint8)
AS_YCBCR = np.full(RED.shape, (84, 114, 211), np.uint8)
TILED = {"tile": (32, 32), "metadata": None}


def tif(**options: Any) -> Callable[[Path], Path]:
    """Return a writer of a TIFF file."""

    def write(folder: Path) -> Path:
        path = folder / "slide.tif"
        tifffile.imwrite(path, **{**TILED, **options})
        return path

    return write


def pyramid(*sides: tuple[int, int]) -> Callable[[Path], Path]:
    """Return a writer of a TIFF file with a level of each of these sizes, in this order."""

    def write(folder: Path) -> Path:
        path = folder / "slide.tif"
        with tifffile.TiffWriter(path) as writer:
            for rows, cols in sides:
                reduced = int(rows < RED.shape[0])
                writer.write(RED[:rows, :cols], photometric="rgb", subfiletype=reduced, **TILED)
        return path

    return write


def named(name: str, content: bytes) -> Callable[[Path], Path]:
    """Return a writer of a file with a name and content."""

    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return write


def zipped(folder: Path) -> Path:
    path = folder / "slide.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("slide.mrxs", b"JPEG")
    return path


def ngff(attributes: dict[str, Any], places: dict[str, np.ndarray]) -> Callable[[Path], Path]:
    """Return a writer of an OME-Zarr folder of version 2."""

    def write(folder: Path) -> Path:
        path = folder / "slide.ome.zarr"
        group = zarr.open_group(path, mode="w", zarr_format=2)
        for place, values in places.items():
            array = group.create_array(place, shape=values.shape, dtype=values.dtype, chunks=(32, 32, 3))
            array[:] = values
        group.attrs.update(attributes)
        return path

    return write


def multiscales(*places: str, **fields: Any) -> dict[str, Any]:
    return {"multiscales": [{"datasets": [{"path": place} for place in places], **fields}]}


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    """Encode one element of a DICOM file."""
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def dicom(*files: tuple[str, str]) -> Callable[[Path], Path]:
    """Return a writer of a folder with headers of DICOM files, given as series and what they show."""

    def write(folder: Path) -> Path:
        path = folder / "slide"
        path.mkdir()
        for number, (series, shows) in enumerate(files):
            # A sequence of undefined length that names another series, as of a referenced image
            other = element(0x0020, 0x000E, b"UI", b"9.9.9")
            item = (
                struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFF_FFFF)
                + other
                + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
            )
            sequence = struct.pack("<HH2sHI", 0x0008, 0x1115, b"SQ", 0, 0xFFFF_FFFF) + item
            content = (
                bytes(128)
                + b"DICM"
                + element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1")
                + element(0x0008, 0x0008, b"CS", f"ORIGINAL\\PRIMARY\\{shows}\\NONE".encode())
                + sequence
                + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
                + element(0x0020, 0x000E, b"UI", series.encode())
                + bytes(1000 * number)
            )
            (path / f"{number}").write_bytes(content)
        return path

    return write


AXES = {"axes": [{"name": name} for name in "yxc"]}


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(tif(data=np.zeros((64, 64, 4), np.uint8), photometric="separated"), "CMYK", id="CMYK"),
        pytest.param(tif(data=np.zeros((64, 64), np.uint16)), "type uint16", id="16 bit"),
        pytest.param(tif(data=np.zeros((64, 64, 3), np.float32), photometric="rgb"), "float32", id="float"),
        pytest.param(
            tif(data=np.zeros((5, 64, 64), np.uint8), photometric="minisblack", metadata={"axes": "ZYX"}),
            "stack",
            id="planes",
        ),
        pytest.param(
            tif(data=np.zeros((64, 64, 7), np.uint8), photometric="minisblack", planarconfig="contig"),
            "7 channels",
            id="channels",
        ),
        pytest.param(
            tif(data=RED, photometric="rgb", extratags=[(274, 3, 1, 6, True)]), "orientation 6", id="turned"
        ),
        pytest.param(
            tif(data=RED, photometric="rgb", tile=None, rowsperstrip=8, compression="zlib"),
            "sampath slide pyramid",
            id="compressed strips",
        ),
        pytest.param(named("slide.svs", b"II*\0\xff\xff\0\0" + bytes(99)), "incomplete", id="end is missing"),
        pytest.param(named("slide.vsi", b"II*\0\0\0\0\0"), "slide.vsi", id="VSI"),
        pytest.param(named("a.vsi", b"not a TIFF"), "Olympus VSI", id="VSI of another kind"),
        pytest.param(
            named("slide.mrxs", b"\xff\xd8\xff\xe0"), "folder 'slide'", id="MRXS without its folder"
        ),
        pytest.param(zipped, "unpack", id="MRXS in a zip"),
        pytest.param(named("slide.svs", b"some text"), "not read", id="text"),
        pytest.param(
            dicom(("1.2", "VOLUME"), ("1.3", "VOLUME"), ("1.2", "LABEL"), ("1.3", "VOLUME")),
            r"2 DICOM slides \('0', '3'\)",
            id="two DICOM slides",
        ),
        pytest.param(
            dicom(("1.2", "LABEL"), ("1.2", "OVERVIEW"), ("1.3", "LABEL")),
            "only 2 label, 1 overview;",
            id="DICOM labels only",
        ),
        pytest.param(dicom(), "folder without a slide", id="empty folder"),
        pytest.param(ngff({"plate": {"wells": []}}, {}), "plate of many images", id="plate"),
        pytest.param(ngff(multiscales("0", version="0.1"), {"0": RED}), "slide.ome.zarr", id="NGFF 0.1"),
    ],
)
def test_what_is_no_readable_slide_is_refused_in_one_sentence(
    write: Callable[[Path], Path], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff, "MAX_STRIPPED_PX", 10_000)
    folder = tmp_path / "Fälle µ 7"
    folder.mkdir()
    path = write(folder)
    with pytest.raises(ImageError, match=words) as caught:
        open_slide(path)
    text = str(caught.value)
    assert str(path) in text
    assert len(text.splitlines()) == 1
    assert text.endswith(".")
    assert len(text) < 600
    assert not is_slide(path) or path.suffix == ".zarr"


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(tif(data=RED, photometric="rgb", compression="jpeg"), id="RGB JPEG"),
        pytest.param(tif(data=AS_YCBCR, photometric="ycbcr", compression="jpeg"), id="YCbCr JPEG"),
        pytest.param(
            tif(data=AS_YCBCR, photometric="ycbcr", compression="zlib", subsampling=(1, 1)), id="YCbCr, zlib"
        ),
        pytest.param(
            tif(data=AS_YCBCR, photometric="ycbcr", tile=None, subsampling=(1, 1)), id="YCbCr, plain rows"
        ),
        pytest.param(
            tif(
                data=AS_YCBCR,
                photometric="rgb",
                compression=33003,
                compressionargs={"mct": False},
                description="Aperio Image Library v10\r\n128x96 [0,0 128x96] J2K/YUV16",
            ),
            id="Aperio's JPEG 2000 in YCbCr",
        ),
        pytest.param(tif(data=RED, photometric="rgb", compression=33005), id="Aperio's JPEG 2000 in RGB"),
        pytest.param(tif(data=RED, photometric="rgb", tile=None, rowsperstrip=8), id="plain rows"),
        pytest.param(
            tif(data=RED, photometric="rgb", tile=None, rowsperstrip=8, compression="zlib"), id="8 rows"
        ),
        pytest.param(
            tif(data=RED.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), id="channels first"
        ),
        pytest.param(
            tif(
                data=np.dstack([RED, np.full(RED.shape[:2], 255, np.uint8)]),
                photometric="rgb",
                extrasamples=[2],
            ),
            id="alpha",
        ),
        pytest.param(pyramid((96, 128), (29, 39)), id="factor 3.3"),
        pytest.param(pyramid((96, 128), (24, 31)), id="factors 4 and 4.13"),
        pytest.param(pyramid((24, 32), (96, 128)), id="levels of a TIFF out of order"),
        pytest.param(
            ngff(multiscales("small", "large", **AXES), {"large": RED, "small": RED[::2, ::2]}),
            id="levels out of order",
        ),
        pytest.param(
            ngff({"bioformats2raw.layout": 3}, {"0/0": RED, "0/1": RED[::2, ::2]}), id="bioformats2raw"
        ),
        pytest.param(ngff(multiscales("0", axes=["y", "x", "c"], version="0.3"), {"0": RED}), id="NGFF 0.3"),
    ],
)
def test_unusual_files_are_read_with_the_right_colours(write: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = tmp_path / "Fälle µ 7"
    folder.mkdir()
    path = write(folder)
    if path.suffix == ".zarr" and not (path / ".zattrs").read_text().count("multiscales"):
        series = zarr.open_group(path / "0", mode="a", zarr_format=2)
        series.attrs.update(multiscales("0", "1", **AXES))
    with open_slide(path) as slide:
        assert slide.hw == RED.shape[:2]
        for step in (1, 2, 4):
            pixels = slide.read((0, 0, *slide.hw), step)
            assert pixels.shape[2] == 3
            assert np.abs(pixels.astype(int) - RED[0, 0]).max() <= 4
