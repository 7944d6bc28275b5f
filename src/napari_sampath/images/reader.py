"""Read image files as `LoadedImage`."""

from __future__ import annotations

from pathlib import Path

from ..rasters import read_raster
from .loaded_image import LoadedImage, to_loaded_image


def read(path: str | Path) -> LoadedImage:
    """Read an image file.

    Args:
        path: JPEG, PNG, TIFF, or any other format that Pillow reads; see `rasters.read_raster` for files with several
            images.

    Returns:
        The image, named after the file without its suffix; `mpp` is set if a TIFF file states it.

    Raises:
        ImageError: If the file is missing, unreadable, truncated or not an image, or `to_loaded_image` rejects it.
    """
    path = Path(path).expanduser()
    raster = read_raster(path)
    return to_loaded_image(raster.values, path.stem, mpp=raster.mpp, remarks=raster.remarks)
