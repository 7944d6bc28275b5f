"""Schedule of the training of a promptable model: stages, learning rate and time limit."""

from __future__ import annotations

import enum
import math
import time

from .config import PromptTuningConfig


class Stage(enum.Enum):
    """Stage of training."""

    DENSE = "training on dense targets"
    SPREAD = "training the convolutions that spread prompts"
    PROMPTS = "training on prompts"


def stage_at(position: float, config: PromptTuningConfig) -> Stage:
    """Return the stage at a position of the schedule, in steps."""
    if position < config.warmup_steps:
        return Stage.DENSE
    return Stage.SPREAD if position < config.warmup_steps + config.spread_steps else Stage.PROMPTS


class Schedule:
    """Position of a run between its first and last step, which a time limit may move ahead.

    Args:
        config: The configuration; the time starts when the schedule is created.
    """

    def __init__(self, config: PromptTuningConfig) -> None:
        self.total = config.total_steps
        self._limit_s = 60 * config.max_minutes
        self._started = time.monotonic()

    def position(self, step: int) -> float:
        """Return the position in steps, 0..total; with a time limit, at least the elapsed fraction of `total`."""
        if not self._limit_s:
            return step
        elapsed = (time.monotonic() - self._started) / self._limit_s
        return min(float(self.total), max(step, elapsed * self.total))

    def finished(self, step: int) -> bool:
        """Return True if no step remains."""
        return self.position(step) >= self.total


def learning_rate(position: float, total: int, warm: int = 250) -> float:
    """Return the learning rate at a position of the schedule, in steps, as a fraction of the peak.

    It rises linearly over `warm` steps (250 as in SAM, at most a tenth of `total`), then decays as a cosine to 0.01.
    """
    warm = min(warm, max(1, total // 10))
    if position < warm:
        return (position + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (position - warm) / max(1, total - warm)))
