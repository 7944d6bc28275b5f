"""Encoding of images and maps."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...arrays import ClassInfo, IntArray, UInt8Array
from ...errors import ImageError
from ..maps.pixels import PNG_IDS, write_palette, write_png

UNKNOWN = 255
"""Value of pixels that are neither class nor background."""


def png(pixels: UInt8Array) -> bytes:
    """Encode an image (H, W, 3) uint8 or a map (H, W) uint8 as PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def class_png(class_map: UInt8Array, classes: tuple[ClassInfo, ...]) -> bytes:
    """Encode a class map (H, W) as an indexed PNG in the colours of the classes."""
    stream = io.BytesIO()
    write_palette(stream, class_map, classes)
    return stream.getvalue()


def instance_png(instance_map: IntArray, name: str) -> bytes:
    """Encode an instance map (H, W) as PNG with 16 bits.

    Raises:
        ImageError: If there are more than 65,535 objects.
    """
    if int(instance_map.max(initial=0)) > PNG_IDS:
        raise ImageError(
            f"'{name}' has more than {PNG_IDS:,} objects, which a PNG cannot hold; export it as patches."
        )
    stream = io.BytesIO()
    write_png(stream, instance_map, np.uint16)
    return stream.getvalue()


def npy(values: npt.NDArray[Any]) -> bytes:
    """Encode an array as `.npy`."""
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=values.dtype == np.object_)
    return stream.getvalue()


def json_bytes(content: Any) -> bytes:
    """Encode JSON as UTF-8."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
