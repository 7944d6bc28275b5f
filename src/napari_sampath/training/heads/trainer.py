"""Training loop of heads."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...arrays import DEPTH, GRID
from ...errors import StorageError, WeightsError
from ...files.messages import plural
from ...heads import DirectHead, Head
from ...jobs import Job, Progress
from ..evaluation.metrics import Confusion, confusion, summarise
from . import checkpoint
from .checkpoint import Best, Position
from .config import TrainingConfig
from .log import TrainingLog
from .losses import depth_loss, make_loss, match_targets
from .optim import PLATEAU_START, make_optimiser, make_plateau, set_rate
from .tiles import Tile, TileSet

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingProgress(Progress):
    """Progress of a training run, with its current loss and scores."""

    epoch: int = 0
    loss: float | None = None
    """Loss of the last batch; at the end of an epoch, mean loss of the epoch."""
    dice: float | None = None
    """Mean validation Dice after the last finished epoch."""
    class_dice: Mapping[str, float | None] = field(default_factory=dict)
    """Validation Dice of each class after the last finished epoch; None for classes that do not occur."""
    eta_s: float | None = None
    """Estimated seconds until the maximum number of epochs is reached; None before the first step."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Head, tiles and configuration of a training run."""

    fabric: Fabric
    network: Head
    train: TileSet
    """Training tiles."""
    val: TileSet
    """Validation tiles, on which the best epoch is chosen."""
    config: TrainingConfig
    bundle: Path
    """Path of the bundle; the checkpoint and the log are written beside it."""
    fingerprint: str
    """Hash of everything that the result depends on; checkpoints with a different fingerprint are ignored."""
    stop: Event | None = None
    """If it is set, training ends early and keeps the best weights so far; the first epoch is always finished."""
    chosen_on: str = "val"
    """Description of the validation tiles, see `choose_samples`."""

    @property
    def stopped(self) -> bool:
        """Whether training was asked to end early."""
        return self.stop is not None and self.stop.is_set()

    @property
    def is_validated(self) -> bool:
        """Whether the validation tiles are not those of the training images; if they are, no score is reported."""
        return not self.chosen_on.startswith("train")

    @property
    def maps(self) -> list[str]:
        """Names of the feature maps that the head reads."""
        return [feature.name for feature in self.network.spec.maps]

    @property
    def window_cells(self) -> int:
        """Side of the training windows, in cells of the 64 x 64 grid."""
        return self.config.window_cells if self.network.reads_windows else GRID

    @property
    def batches(self) -> int:
        """Number of batches per epoch."""
        return max(1, math.ceil(len(self.train.tiles) / self.config.batch_size))


def run_job(run: Run) -> Job[Best]:
    """Train a head until it no longer improves on the validation tiles; a killed run resumes from its checkpoint.

    Returns the weights of the best or last epoch (see `TrainingConfig.keep`), and their confusion matrix on each
    validation tile.

    Raises:
        WeightsError: If the loss or the gradient is not finite.
    """
    if isinstance(run.network, DirectHead):
        return (yield from _direct_job(run, run.network))
    trainer = _Trainer(run)
    config, position = run.config, trainer.position
    total = run.batches * config.epochs
    log = TrainingLog(run.bundle)
    try:
        while position.epoch <= config.epochs and not (
            config.patience and position.waited >= config.patience
        ):
            while position.batch < run.batches:
                if run.stopped and position.best.epoch:
                    return position.best
                loss = trainer.step()
                text = f"Epoch {position.epoch} of {config.epochs}, loss {loss:.3f}"
                yield trainer.report(total, loss, text)
            trainer.end_epoch()
            row = position.rows[-1]
            if run.fabric.is_global_zero:
                log.write(position.rows)
            text = f"Epoch {row['epoch']} of {config.epochs}, loss {row['loss']:.3f}"
            if run.is_validated:
                text += f", validation Dice {row['dice']:.3f}"
            logger.info(text)
            yield trainer.report(total, row["loss"], text)
    finally:
        log.close()
    return position.best


def _direct_job(run: Run, network: DirectHead) -> Job[Best]:
    """Train and score a head that is trained without gradients."""
    size, tiles = run.config.batch_size, run.train.tiles
    yield TrainingProgress(0, 1, f"Training on {plural(len(tiles), 'tile')}", "steps")
    batches = (run.train.batch(tiles[start : start + size], run.maps) for start in range(0, len(tiles), size))
    network.learn(((maps, targets.long()) for maps, targets in batches), len(tiles), run.config.seed)
    matrices = evaluate_tiles(network, run.val, run.val.tiles, run.maps, size)
    scores = summarise(matrices, network.classes)["per_image"]
    dice = float(scores["mean"]["dice"] or 0.0)
    class_dice = {info.name: scores[info.name]["dice"] for info in network.classes}
    text = f"Validation Dice {dice:.3f}" if run.is_validated else f"Trained on {plural(len(tiles), 'tile')}"
    yield TrainingProgress(1, 1, text, "steps", 1, None, dice, class_dice, 0.0)
    return Best(dice, 1, dict(network.state_dict()), matrices)


class _Trainer:
    """Network, optimiser and position of a run in progress."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.optimiser = make_optimiser(run.network.parameters(), run.config)
        self.path = checkpoint.checkpoint_path(run.bundle)
        resumed = checkpoint.load(self.path, run.fingerprint, run.network, self.optimiser)
        self.position = resumed or Position()
        self.plateau = make_plateau(self.optimiser)
        if self.position.plateau:
            self.plateau.load_state_dict(self.position.plateau)
            for group, rate in zip(self.optimiser.param_groups, self.plateau.get_last_lr(), strict=True):
                group["lr"] = rate
        self.loss = make_loss(run.config)
        self.weights = run.train.weights(len(run.network.classes))
        wrapped = run.fabric.setup(run.network, self.optimiser)
        self.network: Any = wrapped[0]
        self.stepper: Any = wrapped[1]
        self.network.mark_forward_method("forward_with_iou")
        self.network.mark_forward_method("forward_with_depth")
        self.started = self.saved = time.monotonic()
        self.resumed_at = self.done
        self.can_save = True

    @property
    def done(self) -> int:
        """Number of batches since the start of the first epoch."""
        return (self.position.epoch - 1) * self.run.batches + self.position.batch

    def step(self) -> float:
        """Train on one batch, and return its loss."""
        run, config, position = self.run, self.run.config, self.position
        # Seed with the position, so that a resumed run samples the same batches.
        rng = np.random.default_rng([config.seed, position.epoch, position.batch])
        sampled = self._sample_tiles(rng)
        own = [run.train.tiles[int(i)] for i in sampled[run.fabric.global_rank :: run.fabric.world_size]]
        own_rng = np.random.default_rng([config.seed, position.epoch, position.batch, run.fabric.global_rank])
        names = [*run.maps, DEPTH] if run.network.predicts_depth else run.maps
        maps, targets = run.train.batch(own, names, own_rng, run.window_cells, config)
        steps = math.ceil(run.batches / config.accumulate)
        ends = (position.batch + 1) % config.accumulate == 0 or position.batch + 1 == run.batches
        first = position.batch // config.accumulate * config.accumulate
        size = min(config.accumulate, run.batches - first)
        step = (position.epoch - 1) * steps + position.batch // config.accumulate
        set_rate(self.optimiser, config, steps, step)
        loss = self._backward(maps, targets, int(rng.integers(2**63)), size, ends)
        if ends:
            if config.gradient_clip:
                self._clip(config.gradient_clip)
            self.stepper.step()
            self.stepper.zero_grad(set_to_none=True)
        position.batch += 1
        position.losses.append(loss)
        if ends:  # Checkpoints do not contain accumulated gradients.
            self._save()
        return loss

    def _sample_tiles(self, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the indices of the tiles of a batch: class-balanced, or the next in the random order of the epoch."""
        config, tiles = self.run.config, len(self.run.train.tiles)
        if config.balanced:
            return rng.choice(tiles, size=config.batch_size, p=self.weights)
        order = np.random.default_rng([config.seed, self.position.epoch]).permutation(tiles)
        batch = order[self.position.batch * config.batch_size :][: config.batch_size]
        # Each process needs a tile, because the others wait for its gradients.
        return np.resize(batch, max(len(batch), self.run.fabric.world_size))

    def _backward(self, maps: dict[str, Tensor], targets: Tensor, seed: int, size: int, ends: bool) -> float:
        fabric, head = self.run.fabric, self.run.network
        self.network.train()
        cuda = [fabric.device] if fabric.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda), fabric.no_backward_sync(self.network, enabled=not ends):
            torch.manual_seed(seed)
            depth, iou = None, None
            if head.predicts_depth:
                logits, depth = self.network.forward_with_depth(maps)
            else:
                logits, iou = self.network.forward_with_iou(maps)
            resized = match_targets(logits, targets).float()
            total = self.loss(resized, targets.long(), head.classes[0].id == 0, iou).total
            if depth is not None:
                total = total + depth_loss(match_targets(depth, targets).float(), maps[DEPTH], targets)
            fabric.backward(total / size)
        loss = total.detach()
        if fabric.world_size > 1:
            loss = fabric.all_reduce(loss, reduce_op="mean")  # type: ignore[assignment]
        self._check_finite("loss", loss)
        return float(loss)

    def _clip(self, max_norm: float) -> None:
        norm = self.run.fabric.clip_gradients(
            self.network, self.stepper, max_norm=max_norm, error_if_nonfinite=False
        )
        if norm is not None:
            self._check_finite("gradient", norm)

    def _check_finite(self, name: str, value: Tensor) -> None:
        if not bool(torch.isfinite(value)):
            raise WeightsError(
                f"The {name} is {float(value)} in epoch {self.position.epoch}, and no head was saved; train again "
                "with a lower learning rate."
            )

    def end_epoch(self) -> None:
        """Evaluate the head, keep its weights if they are the best, and advance to the next epoch."""
        run, position = self.run, self.position
        matrices = self._evaluate()
        scores = summarise(matrices, run.network.classes)["per_image"]
        dice, loss = float(scores["mean"]["dice"] or 0.0), float(np.mean(position.losses))
        position.waited = 0 if dice > position.top_dice else position.waited + 1
        if dice > position.top_dice or run.config.keep == "last":
            state = {key: value.detach().clone() for key, value in run.network.state_dict().items()}
            position.best = Best(dice, position.epoch, state, matrices)
        position.top_dice = max(dice, position.top_dice)
        rate = self.optimiser.param_groups[0]["lr"]
        row = {"epoch": position.epoch, "loss": loss, "learning_rate": rate, "dice": dice}
        position.rows.append(row | {f"dice {c.name}": scores[c.name]["dice"] for c in run.network.classes})
        if run.config.schedule == "plateau" and position.epoch > PLATEAU_START:
            # AutoSAM passes the loss of the last batch.
            self.plateau.step(position.losses[-1])
            position.plateau = self.plateau.state_dict()
        position.epoch, position.batch, position.losses = position.epoch + 1, 0, []
        self._save()

    def _evaluate(self) -> list[Confusion]:
        """Return the confusion matrix of each validation tile; the processes share the work."""
        run, fabric = self.run, self.run.fabric
        tiles, count = run.val.tiles, len(run.network.classes)
        ranks = range(fabric.global_rank, len(tiles), fabric.world_size)
        matrices = torch.zeros((len(tiles), count, count), dtype=torch.int64, device=fabric.device)
        own = evaluate_tiles(run.network, run.val, [tiles[i] for i in ranks], run.maps, run.config.batch_size)
        for index, matrix in zip(ranks, own, strict=True):
            matrices[index] = torch.from_numpy(matrix)
        if fabric.world_size > 1:
            matrices = fabric.all_reduce(matrices, reduce_op="sum")  # type: ignore[assignment]
        return list(matrices.cpu().numpy())

    def _save(self) -> None:
        now, run = time.monotonic(), self.run
        is_due = now - self.saved >= run.config.save_every_s
        if not (self.can_save and run.fabric.is_global_zero and is_due):
            return
        try:
            checkpoint.save(self.path, run.fingerprint, run.network, self.optimiser, self.position)
        except StorageError as error:
            # Training continues without checkpoints; the previous one is kept.
            self.can_save = False
            logger.warning("No more checkpoints are written: %s", error)
        self.saved = time.monotonic()

    def report(self, total: int, loss: float, text: str) -> TrainingProgress:
        """Return the progress of the run."""
        position = self.position
        last: Mapping[str, Any] = position.rows[-1] if position.rows else {}
        done = self.done - self.resumed_at
        eta_s = (time.monotonic() - self.started) / done * (total - self.done) if done else None
        scores = {key.removeprefix("dice "): value for key, value in last.items() if key.startswith("dice ")}
        epoch = position.epoch if position.batch else position.epoch - 1
        return TrainingProgress(
            min(self.done, total), total, text, "steps", epoch, loss, last.get("dice"), scores, eta_s
        )


def evaluate_tiles(
    network: Head, tile_set: TileSet, tiles: Sequence[Tile], maps: Sequence[str], batch_size: int
) -> list[Confusion]:
    """Return the confusion matrix of a head on each tile, on the logit grid."""
    network.eval()
    matrices = []
    for start in range(0, len(tiles), batch_size):
        batch, targets = tile_set.batch(tiles[start : start + batch_size], maps)
        with torch.inference_mode():
            predicted = match_targets(network(batch), targets).argmax(dim=1).cpu().numpy()
        matrices += [
            confusion(labels, true, len(network.classes))
            for labels, true in zip(predicted, targets.cpu().numpy(), strict=True)
        ]
    return matrices
