"""The metrics of the reference implementations, to compare with their papers; what they measure is in their names.

They are not what their names in the papers say, so nothing else in this package uses them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ..arrays import UInt8Array
from .metrics import Confusion, dice, iou


def sampath_tissue(matrix: Confusion) -> dict[str, float | None]:
    """SAM-Path's metrics on BCSS, from the confusion (K, K) of all labelled pixels of a split.

    Their macro Jaccard divides by one more than the number of classes.
    """
    total = int(matrix.sum())
    accuracy = float(np.trace(matrix) / total) if total else None
    present = matrix.sum(axis=0) + matrix.sum(axis=1) > 0
    return {
        "SAM-Path 'Dice' (pixel accuracy)": accuracy,
        "SAM-Path 'IOU' (accuracy / (2 - accuracy))": None if accuracy is None else accuracy / (2 - accuracy),
        "SAM-Path 'Dice_Bal' (macro Dice)": float(dice(matrix)[present].mean()) if total else None,
        "SAM-Path 'IOU_Bal' (sum of IoU / (classes + 1))": float(
            np.nansum(iou(matrix)[present]) / (len(matrix) + 1)
        ),
    }


def sampath_gland(matrix: Confusion) -> dict[str, float | None]:
    """SAM-Path's metrics on CRAG, from the confusion (2, 2) of background and gland: their IOU is gland recall."""
    missed, hit, false = (int(matrix[1, 0]), int(matrix[1, 1]), int(matrix[0, 1]))
    recall = hit / (hit + missed) if hit + missed else None
    return {
        "SAM-Path 'Dice' (gland Dice, pooled)": 2 * hit / (2 * hit + missed + false)
        if hit + missed + false
        else None,
        "SAM-Path 'IOU' (gland recall)": recall,
        "SAM-Path 'IOU_Bal' (gland recall / 3)": None if recall is None else recall / 3,
    }


def autosam_dice(
    predicted: npt.NDArray[np.integer], targets: npt.NDArray[np.integer], classes: int
) -> list[float]:
    """AutoSAM's Dice (Hu et al.) of the classes 1..K-1 of a whole volume: 1 where both are empty."""
    found = []
    for index in range(1, classes):
        one, two = predicted == index, targets == index
        both = int(one.sum() + two.sum())
        found.append(2 * int((one & two).sum()) / both if both else 1.0)
    return found


def prompt_generator_labels(labels: UInt8Array, side_px: int) -> npt.NDArray[np.float32]:
    """Take labels (H, W) of 0 and 1 the way that Shaharabany et al. take them before they score.

    Returns:
        (side, side) float32; values between 0 and 1 along outlines, which their Dice leaves out.
    """
    values = torch.from_numpy(labels.astype(np.float32))[None, None]
    scale = 1024 / max(labels.shape)
    inside = tuple(int(length * scale + 0.5) for length in labels.shape)
    large = functional.interpolate(values, inside, mode="bilinear", align_corners=False, antialias=True)
    large = functional.pad((large > 0.5).float(), (0, 1024 - inside[1], 0, 1024 - inside[0]))
    back = functional.interpolate(
        large[..., : inside[0], : inside[1]], labels.shape, mode="bilinear", align_corners=True
    )
    taken: npt.NDArray[np.float32] = functional.interpolate(back, (side_px, side_px), mode="nearest")[
        0, 0
    ].numpy()
    return taken


def prompt_generator_dice(predicted: UInt8Array, labels: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Dice and IoU of Shaharabany et al.: pixels whose label is neither exactly 0 nor exactly 1 are left out.

    Args:
        predicted: (S, S) of 0 and 1.
        labels: (S, S) from `prompt_generator_labels`.
    """
    hit = int(((predicted == 1) & (labels == 1)).sum())
    false = int(((predicted == 1) & (labels == 0)).sum())
    missed = int(((predicted == 0) & (labels == 1)).sum())
    total = max(1, hit + false + missed)
    return 2 * hit / max(1, total + hit), hit / total
