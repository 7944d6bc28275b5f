"""Pictures from files and arrays, brought to the one form that encoders take, or refused in a sentence."""

from .loaded_image import MIN_SIDE_PX, LoadedImage, to_loaded_image
from .reader import read

__all__ = ["MIN_SIDE_PX", "LoadedImage", "read", "to_loaded_image"]
