"""Dense targets that warm an encoder up before it sees prompts: what is here, where it ends, to what it belongs.

Boundaries, distances and offsets to the object's centre are the targets of HoVer-Net (Graham et al. 2019);
an encoder that predicts them has learned which pixels make up one object, which is what a prompt asks.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries
from torch import Tensor, nn
from torch.nn import functional

from ...arrays import FloatArray, IntArray
from .augment import Window

OBJECT_MAPS = 4
"""Boundary, distance, row offset, column offset."""


class DenseHead(nn.Module):
    """Embedding (B, 256, h, w) -> (B, kinds + 4, 4h, 4w): one foreground logit a kind, then the object maps."""

    def __init__(self, kinds: int, channels: int = 256) -> None:
        super().__init__()
        self.kinds = kinds
        self.expand = nn.Conv2d(channels, 16 * 16, kernel_size=1)
        self.shuffle = nn.PixelShuffle(4)
        self.read = nn.Conv2d(16, kinds + OBJECT_MAPS, kernel_size=3, padding=1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Predict all maps at the resolution of the prompt decoder's logits."""
        maps: Tensor = self.read(functional.gelu(self.shuffle(self.expand(embedding))))
        return maps


def object_maps(instances: IntArray) -> FloatArray:
    """Describe each cell's place in its object.

    Args:
        instances: (h, w) ids, 0 for background, below it unknown.

    Returns:
        (4, h, w) float32: inner boundary (0 or 1), distance to it (0..1 of the object's largest), and the
        offset to the object's centroid (rows, cols) in units of the square root of its area.
    """
    maps = np.zeros((OBJECT_MAPS, *instances.shape), np.float32)
    inside = instances > 0
    if not inside.any():
        return maps
    boundary = find_boundaries(instances, mode="inner")
    maps[0] = boundary
    _, compact = np.unique(instances, return_inverse=True)
    compact = compact.reshape(instances.shape)
    if instances.min() > 0:
        compact = compact + 1
    distance = distance_transform_edt(inside & ~boundary) + inside
    areas = np.maximum(np.bincount(compact.ravel()), 1)
    largest = np.zeros(len(areas))
    np.maximum.at(largest, compact.ravel(), distance.ravel())
    maps[1] = distance / np.maximum(largest[compact], 1)
    for axis, coordinates in enumerate(np.indices(instances.shape)):
        centres = np.bincount(compact.ravel(), weights=coordinates.ravel().astype(np.float64)) / areas
        maps[2 + axis] = (centres[compact] - coordinates) / np.sqrt(areas[compact])
    maps[:, ~inside] = 0
    return maps


def dense_loss(predicted: Tensor, windows: list[Window], separate: list[bool]) -> Tensor:
    """Compare predicted maps with windows, each kind only where its annotators looked, none where nothing is verified.

    Args:
        predicted: (B, kinds + 4, h, w).
        windows: B windows with (h, w) grids.
        separate: For each kind, whether its ids are single objects (glands, nuclei) or regions.

    Returns:
        Scalar: binary cross-entropy of the foregrounds and boundary + smooth L1 of distance and offsets.
    """
    device = predicted.device
    instances = torch.as_tensor(np.stack([w.instances for w in windows]), device=device)
    kinds = torch.as_tensor(np.stack([w.kinds for w in windows]).astype(np.int64), device=device)
    foreground = (instances > 0).float()
    logits = predicted.float()
    count = len(separate)
    own = logits[:, :count].gather(1, kinds[:, None])[:, 0]
    verified = (instances >= 0).float()
    known = torch.as_tensor(separate, device=device)[kinds].float() * verified
    what = functional.binary_cross_entropy_with_logits(own, foreground, reduction="none")
    loss = (what * verified).sum() / verified.sum().clamp(min=1)
    targets = torch.as_tensor(np.stack([object_maps(w.instances) for w in windows]), device=device)
    inside = known * foreground
    boundary = functional.binary_cross_entropy_with_logits(logits[:, count], targets[:, 0], reduction="none")
    distance = functional.smooth_l1_loss(logits[:, count + 1], targets[:, 1], reduction="none", beta=0.1)
    offsets = functional.smooth_l1_loss(logits[:, count + 2 :], targets[:, 2:], reduction="none", beta=0.1)
    loss = loss + (boundary * known).sum() / known.sum().clamp(min=1)
    loss = loss + (distance * known).sum() / known.sum().clamp(min=1)
    return loss + (offsets.sum(dim=1) * inside).sum() / inside.sum().clamp(min=1)
