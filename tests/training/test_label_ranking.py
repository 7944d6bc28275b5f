"""The ranking of labels finds objects that are swapped, shifted or missing, with heads that have not seen the image."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sampath.arrays import ClassInfo
from napari_sampath.cli import main
from napari_sampath.errors import DatasetError
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.training import Dataset, Sample, open_dataset
from napari_sampath.training.data.dataset import Item
from napari_sampath.training.rounds.fold_heads import fold_of
from napari_sampath.training.rounds.label_ranking import confusion_of, most_suspicious, rank_labels
from support.models.patches import DISC_RADIUS, four_discs, patch_model

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = (
    ClassInfo(0, "background", (0, 0, 0)),
    ClassInfo(1, "gland", (0, 158, 115)),
    ClassInfo(2, "vessel", (240, 228, 66)),
)


def dataset_of(items: dict[str, Item]) -> Dataset:
    samples = tuple(
        Sample(name, Path(name), Path(name), name, "train", load=lambda sample: items[sample.name])
        for name in items
    )
    return Dataset("discs", samples, CLASSES, {info.id: info.id for info in CLASSES})


def swap(labels: np.ndarray, instances: np.ndarray) -> None:
    labels[instances == 2] = 3 - labels[instances == 2]


def shift(labels: np.ndarray, instances: np.ndarray) -> None:
    moved = np.roll(instances == 2, DISC_RADIUS, axis=1)
    value = int(labels[instances == 2][0])
    labels[instances == 2], instances[instances == 2] = 0, 0
    labels[moved], instances[moved] = value, 2


def remove(labels: np.ndarray, instances: np.ndarray) -> None:
    labels[instances == 2], instances[instances == 2] = 0, 0


@pytest.fixture(scope="module")
def items() -> dict[str, Item]:
    return {f"image {seed}": Item(*four_discs(seed)) for seed in range(6)}


@pytest.mark.parametrize(
    ("corrupt", "label", "predicted", "text"),
    [
        (swap, "vessel", "gland", "'vessel' 2 looks like 'gland'"),
        (shift, "gland", None, ""),
        (remove, "background", "gland", "an object 'gland' may be missing"),
    ],
)
def test_a_corrupted_label_comes_first(
    items: dict[str, Item],
    corrupt: Callable[[np.ndarray, np.ndarray], None],
    label: str,
    predicted: str | None,
    text: str,
) -> None:
    item = items["image 3"]
    labels, instances = item.labels.copy(), item.instances.copy()
    corrupt(labels, instances)
    changed = dataclasses.replace(item, labels=labels, instances=instances)
    ranked = rank_labels(dataset_of({**items, "image 3": changed}), patch_model(), folds=2)
    losses = [entry.loss for entry in ranked]
    assert losses == sorted(losses, reverse=True)
    assert losses[1 + (corrupt is shift)] < 0.5 * losses[0]
    first = ranked[0]
    assert (first.image, first.label if corrupt is not shift else label) == ("image 3", label)
    assert predicted in (None, first.predicted)
    assert text in first.sentence
    r0, c0, r1, c1 = first.box
    assert r0 <= 24 < r1
    assert c0 <= 72 < c1 + DISC_RADIUS
    assert len(most_suspicious(ranked)) == 3, "a tenth of the objects, rounded up"
    assert first in confusion_of(ranked)[first.label, first.predicted]


def test_correct_labels_have_a_low_loss_and_ignored_areas_are_not_ranked(items: dict[str, Item]) -> None:
    verified = np.zeros((96, 96), bool)
    verified[:, :48] = True
    partly = {name: dataclasses.replace(item, verified=verified) for name, item in items.items()}
    ranked = rank_labels(dataset_of(partly), patch_model(), folds=2)
    assert {entry.object for entry in ranked} == {1, 3}
    assert max(entry.loss for entry in ranked) < 0.5


def test_a_class_of_one_image_is_compared_with_the_background_only(items: dict[str, Item]) -> None:
    item = items["image 1"]
    labels = np.where(item.instances == 3, 3, item.labels).astype(np.uint8)
    dataset = dataset_of({**items, "image 1": dataclasses.replace(item, labels=labels)})
    classes = (*CLASSES, ClassInfo(3, "nerve", (200, 0, 0)))
    dataset = dataclasses.replace(dataset, classes=classes, values={info.id: info.id for info in classes})
    ranked = rank_labels(dataset, patch_model(), folds=2)
    (nerve,) = (entry for entry in ranked if entry.label == "nerve")
    assert (nerve.image, nerve.object, nerve.predicted) == ("image 1", 3, "nerve")
    assert nerve.loss < 0.5


def test_images_of_a_slide_are_in_one_fold(items: dict[str, Item]) -> None:
    samples = dataset_of(items).samples
    grouped = [
        dataclasses.replace(sample, group=f"case {number % 3}") for number, sample in enumerate(samples)
    ]
    folds = fold_of(grouped, 5)
    assert sorted(set(folds.values())) == [0, 1, 2]
    assert all(folds[a.name] == folds[b.name] for a in grouped for b in grouped if a.group == b.group)
    single = fold_of([dataclasses.replace(sample, group="case") for sample in samples], 5)
    assert sorted(set(single.values())) == [0, 1, 2, 3, 4]
    with pytest.raises(DatasetError, match="between at least 2"):
        fold_of(samples[:1], 5)


def test_the_command_lists_the_first_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = DatasetFolder.create(tmp_path / "discs", CLASSES[1:])
    for number in range(4):
        pixels, labels, instances = four_discs(number)
        if number == 2:
            swap(labels, instances)
        folder.save_image(Snapshot(f"case {number}", pixels, labels, instances))
    monkeypatch.setattr("napari_sampath.cli.commands.dataset.load", lambda *_: patch_model())
    assert main(["dataset", "rank", str(folder.path), "--quiet", "--json", "--first", "1"]) == 0
    result = json.loads(capsys.readouterr().out)
    (entry,) = result["labels"]
    assert (entry["image"], entry["label"], entry["predicted"]) == ("case 2", "vessel", "gland")
    assert result["confusion"]["vessel"]["gland"] == 1
    assert len(open_dataset(folder.path).samples) == 4, "nothing was changed"
