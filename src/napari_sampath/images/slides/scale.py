"""Micrometres per pixel of a slide, from the metadata of its format."""

from __future__ import annotations

import math
from typing import Any

from ...rasters.pixel_size import MPP_RANGE, mpp_of_tiff


def plausible(x_mpp: float | None, y_mpp: float | None = None) -> tuple[float | None, tuple[str, ...]]:
    """Check the scale that a file states.

    Args:
        x_mpp: Micrometres per pixel along a row; None or NaN if the file states none.
        y_mpp: The same along a column; like `x_mpp` if left out.

    Returns:
        Micrometres per pixel, or None, and a clause that says why a stated value is not used.
    """
    if x_mpp is None or math.isnan(x_mpp):
        return None, ()
    y_mpp = x_mpp if y_mpp is None or math.isnan(y_mpp) else y_mpp
    low, high = MPP_RANGE
    if not (low <= x_mpp <= high and low <= y_mpp <= high):
        return None, (
            f"its scale of {x_mpp:g} µm per pixel is not that of a microscope ({low:g} to {high:g}) and is ignored",
        )
    if abs(x_mpp - y_mpp) > 0.01 * x_mpp:
        return None, (f"its pixels are not square ({x_mpp:g} x {y_mpp:g} µm), so its scale is ignored",)
    return x_mpp, ()


def tiff_mpp(tiff: Any) -> tuple[float | None, tuple[str, ...]]:
    """Read the scale of a TIFF file: OME-XML, Aperio's description, ImageJ's, or the resolution tags.

    Args:
        tiff: The `tifffile.TiffFile`.

    Returns:
        Micrometres per pixel, or None, and a clause that says why a stated value is not used.
    """
    page = tiff.series[0].keyframe
    scale = mpp_of_tiff(tiff, page)
    if scale.mpp is None and scale.remark is None and "XResolution" in page.tags:
        per_um = page.get_resolution("micrometer")
        return plausible(*(1 / value if value else math.nan for value in per_um))
    return scale.mpp, (scale.remark,) if scale.remark else ()
