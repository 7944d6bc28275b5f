"""Micrometres per pixel from the metadata of microscope programs and from the resolution tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tifffile
from PIL import Image

from napari_sampath.images import read
from napari_sampath.images.slides import open_slide
from napari_sampath.images.slides.openslide_reader import OpenSlideSlide
from support.sample_images import RGB

APERIO = "Aperio Image Library v12.0\n320x256 [0,0 320x256] (128x128) J2K/YUV16 Q=70|AppMag = 40|MPP = {}"


def write_ome(path: Path, x: float | None, unit: str | None, y: float | None, **options: Any) -> None:
    sizes = {"PhysicalSizeX": x, "PhysicalSizeY": y, "PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    metadata = {"axes": "YXS", **{name: value for name, value in sizes.items() if value is not None}}
    tifffile.imwrite(path, RGB, photometric="rgb", ome=True, metadata=metadata, **options)


@pytest.mark.parametrize(
    ("x", "unit", "y", "mpp"),
    [
        (0.25, "µm", 0.25, 0.25),
        (0.25, None, 0.25, 0.25),
        (250.0, "nm", 250.0, 0.25),
        (0.00025, "mm", 0.00025, 0.25),
        (2.5e-5, "cm", 2.5e-5, 0.25),
        (2.5e-7, "m", 2.5e-7, 0.25),
        (2500.0, "Å", 2500.0, 0.25),
        (0.25, "µm", None, 0.25),
        (0.25, "µm", 0.5, None),
        (0.25, "pixel", 0.25, None),
        (0.25, "reference frame", 0.25, None),
        (352.8, "µm", 352.8, None),
        (1e-9, "µm", 1e-9, None),
    ],
)
def test_ome_states_the_size(
    tmp_path: Path, x: float, unit: str | None, y: float | None, mpp: float | None
) -> None:
    write_ome(tmp_path / "a.ome.tif", x, unit, y)
    assert read(tmp_path / "a.ome.tif").mpp == pytest.approx(mpp)


def test_the_size_of_ome_precedes_the_resolution_tags(tmp_path: Path) -> None:
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": 3}
    write_ome(tmp_path / "a.ome.tif", 0.25, "µm", 0.25, **resolution)
    assert read(tmp_path / "a.ome.tif").mpp == pytest.approx(0.25)
    write_ome(tmp_path / "b.ome.tif", None, None, None, **resolution)
    assert read(tmp_path / "b.ome.tif").mpp == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("stated", "mpp"),
    [
        ("0.2520", 0.252),
        ("0.5", 0.5),
        ("0,499", 0.499),
        ("352", None),
        ("abc", None),
        ("-1", None),
        ("0", None),
    ],
)
def test_aperio_states_the_size(tmp_path: Path, stated: str, mpp: float | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", description=APERIO.format(stated), metadata=None)
    assert read(path).mpp == pytest.approx(mpp)


@pytest.mark.parametrize(
    ("stated", "power", "tags", "words"),
    [
        (
            "0.25",
            20,
            None,
            "0.25 µm (Aperio), which was used, although its 20x objective usually gives 0.5 µm",
        ),
        ("0.5", 40, None, "although its 40x objective usually gives 0.25 µm"),
        ("0.25", 20, 0.5, "although its 20x objective usually gives 0.5 µm"),
        ("0.5", 20, 0.25, "0.5 µm (Aperio), which was used, and as 0.25 µm (resolution tags)"),
        ("0.172", 40, None, ""),
        ("0.345", 20, 0.345, ""),
        ("0.5", 20, 352.8, ""),
        ("0.5", 0, None, ""),
    ],
)
def test_two_sizes_in_one_file_are_said(
    tmp_path: Path, stated: str, power: int, tags: float | None, words: str
) -> None:
    text = APERIO.format(stated).replace("AppMag = 40", f"AppMag = {power}")
    options = {
        "photometric": "rgb",
        "tile": (64, 64),
        "compression": "jpeg",
        "description": text,
        "metadata": None,
    }
    if tags is not None:
        options |= {"resolution": (1e4 / tags, 1e4 / tags), "resolutionunit": 3}
    tifffile.imwrite(tmp_path / "a.svs", RGB, **options)
    tifffile.imwrite(tmp_path / "b.tif", RGB, **options)
    loaded = read(tmp_path / "b.tif")
    with open_slide(tmp_path / "a.svs") as slide, OpenSlideSlide(tmp_path / "a.svs") as other:
        assert [loaded.mpp, slide.mpp, other.mpp] == pytest.approx([float(stated)] * 3)
        assert words in (loaded.note or "")
        assert words in (slide.note or "")
        assert ("objective" in (other.note or "")) == ("objective" in words)
        assert bool(words) == bool(slide.note)


def test_the_objective_of_ome_is_compared(tmp_path: Path) -> None:
    objectives = "".join(
        f'<Objective ID="Objective:{power}" NominalMagnification="{power}"/>' for power in (40, 20)
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Instrument ID="Instrument:0">{objectives}</Instrument><Image ID="Image:0">'
        '<ObjectiveSettings ID="Objective:20"/><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
        f'SizeX="{RGB.shape[1]}" SizeY="{RGB.shape[0]}" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.25" '
        'PhysicalSizeY="0.25"><Channel ID="Channel:0" SamplesPerPixel="3"/><TiffData/></Pixels></Image></OME>'
    )
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", description=text, metadata=None)
    loaded = read(tmp_path / "a.tif")
    assert loaded.mpp == pytest.approx(0.25)
    assert "0.25 µm (OME-XML), which was used, although its 20x objective" in (loaded.note or "")


@pytest.mark.parametrize(
    ("unit", "per_unit", "mpp"),
    [
        ("micron", 4, 0.25),
        ("microns", 4, 0.25),
        ("um", 4, 0.25),
        ("\\u00B5m", 4, 0.25),
        ("\\u00b5m", 2, 0.5),
        ("nm", 0.004, 0.25),
        ("mm", 4_000, 0.25),
        ("cm", 40_000, 0.25),
        ("inch", 101_600, 0.25),
        ("inch", 72, None),
        ("inch", 96, None),
        ("cm", 118.11, None),
        ("pixel", 4, None),
        ("", 4, None),
    ],
)
def test_imagej_states_the_size(tmp_path: Path, unit: str, per_unit: float, mpp: float | None) -> None:
    path = tmp_path / "a.tif"
    description = f"ImageJ=1.54f\nunit={unit}\nmin=0.0\nmax=255.0\n"
    options = {"resolution": (per_unit, per_unit), "resolutionunit": 1, "metadata": None}
    tifffile.imwrite(path, RGB, photometric="rgb", description=description, **options)
    assert read(path).mpp == pytest.approx(mpp, rel=1e-3)


def test_an_implausible_size_of_a_microscope_program_is_said(tmp_path: Path) -> None:
    write_ome(tmp_path / "a.ome.tif", 352.8, "µm", 352.8)
    assert "pixel size of 352.8 µm (OME-XML) is outside 0.05..20 µm" in (
        read(tmp_path / "a.ome.tif").note or ""
    )
    write_ome(tmp_path / "b.ome.tif", 0.25, "µm", 0.5)
    assert "not square" in (read(tmp_path / "b.ome.tif").note or "")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize(
    ("dpi", "mpp"), [(72, None), (96, None), (300, None), (600, None), (25_400 * 2, 0.5)]
)
def test_the_resolution_of_other_files(tmp_path: Path, suffix: str, dpi: int, mpp: float | None) -> None:
    Image.fromarray(RGB).save(tmp_path / f"a.{suffix}", dpi=(dpi, dpi))
    assert read(tmp_path / f"a.{suffix}").mpp == pytest.approx(mpp, rel=1e-3)


@pytest.mark.parametrize(
    "description", ["<OME", "<OME>" * 50, "<OME><Image/></OME>", "ImageJ=", "Aperio |MPP = "]
)
def test_damaged_metadata_does_not_matter(tmp_path: Path, description: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, photometric="rgb", description=description, metadata=None)
    loaded = read(path)
    assert loaded.mpp is None
    assert loaded.pixels.shape == RGB.shape
