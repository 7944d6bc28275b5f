"""What heads minimise: the losses of the published methods, on the verified pixels.

All take logits (B, K, H, W) and targets (B, H, W) int64 with a class index 0..K-1, or `IGNORED`. Ignored pixels
are left out, and a batch in which all are gives 0. Where that differs from a reference, `compat_ignore` does as
the reference does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from ...registry import Registry
from ..data.dataset import IGNORED

_SMOOTH = 1.0
_SAMPATH_SMOOTH = 1e-5
_IOU_FLOOR = 1e-7
_PROBABILITY_FLOOR = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class LossParts:
    """A loss and what it is made of, scalars; None for what is no part of it."""

    total: Tensor
    cross_entropy: Tensor | None = None
    dice: Tensor | None = None
    focal: Tensor | None = None
    iou: Tensor | None = None


Loss: TypeAlias = Callable[..., LossParts]
"""(logits, targets, with_rest, iou, **arguments): class 0 is "none of the others", and the IoU (B, K) that the
head predicts or None."""

registry: Registry[Loss] = Registry("loss")


@registry.register("ce_dice")
def ce_dice(
    logits: Tensor,
    targets: Tensor,
    with_rest: bool = True,
    iou: Tensor | None = None,
    dice_weight: float = 1.0,
    object_weight: float = 1.0,
) -> LossParts:
    """Cross-entropy + soft Dice as AutoSAM (Hu et al. 2023) is trained.

    Dice pools the whole batch, squares the probabilities in its denominator and averages over the classes
    that are not yet perfect. Where no pixel is ignored this equals the reference, which knows no ignored ones.

    Args:
        logits: (B, K, H, W).
        targets: (B, H, W) int64, class index 0..K-1, or `IGNORED`.
        with_rest: Class 0 is "none of the others" and is left out of Dice, as in the reference.
        iou: Not used.
        dice_weight: Factor of Dice in the total.
        object_weight: How many pixels of the rest one of any other class counts as in the cross-entropy, which then
            decides for that class from a probability of 1 / (1 + object_weight) on. For Dice it is best to decide
            from half the Dice that one expects on (Lipton et al. 2014, "Optimal thresholding of classifiers to
            maximize F1 measure", theorem 1): 2 where one expects 2/3 on other patients.
    """
    known = targets != IGNORED
    first = 1 if with_rest else 0
    cross_entropy = _cross_entropy(logits, targets, known * torch.where(targets >= first, object_weight, 1.0))
    probabilities = logits.softmax(dim=1)[:, first:] * known.unsqueeze(1)
    truth = _one_hot(targets, logits.shape[1])[:, first:]
    over = (0, 2, 3)
    overlap = (probabilities * truth).sum(over)
    both = (probabilities**2).sum(over) + truth.sum(over)
    per_class = 1 - (2 * overlap + _SMOOTH) / (both + _SMOOTH)
    imperfect = per_class > 0
    dice = per_class[imperfect].mean() if bool(imperfect.any()) else per_class.sum() * 0
    return LossParts(cross_entropy + dice_weight * dice + _nothing_of(iou), cross_entropy, dice)


@registry.register("focal_dice")
def focal_dice(
    logits: Tensor,
    targets: Tensor,
    with_rest: bool = True,
    iou: Tensor | None = None,
    focal_weight: float = 0.25,
    dice_weight: float = 0.75,
    ce_weight: float = 0.0,
    iou_weight: float = 0.0625,
    compat_ignore: bool = False,
    unlabelled: bool = False,
) -> LossParts:
    """Focal loss + Dice + error of the predicted IoU, as SAM-Path (Zhang et al. 2023) is trained.

    The defaults are its recipe for BCSS; for CRAG 0.125, 0.875, 0 and 0. Focal (gamma 2) takes every class by
    itself, Dice the softmax over all, for each image and class. The rest counts as a class like any other, as
    the background does in the reference's CRAG.

    Args:
        logits: (B, K, H, W).
        targets: (B, H, W) int64, class index 0..K-1, or `IGNORED`.
        with_rest: Not used.
        iou: (B, K) predicted IoU; without it that term is 0.
        focal_weight: Factor of the focal loss.
        dice_weight: Factor of Dice.
        ce_weight: Factor of cross-entropy.
        iou_weight: Factor of the squared error of the predicted IoU.
        compat_ignore: Set logits of ignored pixels to 0 instead of leaving them out, as the reference does: they
            then add constants to the sums.
        unlabelled: The reference's own form: a channel more than there are classes, the first, to which the
            ignored pixels belong; targets count from the second.
    """
    known = targets != IGNORED
    first = 1 if unlabelled else 0
    labels = torch.where(known, targets + first, 0 if unlabelled else IGNORED)
    values = logits * known.unsqueeze(1)
    truth = _one_hot(labels, logits.shape[1])[:, first:]
    counted = torch.ones_like(known) if compat_ignore else known
    probabilities = values.softmax(dim=1)[:, first:] * counted.unsqueeze(1)
    images = counted.flatten(1).any(dim=1)

    overlap, size = (probabilities * truth).sum((2, 3)), (probabilities.sum((2, 3)) + truth.sum((2, 3)))
    each = 1 - (2 * overlap + _SAMPATH_SMOOTH) / (size + _SAMPATH_SMOOTH)
    dice = _mean_of(each, images.unsqueeze(1))
    alone = values[:, first:]
    wrong = torch.sigmoid(-alone * (2 * truth - 1))
    entropy = functional.binary_cross_entropy_with_logits(alone, truth, reduction="none")
    focal = _mean_of(wrong**2 * entropy, counted.unsqueeze(1))
    cross_entropy = _cross_entropy(values, labels, known)
    total = focal_weight * focal + dice_weight * dice + ce_weight * cross_entropy
    judged = total.new_zeros(())
    if iou is not None:
        judged = _mean_of((iou[:, first:] - true_iou(probabilities, truth)) ** 2, images.unsqueeze(1))
        total = total + iou_weight * judged
    return LossParts(total, cross_entropy, dice, focal, judged)


def true_iou(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Return the IoU (B, K) of what is at least a half with the truth, both (B, K, H, W); no gradient."""
    found = (probabilities.detach() >= 0.5).float()
    overlap = (found * truth).sum((2, 3))
    union = found.sum((2, 3)) + truth.sum((2, 3)) - overlap
    return overlap / (union + _IOU_FLOOR)


@registry.register("bce_dice")
def bce_dice(logits: Tensor, targets: Tensor, with_rest: bool = True, iou: Tensor | None = None) -> LossParts:
    """Binary cross-entropy + Dice of each class, as Shaharabany et al. (2023) train their prompt generator.

    The probabilities are the softmax over the classes: with a rest and one other class that is the sigmoid of
    the difference. A head that stretches its masks to 0..1, as the reference's training does, gives logits
    whose sigmoid they are.

    Args:
        logits: (B, K, H, W).
        targets: (B, H, W) int64, class index 0..K-1, or `IGNORED`.
        with_rest: Class 0 is "none of the others" and is left out.
        iou: Not used.
    """
    first = 1 if with_rest else 0
    truth = _one_hot(targets, logits.shape[1])[:, first:]
    known = (targets != IGNORED).unsqueeze(1)
    parts = bce_dice_of(logits.softmax(dim=1)[:, first:], truth, known)
    return replace(parts, total=parts.total + _nothing_of(iou))


def bce_dice_of(probabilities: Tensor, truth: Tensor, known: Tensor) -> LossParts:
    """Score masks in 0..1.

    Args:
        probabilities: (B, P, H, W).
        truth: (B, P, H, W), 0 or 1.
        known: (B, 1, H, W) bool, False where ignored.
    """
    safe = probabilities.clamp(_PROBABILITY_FLOOR, 1 - _PROBABILITY_FLOOR)
    entropy = _mean_of(-(truth * safe.log() + (1 - truth) * (1 - safe).log()), known)
    seen = probabilities * known
    overlap, size = (seen * truth).sum((2, 3)), seen.sum((2, 3)) + (truth * known).sum((2, 3))
    # Tversky with 0.5 and 0.5: tp + (fn + fp) / 2 is half of the two masks' sum.
    each = 1 - (overlap + _SMOOTH) / (size / 2 + _SMOOTH)
    dice = _mean_of(each, known.flatten(1).any(dim=1, keepdim=True))
    return LossParts(entropy + dice, entropy, dice)


def match_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """Bring logits (B, K, h, w) to the size of targets (B, H, W), bilinearly."""
    if logits.shape[-2:] == targets.shape[-2:]:
        return logits
    size = (int(targets.shape[-2]), int(targets.shape[-1]))
    resized: Tensor = functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    return resized


def to_targets(labels: Tensor) -> Tensor:
    """Turn uint8 targets into the int64 that PyTorch's losses take."""
    return labels.to(torch.int64)


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """Turn (B, H, W) into (B, classes, H, W) float32 with 1 at the class; all 0 where ignored."""
    known = labels != IGNORED
    hot = functional.one_hot(labels.masked_fill(~known, 0), classes).movedim(-1, 1)
    return (hot * known.unsqueeze(1)).float()


def _cross_entropy(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Average over the pixels, each of which counts so much (B, H, W), 0 where it is not known; 0 if all are."""
    per_pixel = functional.cross_entropy(logits, labels.masked_fill(labels == IGNORED, 0), reduction="none")
    return (per_pixel * counts).sum() / counts.sum().clamp(min=1)


def _nothing_of(iou: Tensor | None) -> Tensor | float:
    """Return 0 with a gradient of 0: processes that train together wait for one of every parameter."""
    return 0.0 if iou is None else (iou * 0).sum()


def _mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """Average values where a mask that is broadcast over the classes is true; 0 if it is nowhere."""
    where = counted.expand_as(values)
    return (values * where).sum() / where.sum().clamp(min=1)
