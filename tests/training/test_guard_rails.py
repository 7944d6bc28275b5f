"""Before training a checklist in words, after it a verdict in words; never a score on training pixels."""

from __future__ import annotations

from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import DatasetError
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.jobs import run
from napari_sampath.training import TrainingConfig, open_dataset, train
from napari_sampath.training.rounds.comparison import compare_job
from napari_sampath.training.rounds.head_cards import head_card
from napari_sampath.training.rounds.heads_in_use import HeadsInUse
from napari_sampath.training.rounds.readiness import is_ready, requirements
from napari_sampath.training.rounds.rounds import TrainingCurves, dataset_summary_job, round_job
from napari_sampath.widgets.train.comparison import MIN_IMAGES, verdict
from support.models.patches import disc_image, patch_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DISC, RING = ClassInfo(1, "disc", (200, 0, 0)), ClassInfo(2, "ring", (0, 0, 200))


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., Path]:
    """Save images of discs; "disc" marks only the discs as verified, "whole" the background too."""

    def make(*verified: str, classes: tuple[ClassInfo, ...] = (DISC,)) -> Path:
        folder = DatasetFolder.create(tmp_path / "discs", classes)
        for number, kind in enumerate(verified):
            image, labels = disc_image(number)
            if kind == "ring":
                labels[labels == 0] = 2
            area = labels > 0 if kind == "disc" else np.ones(labels.shape, bool)
            folder.save_image(Snapshot(f"case {number}", image, labels, None, area))
        return folder.path

    return make


def lines(path: Path) -> dict[str, tuple[bool, bool]]:
    return {line.text: (line.met, line.needed) for line in requirements(run(dataset_summary_job(path)))}


def unmet(path: Path) -> str:
    return " ".join(text for text, (met, _) in lines(path).items() if not met)


def test_an_empty_training_set_is_not_ready(tmp_path: Path) -> None:
    DatasetFolder.create(tmp_path / "new", (DISC,))
    summary = run(dataset_summary_job(tmp_path / "new"))
    assert not is_ready(summary)
    assert "annotate one and add it" in requirements(summary)[0].text


def test_one_class_without_background_is_refused_before_and_in_training(dataset: Callable[..., Path]) -> None:
    path = dataset("disc", "disc", "disc")
    assert not is_ready(run(dataset_summary_job(path)))
    assert "would learn to paint everything" in unmet(path)
    with pytest.raises(DatasetError, match="paint everything"):
        train(
            open_dataset(path), "linear", TrainingConfig(epochs=1), patch_model(), path / "head.safetensors"
        )
    assert not (path / "head.safetensors").exists()


def test_one_class_with_background_and_two_classes_are_ready(dataset: Callable[..., Path]) -> None:
    path = dataset("whole", "whole", "whole")
    assert unmet(path) == ""
    assert any(text.startswith("One class, disc, and verified background") for text in lines(path))


def test_a_class_that_is_missing_in_a_split_is_named(dataset: Callable[..., Path]) -> None:
    path = dataset("ring", "whole", "ring", classes=(DISC, RING))
    folder = DatasetFolder.open(path)
    for name in folder.images:
        folder.set_split(name, "val" if name == "case 1" else "train")
    assert is_ready(run(dataset_summary_job(path)))
    assert "No validation image has ring" in unmet(path)
    folder.set_split("case 1", "train")
    for name in ("case 0", "case 2"):
        folder.set_split(name, "val")
    assert "No training image has ring" in unmet(path)
    assert not is_ready(run(dataset_summary_job(path)))


def test_one_slide_gives_no_score(dataset: Callable[..., Path]) -> None:
    path = dataset("whole")
    assert "quality of the head cannot be measured" in unmet(path)
    curves, heads = TrainingCurves(), HeadsInUse(path)
    result = run(round_job(path, heads, "linear", patch_model(), TrainingConfig(epochs=3), curves))
    assert curves.losses
    assert curves.dice == [], "no Dice on training pixels"
    text = verdict(result.comparison)
    assert "quality is not measured" in text
    assert not any(character.isdigit() for character in text.replace("linear-1", ""))
    assert result.comparison.doubt is not None


def test_a_validation_set_of_one_class_gives_no_score_of_one(dataset: Callable[..., Path]) -> None:
    path = dataset("whole", "disc", "whole")
    folder = DatasetFolder.open(path)
    for name in folder.images:
        folder.set_split(name, "val" if name == "case 1" else "train")
    assert "cannot be measured" in unmet(path)
    result = run(round_job(path, HeadsInUse(path), "linear", patch_model(), TrainingConfig(epochs=3)))
    text = verdict(result.comparison)
    assert "all verified pixels of the validation images are 'disc'" in text
    assert "1.00" not in text


def test_a_head_that_paints_everything_is_named_so(dataset: Callable[..., Path]) -> None:
    path = dataset(*["whole"] * 5)
    heads = HeadsInUse(path)
    config = TrainingConfig(epochs=1, learning_rate=1e-9)
    result = run(round_job(path, heads, "linear", patch_model(), config))
    assert "no better than calling everything 'disc'" in verdict(result.comparison)
    good = run(round_job(path, heads, "linear", patch_model(), TrainingConfig(epochs=20, patience=0)))
    assert good.comparison.doubt is None, verdict(good.comparison)
    text = verdict(good.comparison)
    images = good.comparison.images
    assert "validation image" in text
    assert ("too few to judge it" in text) == (images < MIN_IMAGES)
    judged = verdict(replace(good.comparison, images=MIN_IMAGES))
    assert f"{good.comparison.new} is " in judged
    few = verdict(replace(good.comparison, images=MIN_IMAGES - 1))
    assert f"{good.comparison.new} has mean Dice " in few
    assert "too few to judge it: annotate at least 3" in few
    card = head_card(good.path)
    assert card.picture is not None
    assert card.measured
    assert [info.name for info in card.classes] == ["disc"]


def test_training_stops_early_and_keeps_the_best_epoch(dataset: Callable[..., Path]) -> None:
    path, stop, curves = dataset(*["whole"] * 5), Event(), TrainingCurves()
    heads = HeadsInUse(path)
    job = round_job(
        path, heads, "linear", patch_model(), TrainingConfig(epochs=400, patience=0), curves, stop
    )
    while True:
        try:
            next(job)
        except StopIteration as end:
            result = end.value
            break
        if len(curves.dice) == 2:
            stop.set()
    assert result.path.is_file()
    assert 2 <= len(curves.dice) < 10
    assert result.comparison is not None
    stop.set()
    early = run(compare_job(open_dataset(path), result.path, None, patch_model()))
    assert early.new == result.comparison.new
