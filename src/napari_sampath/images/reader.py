"""Image files -> `LoadedImage`."""

from __future__ import annotations

from pathlib import Path

from ..rasters import read_raster
from .loaded_image import LoadedImage, to_loaded_image


def read(path: str | Path) -> LoadedImage:
    """Read an image file.

    Args:
        path: JPEG, PNG, TIFF, or anything else that Pillow reads; see `rasters.read_raster` for what is taken of
            a file that holds several images.

    Returns:
        The picture, named after the file without its suffix; its scale is known if a TIFF file says it.

    Raises:
        ImageError: If the file is missing, unreadable, truncated, no image, or one that `to_loaded_image` refuses.
    """
    path = Path(path).expanduser()
    raster = read_raster(path)
    return to_loaded_image(raster.values, path.stem, mpp=raster.mpp, remarks=raster.remarks)
