"""Metrics as the reference implementations compute them, for comparison with their papers.

They differ from what their names in the papers suggest, so each key states what is measured. Nothing else in this
package uses these metrics.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ...arrays import ClassInfo, FloatArray, UInt8Array
from ...heads.base import Argument
from ..data.dataset import IGNORED
from .metrics import Confusion, confusion, dice, iou

_AUTOSAM = ("autosam", "cnn", "linear")
_GENERATORS = ("prompt_generator", "surrogate")


class ReferenceMetrics:
    """Metrics of the reference implementation of a kind of head, accumulated image by image.

    The metrics of AutoSAM (Hu et al. 2023) are means over cases, at the original image size instead of 224 px. The
    metrics of the prompt generator (Shaharabany et al. 2023) are means over images, at the size of its input. Other
    kinds of head have the metrics of SAM-Path (Zhang et al. 2023).
    """

    def __init__(self, kind: str, arguments: Mapping[str, Argument], classes: Sequence[ClassInfo]) -> None:
        self.kind, self.classes = kind, tuple(classes)
        self.side_px = int(arguments["image_px"]) if kind in _GENERATORS else 0
        self._counted = [index for index, info in enumerate(classes) if info.id > 0]
        count = len(self.classes)
        self._cases: dict[str, Confusion] = defaultdict(lambda: np.zeros((count, count), np.int64))
        self._images: list[list[tuple[float, float]]] = []
        """For a prompt generator, Dice and IoU of each class of each image."""

    def add(
        self, group: str, predicted: UInt8Array, targets: UInt8Array, probabilities: FloatArray | None
    ) -> None:
        """Add an image of the slide or case `group`.

        `predicted` and `targets` are class indices (H, W); `probabilities` is (K, H, W), or None if unknown.
        """
        self._cases[group] += confusion(predicted, targets, len(self.classes))
        if self.side_px:
            scores = []
            for k in self._counted:
                values = predicted == k if probabilities is None else probabilities[k]
                scores.append(self._prompt_generator_scores(values, targets == k, targets == IGNORED))
            self._images.append(scores)

    def _prompt_generator_scores(
        self, predicted: npt.NDArray[np.generic], true: npt.NDArray[np.bool_], ignored: npt.NDArray[np.bool_]
    ) -> tuple[float, float]:
        """Return Dice and IoU at the input size of the prompt generator, excluding pixels along outlines."""
        labels = prompt_generator_labels(true.astype(np.uint8), self.side_px)
        labels[prompt_generator_labels(ignored.astype(np.uint8), self.side_px) > 0] = 0.5
        values = torch.from_numpy(predicted.astype(np.float32))[None, None]
        side = (self.side_px, self.side_px)
        resized = functional.interpolate(values, side, mode="bilinear", align_corners=True)[0, 0]
        return prompt_generator_dice((resized > 0.5).numpy().astype(np.uint8), labels)

    def scores(self) -> dict[str, float | None]:
        """Return the metrics; each key states what is measured."""
        if self.side_px:
            means = np.mean(self._images, axis=(0, 1))
            return {
                f"AutoSAM (Shaharabany et al.) '{name}' (outlines left out)": float(mean)
                for name, mean in zip(("Dice", "IoU"), means, strict=True)
            }
        if self.kind in _AUTOSAM:
            return self._autosam()
        return sampath(np.sum(list(self._cases.values()), axis=0), self.classes)

    def _autosam(self) -> dict[str, float | None]:
        means = np.mean([autosam_dice(matrix, self._counted[0]) for matrix in self._cases.values()], axis=0)
        scores: dict[str, float | None] = {
            f"AutoSAM 'Dice' of {self.classes[k].name} (mean over cases; cases without the class count as 1)": float(
                mean
            )
            for k, mean in zip(self._counted, means, strict=True)
        }
        return scores | {"AutoSAM 'Dice', mean of the classes": float(means.mean())}


def sampath(matrix: Confusion, classes: Sequence[ClassInfo]) -> dict[str, float | None]:
    """Return SAM-Path's CRAG metrics if there is one class besides background, otherwise its BCSS metrics."""
    is_gland = len(classes) == 2 and classes[0].id == 0
    return sampath_gland(matrix) if is_gland else sampath_tissue(matrix)


def sampath_tissue(matrix: Confusion) -> dict[str, float | None]:
    """Return SAM-Path's metrics on BCSS, from the confusion matrix (K, K) of all labelled pixels of a split.

    The macro Jaccard of the released code divides by the number of classes plus one.
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
    """Return SAM-Path's metrics on CRAG, from the confusion matrix (2, 2) of background and gland.

    The IOU of the released code is the recall of glands.
    """
    missed, hit, false = (int(matrix[1, 0]), int(matrix[1, 1]), int(matrix[0, 1]))
    recall = hit / (hit + missed) if hit + missed else None
    any_gland = hit + missed + false > 0
    return {
        "SAM-Path 'Dice' (gland Dice, pooled)": 2 * hit / (2 * hit + missed + false) if any_gland else None,
        "SAM-Path 'IOU' (gland recall)": recall,
        "SAM-Path 'IOU_Bal' (gland recall / 3)": None if recall is None else recall / 3,
    }


def autosam_dice(matrix: Confusion, first: int = 1) -> list[float]:
    """Return AutoSAM's Dice (Hu et al. 2023) of the classes first..K-1 of a volume; 1 for classes that do not occur."""
    values: list[float] = np.nan_to_num(dice(matrix)[first:], nan=1.0).tolist()
    return values


def prompt_generator_labels(labels: UInt8Array, side_px: int) -> npt.NDArray[np.float32]:
    """Resize labels (H, W) of 0 and 1 to (side_px, side_px) float32, as Shaharabany et al. 2023 do before scoring.

    Values along outlines can lie between 0 and 1; `prompt_generator_dice` excludes these pixels.
    """
    # Enlarge to SAM's frame of 1,024 px and pad to a square.
    values = torch.from_numpy(labels.astype(np.float32))[None, None]
    scale = 1024 / max(labels.shape)
    inside = tuple(int(length * scale + 0.5) for length in labels.shape)
    large = functional.interpolate(values, inside, mode="bilinear", align_corners=False, antialias=True)
    large = functional.pad((large > 0.5).float(), (0, 1024 - inside[1], 0, 1024 - inside[0]))
    # Remove the padding, resize to the original size, and then to the input size of the network.
    restored = functional.interpolate(
        large[..., : inside[0], : inside[1]], labels.shape, mode="bilinear", align_corners=True
    )
    resized: npt.NDArray[np.float32] = functional.interpolate(restored, (side_px, side_px), mode="nearest")[
        0, 0
    ].numpy()
    return resized


def prompt_generator_dice(predicted: UInt8Array, labels: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Return Dice and IoU as Shaharabany et al. 2023 compute them, on pixels whose label is exactly 0 or 1.

    `predicted` is (S, S) with values 0 and 1; `labels` is (S, S) from `prompt_generator_labels`.
    """
    hit = int(((predicted == 1) & (labels == 1)).sum())
    false = int(((predicted == 1) & (labels == 0)).sum())
    missed = int(((predicted == 0) & (labels == 1)).sum())
    total = max(1, hit + false + missed)
    return 2 * hit / max(1, total + hit), hit / total
