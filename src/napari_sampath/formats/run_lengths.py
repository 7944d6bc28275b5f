"""Run-length encoding of masks: row by row for journals and patches, column by column for COCO.

Runs of False and True pixels alternate. The first run counts False pixels, and is 0 if the first pixel is True.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ..arrays import BoolArray, IntArray, LocalMask
from ..errors import DatasetError

_MAX_AREA = 2**62
_MAX_POSITION = 2**31
_MARGIN_PX = 1024
_STEPS = [2**k for k in range(20)]
_MAX_SHIFT = 60
"""Maximum size of a compressed number in bits; without this limit, its text could be as long as the file."""

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
    try:
        runs = np.asarray(lengths, dtype=np.int64)
    except OverflowError:
        raise ValueError("a run length has more than 64 bits") from None
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
    """Encode a mask as {"row", "col", "hw": [h, w], "counts": run lengths row by row}, with its "step" if above 1."""
    counts = encode(mask.bitmap).tolist()
    fields = {"row": mask.row, "col": mask.col, "hw": list(mask.bitmap.shape), "counts": counts}
    return fields if mask.step == 1 else {**fields, "step": mask.step}


def mask_from_json(fields: Any, hw: tuple[int, int]) -> LocalMask:
    """Decode a mask; the inverse of `mask_to_json`.

    Args:
        fields: The encoded mask.
        hw: Size (H, W) of the image.

    Raises:
        ValueError: If a value is missing or not a whole number, the mask is far larger than the image, or the run
            lengths do not fit its size.
    """
    if not isinstance(fields, Mapping):
        raise ValueError("a mask is missing")
    size = fields.get("hw")
    values = [fields.get("row"), fields.get("col"), *(size if isinstance(size, list | tuple) else ())]
    if len(values) != 4 or not all(type(value) is int for value in values):
        raise ValueError("the position or size of a mask is malformed")
    row, col, height, width = values
    step = fields.get("step", 1)
    if type(step) is not int or step not in _STEPS or row % step or col % step:
        raise ValueError(f"the step {str(step)[:40]} of a mask is malformed")
    # Masks may extend beyond the image, but their size is limited relative to the image, to save memory.
    outside = max(abs(row), abs(col)) > _MAX_POSITION or min(height, width) < 0
    if outside or height * step > 2 * hw[0] + _MARGIN_PX or width * step > 2 * hw[1] + _MARGIN_PX:
        raise ValueError(
            f"a mask of {width} x {height} px at ({col}, {row}) does not fit the image of {hw[1]} x {hw[0]}"
        )
    counts = fields.get("counts")
    if not isinstance(counts, list) or not all(type(count) is int for count in counts):
        raise ValueError("the run lengths of a mask are not whole numbers")
    return LocalMask(row, col, decode(counts, (height, width)), step)


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


@dataclass(frozen=True, slots=True, eq=False)
class ColumnRuns:
    """The runs of True pixels of an image, column by column, which are decoded only when needed."""

    starts: IntArray
    """(R,) int64 position of the first pixel of each run, col * H + row, in ascending order."""
    stops: IntArray
    """(R,) int64 position after the last pixel of each run."""
    hw: tuple[int, int]
    """Image size (H, W)."""

    @classmethod
    def parse(cls, counts: Sequence[int] | IntArray | str, hw: tuple[int, int]) -> ColumnRuns:
        """Check the `counts` of COCO, in time proportional to their number.

        Raises:
            DatasetError: If they are not whole numbers that add up to H * W.
        """
        values = unpack_coco(counts) if isinstance(counts, str) else counts
        height, width = hw
        try:
            lengths = np.asarray(values if len(values) else [0])
        except (ValueError, OverflowError, TypeError):
            lengths = np.zeros(0)
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not 0 <= height * width <= _MAX_AREA:
            raise DatasetError("The run lengths are not a list of whole numbers; export them again.")
        lengths = lengths.astype(np.int64)
        edges = np.cumsum(np.minimum(lengths, _MAX_AREA))  # A sum that overflows is negative.
        if lengths.min() < 0 or edges.min() < 0 or edges[-1] != height * width:
            raise DatasetError(
                f"The runs cover {sum(lengths.tolist())} px, the image of {width} x {height} px has "
                f"{height * width}; give the runs of this image."
            )
        starts, stops = edges[:-1:2], edges[1::2]
        filled = stops > starts
        return cls(starts[filled], stops[filled], hw)

    @property
    def slices(self) -> tuple[slice, slice]:
        """The bounding box as an index of an image array."""
        if not len(self.starts):
            return slice(0, 0), slice(0, 0)
        height = self.hw[0]
        first, last = self.starts // height, (self.stops - 1) // height
        left, right = int(first[0]), int(last[-1]) + 1
        if (first != last).any():
            return slice(0, height), slice(left, right)
        top, bottom = (self.starts % height).min(), ((self.stops - 1) % height).max() + 1
        return slice(int(top), int(bottom)), slice(left, right)

    def decode(self) -> LocalMask:
        """Decode the mask, in time proportional to its bounding box."""
        rows, cols = self.slices
        h, w, height = rows.stop - rows.start, cols.stop - cols.start, self.hw[0]
        if not h:
            return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
        # Positions inside the bounding box; only runs in a box of the full height of the image span several columns.
        starts = (self.starts // height - cols.start) * h + self.starts % height - rows.start
        stops = ((self.stops - 1) // height - cols.start) * h + (self.stops - 1) % height - rows.start + 1
        edges = np.stack([starts, stops], axis=1).ravel()
        lengths = np.diff(edges, prepend=0, append=h * w)
        return LocalMask.from_dense(decode(lengths, (w, h)).T, rows.start, cols.start)


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
        if not 0 <= code < 64 or shift > _MAX_SHIFT:
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
