"""Euclidean distance transform with tensor operations, on any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def edge_distance(masks: Tensor, beyond: bool = True) -> Tensor:
    """Return the distance in pixels from each pixel of masks (N, h, w) bool to the nearest pixel outside the mask.

    The transform is separable (Saito and Toriwaki 1994): first along columns, then the lower envelope along rows, which
    needs as many steps as the thickest mask has pixels to its edge.

    Args:
        masks: (N, h, w) bool.
        beyond: Whether pixels beyond the border of the image are outside the mask. If not, and a mask covers the whole
            image, its distances are all equal.

    Returns:
        (N, h, w) float32, 0 outside the mask.
    """
    height, width = masks.shape[1:]
    far = height + width
    # Distance along the column, from the last pixel outside above and below.
    index = torch.arange(1, height + 1, device=masks.device)[None, :, None].expand_as(masks)
    first = 0 if beyond else -far
    above = index - index.where(~masks, first).cummax(dim=1).values
    below = index - index.where(~masks.flip(1), first).cummax(dim=1).values
    along = torch.minimum(above, below.flip(1)).clamp(max=far)
    # Lower envelope of the parabolas along the row.
    squared = along.float().square()
    reach = min(int(along.amax()) if along.numel() else 0, width)
    padded = functional.pad(squared, (reach, reach), value=0.0 if beyond else float(far**2))
    best = squared.clone()
    for step in range(1, reach + 1):
        for start in (reach - step, reach + step):
            torch.minimum(best, padded[:, :, start : start + width] + step**2, out=best)
    return best.sqrt()
