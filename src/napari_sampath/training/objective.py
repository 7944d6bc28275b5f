"""Which loss a recipe means, on logits and targets of any size."""

from __future__ import annotations

import functools
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

_GIVEN = ("logits", "targets", "with_rest", "iou")


def make_objective(config: TrainingConfig) -> Objective:
    """Return the loss of a recipe with its arguments.

    Raises:
        UnknownNameError: If there is no such loss, or it has no such argument.
    """
    loss = losses.registry[config.loss]
    allowed = [name for name in inspect.signature(loss).parameters if name not in _GIVEN]
    for name in config.loss_arguments:
        if name not in allowed:
            raise UnknownNameError(unknown_name(f"argument of the loss '{config.loss}'", name, allowed))
    return functools.partial(loss, **config.loss_arguments)
