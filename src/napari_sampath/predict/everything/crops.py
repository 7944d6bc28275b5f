"""SAM's overlapping crops of an image, and the grid of points in each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...geometry import Frame, whole

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...arrays import BoolArray, FloatArray

EDGE_PX = 20.0
"""Distance to the crop edge within which a mask was probably cut off (`is_box_near_crop_edge` in SAM)."""


def point_grid(per_side: int) -> FloatArray:
    """Return the centres of per_side x per_side equal cells, (N, 2) float64 (x, y) in [0, 1], row by row."""
    half = 1 / (2 * per_side)
    along = np.linspace(half, 1 - half, per_side)
    x, y = np.meshgrid(along, along)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def points_in(frame: Frame, per_side: int) -> FloatArray:
    """Return the grid of points in a window, (N, 2) float64 (x, y) in image pixels."""
    size, origin = np.array([frame.width, frame.height]), np.array([frame.left, frame.top])
    points: FloatArray = point_grid(per_side) * size + origin
    return points


def crop_frames(hw: tuple[int, int], layers: int, overlap_ratio: float, input_px: int) -> list[list[Frame]]:
    """Divide an image into the crops of SAM's mask generator.

    Args:
        hw: Image size (H, W) in pixels.
        layers: Layers besides the whole image; layer i has 2**i crops per side.
        overlap_ratio: Overlap of the first layer's crops, as a fraction of the image's shorter side; halved in each
            layer.
        input_px: Side of the encoder's square input.

    Returns:
        The crops of each layer, column by column; layer 0 is the whole image. Crops are empty if the image is too
        small.
    """
    frames = [[whole(hw, input_px)]]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(hw) * (2 / count))
        height, width = (math.ceil((overlap * (count - 1) + length) / count) for length in hw)
        starts = [
            (row * (height - overlap), col * (width - overlap))
            for col in range(count)
            for row in range(count)
        ]
        frames.append(
            [
                Frame(top, left, min(height, hw[0] - top), min(width, hw[1] - left), input_px)
                for top, left in starts
            ]
        )
    return frames


def near_crop_edge(
    boxes: npt.ArrayLike, crop: Frame, hw: tuple[int, int], within_px: float = EDGE_PX
) -> BoolArray:
    """Find the boxes that are close to an edge of their crop that is not an edge of the image.

    Args:
        boxes: (N, 4) boxes (x0, y0, x1, y1) in image pixels, x1 and y1 the last pixels inside.
        crop: The crop of the boxes.
        hw: Image size (H, W).
        within_px: Maximum distance.

    Returns:
        (N,) bool, True for these boxes.
    """
    edges = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    of_crop = np.array([crop.left, crop.top, crop.left + crop.width, crop.top + crop.height])
    of_image = np.array([0, 0, hw[1], hw[0]])
    near_crop, near_image = (np.abs(edges - sides) <= within_px for sides in (of_crop, of_image))
    cut: BoolArray = (near_crop & ~near_image).any(axis=1)
    return cut
