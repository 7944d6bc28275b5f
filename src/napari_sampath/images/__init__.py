"""Images from files and arrays, converted to (H, W, 3) uint8 RGB for the encoders."""

from .listing import IMAGE_SUFFIXES, ImageListing, list_images
from .loaded_image import MIN_SIDE_PX, LoadedImage, to_loaded_image
from .reader import read

__all__ = [
    "IMAGE_SUFFIXES",
    "MIN_SIDE_PX",
    "ImageListing",
    "LoadedImage",
    "list_images",
    "read",
    "to_loaded_image",
]
