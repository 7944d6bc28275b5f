"""Uncompressed run-length encoding of COCO: lengths of runs down the columns, the first of zeros."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ..arrays import LocalMask
from ..errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..arrays import IntArray


def encode(mask: LocalMask, hw: tuple[int, int]) -> list[int]:
    """Encode a mask as the `counts` of an image of size (H, W), from the pixels of its bounding box alone.

    Args:
        mask: Inside the image.
        hw: Image size (H, W).

    Returns:
        Run lengths that alternate between outside and inside and sum to H * W; the first is 0 if the first
        pixel is inside.
    """
    height = hw[0]
    bits = mask.bitmap
    if not bits.any():
        return [hw[0] * hw[1]]
    # Rows outside of the bounding box end a run, unless it touches the image's lower edge.
    padded = np.zeros((bits.shape[0] + 2, bits.shape[1]), dtype=np.int8)
    padded[1:-1] = bits
    steps = np.diff(padded, axis=0).T
    cols, rows = np.nonzero(steps)
    places = (cols + mask.col) * height + rows + mask.row
    # A run that goes on at the top of the next column ends and starts at the same place there.
    same = np.flatnonzero(np.diff(places) == 0)
    places = np.delete(places, np.concatenate([same, same + 1]))
    edges = [0, *places.tolist(), hw[0] * hw[1]]
    counts = [stop - start for start, stop in pairwise(edges)]
    return counts if counts[-1] else counts[:-1]


def decode(counts: Sequence[int] | IntArray, hw: tuple[int, int]) -> LocalMask:
    """Decode `counts` of an image of size (H, W); the inverse of `encode`. Costs the mask's box, not the image.

    Raises:
        DatasetError: If the runs do not add up to the image.
    """
    lengths = np.asarray(counts, dtype=np.int64)
    if lengths.ndim != 1 or lengths.min(initial=0) < 0 or lengths.sum() != hw[0] * hw[1]:
        raise DatasetError(
            f"The runs cover {lengths.sum()} px, the image of {hw[1]} x {hw[0]} px has {hw[0] * hw[1]}; "
            "give the runs of this image."
        )
    edges = np.cumsum(lengths)
    starts, stops = edges[:-1:2], edges[1::2]
    starts, stops = starts[stops > starts], stops[stops > starts]
    if starts.size == 0:
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    height = hw[0]
    left, right = int(starts[0] // height), int((stops[-1] - 1) // height) + 1
    # Pixels of the columns in question alone, and of those the rows that any run touches.
    inside = np.zeros((right - left) * height + 1, dtype=np.int8)
    inside[starts - left * height] = 1
    np.add.at(inside, stops - left * height, -1)
    columns = np.cumsum(inside[:-1], dtype=np.int8).view(np.bool_).reshape(right - left, height)
    return LocalMask.from_dense(columns.T, 0, left)


def unpack(text: str) -> list[int]:
    """Turn the compressed string of the COCO API into `counts`.

    Each count is written in characters of 6 bits from 48 on, five of them a digit, lowest first, the sixth set if
    another follows; from the fourth on counts are differences to the one two before (`maskApi.c`, `rleToString`).

    Raises:
        DatasetError: If it is no such string.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64:
            raise DatasetError(
                f"The run lengths hold '{letter}', which is no part of them; export them again."
            )
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise DatasetError("The run lengths end in the middle of a number; export them again.")
    return counts
