"""Which loss a recipe means, on logits and targets of any size."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from ..errors import UnknownNameError
from ..registry import unknown_name
from . import losses
from .config import TrainingConfig

Objective: TypeAlias = Callable[[Tensor, Tensor, bool, Tensor | None], losses.LossParts]
"""(logits (B, K, H, W), targets (B, H, W) int64, class 0 is "rest", expected IoU (B, K)) -> the loss and its parts."""

LOSSES: dict[str, Callable[..., losses.LossParts]] = {"ce_dice": losses.ce_dice}
"""(logits, targets, with_rest, own arguments ...); one with an argument `quality` is given the expected IoU."""

_QUALITY = "quality"


def make_objective(config: TrainingConfig) -> Objective:
    """Return the loss of a recipe with its arguments.

    Raises:
        UnknownNameError: If there is no such loss, or it has no such argument.
    """
    if config.loss not in LOSSES:
        raise UnknownNameError(unknown_name("loss", config.loss, list(LOSSES)))
    loss = LOSSES[config.loss]
    own = list(inspect.signature(loss).parameters)[3:]
    allowed = [name for name in own if name != _QUALITY]
    for name in config.loss_arguments:
        if name not in allowed:
            raise UnknownNameError(unknown_name(f"argument of the loss '{config.loss}'", name, allowed))

    def objective(
        logits: Tensor, targets: Tensor, with_rest: bool, quality: Tensor | None
    ) -> losses.LossParts:
        given = {_QUALITY: quality} if _QUALITY in own else {}
        return loss(logits, targets, with_rest, **given, **config.loss_arguments)

    return objective
