"""Images from files and arrays, converted to (H, W, 3) uint8 RGB for the encoders."""

from .loaded_image import MIN_SIDE_PX, LoadedImage, to_loaded_image
from .reader import read

__all__ = ["MIN_SIDE_PX", "LoadedImage", "read", "to_loaded_image"]
