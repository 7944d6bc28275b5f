"""Images from files and arrays, converted to the (H, W, 3) uint8 RGB that encoders take."""

from .loaded_image import MIN_SIDE_PX, LoadedImage, to_loaded_image
from .reader import read

__all__ = ["MIN_SIDE_PX", "LoadedImage", "read", "to_loaded_image"]
