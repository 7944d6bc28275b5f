"""Micrometres per pixel from the metadata of TIFF files: OME-XML, Aperio, ImageJ, and the resolution tags."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any, TypeAlias

MPP_RANGE = (0.05, 20.0)
"""Plausible micrometres per pixel of microscope images; other values are the resolution of a printer or a screen."""
_TOLERANCE = 0.01
"""Highest relative difference between width and height of a pixel."""
_TAGS_FACTOR = 1.05
"""Factor from which the resolution tags contradict the metadata of a microscope program."""
_POWER_FACTOR = 1.6
"""Factor from which an objective contradicts a pixel size; those of scanners differ by up to 1.5 at one objective."""
_POWER_UM = 10.0
"""Usual micrometres per pixel at 1x: a 20x objective means about 0.5 µm."""
_MAX_XML_CHARACTERS = 2**24

_UM = {
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "micrometres": 1.0,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "in": 25_400.0,
    "inch": 25_400.0,
    "inches": 25_400.0,
    "m": 1e6,
    "meter": 1e6,
}
"""Name of a unit in lower case -> micrometres."""
_APERIO_MPP = re.compile(r"(?:^|[|\s])MPP\s*=\s*([0-9.,eE+-]+)")
_APERIO_POWER = re.compile(r"(?:^|[|\s])AppMag\s*=\s*([0-9.]+)")
_IMAGEJ_UNIT = re.compile(r"^unit=(.*)$", re.MULTILINE)

_Sizes: TypeAlias = tuple[tuple[float, float] | None, float | None]
"""Micrometres per pixel (x, y) and magnification of the objective; None where a source does not state them."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of a pixel."""

    mpp: float | None = None
    """Micrometres per pixel; None if unknown or implausible."""
    remark: str | None = None
    """Clause for the user if the file states a size that is not used, or contradicts itself."""


def mpp_of_tiff(tiff: Any, page: Any) -> Scale:
    """Read the pixel size of a TIFF image.

    Metadata of microscope programs (OME-XML, Aperio, ImageJ) take precedence over the resolution tags, which often
    hold the resolution of a printer or a screen. The magnification of the objective is never used as a scale.

    Args:
        tiff: The `tifffile.TiffFile`.
        page: The `tifffile.TiffPage` of the image at full size.

    Returns:
        The size, with a remark if it was stated for a microscope but is not square or outside `MPP_RANGE`, or if an
        objective or plausible resolution tags contradict it.
    """
    description = str(getattr(page, "description", "") or "")
    first = str(getattr(tiff.pages.first, "description", "") or "")
    tag_sides = _tag_sides(page, {2: 25_400.0, 3: 10_000.0}.get(_resolution_unit(page)))
    tags = None if tag_sides is None else scale_of(tag_sides, "").mpp
    for text, source, read in (
        (first, "OME-XML", _ome_sizes),
        (description, "Aperio", _aperio_sizes),
        (first, "ImageJ", lambda text: _imagej_sizes(text, page)),
    ):
        sides, power = read(text)
        if sides is not None:
            return _compared(scale_of(sides, source, power), source, tags)
    return Scale(tags)


def mpp_of_dpi(dpi: object) -> float | None:
    """Return micrometres per pixel for Pillow's `info["dpi"]`, (x, y); None if it is the resolution of a printer."""
    try:
        x, y = (25_400.0 / float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ArithmeticError):
        return None
    return scale_of((x, y), "").mpp


def scale_of(sides: tuple[float, float], source: str, power: float | None = None) -> Scale:
    """Check the micrometres per pixel (x, y) that a source states, such as "OME-XML".

    Args:
        sides: Micrometres per pixel (x, y).
        source: Name of the source, for the remark.
        power: Magnification of the objective that the source states, such as 20; only compared with the pixel size.
    """
    x, y = sides
    low, high = MPP_RANGE
    if not abs(x - y) <= _TOLERANCE * abs(x):
        return Scale(
            None, f"its pixels are {x:g} x {y:g} µm ({source}), not square, so the scale was not used"
        )
    if not low <= x <= high:
        return Scale(
            None, f"its pixel size of {x:g} µm ({source}) is outside {low}..{high:g} µm, so it was not used"
        )
    usual = x if power is None else _POWER_UM / power
    if not 1 / _POWER_FACTOR < x / usual < _POWER_FACTOR:
        stated = f"its pixel size is stated as {x:g} µm ({source}), which was used"
        return Scale(x, f"{stated}, although its {power:g}x objective usually gives {usual:g} µm")
    return Scale(x)


def _compared(scale: Scale, source: str, tags: float | None) -> Scale:
    """Add a remark to a scale of a source if the resolution tags, in micrometres per pixel, contradict it."""
    if scale.mpp is None or scale.remark or tags is None:
        return scale
    if 1 / _TAGS_FACTOR < scale.mpp / tags < _TAGS_FACTOR:
        return scale
    stated = f"its pixel size is stated as {scale.mpp:g} µm ({source}), which was used"
    return Scale(scale.mpp, f"{stated}, and as {tags:g} µm (resolution tags)")


def _ome_sizes(text: str) -> _Sizes:
    if ("<OME" not in text[:4096] and ":OME" not in text[:4096]) or len(text) > _MAX_XML_CHARACTERS:
        return None, None
    try:
        root = ElementTree.fromstring(text.strip("\0 \r\n"))
    except (ElementTree.ParseError, ValueError):
        return None, None
    objectives: dict[str | None, str | None] = {}
    objective = None
    for element in root.iter():
        match element.tag.rpartition("}")[2]:
            case "Objective":
                objectives[element.get("ID", "")] = element.get("NominalMagnification")
            case "ObjectiveSettings":
                objective = element.get("ID")
            case "Pixels":
                x = _length(element.get("PhysicalSizeX"), element.get("PhysicalSizeXUnit", "µm"))
                y = _length(element.get("PhysicalSizeY"), element.get("PhysicalSizeYUnit", "µm"))
                sides = None if x is None and y is None else (x or y or 0.0, y or x or 0.0)
                return sides, positive_number(objectives.get(objective))
    return None, None


def _aperio_sizes(text: str) -> _Sizes:
    if "Aperio" not in text[:256] and "|MPP" not in text:
        return None, None
    mpp, power = (pattern.search(text[:65_536]) for pattern in (_APERIO_MPP, _APERIO_POWER))
    side = None if mpp is None else _length(mpp.group(1).replace(",", "."), "um")
    sides = None if side is None else (side, side)
    return sides, None if power is None else positive_number(power.group(1))


def _imagej_sizes(text: str, page: Any) -> _Sizes:
    if not text.startswith("ImageJ="):
        return None, None
    match = _IMAGEJ_UNIT.search(text)
    unit_um = None if match is None else unit_um_of(match.group(1))
    return (None if unit_um is None else _tag_sides(page, unit_um)), None


def _tag_sides(page: Any, unit_um: float | None) -> tuple[float, float] | None:
    """Convert the resolution tags, in pixels per unit, to micrometres per pixel."""
    sides = []
    for tag in ("XResolution", "YResolution"):
        value = page.tags.valueof(tag)
        if unit_um is None or not isinstance(value, tuple) or len(value) != 2 or 0 in value:
            return None
        sides.append(unit_um * value[1] / value[0])
    return sides[0], sides[1]


def _resolution_unit(page: Any) -> int:
    value = page.tags.valueof("ResolutionUnit", default=2)
    return int(value) if isinstance(value, int) else 2


def _length(text: str | None, unit: str) -> float | None:
    """Return a length in micrometres; None if it is not a positive number with a unit of length."""
    value, unit_um = positive_number(text), unit_um_of(unit)
    return None if value is None or unit_um is None else value * unit_um


def positive_number(text: str | None) -> float | None:
    """Return a positive number; None for other texts."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def unit_um_of(name: str) -> float | None:
    """Return a unit of length in micrometres; None for other texts."""
    # ImageJ escapes the micro sign, which exists twice in Unicode; other programs write UTF-8 that was read as Latin-1.
    plain = re.sub(r"\\u00b5|\\u03bc|Âµ|Î¼|[µμ]", "u", name.strip().strip('"'), flags=re.IGNORECASE)
    return _UM.get(plain.lower())
