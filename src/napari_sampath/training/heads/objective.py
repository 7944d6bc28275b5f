"""Which loss a recipe means, on logits and targets of any size."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from ...registry import check_arguments
from . import losses
from .config import TrainingConfig

Objective: TypeAlias = Callable[[Tensor, Tensor, bool, Tensor | None], losses.LossParts]
"""(logits (B, K, H, W), targets (B, H, W) int64, class 0 is "rest", expected IoU (B, K)) -> the loss and its parts."""

_NOT_OF_A_RECIPE = ("logits", "targets", "with_rest", "iou", "unlabelled")
"""What the loop gives, and what wants a channel that our heads do not have."""


def make_objective(config: TrainingConfig) -> Objective:
    """Return the loss of a recipe with its arguments.

    Raises:
        UnknownNameError: If there is no such loss, or it has no such argument.
        ConfigError: If an argument's value is of another type.
    """
    loss = losses.registry[config.loss]
    check_arguments(f"the loss '{config.loss}'", loss, config.loss_arguments, _NOT_OF_A_RECIPE)
    return functools.partial(loss, **config.loss_arguments)
