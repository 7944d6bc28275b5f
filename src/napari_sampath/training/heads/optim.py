"""Optimiser and learning rate schedule of a training run."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from .config import TrainingConfig

_FINAL_RATE = 0.01
"""Learning rate at the end of the schedule "cosine", as a fraction of the peak."""
PLATEAU_START = 10
"""First epoch, counted from 0, whose loss the schedule "plateau" uses, as in AutoSAM (Hu et al. 2023)."""


def make_optimiser(parameters: Iterable[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    """Create the optimiser for the trainable parameters."""
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return kind(trainable, lr=config.learning_rate, weight_decay=config.weight_decay)


def make_plateau(optimiser: torch.optim.Optimizer) -> ReduceLROnPlateau:
    """Create the scheduler for the schedule "plateau", with torch's default factor and patience as in AutoSAM."""
    return ReduceLROnPlateau(optimiser, "min", factor=0.1, patience=10, threshold=1e-4, eps=0)


def set_rate(optimiser: torch.optim.Optimizer, config: TrainingConfig, steps: int, step: int) -> None:
    """Set the learning rate of a step; with the schedule "plateau", only during the warm-up.

    `steps` is the number of optimiser steps per epoch; `step` counts from 0 over the whole run.
    """
    if config.schedule == "plateau" and step >= round(config.warmup_epochs * steps):
        return
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * rate_at(config, steps, step)


def rate_at(config: TrainingConfig, steps: int, step: int) -> float:
    """Return the learning rate at a step as a fraction of the peak; see `set_rate` for the arguments."""
    warmup = round(config.warmup_epochs * steps)
    if step < warmup:
        # As in SAM-Path, the schedule "steps" starts at 0; the other schedules start one step later, above 0.
        return (step + (config.schedule != "steps")) / warmup
    if config.schedule == "steps":
        return float(0.1 ** sum(step >= drop * steps for drop in config.drops))
    if config.schedule == "cosine":
        progress = min(1.0, (step - warmup) / max(1, steps * config.epochs - warmup))
        return _FINAL_RATE + (1 - _FINAL_RATE) * (1 + math.cos(math.pi * progress)) / 2
    return 1.0
