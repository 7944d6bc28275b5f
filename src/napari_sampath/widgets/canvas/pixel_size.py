"""The pixel size of an image layer."""

from __future__ import annotations

from napari.layers import Image


def mpp_of(image: Image) -> float | None:
    """Return the micrometres per pixel of an image layer; None if its scale has no unit of length."""
    unit = image.units[-1]
    if not unit.is_compatible_with("micrometer"):
        return None
    return float(image.scale[-1]) * float((1 * unit).to("micrometer").magnitude)
