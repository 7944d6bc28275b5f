"""Optimiser and learning rate, as functions of the configuration and of the step alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from .config import TrainingConfig

_LAST_RATE = 0.01
"""Learning rate at the end of "cosine", as a share of its peak."""
_PLATEAU_EPOCHS = 10
_PLATEAU_THRESHOLD = 1e-4
"""Of `torch.optim.lr_scheduler.ReduceLROnPlateau`, the references' defaults."""


def make_optimiser(parameters: Iterable[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    """Make the optimiser over the parameters that are trained."""
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    trained = [one for one in parameters if one.requires_grad]
    return kind(trained, lr=config.learning_rate, weight_decay=config.weight_decay)


def rate_at(config: TrainingConfig, steps: int, step: int) -> float:
    """Return the factor of the peak learning rate at a step.

    Args:
        config: The recipe.
        steps: Steps of the optimiser in an epoch.
        step: Counted from 0 over the whole run.
    """
    warmup = round(config.warmup_epochs * steps)
    if step < warmup:
        # SAM-Path's "steps" starts at nothing; the others waste no step.
        return (step + (config.schedule != "steps")) / warmup
    if config.schedule == "steps":
        return float(0.1 ** sum(step >= drop * steps for drop in config.drops))
    if config.schedule == "cosine":
        along = min(1.0, (step - warmup) / max(1, steps * config.epochs - warmup))
        return _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * along)) / 2
    return 1.0


@dataclass(slots=True)
class Plateau:
    """What the schedule "plateau" remembers: AutoSAM (Hu et al.) feeds it the last batch's loss of each epoch."""

    factor: float = 1.0
    best: float = math.inf
    bad_epochs: int = 0

    def feed(self, loss: float, epoch: int) -> None:
        """Take the loss of an epoch into account; the reference begins at epoch 10."""
        if epoch < _PLATEAU_EPOCHS:
            return
        if loss < self.best * (1 - _PLATEAU_THRESHOLD):
            self.best, self.bad_epochs = loss, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > _PLATEAU_EPOCHS:
            self.factor, self.bad_epochs = self.factor * 0.1, 0
