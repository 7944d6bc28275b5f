"""Parsing of values in files of other programs: rings, colours and names of images."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ..errors import UnknownNameError, refuse
from ..files.json_reader import Range
from ..files.json_writer import to_json
from ..registry import join_names, unknown_name

MAX_COORDINATE = 2**31
"""Largest coordinate of a corner, in pixels."""
_ENDINGS = re.compile(
    r"\.(png|jpe?g|jpe|jfif|tiff?|btf|bmp|gif|webp|jp2|j2k|avif|p[gp]m|npy|zarr|svs|scn|ndpi|mrxs|vsi|bif|czi|lif|dcm"
    r"|qptiff|svslide|vms|vmu|nd2|nii|gz|json|txt|xml)$",
    re.IGNORECASE,
)
"""Endings of files of images and annotations; what follows the dot in "slide.1" is a part of the name."""
Color = tuple[int, int, int]
Side = Annotated[int, Range(1, 2**31 - 1)]
"""Height or width of an image in pixels, as a type for `files.convert`."""


def dump_json(content: Any) -> bytes:
    """Encode a value as compact JSON in UTF-8, with a final newline."""
    return f"{to_json(content)}\n".encode("utf-8", "surrogatepass")


def other_name(stated: str | None, name: str | None) -> str | None:
    """Return a sentence if a file names another image than the one that it is imported into.

    Args:
        stated: Name of the image according to the file, with or without folders and ending; None if it is not stated.
        name: Name of the image.
    """
    if not stated or not name or stated.isdecimal():  # COCO may have only numbers.
        return None
    both = [{_file_of(text).casefold(), stem_of(text).casefold()} for text in (stated, name)]
    if both[0] & both[1]:
        return None
    return f"The file is for the image '{_file_of(stated)}', and this image is '{name}'; check that it belongs to it."


def choose_image(names: Sequence[str], name: str | None, path: Path) -> int:
    """Find an image in a file of several images.

    Args:
        names: Names of the images, with or without folders and endings.
        name: Name of the image that is looked for; not needed if there is only one.
        path: For error messages.

    Returns:
        Index of the image: the one whose name is equal, else equal without folders, else also without ending.

    Raises:
        ImageError: If there are several images and no name is given, or several have this name.
        UnknownNameError: If none has this name.
    """
    if len(names) == 1:
        return 0
    if name is None:
        refuse(
            path, f"has annotations of {len(names)} images ({join_names(list(names))})", "name one of them"
        )
    for own, others in ((_normal, _normal), (_file_of, _file_of), (_file_of, stem_of), (stem_of, stem_of)):
        indices = [index for index, candidate in enumerate(names) if others(candidate) == own(name)]
        if len(indices) == 1:
            return indices[0]
        if indices:
            refuse(path, f"has {len(indices)} images named '{name}'", "name one of them with its folder")
    raise UnknownNameError(unknown_name(f"image in '{path}'", name, list(names)))


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _file_of(name: str) -> str:
    return _normal(name).rpartition("/")[2]


def stem_of(name: str) -> str:
    """Return the name of a file without its folder and the ending of an image or annotation file."""
    file = _file_of(name)
    return _ENDINGS.sub("", file) or file


def parse_ring(values: Any) -> Any:
    """Convert a ring, [[x, y], ...] or [x, y, x, y, ...], to (N, 2) float64.

    Raises:
        ValueError: If it is malformed, or a coordinate is not finite or out of range.
    """
    if len(values) and isinstance(values[0], list):
        values = [corner[:2] for corner in values]  # Drop the z coordinate.
    try:
        corners = np.asarray(values, dtype=np.float64)
        is_valid = corners.ndim == 1 or corners.shape[1:] == (2,)
        ring = corners.reshape(-1, 2)
    except (ValueError, TypeError, OverflowError):
        is_valid = False
    if not is_valid:
        raise ValueError("its points are not pairs of numbers")
    if not (np.abs(ring) <= MAX_COORDINATE).all():
        raise ValueError(f"a coordinate is not a number of at most {MAX_COORDINATE:,}")
    return ring


def parse_color(value: Any) -> Color | None:
    """Convert [red, green, blue], 0..255, or QuPath's packed number to a colour; return None for other values."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value >> 16 & 255, value >> 8 & 255, value & 255]
    if isinstance(value, list) and len(value) in (3, 4) and all(type(part) is int for part in value):
        red, green, blue = (min(255, max(0, part)) for part in value[:3])
        return red, green, blue
    return None
