"""Sample data for napari's File menu and for *Try a sample*."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import as_file, files
from typing import Any

from skimage.data import immunohistochemistry

LayerData = tuple[Any, dict[str, Any], str]

H_AND_E = "H&E: skin (CMU-1)"
IMMUNOSTAIN = "Immunostain: colon, DAB with haematoxylin"


def h_and_e() -> list[LayerData]:
    """Return a region of an H&E slide, (1024, 1024, 3) uint8 at 0.499 um per pixel; see `samples/README.md`."""
    from ..images import read

    with as_file(files("napari_sampath.images") / "samples" / "CMU-1-region.jpg") as path:
        pixels = read(path).pixels
    options = {"name": "Skin, H&E (CMU-1)", "rgb": True, "scale": (0.499, 0.499), "units": ("um", "um")}
    return [(pixels, options, "image")]


def tissue() -> list[LayerData]:
    """Return scikit-image's example of colon tissue with DAB immunohistochemistry, (512, 512, 3) uint8."""
    return [(immunohistochemistry(), {"name": "Immunohistochemistry (DAB)", "rgb": True}, "image")]


SAMPLES: dict[str, tuple[str, Callable[[], list[LayerData]]]] = {
    "he": (H_AND_E, h_and_e),
    "immunohistochemistry": (IMMUNOSTAIN, tissue),
}
"""Key -> title, and function that returns the layer."""
