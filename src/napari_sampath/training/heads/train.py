"""Training any head on features that are computed once: from a dataset to a bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...arrays import GRID, IMAGE
from ...config import load_config, resolve_device
from ...errors import ConfigError
from ...heads import EncoderRef, Head, Metadata, create, registry, save_bundle
from ...jobs import Job, Progress, run
from ...predict import Model, load_model_job
from ...store import Store
from ..data.check import check_job
from ..data.dataset import Dataset, Sample, even_subset, split_by_group
from ..data.readers import open_dataset
from ..evaluation.metrics import best_constant, summarise
from . import checkpoint
from .checkpoint import Best
from .config import TrainingConfig
from .devices import launch
from .dihedral import VIEWS
from .objective import make_objective
from .tiles import TileSet
from .trainer import Run, fit_job

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

_FLOAT16_BYTES = 2
"""Of a value in the store."""


def train(
    dataset: Dataset | str | Path,
    head: str = "cnn",
    config: TrainingConfig | None = None,
    model: Model | str = "sampath-tiny",
    output: str | Path | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> Path:
    """Train a head on a dataset and write it as a bundle.

    A run that was killed goes on where it was when it is called again with the same data and recipe, and gives the
    same head. Beside the bundle lies a log of the epochs, and while it lasts the run itself.

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
        UnknownNameError: If there is no such head, argument, loss or encoder.
        ConfigError: If the value of an argument is of another type.
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
    """Train a head, reporting images encoded and then steps; see `train`. Cancelled, it writes no bundle."""
    config = config or TrainingConfig()
    if not isinstance(dataset, Dataset):
        dataset = open_dataset(dataset)
    if head not in registry:
        registry[head]  # raises with the nearest name, before anything is loaded
    make_objective(config)
    path = Path(output or f"{dataset.name}-{head}.safetensors")
    settings = load_config()
    device = resolve_device(settings.device) if isinstance(model, str) else model.device
    fabric = launch(config, device)
    if isinstance(model, str):
        model = yield from load_model_job(model, str(fabric.device), store=Store.from_config(settings))
    elif _place(model.device) != _place(fabric.device):
        raise ConfigError(
            f"The model is on '{model.device}', training on '{fabric.device}'; give its name instead."
        )
    store = model.store or Store.from_config(settings)
    network = _build(head, dataset, model, config)

    training, validation, chosen_on = choose_samples(dataset, config)
    learnt, judged = yield from check_job(dataset, training, validation)
    encodes = any(feature.name != IMAGE for feature in network.spec.maps)
    if encodes:
        # Of pixels that vary at every step nothing is kept.
        views = 0 if config.augmentation == "pixels" else len(VIEWS[config.augmentation])
        count = views * sum(image.tiles for image in learnt) + sum(image.tiles for image in judged)
        yield from _room_job(model, store, count)
    learn, check = (TileSet(dataset, model, store, encodes) for _ in range(2))
    yield from _encode_job(fabric, learn, training, config.augmentation, "Encoding the training images")
    yield from _encode_job(fabric, check, validation, "none", "Encoding the validation images")
    fingerprint = _fingerprint(network, learn, check, model, config)
    best = yield from fit_job(Run(fabric, network, learn, check, config, path, fingerprint))

    network.load_state_dict(best.state)
    data = {**dataset.summary(), "trained_on": len(training), "chosen_on": len(validation)}
    if fabric.is_global_zero:
        save_bundle(
            path, network, _describe(path.stem, dataset, model, config, best, chosen_on, data), config.half
        )
        checkpoint.checkpoint_path(path).unlink(missing_ok=True)
    fabric.barrier()
    return path


def choose_samples(dataset: Dataset, config: TrainingConfig) -> tuple[list[Sample], list[Sample], str]:
    """Choose the samples to train on, those on which the best epoch is chosen, and say what these are.

    Where all images are of one slide there is nothing else to choose by than the training images.
    """
    training = list(dataset.split("train"))
    if config.held_out_share:
        training, validation = split_by_group(training, config.held_out_share, config.seed)
        chosen_on = "held-out cases of the training split"
    elif any(sample.split == "val" for sample in dataset.samples):
        validation, chosen_on = list(dataset.split("val")), "val"
    else:
        logger.warning(
            "The dataset '%s' has no slide or case to validate on: its scores say how well the training images were "
            "learnt, no more. Add images of another slide.",
            dataset.name,
        )
        validation, chosen_on = training, "train, for want of another slide or case"
    return (
        even_subset(training, config.max_images, config.seed),
        even_subset(validation, config.max_validation_images, config.seed),
        chosen_on,
    )


def _room_job(model: Model, store: Store, count: int) -> Job[None]:
    """Say so if the store cannot keep the features of that many tiles."""
    needed = count * sum(one.channels for one in model.encoder.spec.maps) * GRID**2 * _FLOAT16_BYTES
    limit = max(tier.limit_bytes for tier in (store.memory, store.disk) if tier is not None)
    if needed > limit:
        text = (
            f"Features of {count} tiles take {needed:,} bytes, {limit:,} bytes are kept: the encoder may run "
            f"at every step; set SAMPATH_CACHE_LIMIT_BYTES to {needed * 5 // 4} or more, or train on fewer images."
        )
        logger.warning("%s", text)
        yield Progress(0, 0, text, "images")


def _encode_job(
    fabric: Fabric, tiles: TileSet, samples: Sequence[Sample], augmentation: str, message: str
) -> Job[None]:
    """Encode what is not in the store; several processes share the work over the store on disk."""
    if fabric.world_size > 1:
        share = TileSet(tiles.dataset, tiles.model, tiles.store, tiles.encodes)
        yield from share.add_job(samples[fabric.global_rank :: fabric.world_size], augmentation, message)
        fabric.barrier()
    yield from tiles.add_job(samples, augmentation, message)
    if augmentation == "pixels" and tiles.seconds_each:
        seconds = tiles.seconds_each * len(tiles.tiles)
        logger.warning(
            "With augmentation 'pixels' the encoder runs at every step, about %.0f s an epoch of %d tiles; with "
            "'dihedral' it runs eight times for each tile in all.",
            seconds,
            len(tiles.tiles),
        )
        yield Progress(
            len(samples), len(samples), f"Each epoch will encode for about {seconds:.0f} s", "images"
        )


def _build(head: str, dataset: Dataset, model: Model, config: TrainingConfig) -> Head:
    """Build the head with weights that depend on the seed alone, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = create(head, model.encoder.spec, dataset.classes, **config.head_arguments)
        network.init_from_sam(None if model.decoder is None else model.decoder.state_dict())
    return network.to(model.device)


def _fingerprint(network: Head, learn: TileSet, check: TileSet, model: Model, config: TrainingConfig) -> str:
    """Hash everything that the trained head depends on: pixels, labels, encoder, head and recipe."""
    recipe = {key: value for key, value in _recipe(config).items() if key != "save_every_s"}
    digest = hashlib.sha256(json.dumps([network.kind, network.arguments, recipe], sort_keys=True).encode())
    digest.update(repr([(c.id, c.name) for c in network.classes]).encode())
    for tiles in (learn.tiles, check.tiles):
        for tile in tiles:
            digest.update(tile.key.digest.encode())
            digest.update(tile.sample.stratum.encode())
            digest.update(tile.targets.tobytes())
    digest.update(model.encoder.weights_digest.encode())
    return digest.hexdigest()


def _recipe(config: TrainingConfig) -> dict[str, object]:
    """Return a configuration as JSON can hold it."""
    return {
        **{field.name: getattr(config, field.name) for field in dataclasses.fields(config)},
        "drops": list(config.drops),
        "head_arguments": dict(config.head_arguments),
        "loss_arguments": dict(config.loss_arguments),
    }


def _describe(
    name: str,
    dataset: Dataset,
    model: Model,
    config: TrainingConfig,
    best: Best,
    chosen_on: str,
    data: dict[str, object],
) -> Metadata:
    encoder = model.encoder
    baseline, baseline_scores = best_constant(best.matrices, dataset.classes)
    return Metadata(
        name=name,
        encoders=(EncoderRef(model.name, encoder.weights_digest, encoder.preprocessing_version),),
        mpp=dataset.mpp,
        training={**_recipe(config), "best_epoch": best.epoch},
        metrics={
            "chosen_on": chosen_on,
            "head": summarise(best.matrices, dataset.classes),
            baseline: baseline_scores,
        },
        data=data,
        licence=dataset.licence,
        attribution=dataset.attribution,
    )


def _place(device: torch.device) -> tuple[str, int]:
    """Return kind and number of a device: "cuda" is the first of them, on which single processes run."""
    return device.type, device.index or 0
