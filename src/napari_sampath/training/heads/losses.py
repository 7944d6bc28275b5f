"""Losses of the published methods, on the verified pixels.

All losses take logits (B, K, H, W) and targets (B, H, W) int64 with a class index 0..K-1, or `IGNORED`. Ignored pixels
do not count; if all pixels of a batch are ignored, its loss is 0. Where a reference treats ignored pixels differently,
`compat_ignore` follows the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from ...registry import Registry, check_arguments
from ..data.dataset import IGNORED
from .config import TrainingConfig

_SMOOTH = 1.0
_SAMPATH_SMOOTH = 1e-5
_IOU_FLOOR = 1e-7
_PROBABILITY_FLOOR = 1e-7
_DEPTH_WEIGHT, _OUTSIDE_WEIGHT, _DEPTH_BETA = 2.0, 0.3, 0.1
"""Weight of the depth in the loss, weight of cells outside of objects, and error at which its loss becomes linear."""


@dataclass(frozen=True, slots=True, eq=False)
class LossParts:
    """A loss and its terms, all scalars; None for terms that the loss does not have."""

    total: Tensor
    cross_entropy: Tensor | None = None
    dice: Tensor | None = None
    focal: Tensor | None = None
    iou: Tensor | None = None


Loss: TypeAlias = Callable[..., LossParts]
"""(logits, targets, with_background, iou, **arguments) -> loss. `with_background` is True if class 0 is the background;
`iou` is the IoU (B, K) that the head predicts, or None."""

registry: Registry[Loss] = Registry("loss")

_INTERNAL_ARGUMENTS = ("logits", "targets", "with_background", "iou", "unlabelled")
"""Arguments of losses that cannot be set in a configuration."""


def make_loss(config: TrainingConfig) -> Loss:
    """Return the loss of a configuration, with its arguments bound.

    Raises:
        UnknownNameError: If the loss or one of its arguments does not exist.
        ConfigError: If the value of an argument has the wrong type.
    """
    loss = registry[config.loss]
    check_arguments(f"the loss '{config.loss}'", loss, config.loss_arguments, _INTERNAL_ARGUMENTS)
    return functools.partial(loss, **config.loss_arguments)


@registry.register("ce_dice")
def ce_dice(
    logits: Tensor,
    targets: Tensor,
    with_background: bool = True,
    iou: Tensor | None = None,
    dice_weight: float = 1.0,
    object_weight: float = 1.0,
) -> LossParts:
    """Cross-entropy + soft Dice, the loss of AutoSAM (Hu et al. 2023).

    The Dice loss is computed for each class over the whole batch, with squared probabilities in the denominator, and
    averaged over the classes whose loss is above 0. Without ignored pixels, the result equals that of the reference,
    which does not support them.

    Args:
        logits: (B, K, H, W).
        targets: (B, H, W) int64, class index 0..K-1, or `IGNORED`.
        with_background: Whether class 0 is the background, which is left out of Dice as in the reference.
        iou: Not used.
        dice_weight: Weight of Dice in the total.
        object_weight: Weight of the pixels of other classes in the cross-entropy, relative to the background. It moves
            the threshold at which an object is predicted to a probability of 1 / (1 + object_weight). The threshold
            that maximises Dice is half the expected Dice (Lipton et al. 2014, "Optimal thresholding of classifiers to
            maximize F1 measure", theorem 1), so use 2 if you expect a Dice of 2/3 on other patients.
    """
    # Cross-entropy, weighted by class.
    valid = targets != IGNORED
    first = 1 if with_background else 0
    weights = valid * torch.where(targets >= first, object_weight, 1.0)
    cross_entropy = _cross_entropy(logits, targets, weights)
    # Soft Dice of each class over the batch.
    probabilities = logits.softmax(dim=1)[:, first:] * valid.unsqueeze(1)
    truth = _one_hot(targets, logits.shape[1])[:, first:]
    axes = (0, 2, 3)
    overlap = (probabilities * truth).sum(axes)
    size = (probabilities**2).sum(axes) + truth.sum(axes)
    per_class = 1 - (2 * overlap + _SMOOTH) / (size + _SMOOTH)
    # Mean over the classes whose loss is above 0.
    imperfect = per_class > 0
    dice = per_class[imperfect].mean() if bool(imperfect.any()) else per_class.sum() * 0
    return LossParts(cross_entropy + dice_weight * dice + _zero_of(iou), cross_entropy, dice)


@registry.register("focal_dice")
def focal_dice(
    logits: Tensor,
    targets: Tensor,
    with_background: bool = True,
    iou: Tensor | None = None,
    focal_weight: float = 0.25,
    dice_weight: float = 0.75,
    ce_weight: float = 0.0,
    iou_weight: float = 0.0625,
    compat_ignore: bool = False,
    unlabelled: bool = False,
) -> LossParts:
    """Focal loss + Dice + error of the predicted IoU, the loss of SAM-Path (Zhang et al. 2023).

    The default weights are the paper's for BCSS; for CRAG they are 0.125, 0.875, 0 and 0. The focal loss (gamma 2) uses
    the sigmoid of each class. Dice uses the softmax over all classes and is computed for each image and class. The
    background counts like any other class, as in the reference's configuration for CRAG.

    Args:
        logits: (B, K, H, W).
        targets: (B, H, W) int64, class index 0..K-1, or `IGNORED`.
        with_background: Not used.
        iou: Predicted IoU (B, K); if it is None, its term is 0.
        focal_weight: Weight of the focal loss.
        dice_weight: Weight of Dice.
        ce_weight: Weight of cross-entropy.
        iou_weight: Weight of the squared error of the predicted IoU.
        compat_ignore: Set the logits of ignored pixels to 0 instead of leaving the pixels out, as the reference does;
            ignored pixels then add constants to the sums.
        unlabelled: Whether the logits have an additional first channel for ignored pixels, as in the reference, so that
            class index 0 is the second channel.
    """
    # Set the logits of ignored pixels to 0.
    valid = targets != IGNORED
    first = 1 if unlabelled else 0
    labels = torch.where(valid, targets + first, 0 if unlabelled else IGNORED)
    values = logits * valid.unsqueeze(1)
    truth = _one_hot(labels, logits.shape[1])[:, first:]
    counted = torch.ones_like(valid) if compat_ignore else valid
    probabilities = values.softmax(dim=1)[:, first:] * counted.unsqueeze(1)
    images = counted.flatten(1).any(dim=1)

    # Dice of each image and class.
    overlap, size = (probabilities * truth).sum((2, 3)), (probabilities.sum((2, 3)) + truth.sum((2, 3)))
    per_class = 1 - (2 * overlap + _SAMPATH_SMOOTH) / (size + _SAMPATH_SMOOTH)
    dice = _mean_of(per_class, images.unsqueeze(1))
    # Focal loss of each pixel and class.
    single = values[:, first:]
    error = torch.sigmoid(-single * (2 * truth - 1))
    entropy = functional.binary_cross_entropy_with_logits(single, truth, reduction="none")
    focal = _mean_of(error**2 * entropy, counted.unsqueeze(1))
    cross_entropy = _cross_entropy(values, labels, valid)
    total = focal_weight * focal + dice_weight * dice + ce_weight * cross_entropy
    # Squared error of the predicted IoU.
    iou_error = total.new_zeros(())
    if iou is not None:
        iou_error = _mean_of((iou[:, first:] - true_iou(probabilities, truth)) ** 2, images.unsqueeze(1))
        total = total + iou_weight * iou_error
    return LossParts(total, cross_entropy, dice, focal, iou_error)


def true_iou(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Return the IoU (B, K) between probabilities thresholded at 0.5 and truth, both (B, K, H, W), without gradient."""
    predicted = (probabilities.detach() >= 0.5).float()
    overlap = (predicted * truth).sum((2, 3))
    union = predicted.sum((2, 3)) + truth.sum((2, 3)) - overlap
    return overlap / (union + _IOU_FLOOR)


@registry.register("bce_dice")
def bce_dice(
    logits: Tensor, targets: Tensor, with_background: bool = True, iou: Tensor | None = None
) -> LossParts:
    """Binary cross-entropy + Dice of each class, the loss of the prompt generator (Shaharabany et al. 2023).

    Probabilities are the softmax over the classes; for background and one other class this is the sigmoid of the
    difference of their logits. A head that rescales its masks to 0..1, as the reference does during training, returns
    logits with these probabilities. The background is left out, and `iou` is not used.
    """
    first = 1 if with_background else 0
    truth = _one_hot(targets, logits.shape[1])[:, first:]
    valid = (targets != IGNORED).unsqueeze(1)
    parts = bce_dice_of(logits.softmax(dim=1)[:, first:], truth, valid)
    return replace(parts, total=parts.total + _zero_of(iou))


def bce_dice_of(probabilities: Tensor, truth: Tensor, valid: Tensor) -> LossParts:
    """Binary cross-entropy + Dice of masks in 0..1; see `bce_dice`.

    Probabilities and truth are (B, P, H, W); `valid` is (B, 1, H, W) bool, False where ignored.
    """
    # Binary cross-entropy.
    safe = probabilities.clamp(_PROBABILITY_FLOOR, 1 - _PROBABILITY_FLOOR)
    entropy = _mean_of(-(truth * safe.log() + (1 - truth) * (1 - safe).log()), valid)
    # Dice as the Tversky index with both weights 0.5: tp + (fn + fp) / 2 is half the sum of both masks.
    seen = probabilities * valid
    overlap, size = (seen * truth).sum((2, 3)), seen.sum((2, 3)) + (truth * valid).sum((2, 3))
    per_class = 1 - (overlap + _SMOOTH) / (size / 2 + _SMOOTH)
    dice = _mean_of(per_class, valid.flatten(1).any(dim=1, keepdim=True))
    return LossParts(entropy + dice, entropy, dice)


def depth_loss(depth: Tensor, truth: Tensor, targets: Tensor) -> Tensor:
    """Smooth L1 loss of the depth of cells in their objects; cells outside of objects count less.

    Args:
        depth: (B, 1, H, W) predicted depth, 0..1.
        truth: (B, 1, H, W) true depth.
        targets: (B, H, W) class indices, or `IGNORED`.
    """
    weights = (targets != IGNORED).unsqueeze(1) * torch.where(truth > 0, 1.0, _OUTSIDE_WEIGHT)
    errors = functional.smooth_l1_loss(depth, truth, reduction="none", beta=_DEPTH_BETA)
    return _DEPTH_WEIGHT * (errors * weights).sum() / weights.sum().clamp(min=1)


def match_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """Resize logits (B, K, h, w) bilinearly to the size of targets (B, H, W)."""
    if logits.shape[-2:] == targets.shape[-2:]:
        return logits
    size = (int(targets.shape[-2]), int(targets.shape[-1]))
    resized: Tensor = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    return resized


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """Convert (B, H, W) to one-hot (B, classes, H, W) float32; ignored pixels are 0 in all channels."""
    valid = labels != IGNORED
    hot = functional.one_hot(labels.masked_fill(~valid, 0), classes).movedim(-1, 1)
    return (hot * valid.unsqueeze(1)).float()


def _cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of the cross-entropy; weights (B, H, W) are 0 for ignored pixels."""
    per_pixel = functional.cross_entropy(logits, labels.masked_fill(labels == IGNORED, 0), reduction="none")
    return (per_pixel * weights).sum() / weights.sum().clamp(min=1)


def _zero_of(iou: Tensor | None) -> Tensor | float:
    """Return 0 with a gradient of 0, because distributed training waits for a gradient of each parameter."""
    return 0.0 if iou is None else (iou * 0).sum()


def _mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of the values where a broadcast mask is true; 0 if it is false everywhere."""
    mask = counted.expand_as(values)
    return (values * mask).sum() / mask.sum().clamp(min=1)
