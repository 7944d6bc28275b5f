"""Images from files and arrays, converted to (H, W, 3) uint8 RGB for the encoders."""

from .large import open_image
from .layer_image import LayerImage, read_layer
from .listing import IMAGE_SUFFIXES, ImageListing, list_images
from .loaded_image import MIN_SIDE_PX, LoadedImage, to_loaded_image
from .reader import read

__all__ = [
    "IMAGE_SUFFIXES",
    "MIN_SIDE_PX",
    "ImageListing",
    "LayerImage",
    "LoadedImage",
    "list_images",
    "open_image",
    "read",
    "read_layer",
    "to_loaded_image",
]
