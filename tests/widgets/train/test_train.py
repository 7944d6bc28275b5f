"""The Train dock: automatic saving to the dataset, training in the background, accepting and rolling back heads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.training.rounds.heads_in_use import HeadsInUse
from napari_sampath.widgets.train.jobs import TrainingSettings
from support.event_loop import assert_alive, longest_stalls
from support.models.patches import disc_image, patch_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.gui

DISC = ClassInfo(1, "object", (0, 158, 115))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a dataset of five annotated images of a disc; their names say that they belong to three cases."""
    folder = DatasetFolder.create(tmp_path / "discs", (DISC,))
    for number in range(5):
        folder.save_image(Snapshot(f"case{number // 2}-{number}", *disc_image(number)))
    return folder.path


@pytest.fixture
def open_train(open_window: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    def opened(folder: Path | None, pixels: np.ndarray | None = None) -> tuple[Any, Any]:
        from napari_sampath.widgets.train.dock import TrainDock

        window = open_window(disc_image(9)[0] if pixels is None else pixels, patch_model(), name="new")
        dock = TrainDock(window.viewer, window.state)
        window.viewer.window.add_dock_widget(dock, name="Train", area="right", tabify=True)
        wait_until(lambda: dock._kinds_known and not dock.training.runner.busy, 60, "the kinds of head")
        if folder is not None:
            dock.choose_folder(folder)
            wait_until(lambda: dock.summary is not None and not dock.dataset_runner.busy, 60, "the dataset")
        return window, dock

    return opened


def trained(window: Any, dock: Any, kind: str = "linear", epochs: int = 4) -> None:
    dock.form.setValue(TrainingSettings(kind, epochs))
    window.driver.press(dock.train_button)
    wait_until(lambda: not dock.runner.busy, 120, "the training")


def test_annotations_are_saved_as_samples_automatically(
    open_train: Callable[..., Any], tmp_path: Path
) -> None:
    window, dock = open_train(None)
    assert not dock.train_button.isEnabled()
    assert "Open a project" in dock.status.message.text()
    dock.choose_folder(tmp_path / "fresh")
    wait_until(lambda: dock.training.folder is not None, 60, "the project")
    assert "no image in the training set" in dock.dataset.text.text().lower()
    assert dock.status.message.text() == "Opened the project 'fresh'."
    dock.training.membership.put_in()
    wait_until(lambda: dock.training.membership.image is not None, 60, "the image")
    window.session.paint([10, 10, 11], [10, 11, 10], 1)
    window.session.area.mark((0, 0, 40, 50))
    # Before the delay of two seconds after which the sample is saved.
    dock.dataset.slides.setCurrentIndex(dock.dataset.slides.findData("-"))
    dock.dataset.slides.activated.emit(dock.dataset.slides.currentIndex())
    wait_until(
        lambda: dock.summary is not None and dock.summary.slide_ends_before == "-",
        60,
        "the sample and its slide",
    )
    wait_until(lambda: not dock.training.runner.busy and not dock.dataset_runner.busy, 60, "the dock")
    assert dock.dataset.slides.currentData() == "-"
    assert DatasetFolder.open(tmp_path / "fresh").slide_ends_before == "-"
    item = DatasetFolder.open(tmp_path / "fresh").read("new")
    assert item.annotated.sum() == 40 * 50
    assert item.labels[10, 11] == 1
    assert "1997 px" in dock.dataset.table.text(), "the area of the background"
    assert "another slide" in dock.dataset.text.text()
    window.session.undo()
    window.session.undo()
    wait_until(
        lambda: not DatasetFolder.open(tmp_path / "fresh").read("new").annotated.any(), 60, "the newer sample"
    )


def test_a_sample_saved_while_the_kinds_are_listed_does_not_disable_training(
    open_window: Callable[..., Any], dataset: Path
) -> None:
    from napari_sampath.widgets.train.dock import TrainDock

    window = open_window(disc_image(9)[0], patch_model(), name="new")
    training = window.state.training
    training.choose(dataset)
    wait_until(lambda: training.heads is not None, 60, "the project")
    dock = TrainDock(window.viewer, window.state)
    window.viewer.window.add_dock_widget(dock, name="Train", area="right", tabify=True)
    training.saved.emit()
    wait_until(dock.train_button.isEnabled, 60, "the checklist")


def test_train_accept_and_roll_back(open_train: Callable[..., Any], dataset: Path) -> None:
    window, dock = open_train(dataset)
    assert "training" in dock.dataset.table.text()
    assert dock.train_button.isEnabled()
    trained(window, dock)
    assert dock.training.heads.offered.stem == "linear-1", dock.status.message.text()
    assert [epoch for epoch, _ in dock.plot.dice] == [1, 2, 3, 4]
    assert len(dock.plot.losses) >= 4
    assert dock.plot.losses[-1][1] < dock.plot.losses[0][1]
    assert "no better than calling everything 'object'" in dock.comparison.verdict.text()
    assert not dock.roll_back_button.isHidden()
    window.driver.press(dock.accept_button)
    assert dock.training.heads.current is None, "not in silence"
    assert "Press 'Accept anyway'" in dock.status.message.text()
    window.driver.press(dock.accept_button)
    assert dock.training.heads.current.stem == "linear-1"
    assert "Auto-segment now uses linear-1" in dock.status.message.text()
    assert not dock.accept_button.isEnabled()
    window.driver.press(dock.roll_back_button)
    assert dock.training.heads.current is None, "the first head is taken back"
    assert "no head of this project" in dock.status.message.text()
    assert not dock.roll_back_button.isEnabled()
    dock.training.heads.offer(dataset / "heads" / "linear-1.safetensors")
    dock.training.heads.accept()
    dock.refresh()
    trained(window, dock, epochs=60)
    assert "better than linear-1" in dock.comparison.verdict.text()
    tiles = [label for label in dock.comparison.thumbnails if label.pixmap() and not label.pixmap().isNull()]
    assert len(tiles) == 3 * min(3, len(dock.summary.images) and dock.summary.images["val"])
    assert "linear-2" in dock.head_in_use.text()
    window.driver.press(dock.roll_back_button)
    assert (dock.training.heads.current.stem, dock.training.heads.offered) == ("linear-1", None)
    assert dock.train_button.isEnabled()


def test_cancel_leaves_the_head_in_use(open_train: Callable[..., Any], dataset: Path) -> None:
    window, dock = open_train(dataset)
    dock.form.widgets["epochs"].value = 500
    window.driver.press(dock.train_button)
    wait_until(lambda: bool(dock.plot.losses), 120, "the first steps")
    assert dock.status.bar.isVisible()
    window.driver.press(dock.status.cancel_button)
    assert not dock.runner.busy
    assert dock.runner.wait(60)
    assert dock.training.heads.offered is None
    assert list((dataset / "heads").glob("*")) == []
    assert dock.train_button.isEnabled()


def test_closing_the_dock_ends_training(open_train: Callable[..., Any], dataset: Path) -> None:
    window, dock = open_train(dataset)
    dock.form.widgets["epochs"].value = 500
    window.driver.press(dock.train_button)
    wait_until(lambda: bool(dock.plot.losses), 120, "the first steps")
    window.viewer.window.remove_dock_widget(dock)
    wait_until(lambda: not list((dataset / "heads").glob("*")), 60, "the end of the training")


def test_a_failed_training_shows_one_sentence(open_train: Callable[..., Any], dataset: Path) -> None:
    window, dock = open_train(dataset)
    (dataset / "labels" / "case1-2.png").write_bytes(b"no image")
    window.driver.press(dock.train_button)
    wait_until(lambda: not dock.runner.busy, 60, "the sentence")
    assert "case1-2.png" in dock.status.message.text()
    assert "unexpected" not in dock.status.message.text()


def longest_stall(window: Any, row: int, seconds: float = 2.5) -> float:
    """Paint strokes for some seconds; return the longest stall of the event loop in seconds."""
    from benchmarks.stalls import StallMeter

    begin, meter, drawn = time.perf_counter(), StallMeter(), 0
    while time.perf_counter() - begin < seconds:
        QApplication.processEvents()
        if time.perf_counter() - begin > 0.5 * (drawn + 1):
            window.session.paint(np.full(5, row), np.arange(5) + 10 * drawn, 1)
            drawn += 1
        time.sleep(0.002)
    assert (window.layers.classes.data[row] == 1).sum() == 5 * drawn > 0
    return meter.stop()


@pytest.mark.alone
def test_annotating_goes_on_while_a_head_trains(open_train: Callable[..., Any], dataset: Path) -> None:
    """The longest stall during the training is under 100 ms."""
    window, dock = open_train(dataset)
    rows = iter(range(10, 100, 10))
    dock.form.setValue(TrainingSettings("cnn", 500))
    window.driver.press(dock.train_button)
    wait_until(lambda: len(dock.plot.losses) > 0, 120, "training to begin")
    stalls = longest_stalls(lambda: longest_stall(window, next(rows)))
    assert dock.runner.busy, "it was still training"
    dock.runner.cancel()
    assert dock.runner.wait(60)
    assert_alive(stalls, lambda: longest_stall(window, next(rows)))


def test_the_last_project_is_offered_and_not_opened(open_train: Callable[..., Any], dataset: Path) -> None:
    window, dock = open_train(dataset)
    assert "5 images; " in dock.dataset.text.text()
    dock.dataset.slides.setCurrentIndex(dock.dataset.slides.findData("-"))
    dock.dataset.slides.activated.emit(dock.dataset.slides.currentIndex())
    wait_until(lambda: "5 images of 3 slides" in dock.dataset.text.text(), 60, "the slides")
    trained(window, dock)
    window.driver.press(dock.accept_button)
    if dock.training.heads.current is None:  # The head has doubts, because few epochs were trained.
        window.driver.press(dock.accept_button)
    assert dock.training.heads.current.stem == "linear-1"
    window.viewer.window.remove_dock_widget(dock)
    from napari_sampath.widgets.train.dock import TrainDock
    from napari_sampath.widgets.viewer.viewer_state import ViewerState

    again = TrainDock(window.viewer, ViewerState(window.viewer, load_model=window.state._load_model))
    window.viewer.window.add_dock_widget(again, name="Train again")
    wait_until(lambda: again._kinds_known, 60, "the kinds of head")
    assert (again.training.project, again.training.last_project) == (None, dataset)
    assert again.summary is None
    again.choose_folder(again.training.last_project)
    wait_until(lambda: again.summary is not None and again.training.heads is not None, 60, "the dataset")
    assert again.training.folder == dataset
    assert again.training.heads.current.stem == "linear-1"
    assert again.dataset.slides.currentData() == "-"
    assert {image.slide for image in DatasetFolder.open(dataset).images.values()} == {
        "case0",
        "case1",
        "case2",
    }
    window.driver.key(Qt.Key.Key_Escape)


def test_a_head_is_offered_in_the_project_for_which_it_was_trained(
    open_train: Callable[..., Any], dataset: Path
) -> None:
    window, dock = open_train(dataset)
    dock.form.setValue(TrainingSettings("linear", 1))
    window.driver.press(dock.train_button)
    assert dock.runner.busy
    dock.training.close_project()
    wait_until(lambda: not dock.runner.busy, 120, "the training")
    assert dock.training.heads is None
    assert "open it to accept the head" in dock.status.message.text()
    offered = HeadsInUse(dataset).offered
    assert offered is not None
    assert offered.stem == "linear-1"
