"""Convert the values of a TIFF image to displayed colours, by its photometric interpretation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from .colour_spaces import cmyk_to_rgb, lab_to_rgb, ycbcr_to_rgb

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..arrays import UInt8Array

_PHOTOMETRIC = tifffile.PHOTOMETRIC
_JPEG = (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG, tifffile.COMPRESSION.ALT_JPEG)
_ALPHA = (1, 2)
"""Values of ExtraSamples for opacity; 0 is unspecified."""


class UnknownColoursError(ValueError):
    """Colours that this package does not convert; the text names them."""


def visible(values: npt.NDArray[Any], page: Any) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Convert values as tifffile returns them to grey or RGB as displayed.

    Args:
        values: (H, W) or (H, W, C) as stored, channels last.
        page: The `tifffile.TiffPage` of the image.

    Returns:
        (H, W) or (H, W, C) values, and clauses for the user about the conversion.

    Raises:
        UnknownColoursError: If there is no conversion.
    """
    kind, bits = page.photometric, int(page.bitspersample)
    if kind in (_PHOTOMETRIC.MINISBLACK, _PHOTOMETRIC.MINISWHITE):
        remarks: tuple[str, ...] = ()
        if kind == _PHOTOMETRIC.MINISWHITE:
            values, remarks = _inverted(values, bits), ("its grey values were inverted, as 0 is white in it",)
        return _full_range(values, bits), remarks
    if kind in (_PHOTOMETRIC.RGB, _PHOTOMETRIC.MASK):
        return values, ()
    if kind == _PHOTOMETRIC.PALETTE:
        return _from_palette(values, page), ("its colours were converted from P to RGB",)
    if kind == _PHOTOMETRIC.YCBCR and page.compression in _JPEG:
        return values, ()  # The JPEG decoder converts them.
    name = getattr(kind, "name", str(kind))
    if values.ndim != 3 or values.dtype not in (np.uint8, np.uint16):
        raise UnknownColoursError(f"it stores {name} colours as {values.dtype}")
    if kind == _PHOTOMETRIC.YCBCR and values.shape[2] >= 3 and values.dtype == np.uint8:
        return ycbcr_to_rgb(values[..., :3]), ("its colours were converted from YCbCr to RGB",)
    if kind == _PHOTOMETRIC.SEPARATED and values.shape[2] >= 4 and _inks(page) == 4:
        return cmyk_to_rgb(values[..., :4]), ("its colours were converted from CMYK to RGB",)
    if kind in (_PHOTOMETRIC.CIELAB, _PHOTOMETRIC.ICCLAB) and values.shape[2] >= 3:
        lab = values[..., :3]
        converted = lab_to_rgb(lab, signed=kind == _PHOTOMETRIC.CIELAB)
        return converted, ("its colours were converted from LAB to RGB",)
    raise UnknownColoursError(f"its colours are {name}")


def has_alpha(page: Any) -> bool:
    """Return whether the last channel is opacity."""
    extra = tuple(getattr(page, "extrasamples", ()) or ())
    return bool(extra) and int(extra[-1]) in _ALPHA


def palette_of(page: Any) -> UInt8Array | None:
    """Return the first 256 colours of a palette, (256, 3) uint8; None if there is none."""
    if page.photometric != _PHOTOMETRIC.PALETTE or page.colormap is None:
        return None
    colours = np.zeros((256, 3), dtype=np.uint8)
    stored = _colours(page)[:256]
    colours[: len(stored)] = stored
    return colours


def _colours(page: Any) -> UInt8Array:
    """Return the colours of a palette, (N, 3) uint8."""
    stored = np.asarray(page.colormap, dtype=np.uint16).T
    # Some programs write 8-bit colours; libtiff recognises them in the same way.
    return (stored if stored.max(initial=0) < 256 else stored >> 8).astype(np.uint8)


def _from_palette(values: npt.NDArray[Any], page: Any) -> UInt8Array:
    if page.colormap is None or values.ndim != 2 or values.dtype.kind not in "bu":
        raise UnknownColoursError("its palette is missing or has no indices")
    colours = _colours(page)
    indices = values.astype(np.uint8) if values.dtype.kind == "b" else values
    if int(indices.max(initial=0)) >= len(colours):
        raise UnknownColoursError(f"it has {len(colours)} colours, but its indices reach {indices.max()}")
    return np.asarray(colours[indices])


def _inverted(values: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    if values.dtype.kind == "b":
        return ~values
    if values.dtype.kind == "u":
        white = values.dtype.type(min(2**bits - 1, int(np.iinfo(values.dtype).max)))
        return np.asarray(white - values)
    return ~values if values.dtype.kind == "i" else -values


def _full_range(values: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """Scale 2..7-bit grey values, which tifffile returns as uint8, to 0..255."""
    if values.dtype != np.uint8 or not 1 < bits < 8:
        return values
    table = (np.arange(256) * 255 // (2**bits - 1)).clip(0, 255).astype(np.uint8)
    return np.asarray(table[values])


def _inks(page: Any) -> int:
    """Number of inks; 4 for CMYK, 0 for other inks."""
    ink_set = page.tags.valueof("InkSet", default=1)
    return int(page.tags.valueof("NumberOfInks", default=4)) if ink_set == 1 else 0
