"""Simulated prompts, as in the training of SAM (Kirillov et al. 2023, section 3 and appendix A)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...annotations.masks.masks import depth
from ...arrays import LOGITS_PX, BoolArray, FloatArray
from ...geometry import INPUT_PX

CELL_PX = INPUT_PX // LOGITS_PX
"""Side length of a cell of the logit grid, in pixels of the encoder's input frame."""

BOX_NOISE_MAX_PX = 20.0
"""Maximum shift of a box coordinate, in pixels of the frame."""


def noisy_box(
    mask: BoolArray, offset_xy: tuple[int, int], rng: np.random.Generator, share: float
) -> FloatArray:
    """Return the bounding box of an object with randomly shifted sides, (4,) XYXY in pixels of the frame.

    Args:
        mask: (h, w) bool on the logit grid, not empty.
        offset_xy: Position of the grid's first cell in the frame, (x, y) in pixels.
        rng: Random number generator.
        share: Standard deviation of the shift, as a fraction of the side length of the box.
    """
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.array([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1], dtype=np.float64) * CELL_PX
    sides = np.tile([box[2] - box[0], box[3] - box[1]], 2)
    noise = np.clip(rng.normal(0, share * sides), -BOX_NOISE_MAX_PX, BOX_NOISE_MAX_PX)
    noisy = box + noise
    x0, x1 = sorted(noisy[[0, 2]])
    y0, y1 = sorted(noisy[[1, 3]])
    # The prompt encoder adds half a pixel to every coordinate.
    return np.array([x0, y0, x1, y1]) + np.tile(np.asarray(offset_xy, dtype=np.float64), 2) - 0.5


def random_point(region: BoolArray, offset_xy: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Sample a point (x, y), in pixels of the frame, uniformly from a region (h, w) of the logit grid."""
    cells = np.flatnonzero(region)
    return _point_in(int(cells[int(rng.integers(cells.size))]), region.shape[1], offset_xy, rng)


def inner_point(region: BoolArray, offset_xy: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Sample a point from a region (h, w), weighted by the distance from its edge; see `random_point`."""
    cells = np.flatnonzero(region)
    distances = depth(region).ravel()[cells]
    return _point_in(int(rng.choice(cells, p=distances / distances.sum())), region.shape[1], offset_xy, rng)


def _point_in(cell: int, width: int, offset_xy: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """Sample a point (x, y), in pixels of the frame, from the cell with the flat index `cell`."""
    row, col = divmod(cell, width)
    jitter = rng.uniform(0, CELL_PX, 2)
    return np.array([col, row]) * CELL_PX + jitter + np.asarray(offset_xy, dtype=np.float64) - 0.5


def correcting_point(
    predicted: BoolArray, target: BoolArray, offset_xy: tuple[int, int], rng: np.random.Generator
) -> tuple[FloatArray, int]:
    """Sample a point where prediction and target differ, and return it with its label.

    The label is 1 in a missed pixel and 0 in a false positive pixel. For a perfect prediction, the point is inside the
    target and its label is 1.
    """
    error = predicted != target
    region = error if error.any() else target
    point = random_point(region, offset_xy, rng)
    col, row = ((point + 0.5 - np.asarray(offset_xy)) // CELL_PX).astype(int)
    return point, int(target[row, col])


def worst_mistake(predicted: BoolArray, target: BoolArray) -> tuple[tuple[float, float], int]:
    """Return the innermost pixel of the wrongly segmented areas, where a user would click next.

    `predicted` and `target` are (H, W) bool and must differ. Returns (x, y) of the pixel's centre, and the label of the
    click: 1 in a missed area, 0 in a false positive area.
    """
    depths = [depth(area) for area in (predicted & ~target, target & ~predicted)]
    label = int(depths[1].max() >= depths[0].max())
    row, col = np.unravel_index(int(np.argmax(depths[label])), target.shape)
    return (float(col) + 0.5, float(row) + 0.5), label


def to_tensors(
    points: list[list[FloatArray]], labels: list[list[int]], device: torch.device
) -> tuple[Tensor, Tensor] | None:
    """Stack N points and labels for each of B objects into ((B, N, 2), (B, N)); None if N is 0."""
    if not points[0]:
        return None
    xy = torch.as_tensor(np.array(points), dtype=torch.float32, device=device)
    return xy, torch.as_tensor(np.array(labels), dtype=torch.float32, device=device)
