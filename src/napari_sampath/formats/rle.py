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
    """Decode `counts` of an image of size (H, W); the inverse of `encode`.

    Raises:
        DatasetError: If the runs do not add up to the image.
    """
    lengths = np.asarray(counts, dtype=np.int64)
    if lengths.min(initial=0) < 0 or lengths.sum() != hw[0] * hw[1]:
        raise DatasetError(
            f"The runs cover {lengths.sum()} px, the image of {hw[1]} x {hw[0]} px has {hw[0] * hw[1]}; "
            "give the runs of this image."
        )
    inside = np.arange(len(lengths)) % 2 == 1
    return LocalMask.from_dense(np.repeat(inside, lengths).reshape(hw[1], hw[0]).T)


def from_text(text: str | bytes) -> list[int]:
    """Decode the compressed `counts` of pycocotools into run lengths.

    Each number is written in groups of 5 bits, lowest first, as characters from "0" on; the sixth bit of a group
    says that another follows, the fifth of the last is the sign. From the third on, the number is the difference
    to the one before the last.

    Raises:
        DatasetError: If the text ends within a number, or holds other characters.
    """
    codes = [code - 48 for code in (text.encode("ascii", "replace") if isinstance(text, str) else text)]
    counts: list[int] = []
    value = shift = 0
    for code in codes:
        if not 0 <= code < 64:
            raise DatasetError(
                f"The run lengths hold the character '{chr(code + 48)}'; export the file again."
            )
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise DatasetError("The run lengths end within a number; export the file again.")
    return counts
