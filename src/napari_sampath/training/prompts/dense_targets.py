"""Dense targets for the warm-up of an encoder: foreground, boundary, distance, and offset to the object's centre.

Distances and offsets are the targets of HoVer-Net (Graham et al. 2019). By predicting them, an encoder learns which
pixels belong to the same object, which segmentation from prompts requires.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..data.distances import edge_distance
from .windows import Window

OBJECT_MAPS = 4
"""Number of object maps: boundary, distance, row offset and column offset."""


class DenseHead(nn.Module):
    """Head that maps an embedding (B, 256, h, w) to (B, kinds + 4, 4h, 4w).

    The output has one foreground logit per kind, then the object maps.
    """

    def __init__(self, kinds: int, channels: int = 256) -> None:
        super().__init__()
        self.kinds = kinds
        self.expand = nn.Conv2d(channels, 16 * 16, kernel_size=1)
        self.shuffle = nn.PixelShuffle(4)
        self.read = nn.Conv2d(16, kinds + OBJECT_MAPS, kernel_size=3, padding=1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Predict all maps on the logit grid of the prompt decoder."""
        maps: Tensor = self.read(functional.gelu(self.shuffle(self.expand(embedding))))
        return maps


def object_maps(instances: Tensor) -> Tensor:
    """Compute the object maps from ids (B, h, w), which are 0 in the background and negative outside the verified area.

    Returns:
        (B, 4, h, w) float32: inner boundary (0 or 1), distance to it (as a fraction of the object's maximum, 0..1), and
        offset to the object's centroid (rows, cols) in units of the square root of its area.
    """
    inside = instances > 0
    # Inner boundary: cells with a neighbour of another id.
    boundary = torch.zeros_like(inside)
    for axis in (1, 2):
        count = instances.shape[axis] - 1
        before, after = boundary.narrow(axis, 0, count), boundary.narrow(axis, 1, count)
        differs = instances.narrow(axis, 0, count) != instances.narrow(axis, 1, count)
        before |= differs
        after |= differs
    boundary &= inside
    # Renumber the objects of all windows consecutively.
    first = torch.arange(len(instances), device=instances.device)[:, None, None] * (instances.amax() + 1)
    ids, compact = torch.unique((instances + first).where(inside, -1), return_inverse=True)
    flat = compact.flatten()
    areas = torch.bincount(flat, minlength=len(ids)).float()
    # Distance to the boundary, normalised for each object.
    distance = edge_distance(inside & ~boundary, beyond=False) + inside
    largest = areas.new_zeros(len(ids)).scatter_reduce(0, flat, distance.flatten(), "amax")
    maps = [boundary.float(), distance / largest[compact].clamp(min=1)]
    # Offset to the centroid.
    for axis in (1, 2):
        shape = [-1 if axis == other else 1 for other in range(3)]
        index = torch.arange(instances.shape[axis], device=instances.device, dtype=torch.float32)
        coordinates = index.reshape(shape).expand_as(instances)
        centres = areas.new_zeros(len(ids)).index_add(0, flat, coordinates.flatten()) / areas.clamp(min=1)
        maps.append((centres[compact] - coordinates) / areas[compact].sqrt())
    return torch.stack(maps, dim=1) * inside[:, None]


def dense_loss(predicted: Tensor, windows: list[Window], separate: list[bool]) -> Tensor:
    """Compute the loss of predicted maps (B, kinds + 4, h, w) on B windows, inside the verified area.

    `separate` is True for each kind whose ids are single objects; the other kinds have only a foreground target.

    Returns:
        Scalar: binary cross-entropy of foreground and boundary + smooth L1 of distance and offsets.
    """
    device = predicted.device
    instances = torch.as_tensor(np.stack([w.instances for w in windows]), device=device)
    kinds = torch.as_tensor(np.stack([w.kinds for w in windows]).astype(np.int64), device=device)
    foreground = (instances > 0).float()
    logits = predicted.float()
    count = len(separate)
    own = logits[:, :count].gather(1, kinds[:, None])[:, 0]
    verified = (instances >= 0).float()
    counted = torch.as_tensor(separate, device=device)[kinds].float() * verified
    # Foreground of each cell's kind.
    foreground_loss = functional.binary_cross_entropy_with_logits(own, foreground, reduction="none")
    loss = (foreground_loss * verified).sum() / verified.sum().clamp(min=1)
    # Boundary, distance and offsets of single objects.
    targets = object_maps(instances)
    inside = counted * foreground
    boundary = functional.binary_cross_entropy_with_logits(logits[:, count], targets[:, 0], reduction="none")
    distance = functional.smooth_l1_loss(logits[:, count + 1], targets[:, 1], reduction="none", beta=0.1)
    offsets = functional.smooth_l1_loss(logits[:, count + 2 :], targets[:, 2:], reduction="none", beta=0.1)
    loss = loss + (boundary * counted).sum() / counted.sum().clamp(min=1)
    loss = loss + (distance * counted).sum() / counted.sum().clamp(min=1)
    return loss + (offsets.sum(dim=1) * inside).sum() / inside.sum().clamp(min=1)
