"""Simulated prompts, as in the training of SAM (Kirillov et al. 2023, section 3 and appendix A).

Prompts for many objects are sampled at once, with tensor operations on any device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...annotations.masks.masks import depth
from ...arrays import LOGITS_PX, BoolArray
from ...geometry import INPUT_PX
from .distances import edge_distance

CELL_PX = INPUT_PX // LOGITS_PX
"""Side length of a cell of the logit grid, in pixels of the encoder's input frame."""

BOX_NOISE_MAX_PX = 20.0
"""Maximum shift of a box coordinate, in pixels of the frame."""


def generator_on(device: torch.device, rng: np.random.Generator) -> torch.Generator:
    """Return a generator of random tensors on a device, seeded by `rng`."""
    return torch.Generator(device).manual_seed(int(rng.integers(2**63)))


def noisy_boxes(
    masks: Tensor, offset_xy: tuple[int, int], generator: torch.Generator, share: float
) -> Tensor:
    """Return the bounding boxes of objects with randomly shifted sides, (N, 4) XYXY in pixels of the frame.

    Args:
        masks: (N, h, w) bool on the logit grid, none of them empty.
        offset_xy: Position of the grid's first cell in the frame, (x, y) in pixels.
        generator: Random number generator.
        share: Standard deviation of the shift, as a fraction of the side length of the box.
    """
    x0, x1 = _span(masks.any(dim=1))
    y0, y1 = _span(masks.any(dim=2))
    boxes = torch.stack([x0, y0, x1, y1], dim=1) * float(CELL_PX)
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = torch.randn(boxes.shape, generator=generator, device=boxes.device) * share * sides
    noisy = boxes + noise.clamp(-BOX_NOISE_MAX_PX, BOX_NOISE_MAX_PX)
    low, high = torch.minimum(noisy[:, :2], noisy[:, 2:]), torch.maximum(noisy[:, :2], noisy[:, 2:])
    # The prompt encoder adds half a pixel to every coordinate.
    return torch.cat([low, high], dim=1) + boxes.new_tensor(offset_xy * 2) - 0.5


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and one past the last True of each row (N, n), each (N,)."""
    count = occupied.shape[1]
    positions = torch.arange(count, device=occupied.device)
    return positions.where(occupied, count).amin(dim=1), positions.where(occupied, -1).amax(dim=1) + 1


def random_points(regions: Tensor, offset_xy: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Sample a point (x, y) in pixels of the frame uniformly from each region (N, h, w) of the logit grid: (N, 2)."""
    return _points_in(_sample_cells(regions.float(), generator), regions.shape[2], offset_xy, generator)


def inner_points(regions: Tensor, offset_xy: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Sample a point from each region (N, h, w), weighted by the distance from its edge; see `random_points`."""
    cells = _sample_cells(edge_distance(regions), generator)
    return _points_in(cells, regions.shape[2], offset_xy, generator)


def correcting_points(
    predicted: Tensor, targets: Tensor, offset_xy: tuple[int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Sample a point where prediction and target (N, h, w) bool differ, and return points (N, 2) and labels (N,).

    The label is 1 in a missed pixel and 0 in a false positive pixel. For a perfect prediction, the point is inside the
    target and its label is 1.
    """
    error = predicted != targets
    regions = error.where(error.any(dim=(1, 2), keepdim=True), targets)
    cells = _sample_cells(regions.float(), generator)
    labels = targets.flatten(1).gather(1, cells[:, None])[:, 0].float()
    return _points_in(cells, targets.shape[2], offset_xy, generator), labels


def _sample_cells(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Sample a flat index (N,) from each map of weights (N, h, w), in proportion to the weights.

    The quotient of a weight and an exponential random number is the largest of all in proportion to the weight. In
    contrast to `torch.multinomial`, the host does not wait for the device.
    """
    flat = weights.flatten(1)
    noise = torch.empty_like(flat).exponential_(generator=generator)
    return (flat / noise.clamp(min=1e-20)).argmax(dim=1)


def _points_in(cells: Tensor, width: int, offset_xy: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Sample points (N, 2) as (x, y) in pixels of the frame from cells (N,), given by their flat indices."""
    corners = torch.stack([cells % width, cells // width], dim=1) * float(CELL_PX)
    jitter = torch.rand(corners.shape, generator=generator, device=corners.device) * CELL_PX
    return corners + jitter + corners.new_tensor(offset_xy) - 0.5


def worst_mistake(predicted: BoolArray, target: BoolArray) -> tuple[tuple[float, float], int]:
    """Return the innermost pixel of the wrongly segmented areas, where a user would click next.

    `predicted` and `target` are (H, W) bool and must differ. Returns (x, y) of the pixel's centre, and the label of the
    click: 1 in a missed area, 0 in a false positive area.
    """
    depths = [depth(area) for area in (predicted & ~target, target & ~predicted)]
    label = int(depths[1].max() >= depths[0].max())
    row, col = np.unravel_index(int(np.argmax(depths[label])), target.shape)
    return (float(col) + 0.5, float(row) + 0.5), label
