"""NumPy's array files (.npy) as images and label maps; arrays of Python objects are refused, because they run code."""

from __future__ import annotations

import math
import os
import tokenize
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import ImageError
from .raster import Raster, RasterFile

START = b"\x93NUM"
_MAX_HEADER = 10_000
_MAX_BRACKETS = 100


def open_numpy(stream: BinaryIO, path: Path) -> RasterFile:
    """Read the header of an array file.

    Raises:
        ImageError: If it holds objects or fields, is shorter than its shape needs, or is not an image.
        ValueError: If the header is damaged.
    """
    shape, fortran_order, dtype = _read_header(stream)
    if dtype.hasobject:
        raise ImageError(
            f"'{path}' holds Python objects, which may run code when they are read; in Cellpose choose File > Save "
            "masks as PNG/tif, and give that file."
        )
    if dtype.names is not None or dtype.kind not in "buif":
        raise ImageError(f"'{path}' holds values of type {dtype}; save numbers.")
    if len(shape) not in (2, 3) or 0 in shape:
        raise ImageError(f"'{path}' has the shape {shape}; save one (H, W) or (H, W, C) array.")
    offset = stream.tell()
    missing = math.prod(shape) * dtype.itemsize - (os.fstat(stream.fileno()).st_size - offset)
    if missing > 0:
        raise ImageError(
            f"'{path}' is truncated ({missing} bytes are missing); download or save the file again."
        )

    def load(_indexed: bool) -> Raster:
        stream.seek(offset)
        count = math.prod(shape)
        values = np.frombuffer(stream.read(count * dtype.itemsize), dtype=dtype, count=count)
        ordered = values.reshape(shape, order="F" if fortran_order else "C")
        return Raster(ordered.astype(dtype.newbyteorder("=")), "NPY", alpha=shape[2:] == (4,))

    channels_first = len(shape) == 3 and shape[2] > 4 >= shape[0]
    hw = (shape[1], shape[2]) if channels_first else (shape[0], shape[1])
    return RasterFile(hw, 1, 1 + 2 * dtype.itemsize * math.prod(shape) // (hw[0] * hw[1]), None, True, load)


def _read_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"the version {version} of its header is unknown")
    start = stream.tell()
    length = int.from_bytes(stream.read(2 * version[0]), "little")
    header = stream.read(min(length, _MAX_HEADER))
    if sum(map(header.count, (b"{", b"[", b"("))) > _MAX_BRACKETS:
        raise ValueError("its header is nested")  # Python's parser would need very long for it.
    stream.seek(start)
    try:
        shape, fortran_order, dtype = read(stream, max_header_size=_MAX_HEADER)
    except (
        ValueError,
        TypeError,
        SyntaxError,
        tokenize.TokenError,
    ):  # Their texts name objects of Python's parser.
        raise ValueError("its header is damaged") from None
    if any(side < 0 for side in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, fortran_order, dtype
