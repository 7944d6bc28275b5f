"""Whole-slide images: pyramids of resolutions that are read from the file window by window."""

from .array_levels import ArraySlide
from .opening import SLIDE_PIXELS, is_slide, open_large, open_levels, open_slide
from .slide import Level, Slide

__all__ = [
    "SLIDE_PIXELS",
    "ArraySlide",
    "Level",
    "Slide",
    "is_slide",
    "open_large",
    "open_levels",
    "open_slide",
]
