"""Job that ranks the labels of a dataset and cuts out their pictures; slow imports happen in the worker thread."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...arrays import ClassInfo, UInt8Array
from ...jobs import Job, Progress
from ...session.objects.cards import card_box, outlined
from ..background.native_libraries import import_triton_isolated
from ..common.card_list import CARD_PX

if TYPE_CHECKING:
    from ...arrays import IntArray
    from ...predict import Model
    from ...training import Dataset
    from ...training.rounds.label_ranking import LabelLoss

PER_CELL = 24
"""Number of labels of a cell of the confusion matrix that are shown."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelCheck:
    """Labels of a dataset, ranked by their loss, with pictures of the first ones."""

    classes: tuple[ClassInfo, ...]
    """Classes, with the background first."""
    ranked: list[LabelLoss]
    """All labels, the most suspicious first."""
    first: list[LabelLoss]
    """The most suspicious labels of all classes."""
    confusion: dict[tuple[str, str], list[LabelLoss]]
    """(label, predicted class) -> labels, the most suspicious first."""
    pictures: dict[LabelLoss, UInt8Array]
    """(h, w, 3) uint8 of each label of `first`, and of the first ones of each cell."""


def check_labels_job(save: Job[int] | None, folder: Path, model: Model | str) -> Job[LabelCheck]:
    """Make a job that runs `save`, ranks the labels of a dataset and cuts out pictures.

    Raises:
        DatasetError: If there are fewer than two labelled images, or a file cannot be read.
    """
    import_triton_isolated()
    from ...config import load_config
    from ...predict import load_model_job
    from ...store import Store
    from ...training import open_dataset
    from ...training.rounds.label_ranking import confusion_of, most_suspicious, rank_labels_job

    if save is not None:
        yield from save
    dataset = open_dataset(folder)
    if isinstance(model, str):
        settings = load_config()
        model = yield from load_model_job(model, settings.device, store=Store.from_config(settings))
    ranked = yield from rank_labels_job(dataset, model)
    confusion = confusion_of(ranked)
    first = most_suspicious(ranked)[: 4 * PER_CELL]
    shown = dict.fromkeys([*first, *(entry for cell in confusion.values() for entry in cell[:PER_CELL])])
    pictures = yield from _pictures_job(dataset, list(shown))
    return LabelCheck(dataset.classes, ranked, first, confusion, pictures)


def _pictures_job(dataset: Dataset, entries: list[LabelLoss]) -> Job[dict[LabelLoss, UInt8Array]]:
    from ...training.data.instances import object_ids

    by_image: dict[str, list[LabelLoss]] = defaultdict(list)
    for entry in entries:
        by_image[entry.image].append(entry)
    samples = {sample.name: sample for sample in dataset.samples}
    colors = {info.name: info.color for info in dataset.classes}
    pictures = {}
    for done, (name, members) in enumerate(by_image.items()):
        yield Progress(done, len(by_image), "Cutting out the pictures", "images")
        example = dataset.read(samples[name])
        ids = object_ids(dataset, example)
        for entry in members:
            color = colors[entry.label if entry.object else entry.predicted]
            pictures[entry] = _picture(example.pixels, ids, entry, color)
    return pictures


def _picture(pixels: UInt8Array, ids: IntArray, entry: LabelLoss, color: tuple[int, int, int]) -> UInt8Array:
    """Return the picture of an object with its outline, or of a region without a label with a frame around it."""
    r0, c0, r1, c1 = card_box(entry.box, (ids.shape[0], ids.shape[1]))
    step = max(1, (r1 - r0) // CARD_PX)
    if entry.object:
        mask = ids[r0:r1:step, c0:c1:step] == entry.object
    else:
        framed = np.zeros((r1 - r0, c1 - c0), dtype=np.bool_)
        framed[entry.box[0] - r0 : entry.box[2] - r0, entry.box[1] - c0 : entry.box[3] - c0] = True
        mask = framed[::step, ::step]
    return outlined(pixels[r0:r1:step, c0:c1:step], mask, color)
