"""The visible loop: a head, tiles to learn from, tiles to choose by."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...arrays import GRID
from ...errors import StorageError, WeightsError
from ...heads import DirectHead, Head
from ...jobs import Job, Progress
from ..evaluation.metrics import Confusion, confusion, summarise
from . import checkpoint
from .checkpoint import Best, Position
from .config import TrainingConfig
from .log import TrainingLog
from .losses import match_targets, to_targets
from .objective import make_objective
from .optim import make_optimiser, rate_at
from .tiles import Tile, TileSet

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingProgress(Progress):
    """Progress of the optimisation, for curves."""

    epoch: int = 0
    loss: float | None = None
    """Mean loss of the batches since the last report."""
    dice: float | None = None
    """Mean Dice on the validation images after the last whole epoch."""
    class_dice: Mapping[str, float | None] = field(default_factory=dict)
    """The same by class; None where a class does not occur."""
    eta_s: float | None = None
    """Seconds that the largest number of epochs would still take; None before there is a measure."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a run of the loop is made of."""

    fabric: Fabric
    network: Head
    learn: TileSet
    """Tiles to train on."""
    check: TileSet
    """Tiles on which the best epoch is chosen."""
    config: TrainingConfig
    bundle: Path
    """That will be written; the checkpoint and the log lie beside it."""
    fingerprint: str
    """Of everything that the result depends on; a checkpoint of another run is not continued."""

    @property
    def maps(self) -> list[str]:
        """Names of the maps that the head reads."""
        return [feature.name for feature in self.network.spec.maps]

    @property
    def window_cells(self) -> int:
        """Side of the windows that a step sees."""
        return self.config.window_cells if self.network.reads_windows else GRID

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return max(1, math.ceil(len(self.learn.tiles) / self.config.batch_size))


def fit_job(run: Run) -> Job[Best]:
    """Train a head on tiles until it no longer improves on other tiles; a killed run goes on where it was.

    Returns:
        The weights of the best epoch (or the last), and their confusion on each tile of `check`.

    Raises:
        WeightsError: If the loss is no number any more.
    """
    if isinstance(run.network, DirectHead):
        return (yield from _learn_job(run, run.network))
    trainer = _Trainer(run)
    config, at = run.config, trainer.at
    total = run.batches * config.epochs
    log = TrainingLog(run.bundle)
    try:
        while at.epoch <= config.epochs and not (config.patience and at.waited >= config.patience):
            while at.batch < run.batches:
                loss = trainer.step()
                yield trainer.report(total, loss, f"Epoch {at.epoch} of {config.epochs}, loss {loss:.3f}")
            trainer.end_epoch()
            row = at.rows[-1]
            if run.fabric.is_global_zero:
                log.write(at.rows)
            text = f"Epoch {row['epoch']} of {config.epochs}, loss {row['loss']:.3f}, validation Dice {row['dice']:.3f}"
            logger.info(text)
            yield trainer.report(total, row["loss"], text)
    finally:
        log.close()
    return at.best


def _learn_job(run: Run, network: DirectHead) -> Job[Best]:
    """Let a head learn that takes no steps, and score it."""
    size, tiles = run.config.batch_size, run.learn.tiles
    yield TrainingProgress(0, 1, f"Learning from {len(tiles)} tiles", "steps")
    whole = (run.learn.batch(tiles[at : at + size], run.maps) for at in range(0, len(tiles), size))
    network.learn(((maps, to_targets(targets)) for maps, targets in whole), len(tiles), run.config.seed)
    matrices = evaluate_tiles(network, run.check, run.check.tiles, run.maps, size)
    scores = summarise(matrices, network.classes)["per_image"]
    dice = float(scores["mean"]["dice"] or 0.0)
    class_dice = {c.name: scores[c.name]["dice"] for c in network.classes}
    yield TrainingProgress(1, 1, f"Validation Dice {dice:.3f}", "steps", 1, None, dice, class_dice, 0.0)
    return Best(dice, 1, dict(network.state_dict()), matrices)


class _Trainer:
    """Takes the steps of a run and remembers where it is."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.optimiser = make_optimiser(run.network.parameters(), run.config)
        self.path = checkpoint.checkpoint_path(run.bundle)
        found = checkpoint.load(self.path, run.fingerprint, run.network, self.optimiser)
        self.at = found or Position()
        self.objective = make_objective(run.config)
        self.weights = run.learn.weights(len(run.network.classes))
        wrapped = run.fabric.setup(run.network, self.optimiser)
        self.network: Any = wrapped[0]
        self.stepper: Any = wrapped[1]
        self.network.mark_forward_method("forward_with_iou")
        self.began = self.saved = time.monotonic()
        self.done_before = self.done
        self.can_save = True

    @property
    def done(self) -> int:
        """Batches done since the first epoch."""
        return (self.at.epoch - 1) * self.run.batches + self.at.batch

    def step(self) -> float:
        """Learn from one batch, and return its loss."""
        run, config, at = self.run, self.run.config, self.at
        # Derived, so that a run that goes on draws what it would have drawn.
        rng = np.random.default_rng([config.seed, at.epoch, at.batch])
        drawn = self._draw(rng)
        own = [run.learn.tiles[int(i)] for i in drawn[run.fabric.global_rank :: run.fabric.world_size]]
        own_rng = np.random.default_rng([config.seed, at.epoch, at.batch, run.fabric.global_rank])
        maps, targets = run.learn.batch(own, run.maps, own_rng, run.window_cells, config)
        steps = math.ceil(run.batches / config.accumulate)
        ends = (at.batch + 1) % config.accumulate == 0 or at.batch + 1 == run.batches
        first = at.batch // config.accumulate * config.accumulate
        size = min(config.accumulate, run.batches - first)
        rate = rate_at(config, steps, (at.epoch - 1) * steps + at.batch // config.accumulate)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * rate * at.plateau.factor
        loss = self._backward(maps, targets, int(rng.integers(2**63)), size, ends)
        if ends:
            if config.gradient_clip:
                self._clip(config.gradient_clip)
            self.stepper.step()
            self.stepper.zero_grad(set_to_none=True)
        at.batch += 1
        at.losses.append(loss)
        if ends:  # Gradients that are being added up are not kept.
            self._save()
        return loss

    def _draw(self, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Choose the tiles of a step: evenly over classes, or the next ones of a pass over all of them."""
        config, tiles = self.run.config, len(self.run.learn.tiles)
        if config.balanced:
            return rng.choice(tiles, size=config.batch_size, p=self.weights)
        order = np.random.default_rng([config.seed, self.at.epoch]).permutation(tiles)
        rest = order[self.at.batch * config.batch_size :][: config.batch_size]
        # No process may be left without a tile: the others would wait for its gradients for ever.
        return np.resize(rest, max(len(rest), self.run.fabric.world_size))

    def _backward(self, maps: dict[str, Tensor], targets: Tensor, seed: int, size: int, ends: bool) -> float:
        fabric, head = self.run.fabric, self.run.network
        self.network.train()
        cuda = [fabric.device] if fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), fabric.no_backward_sync(self.network, enabled=not ends):
            torch.manual_seed(seed)
            logits, iou = self.network.forward_with_iou(maps)
            wide = match_targets(logits, targets).float()
            parts = self.objective(wide, to_targets(targets), head.classes[0].id == 0, iou)
            fabric.backward(parts.total / size)
        loss = parts.total.detach()
        if fabric.world_size > 1:
            loss = fabric.all_reduce(loss, reduce_op="mean")  # type: ignore[assignment]
        self._check_finite("loss", loss)
        return float(loss)

    def _clip(self, largest: float) -> None:
        norm = self.run.fabric.clip_gradients(
            self.network, self.stepper, max_norm=largest, error_if_nonfinite=False
        )
        if norm is not None:
            self._check_finite("gradient", norm)

    def _check_finite(self, what: str, value: Tensor) -> None:
        if not bool(torch.isfinite(value)):
            raise WeightsError(
                f"The {what} of the head is {float(value)} in epoch {self.at.epoch}; nothing was saved: train it again "
                "at a lower learning rate."
            )

    def end_epoch(self) -> None:
        """Score the head, keep it if it is to be kept, and go on to the next epoch."""
        run, at = self.run, self.at
        matrices = self._evaluate()
        scores = summarise(matrices, run.network.classes)["per_image"]
        dice, loss = float(scores["mean"]["dice"] or 0.0), float(np.mean(at.losses))
        at.waited = 0 if dice > at.top_dice else at.waited + 1
        if dice > at.top_dice or run.config.keep == "last":
            state = {key: value.detach().clone() for key, value in run.network.state_dict().items()}
            at.best = Best(dice, at.epoch, state, matrices)
        at.top_dice = max(dice, at.top_dice)
        rate = self.optimiser.param_groups[0]["lr"]
        row = {"epoch": at.epoch, "loss": loss, "learning_rate": rate, "dice": dice}
        at.rows.append(row | {f"dice {c.name}": scores[c.name]["dice"] for c in run.network.classes})
        if run.config.schedule == "plateau":
            at.plateau.feed(at.losses[-1], at.epoch - 1)
        at.epoch, at.batch, at.losses = at.epoch + 1, 0, []
        self._save()

    def _evaluate(self) -> list[Confusion]:
        """Count on every tile of `check`; the processes share the work."""
        run, fabric = self.run, self.run.fabric
        tiles, count = run.check.tiles, len(run.network.classes)
        ranks = range(fabric.global_rank, len(tiles), fabric.world_size)
        found = torch.zeros((len(tiles), count, count), dtype=torch.int64, device=fabric.device)
        own = evaluate_tiles(
            run.network, run.check, [tiles[i] for i in ranks], run.maps, run.config.batch_size
        )
        for index, matrix in zip(ranks, own, strict=True):
            found[index] = torch.from_numpy(matrix)
        if fabric.world_size > 1:
            found = fabric.all_reduce(found, reduce_op="sum")  # type: ignore[assignment]
        return list(found.cpu().numpy())

    def _save(self) -> None:
        now = time.monotonic()
        if (
            not self.can_save
            or not self.run.fabric.is_global_zero
            or now - self.saved < self.run.config.save_every_s
        ):
            return
        try:
            checkpoint.save(self.path, self.run.fingerprint, self.run.network, self.optimiser, self.at)
        except StorageError as error:
            # Training may still end well; what was saved before stays.
            self.can_save = False
            logger.warning("The training run is not saved any more: %s", error)
        self.saved = time.monotonic()

    def report(self, total: int, loss: float, text: str) -> TrainingProgress:
        """Say where the run is."""
        last: Mapping[str, Any] = self.at.rows[-1] if self.at.rows else {}
        here = self.done - self.done_before
        left = (time.monotonic() - self.began) / here * (total - self.done) if here else None
        scores = {key.removeprefix("dice "): value for key, value in last.items() if key.startswith("dice ")}
        epoch = self.at.epoch if self.at.batch else self.at.epoch - 1
        return TrainingProgress(
            min(self.done, total), total, text, "steps", epoch, loss, last.get("dice"), scores, left
        )


def evaluate_tiles(
    network: Head, check: TileSet, tiles: Sequence[Tile], maps: Sequence[str], batch_size: int
) -> list[Confusion]:
    """Count, on the grid of the logits, how a head does on each tile."""
    network.eval()
    matrices = []
    for start in range(0, len(tiles), batch_size):
        batch, targets = check.batch(tiles[start : start + batch_size], maps)
        with torch.inference_mode():
            predicted = match_targets(network(batch), targets).argmax(dim=1).cpu().numpy()
        matrices += [
            confusion(one, true, len(network.classes))
            for one, true in zip(predicted, targets.cpu().numpy(), strict=True)
        ]
    return matrices
