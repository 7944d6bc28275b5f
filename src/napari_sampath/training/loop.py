"""Training any head on features that are computed once; and the visible loop that does it."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..arrays import GRID
from ..config import load_config
from ..errors import DatasetError
from ..heads import DirectHead, EncoderRef, Head, Metadata, create, registry, save_bundle
from ..jobs import Job, Progress, run
from ..predict import Model, load_model_job
from ..store import Store
from .config import TrainingConfig
from .dataset import Dataset, Sample, even_subset, split_by_group
from .losses import ce_dice, match_targets, to_targets
from .metrics import Confusion, best_constant, confusion, summarise
from .readers import open_dataset
from .tiles import TileSet

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_WARMUP_SHARE = 0.05
_LAST_RATE = 0.01
"""Learning rate at the end, as a share of its peak."""


@dataclass(frozen=True, slots=True)
class TrainingProgress(Progress):
    """Progress of the optimisation, for curves."""

    epoch: int = 0
    loss: float | None = None
    """Mean loss of the steps since the last report."""
    dice: float | None = None
    """Mean Dice on the validation images after the last whole epoch."""


@dataclass(slots=True)
class _Best:
    """The epoch with the highest validation Dice so far."""

    dice: float = -1.0
    epoch: int = 0
    state: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    matrices: list[Confusion] = dataclasses.field(default_factory=list)


def train(
    dataset: Dataset | str | Path,
    head: str = "cnn",
    config: TrainingConfig | None = None,
    model: Model | str = "sampath-tiny",
    output: str | Path | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> Path:
    """Train a head on a dataset and write it as a bundle.

    Args:
        dataset: A dataset, or a folder that `open_dataset` knows.
        head: One of `list_heads()`.
        config: The recipe.
        model: The encoder, loaded or by name.
        output: The bundle to write; "<dataset>-<head>.safetensors" in the current folder if left out. Its
            name becomes the name of the head.
        on_progress: Called with every `Progress`.

    Returns:
        The path of the bundle.

    Raises:
        DatasetError: If the data do not fit together.
        UnknownNameError: If there is no such head, argument or encoder.
        WeightsError: If training diverged.
        StorageError: If the bundle cannot be written; one that was there before stays.
    """
    return run(train_job(dataset, head, config, model, output), on_progress)


def train_job(
    dataset: Dataset | str | Path,
    head: str = "cnn",
    config: TrainingConfig | None = None,
    model: Model | str = "sampath-tiny",
    output: str | Path | None = None,
) -> Job[Path]:
    """Train a head, reporting images encoded and then steps; see `train`. Cancelled, it writes nothing."""
    config = config or TrainingConfig()
    if not isinstance(dataset, Dataset):
        dataset = open_dataset(dataset)
    if head not in registry:
        registry[head]  # raises with the nearest name, before anything is loaded
    path = Path(output or f"{dataset.name}-{head}.safetensors")
    settings = load_config()
    if isinstance(model, str):
        model = yield from load_model_job(model, settings.device, store=Store.from_config(settings))
    store = model.store or Store.from_config(settings)
    network = _build(head, dataset, model, config)

    training, validation = choose_samples(dataset, config)
    learn, check = TileSet(dataset, model, store), TileSet(dataset, model, store)
    yield from learn.add_job(training, config.augmentation, "Encoding the training images")
    yield from check.add_job(validation, "none", "Encoding the validation images")
    _check_tiles(learn, check, dataset)
    best = yield from fit_job(network, learn, check, config)

    network.load_state_dict(best.state)
    encoder = model.encoder
    baseline, baseline_scores = best_constant(best.matrices, dataset.classes)
    metadata = Metadata(
        name=path.stem,
        encoders=(EncoderRef(model.name, encoder.weights_digest, encoder.preprocessing_version),),
        mpp=dataset.mpp,
        training={
            **dataclasses.asdict(config),
            "head_arguments": dict(config.head_arguments),
            "best_epoch": best.epoch,
        },
        metrics={
            "chosen_on": "held-out cases of the training split" if config.held_out_share else "val",
            "head": summarise(best.matrices, dataset.classes),
            baseline: baseline_scores,
        },
        data={**dataset.summary(), "trained_on": len(training), "chosen_on": len(validation)},
        licence=dataset.licence,
        attribution=dataset.attribution,
    )
    return save_bundle(path, network, metadata, half=config.half)


def choose_samples(dataset: Dataset, config: TrainingConfig) -> tuple[list[Sample], list[Sample]]:
    """Choose the samples to train on, and those on which the best epoch is chosen."""
    training = list(dataset.split("train"))
    if config.held_out_share:
        training, validation = split_by_group(training, config.held_out_share, config.seed)
    else:
        validation = list(dataset.split("val"))
    return (
        even_subset(training, config.max_images, config.seed),
        even_subset(validation, config.max_validation_images, config.seed),
    )


def _check_tiles(learn: TileSet, check: TileSet, dataset: Dataset) -> None:
    """Raise a `DatasetError` if there is nothing to learn or to choose by, or a class never occurs."""
    for tiles, purpose in ((learn.tiles, "train on"), (check.tiles, "validate on")):
        if not tiles:
            raise DatasetError(
                f"The dataset '{dataset.name}' has no labelled pixel to {purpose}: all are ignored; label some."
            )
    found = {int(value) for tile in learn.tiles for value in np.unique(tile.targets)}
    missing = [c.name for index, c in enumerate(dataset.classes) if c.id > 0 and index not in found]
    if missing:
        raise DatasetError(
            f"No training image of '{dataset.name}' holds the class '{missing[0]}'; label some, or remove the class."
        )


def fit_job(network: Head, learn: TileSet, check: TileSet, config: TrainingConfig) -> Job[_Best]:
    """Train a head on tiles until it no longer improves on other tiles.

    Args:
        network: The head, on the model's device.
        learn: Tiles to train on.
        check: Tiles on which the best epoch is chosen.
        config: The recipe.

    Returns:
        The weights of the best epoch, and its confusion on each tile of `check`.
    """
    if isinstance(network, DirectHead):
        return learn_at_once(network, learn, check, config)
    rng = np.random.default_rng(config.seed)
    weights = learn.weights(config.balanced, len(network.classes))
    steps = max(1, math.ceil(len(learn.tiles) / config.batch_size))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate_at(steps * config.epochs))
    best, total = _Best(), steps * config.epochs
    for epoch in range(1, config.epochs + 1):
        losses: list[float] = []
        for step in range(steps):
            drawn = rng.choice(len(learn.tiles), size=config.batch_size, p=weights)
            loss = _step(network, optimiser, learn, drawn, rng, config)
            schedule.step()
            losses.append(loss)
            done = (epoch - 1) * steps + step + 1
            text = f"Epoch {epoch} of {config.epochs}, loss {loss:.3f}"
            yield TrainingProgress(done, total, text, "steps", epoch, loss, best.dice if best.epoch else None)
        matrices = evaluate_tiles(network, check, config.batch_size)
        dice = float(summarise(matrices, network.classes)["per_image"]["mean"]["dice"] or 0.0)
        if dice > best.dice:
            state = {key: value.detach().clone() for key, value in network.state_dict().items()}
            best = _Best(dice, epoch, state, matrices)
        mean = float(np.mean(losses))
        text = f"Epoch {epoch} of {config.epochs}, loss {mean:.3f}, validation Dice {dice:.3f}"
        logger.info(text)
        yield TrainingProgress(epoch * steps, total, text, "steps", epoch, mean, dice)
        if epoch - best.epoch >= config.patience:
            break
    return best


def learn_at_once(network: DirectHead, learn: TileSet, check: TileSet, config: TrainingConfig) -> _Best:
    """Let a head learn that takes no steps, and score it."""
    starts = range(0, len(learn.tiles), config.batch_size)
    whole_tiles = (learn.batch(learn.tiles[at : at + config.batch_size], network.spec) for at in starts)
    batches = ((maps, to_targets(targets)) for maps, targets in whole_tiles)
    network.learn(batches, len(learn.tiles), config.seed)
    matrices = evaluate_tiles(network, check, config.batch_size)
    dice = float(summarise(matrices, network.classes)["per_image"]["mean"]["dice"] or 0.0)
    return _Best(dice, 1, dict(network.state_dict()), matrices)


def _step(
    network: Head,
    optimiser: torch.optim.Optimizer,
    learn: TileSet,
    drawn: Any,
    rng: np.random.Generator,
    config: TrainingConfig,
) -> float:
    """Take one step and return its loss."""
    network.train()
    chosen = [learn.tiles[int(index)] for index in drawn]
    window = config.window_cells if network.reads_windows else GRID
    maps, targets = learn.batch(chosen, network.spec, rng, window)
    logits, iou = network.judged(maps)
    with_rest = network.classes[0].id == 0
    parts = ce_dice(
        match_targets(logits, targets), to_targets(targets), with_rest, iou, dice_weight=config.dice_weight
    )
    optimiser.zero_grad(set_to_none=True)
    parts.total.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
    optimiser.step()
    return float(parts.total.detach())


def evaluate_tiles(network: Head, check: TileSet, batch_size: int) -> list[Confusion]:
    """Count, on the grid of the logits, how a head does on each tile."""
    network.eval()
    matrices = []
    for start in range(0, len(check.tiles), batch_size):
        maps, targets = check.batch(check.tiles[start : start + batch_size], network.spec)
        with torch.inference_mode():
            predicted = match_targets(network(maps), targets).argmax(dim=1).cpu().numpy()
        matrices += [
            confusion(one, true, len(network.classes))
            for one, true in zip(predicted, targets.cpu().numpy(), strict=True)
        ]
    return matrices


def rate_at(total: int) -> Callable[[int], float]:
    """Return the schedule: factor of the peak learning rate at each of `total` steps."""
    warmup = max(1, round(total * _WARMUP_SHARE))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        along = min(1.0, (step - warmup) / max(1, total - warmup))
        return _LAST_RATE + (1 - _LAST_RATE) * (1 + math.cos(math.pi * along)) / 2

    return factor


def _build(head: str, dataset: Dataset, model: Model, config: TrainingConfig) -> Head:
    """Build the head with weights that depend on the seed alone, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = create(head, model.encoder.spec, dataset.classes, **config.head_arguments)
    network.adopt(None if model.decoder is None else model.decoder.state_dict())
    return network.to(model.device)
