"""Run lengths: how masks are written into the journal and patches are kept in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import BoolArray, IntArray, LocalMask

Runs = npt.NDArray[np.uint32]


def encode(bitmap: BoolArray) -> Runs:
    """Turn a bool array (h, w) into run lengths.

    Pixels are read row by row (numpy's order, not COCO's columns). The first length counts False pixels and
    is 0 if the first pixel is True; lengths alternate from there.

    Returns:
        (R,) uint32, summing to h * w; empty for an array without pixels.
    """
    flat = bitmap.reshape(-1)
    if flat.size == 0:
        return np.zeros(0, dtype=np.uint32)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    # A first edge at 0 makes the first run, of False, empty.
    edges = np.concatenate(([0, 0] if flat[0] else [0], edges, [flat.size]))
    return (edges[1:] - edges[:-1]).astype(np.uint32)


def decode(lengths: npt.ArrayLike, hw: tuple[int, int]) -> BoolArray:
    """Turn run lengths, as `encode` makes them, into a bool array of size (h, w).

    Raises:
        ValueError: If the lengths don't sum to h * w.
    """
    runs = np.asarray(lengths, dtype=np.int64)
    if runs.ndim != 1 or (runs < 0).any() or int(runs.sum()) != hw[0] * hw[1]:
        raise ValueError(f"run lengths sum to {int(runs.sum())} and not to {hw[0]} x {hw[1]} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(hw)


def values_to_runs(values: IntArray) -> tuple[IntArray, Runs]:
    """Turn (N,) values into the value of each run and its length; `np.repeat` takes them back."""
    if values.size == 0:
        return values.copy(), np.zeros(0, dtype=np.uint32)
    edges = np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1, [values.size]))
    return values[edges[:-1]], (edges[1:] - edges[:-1]).astype(np.uint32)


def mask_to_json(mask: LocalMask) -> dict[str, Any]:
    """Write a mask as {"row", "col", "hw": [h, w], "counts": run lengths row by row, False first}."""
    return {
        "row": mask.row,
        "col": mask.col,
        "hw": list(mask.bitmap.shape),
        "counts": encode(mask.bitmap).tolist(),
    }


def mask_from_json(fields: Mapping[str, Any]) -> LocalMask:
    """Read a mask that `mask_to_json` wrote.

    Raises:
        ValueError: If the run lengths don't fit the size.
    """
    height, width = fields["hw"]
    return LocalMask(int(fields["row"]), int(fields["col"]), decode(fields["counts"], (height, width)))
