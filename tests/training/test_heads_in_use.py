"""The current, previous and offered head of a dataset, and the comparison of two heads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import DatasetError, WeightsMissingError
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.jobs import run
from napari_sampath.predict import segment
from napari_sampath.training import TrainingConfig, open_dataset, train
from napari_sampath.training.evaluation.metrics import confusion, dice
from napari_sampath.training.rounds.comparison import THUMBNAIL_PX, compare_job
from napari_sampath.training.rounds.heads_in_use import HeadsInUse
from napari_sampath.training.rounds.rounds import TrainingCurves, dataset_summary_job, round_job
from support.models.patches import disc_image, patch_model

if TYPE_CHECKING:
    from pathlib import Path

DISC = ClassInfo(1, "disc", (200, 0, 0))


def train_a_head(heads: HeadsInUse, kind: str = "cnn") -> Path:
    path = heads.new_path(kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    heads.offer(path)
    return path


def test_accept_and_roll_back_survive_a_restart(tmp_path: Path) -> None:
    heads = HeadsInUse(tmp_path)
    assert (heads.current, heads.previous, heads.offered) == (None, None, None)
    assert not (tmp_path / "heads").exists(), "reading writes nothing"
    with pytest.raises(DatasetError, match="train one first"):
        heads.accept()
    with pytest.raises(DatasetError, match="No head is in use"):
        heads.roll_back()
    first = train_a_head(heads)
    assert (heads.current, heads.offered) == (None, first)
    assert heads.accept() == first
    second = train_a_head(heads, "linear")
    assert heads.roll_back() == first, "the offered head is rejected"
    assert (heads.current, heads.offered) == (first, None)
    third = train_a_head(heads)
    assert [path.name for path in (first, second, third)] == [
        "cnn-1.safetensors",
        "linear-2.safetensors",
        "cnn-3.safetensors",
    ]
    heads.accept()
    again = HeadsInUse(tmp_path)
    assert (again.current, again.previous, again.offered) == (third, first, None)
    assert again.roll_back() == first
    assert HeadsInUse(tmp_path).current == first
    assert again.roll_back() is None, "the first head is taken back"
    assert HeadsInUse(tmp_path).current is None
    with pytest.raises(DatasetError, match="No head is in use"):
        again.roll_back()
    assert all(path.is_file() for path in (first, second, third)), "no file is ever deleted"


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    heads = HeadsInUse(tmp_path)
    first = train_a_head(heads)
    heads.accept()
    second = train_a_head(heads)
    heads.accept()
    with pytest.raises(WeightsMissingError, match="elsewhere"):
        heads.offer(tmp_path / "elsewhere.safetensors")
    second.unlink()
    assert HeadsInUse(tmp_path).current == first
    (tmp_path / "heads" / "heads.json").write_text("{")
    with pytest.raises(DatasetError, match=r"heads\.json"):
        HeadsInUse(tmp_path)


def test_a_head_whose_name_is_too_long_is_missing(tmp_path: Path) -> None:
    content = {"schema": 1, "accepted": ["a" * 5000], "offered": "b" * 5000}
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "heads.json").write_text(json.dumps(content), encoding="utf-8")
    heads = HeadsInUse(tmp_path)
    assert heads.current is None
    assert heads.offered is None


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = DatasetFolder.create(tmp_path / "discs", (DISC,))
    for number in range(6):
        pixels, labels = disc_image(number)
        annotated = np.ones(labels.shape, dtype=bool)
        annotated[:, :20] = False
        folder.save_image(Snapshot(f"{number}", pixels, labels, verified=annotated))
    return folder.path


def test_comparison_of_two_heads(dataset: Path) -> None:
    model, found = patch_model(), open_dataset(dataset)
    heads = HeadsInUse(dataset)
    names = []
    for epochs in (1, 12):
        path = heads.new_path("linear")
        train(found, "linear", TrainingConfig(epochs=epochs, batch_size=2), model, path)
        heads.offer(path)
        names.append(heads.accept())
    comparison = run(compare_job(found, names[1], names[0], model))
    validation = found.split("val")
    assert (comparison.measured_on, comparison.tiles) == ("val", len(validation))
    assert (comparison.new, comparison.previous) == ("linear-2", "linear-1")
    disc, mean = comparison.scores
    assert (disc.name, disc.color, mean.name) == ("disc", DISC.color, "mean")
    for value, path in ((disc.new, names[1]), (disc.previous, names[0])):
        expected = []
        for sample in validation:
            example = found.read(sample)
            labels = segment(example.pixels, path, model).labels
            expected.append(dice(confusion(labels, example.targets, 2))[1])
        assert value == pytest.approx(np.nanmean(expected))
    assert comparison.gain == pytest.approx(disc.new - disc.previous)
    assert [tile.dice for tile in comparison.worst] == sorted(tile.dice for tile in comparison.worst)
    worst = comparison.worst[0]
    assert worst.truth.shape == worst.new.shape == worst.previous.shape
    assert max(worst.truth.shape[:2]) <= THUMBNAIL_PX
    left, right = worst.truth[:, :15].mean(), worst.truth[:, -15:].mean()
    assert left < 0.7 * right, "unverified pixels are darker"


def test_comparison_of_the_first_head(dataset: Path) -> None:
    model, found = patch_model(), open_dataset(dataset)
    path = HeadsInUse(dataset).new_path("linear")
    train(found, "linear", TrainingConfig(epochs=1), model, path)
    comparison = run(compare_job(found, path, None, model))
    assert comparison.previous is None
    assert comparison.gain is None
    assert {row.previous for row in comparison.scores} == {None}
    assert {tile.previous for tile in comparison.worst} == {None}


def test_round_trains_records_curves_and_compares(dataset: Path) -> None:
    heads, curves, model = HeadsInUse(dataset), TrainingCurves(), patch_model()
    config = TrainingConfig(epochs=3, batch_size=2)
    first = run(round_job(dataset, heads, "linear", model, config, curves))
    assert first.path == dataset / "heads" / "linear-1.safetensors"
    assert first.comparison is not None
    assert first.comparison.previous is None
    assert heads.offered is None, "the caller offers it"
    assert [passes for passes, _ in curves.dice] == [1.0, 2.0, 3.0]
    assert curves.losses[-1][0] == 3.0
    assert set(curves.class_dice) == {"background", "disc"}
    heads.offer(first.path)
    heads.accept()
    second = run(round_job(dataset, heads, "cnn", model, config))
    assert second.comparison is not None
    assert second.comparison.previous == "linear-1"


def test_a_cancelled_round_leaves_no_file(dataset: Path) -> None:
    config = TrainingConfig(epochs=3, batch_size=2, save_every_s=0)
    job = round_job(dataset, HeadsInUse(dataset), "linear", patch_model(), config)
    while "Epoch 2" not in next(job).message:
        pass
    assert list((dataset / "heads").iterdir())
    job.close()
    assert list((dataset / "heads").iterdir()) == []


def test_a_head_is_kept_if_the_comparison_fails(dataset: Path) -> None:
    heads, config = HeadsInUse(dataset), TrainingConfig(epochs=1)
    old = run(round_job(dataset, heads, "linear", patch_model(seed=1), config)).path
    heads.offer(old)
    heads.accept()
    new = run(round_job(dataset, heads, "linear", patch_model(), config))
    assert new.path.is_file()
    assert new.comparison is None
    assert "train the head again" in new.note


def test_dataset_summary(dataset: Path, tmp_path: Path) -> None:
    assert run(dataset_summary_job(tmp_path / "nothing")) is None
    held = run(dataset_summary_job(dataset))
    assert held is not None
    assert sum(held.images.values()) == 6
    assert [info.name for info in held.classes] == ["background", "disc"]
    expected = np.zeros((2,), int)
    for number in range(6):
        labels = disc_image(number)[1][:, 20:]
        expected += [(labels == 0).sum(), (labels == 1).sum()]
    assert np.sum(list(held.annotated_px.values()), axis=0).tolist() == expected.tolist()
    assert held.total_px == 6 * 96 * 96
    folder = DatasetFolder.open(dataset)
    pixels, labels = disc_image(0)
    folder.save_image(Snapshot("0", pixels, np.zeros_like(labels)))
    job = dataset_summary_job(dataset, held)
    reports = []
    again = run(job, reports.append)
    assert reports[-1].total == 1, "only the image that changed is read"
    assert again.annotated_px != held.annotated_px
    folder.set_split("0", "test")
    assert run(dataset_summary_job(dataset, again)).images["test"] == 1
