"""Pictures from files and arrays, brought to the one form that encoders take, or refused in a sentence."""

from .picture import MIN_SIDE_PX, Picture, to_picture
from .reader import read

__all__ = ["MIN_SIDE_PX", "Picture", "read", "to_picture"]
