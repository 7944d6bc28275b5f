"""Adaptation of a model to the objects of a dataset or project."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ....arrays import LocalMask
from ....encoders import EncoderParts
from ....encoders.text.projection_file import text_record
from ....errors import ConfigError, DatasetError
from ....formats import DatasetFolder
from ....formats.dataset.maps import DatasetItem
from ....jobs import Job, run
from ..prompt_tuning import save_weights
from .adapt import AdaptationConfig, adapt_job
from .decoders import AdaptedDecoder, AdaptedDecoders
from .examples import ExampleTile, RecordedObject, collect_job, sample_tiles

if TYPE_CHECKING:
    from ....predict import Model

UNREVIEWED = ("head", "similar", "text")
"""Sources of objects that are learned from only if a person has reviewed them."""


def adapt(
    dataset: str | Path, model: Model, config: AdaptationConfig | None = None, rounds: int = 3
) -> AdaptedDecoder | None:
    """Adapt the prompt decoder of a model to the objects of a dataset; see `adapt_to_dataset_job`."""
    return run(adapt_to_dataset_job(dataset, model, config, rounds))


def adapt_to_dataset_job(
    dataset: str | Path, model: Model, config: AdaptationConfig | None = None, rounds: int = 3
) -> Job[AdaptedDecoder | None]:
    """Make a job that adapts a model to the training images of a dataset, and saves the decoder beside them.

    Each round continues from the last one that answered the held-back objects at least as well as before.

    Args:
        dataset: Folder of a dataset or project.
        model: A promptable model; it uses the adapted decoder afterwards.
        config: The configuration.
        rounds: Largest number of rounds.

    Returns:
        The record of the adapted decoder in use; None if no round was at least as good as the original decoder.

    Raises:
        ConfigError: If the model is not promptable.
        DatasetError: If the folder is not a dataset, or has too few objects with prompts.
        StorageError: If the decoder cannot be saved.
    """
    if model.decoder is None:
        raise ConfigError(f"'{model.name}' is not promptable; choose a promptable model.")
    decoders = AdaptedDecoders(dataset)
    original = model.decoder.original
    tiles: list[ExampleTile] = yield from _tiles_job(DatasetFolder.open(dataset), model)
    old = sample_tiles(model)
    record = decoders.find(model)
    start = None if record is None else decoders.weights(record)
    for _ in range(rounds):
        result = yield from adapt_job(
            original.prompt_encoder, original.mask_decoder, start, tiles, old, config
        )
        if not result.better:
            break
        record, start = decoders.save(model, result), result.weights
    decoders.apply(model)
    return record


def save_adapted(model: Model, path: Path) -> None:
    """Write all weights of a model with the decoder in use, for `load_model(weights=...)`; see `save_weights`."""
    if model.decoder is not None:
        parts = EncoderParts(
            model.encoder, model.decoder.prompt_encoder, model.decoder.mask_decoder, model.text_projection
        )
        record = {"model": model.name, **text_record(parts)}
        save_weights(path, parts.state_dict(), record, model.encoder.stored_as)


def _tiles_job(folder: DatasetFolder, model: Model) -> Job[list[ExampleTile]]:
    tiles: list[ExampleTile] = []
    for name in folder.images:
        if folder.split_of(name) != "train":
            continue
        item = folder.read(name)
        if item.instances is None:
            continue
        hw = item.pixels.shape[0], item.pixels.shape[1]
        tiles += yield from collect_job(recorded_objects(item, name), hw, partial(model.encode, item.pixels))
    if not tiles:
        raise DatasetError(
            f"The training images of '{folder.path}' have no objects with recorded prompts; annotate objects by "
            "clicks or boxes, and save them to it."
        )
    return tiles


def recorded_objects(item: DatasetItem, image: str) -> Iterator[RecordedObject]:
    """Yield the objects of a saved image whose prompts are recorded.

    Args:
        item: The image with its instances and provenance.
        image: Identifies the image.
    """
    instances = np.asarray(item.instances)
    records: dict[str, Any] = item.provenance.get("annotations") or {}
    for number, place in enumerate(ndimage.find_objects(instances), start=1):
        record = records.get(str(number))
        if place is None or not isinstance(record, dict) or record.get("unsure"):
            continue
        if record.get("source") in UNREVIEWED and not record.get("reviewed"):
            continue
        prompts = record.get("prompts") or {}
        points = prompts.get("points") or []
        mask = LocalMask(place[0].start, place[1].start, instances[place] == number)
        given = {
            "points": [point[:2] for point in points],
            "labels": [bool(point[2]) for point in points],
            "box": prompts.get("box"),
        }
        example = RecordedObject.make(f"{image}/{number}", mask, given)
        if example is not None:
            yield example
