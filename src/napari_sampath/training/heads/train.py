"""Training of heads: from a dataset to a bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...arrays import GRID, IMAGE
from ...config import load_config, resolve_device
from ...errors import ConfigError, WeightsError
from ...heads import EncoderRef, Head, LoadedHead, Metadata, create, load_head, registry, save_bundle
from ...jobs import Job, Progress, run
from ...predict import Model, load_model_job
from ...predict.foreign.statistics import KEY as STATISTICS_KEY
from ...predict.head_tiles import TILE_KEY
from ...store import Store
from ..data.check import check_job
from ..data.dataset import Dataset, Sample, even_subset, split_by_group
from ..data.readers import open_dataset
from ..evaluation.metrics import best_constant, summarise
from . import checkpoint
from .augmentation import ORIENTATIONS
from .checkpoint import Best
from .config import TrainingConfig
from .losses import make_loss
from .mosaics import Mosaic, random_mosaics
from .tile_statistics import tile_statistics
from .tiles import TileSet
from .trainer import Run, run_job

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

_FLOAT16_BYTES = 2
"""Size of a value in the store."""


def train(
    dataset: Dataset | str | Path,
    head: str = "cnn",
    config: TrainingConfig | None = None,
    model: Model | str = "sampath-tiny",
    output: str | Path | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> Path:
    """Train a head on a dataset and write it as a bundle.

    A killed run resumes when `train` is called again with the same data and configuration, and gives the same head.
    A log of the epochs is written beside the bundle, and also a checkpoint until the run ends.

    Args:
        dataset: A dataset, or a folder that `open_dataset` can open.
        head: Kind of head, one of `list_heads()`.
        config: The configuration.
        model: The encoder, as a loaded model or by name.
        output: The bundle to write, by default "<dataset>-<head>.safetensors" in the current folder. Its name
            becomes the name of the head.
        on_progress: Called with each `Progress`.

    Returns:
        The path of the bundle.

    Raises:
        DatasetError: If the dataset cannot be used.
        UnknownNameError: If the head, the encoder, the loss or an argument does not exist.
        ConfigError: If the value of an argument has the wrong type.
        WeightsError: If training diverges.
        StorageError: If the bundle cannot be written; an existing one is kept.
    """
    return run(train_job(dataset, head, config, model, output), on_progress)


def train_job(
    dataset: Dataset | str | Path,
    head: str = "cnn",
    config: TrainingConfig | None = None,
    model: Model | str = "sampath-tiny",
    output: str | Path | None = None,
    stop: Event | None = None,
) -> Job[Path]:
    """Train a head as a job; see `train`. A cancelled job writes no bundle.

    Setting `stop` ends training early and keeps the best weights so far; the first epoch is finished in any case.
    """
    config = config or TrainingConfig()
    if not isinstance(dataset, Dataset):
        dataset = open_dataset(dataset)
    if head not in registry:
        registry[head]  # Raises UnknownNameError before anything is loaded.
    make_loss(config)
    path = Path(output or f"{dataset.name}-{head}.safetensors")
    settings = load_config()
    device = resolve_device(settings.device) if isinstance(model, str) else model.device
    fabric = launch(config, device)
    if isinstance(model, str):
        model = yield from load_model_job(model, str(fabric.device), store=Store.from_config(settings))
    elif (model.device.type, model.device.index or 0) != (fabric.device.type, fabric.device.index or 0):
        raise ConfigError(
            f"The model is on '{model.device}', but training runs on '{fabric.device}'; pass the name of the model"
            " instead."
        )
    store = model.store or Store.from_config(settings)
    network = _build(head, dataset, model, config)

    training, validation, chosen_on = choose_samples(dataset, config)
    train_facts, val_facts = yield from check_job(dataset, training, validation)
    encodes = any(feature.name != IMAGE for feature in network.spec.maps)
    if encodes:
        # Features of augmented pixels are not stored.
        copies = 0 if config.augmentation == "pixels" else len(ORIENTATIONS[config.augmentation])
        count = copies * sum(image.tiles for image in train_facts) + sum(image.tiles for image in val_facts)
        yield from _check_store_job(model, store, count)
    train_set, val_set = (TileSet(dataset, model, store, encodes) for _ in range(2))
    yield from _encode_job(fabric, train_set, training, config.augmentation, "Encoding the training images")
    yield from _encode_job(fabric, val_set, validation, "none", "Encoding the validation images")
    fingerprint = _fingerprint(network, train_set, val_set, model, config)
    training_run = Run(fabric, network, train_set, val_set, config, path, fingerprint, stop, chosen_on)
    best = yield from run_job(training_run)
    network.load_state_dict(best.state)
    sides = [max(t.window.hw) for t in train_set.tiles if not isinstance(t.sample.load, Mosaic)]
    counts = {"trained_on": len(training), "chosen_on": len(validation)}
    data: dict[str, object] = {**dataset.summary(), **counts, TILE_KEY: int(np.median(sides))}
    statistics = tile_statistics(train_set, network.spec.maps[0].name)
    if statistics is not None:
        data[STATISTICS_KEY] = statistics.to_json()
    if fabric.is_global_zero:
        save_bundle(
            path, network, _describe(path.stem, dataset, model, config, best, chosen_on, data), config.half
        )
        checkpoint.checkpoint_path(path).unlink(missing_ok=True)
    fabric.barrier()
    return path


def launch(config: TrainingConfig, device: torch.device) -> Fabric:
    """Start or join the processes of a training run on `device`, or on several devices of its type.

    The number of processes is set by `torchrun` if it is used, otherwise by `config.devices`. If there are several,
    Fabric starts this program again for each additional process.

    Raises:
        ConfigError: If the batch size is not a multiple of the number of processes.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    per_node = int(os.environ["LOCAL_WORLD_SIZE"]) if torchrun else config.devices
    nodes = int(os.environ["WORLD_SIZE"]) // per_node if torchrun else 1
    world = per_node * nodes
    if config.batch_size % world:
        raise ConfigError(
            f"batch_size is {config.batch_size} for {world} processes; give a multiple of {world}."
        )
    single_gpu = world == 1 and device.type == "cuda"
    fabric = Fabric(
        accelerator=device.type,
        devices=[device.index or 0] if single_gpu else per_node,
        num_nodes=nodes,
        # Some heads have unused weights, which exist only to load the checkpoints of their reference.
        strategy="auto" if world == 1 else DDPStrategy(find_unused_parameters=True),
        precision="32-true" if config.head_precision == "float32" else "bf16-mixed",
    )
    fabric.launch()
    return fabric


def choose_samples(dataset: Dataset, config: TrainingConfig) -> tuple[list[Sample], list[Sample], str]:
    """Return the training samples, the validation samples and a description of the validation samples.

    The best epoch is chosen on the validation samples. If all images show one slide, these are the training samples.
    Mosaics are made of all samples of a split, not only of those that are chosen.
    """
    training = list(dataset.split("train"))
    if config.held_out_share:
        training, validation = split_by_group(training, config.held_out_share, config.seed)
        chosen_on = "held-out cases of the training split"
    elif any(sample.split == "val" for sample in dataset.samples):
        validation, chosen_on = list(dataset.split("val")), "val"
    else:
        logger.warning(
            "The dataset '%s' has no slide or case to validate on, so it is scored on the training images; add "
            "images of another slide.",
            dataset.name,
        )
        validation, chosen_on = training, "train, because there is no other slide or case"
    chosen = even_subset(training, config.max_images, config.seed)
    scored = even_subset(validation, config.max_validation_images, config.seed)
    if config.mosaics:
        count = math.ceil(config.mosaics * len(scored) / len(chosen))
        chosen += random_mosaics(training, config.mosaics, config, config.stain_jitter)
        scored += random_mosaics(validation, count, config, 0.0)
        chosen_on += ", with mosaics"
    return chosen, scored, chosen_on


def _check_store_job(model: Model, store: Store, count: int) -> Job[None]:
    """Warn if the store is too small for the features of `count` tiles."""
    channels = sum(feature.channels for feature in model.encoder.spec.maps)
    needed = count * channels * GRID**2 * _FLOAT16_BYTES
    limit = max(tier.limit_bytes for tier in (store.memory, store.disk) if tier is not None)
    if needed > limit:
        text = (
            f"The features of {count} tiles take {needed:,} bytes, but the cache is limited to {limit:,}, so the "
            f"encoder may run at every step; set SAMPATH_CACHE_LIMIT_BYTES to {needed * 5 // 4} or train on fewer "
            "images."
        )
        logger.warning("%s", text)
        yield Progress(0, 0, text, "images")


def _encode_job(
    fabric: Fabric, tiles: TileSet, samples: Sequence[Sample], augmentation: str, message: str
) -> Job[None]:
    """Encode the tiles that are not in the store; several processes share the work through the store on disk."""
    if fabric.world_size > 1:
        share = TileSet(tiles.dataset, tiles.model, tiles.store, tiles.encodes)
        yield from share.add_job(samples[fabric.global_rank :: fabric.world_size], augmentation, message)
        fabric.barrier()
    yield from tiles.add_job(samples, augmentation, message)
    if augmentation == "pixels" and tiles.seconds_per_tile:
        seconds = tiles.seconds_per_tile * len(tiles.tiles)
        logger.warning(
            "With the augmentation 'pixels' the encoder runs at every step, which takes about %.0f s per epoch of %d "
            "tiles; with 'dihedral' it runs eight times per tile in total.",
            seconds,
            len(tiles.tiles),
        )
        text = f"Encoding takes about {seconds:.0f} s of each epoch"
        yield Progress(len(samples), len(samples), text, "images")


def _build(head: str, dataset: Dataset, model: Model, config: TrainingConfig) -> Head:
    """Create the head with weights that depend only on the seed, without changing the global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = create(head, model.encoder.spec, dataset.classes, **config.head_arguments)
        network.init_from_sam(None if model.decoder is None else model.decoder.state_dict())
    if config.start:
        _start_with(network, load_head(config.start), model)
    return network.to(model.device)


def _start_with(network: Head, start: LoadedHead, model: Model) -> None:
    """Load the weights of a trained head."""
    encoder = model.encoder
    start.check_encoder(model.name, encoder.weights_digest, encoder.preprocessing_version)
    try:
        network.load_state_dict(start.head.state_dict())
    except RuntimeError:
        raise WeightsError(
            f"The head '{start.name}' ('{start.head.kind}', {len(start.classes)} classes) does not fit a new head "
            f"('{network.kind}', {len(network.classes)} classes); give one of the same kind, with the same arguments "
            "and number of classes, or start with new weights."
        ) from None


def _fingerprint(
    network: Head, train_set: TileSet, val_set: TileSet, model: Model, config: TrainingConfig
) -> str:
    """Hash everything that the trained head depends on: pixels, labels, encoder, head and configuration."""
    recipe = {key: value for key, value in _recipe(config).items() if key != "save_every_s"}
    digest = hashlib.sha256(json.dumps([network.kind, network.arguments, recipe], sort_keys=True).encode())
    digest.update(repr([(c.id, c.name) for c in network.classes]).encode())
    for tiles in (train_set.tiles, val_set.tiles):
        for tile in tiles:
            digest.update(tile.key.digest.encode())
            digest.update(tile.sample.stratum.encode())
            digest.update(tile.targets.tobytes())
    digest.update(model.encoder.weights_digest.encode())
    if config.start:
        for values in network.state_dict().values():
            digest.update(values.cpu().numpy().tobytes())
    return digest.hexdigest()


def _recipe(config: TrainingConfig) -> dict[str, object]:
    """Convert a configuration to JSON-serialisable values."""
    return {
        **{field.name: getattr(config, field.name) for field in dataclasses.fields(config)},
        "drops": list(config.drops),
        "start": Path(config.start).stem,
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
