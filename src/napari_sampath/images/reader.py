"""Read image files as `LoadedImage`."""

from __future__ import annotations

from pathlib import Path

from ..rasters import read_raster
from .loaded_image import LoadedImage, to_loaded_image


def read(path: str | Path) -> LoadedImage:
    """Read an image file.

    Args:
        path: JPEG, PNG, TIFF, or another format that `rasters.read_raster` reads; see there for files with several
            images.

    Returns:
        The image as displayed, turned according to its orientation tag, and named after the file without its suffix.
        `mpp` is set if the file states it.

    Raises:
        ImageError: If the file is missing, unreadable, truncated or not an image, or `to_loaded_image` rejects it.
    """
    path = Path(path).expanduser()
    raster = read_raster(path)
    return to_loaded_image(
        raster.values, path.stem, mpp=raster.mpp, remarks=raster.remarks, orientation=raster.orientation
    )
