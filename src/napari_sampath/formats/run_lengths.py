"""Run-length encoding of masks: row by row for journals and patches, column by column for COCO.

Runs of False and True pixels alternate. The first run counts False pixels, and is 0 if the first pixel is True.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..arrays import BoolArray, IntArray, LocalMask
from ..errors import DatasetError

Runs: TypeAlias = npt.NDArray[np.uint32]


def encode(bitmap: BoolArray) -> Runs:
    """Encode a bool array (h, w) row by row.

    Returns:
        (R,) uint32, summing to h * w; empty for an array without pixels.
    """
    flat = bitmap.reshape(-1)
    if flat.size == 0:
        return np.zeros(0, dtype=np.uint32)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # If the first pixel is True, a second edge at 0 makes the first run of False empty.
    return np.diff(np.concatenate(([0, 0] if flat[0] else [0], edges, [flat.size]))).astype(np.uint32)


def decode(lengths: npt.ArrayLike, hw: tuple[int, int]) -> BoolArray:
    """Decode the run lengths of a bool array of size (h, w); the inverse of `encode`.

    Raises:
        ValueError: If the lengths do not sum to h * w.
    """
    runs = np.asarray(lengths, dtype=np.int64)
    if runs.ndim != 1 or (runs < 0).any() or int(runs.sum()) != hw[0] * hw[1]:
        raise ValueError(f"run lengths sum to {int(runs.sum())} and not to {hw[0]} x {hw[1]} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(hw)


def values_to_runs(values: IntArray) -> tuple[IntArray, Runs]:
    """Return the value and the length of each run of equal values (N,); `np.repeat` is the inverse."""
    if values.size == 0:
        return values.copy(), np.zeros(0, dtype=np.uint32)
    edges = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1, [values.size]))
    return values[edges[:-1]], np.diff(edges).astype(np.uint32)


def mask_to_json(mask: LocalMask) -> dict[str, Any]:
    """Encode a mask as {"row", "col", "hw": [h, w], "counts": run lengths row by row}."""
    counts = encode(mask.bitmap).tolist()
    return {"row": mask.row, "col": mask.col, "hw": list(mask.bitmap.shape), "counts": counts}


def mask_from_json(fields: Mapping[str, Any]) -> LocalMask:
    """Decode a mask; the inverse of `mask_to_json`.

    Raises:
        ValueError: If the run lengths do not fit the size.
    """
    height, width = fields["hw"]
    return LocalMask(int(fields["row"]), int(fields["col"]), decode(fields["counts"], (height, width)))


def encode_coco(mask: LocalMask, hw: tuple[int, int]) -> list[int]:
    """Encode a mask as COCO `counts`, column by column, in time proportional to the mask's bounding box.

    Args:
        mask: Inside the image.
        hw: Image size (H, W).

    Returns:
        Run lengths that sum to H * W.
    """
    height, bits = hw[0], mask.bitmap
    if not bits.any():
        return [hw[0] * hw[1]]
    # Find where runs start and end in each column.
    padded = np.zeros((bits.shape[0] + 2, bits.shape[1]), dtype=np.int8)
    padded[1:-1] = bits
    cols, rows = np.nonzero(np.diff(padded, axis=0).T)
    positions = (cols + mask.col) * height + rows + mask.row
    # Join a run that reaches the lower image edge with the one at the top of the next column.
    joined = np.flatnonzero(np.diff(positions) == 0)
    positions = np.delete(positions, np.concatenate([joined, joined + 1]))
    edges = [0, *positions.tolist(), hw[0] * hw[1]]
    counts = [stop - start for start, stop in pairwise(edges)]
    return counts if counts[-1] else counts[:-1]


def decode_coco(counts: Sequence[int] | IntArray, hw: tuple[int, int]) -> LocalMask:
    """Decode the COCO `counts` of an image of size (H, W), in time proportional to the columns that the mask covers.

    Raises:
        DatasetError: If the runs do not add up to H * W.
    """
    height = hw[0]
    lengths = np.asarray(counts, dtype=np.int64)
    if lengths.ndim != 1 or lengths.min(initial=0) < 0 or lengths.sum() != hw[0] * hw[1]:
        raise DatasetError(
            f"The runs cover {lengths.sum()} px, the image of {hw[1]} x {hw[0]} px has {hw[0] * hw[1]}; "
            "give the runs of this image."
        )
    edges = np.cumsum(lengths)
    starts, stops = edges[:-1:2], edges[1::2]
    filled = stops > starts
    if not filled.any():
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    # Cut the runs to the columns between the first and the last pixel of the mask.
    left, right = int(starts[filled][0] // height), int((stops[filled][-1] - 1) // height) + 1
    inner = np.clip(np.concatenate([[0], edges]), left * height, right * height)
    return LocalMask.from_dense(decode(np.diff(inner), (right - left, height)).T, 0, left)


def unpack_coco(text: str) -> list[int]:
    """Decode the compressed `counts` of the COCO API (`rleToString` in `maskApi.c`).

    Each character encodes 6 bits as an offset from "0": five bits of a number, lowest first, and a continuation bit.
    From the fourth number on, the difference to the number two positions earlier is stored.

    Raises:
        DatasetError: If the text is malformed.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64:
            raise DatasetError(f"The run lengths hold '{letter}', which is not allowed; export them again.")
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
