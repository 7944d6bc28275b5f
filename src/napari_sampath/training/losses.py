"""What heads minimise: cross-entropy and soft Dice, on the pixels that somebody vouched for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .dataset import IGNORED

_SMOOTH = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class LossParts:
    """A loss and what it is made of, scalars."""

    total: Tensor
    cross_entropy: Tensor
    dice: Tensor


def ce_dice(logits: Tensor, targets: Tensor, with_rest: bool = True, dice_weight: float = 1.0) -> LossParts:
    """Cross-entropy + soft Dice as AutoSAM (Hu et al. 2023) is trained, without the ignored pixels.

    Dice pools the whole batch, squares the probabilities in its denominator and averages over the classes
    that are not yet perfect. Where no pixel is ignored this equals the reference; a batch in which all are
    gives 0, not NaN.

    Args:
        logits: (B, K, H, W).
        targets: (B, H, W) int64, class index 0..K-1, or `IGNORED`.
        with_rest: Class 0 is "none of the others" and is left out of Dice, as in the reference.
        dice_weight: Factor of Dice in the total.
    """
    known = targets != IGNORED
    labels = targets.masked_fill(~known, 0)
    pixels = known.sum()
    per_pixel = functional.cross_entropy(logits, labels, reduction="none") * known
    cross_entropy = per_pixel.sum() / pixels.clamp(min=1)

    first = 1 if with_rest else 0
    probabilities = logits.softmax(dim=1)[:, first:] * known.unsqueeze(1)
    truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1)[:, first:] * known.unsqueeze(1)
    over = (0, 2, 3)
    overlap = (probabilities * truth).sum(over)
    both = (probabilities**2).sum(over) + truth.sum(over)
    per_class = 1 - (2 * overlap + _SMOOTH) / (both + _SMOOTH)
    imperfect = per_class > 0
    dice = per_class[imperfect].mean() if bool(imperfect.any()) else per_class.sum() * 0
    return LossParts(cross_entropy + dice_weight * dice, cross_entropy, dice)


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
