"""The Folder dock: a queue of images by keys and buttons, with states, in three stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from benchmarks.gui_driver import LEFT, NONE, GuiDriver, wait_until
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.session import ResultFilter
from napari_sampath.widgets.viewer.key_settings import keys_file
from support.models.discs import DiscModel, loader
from support.models.patches import disc_image, patch_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.gui

DISC = ClassInfo(1, "disc", (213, 94, 0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    for number in range(4):
        Image.fromarray(disc_image(number, (100, 130))[0]).save(path / f"{number}.png")
    return path


@pytest.fixture
def open_folder(viewers: Callable[[], Any], folder: Path) -> Callable[..., Any]:
    def opened(model: Any) -> Any:
        from napari_sampath.widgets.folder.dock import FolderDock
        from napari_sampath.widgets.viewer.viewer_state import ViewerState

        viewer = viewers()
        dock = FolderDock(viewer, ViewerState(viewer, load_model=loader(model)))
        viewer.window.add_dock_widget(dock, name="Folder", area="right")
        dock.work.open_folder(folder)
        wait_until(lambda: dock.work.session is not None and dock.state.ready, 60, "the first image")
        wait_until(lambda: len(dock.pictures) == 4 and not dock.looker.busy, 60, "the thumbnails")
        driver = GuiDriver(viewer, dock.state.image)
        driver.settle()
        return dock, driver

    return opened


def shown(dock: Any, name: str) -> None:
    wait_until(
        lambda: dock.work.session is not None and dock.state.image.name == name and dock.state.ready,
        60,
        f"image {name}",
    )


def test_keys_and_buttons_go_through_the_folder(open_folder: Callable[..., Any], folder: Path) -> None:
    (folder / "3.png").unlink()
    tifffile.imwrite(
        folder / "3.tif",
        disc_image(3, (100, 130))[0],
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )
    keys = keys_file()
    keys.parent.mkdir(parents=True, exist_ok=True)
    keys.write_text('{"previous_image": "F4"}', encoding="utf-8")
    dock, driver = open_folder(DiscModel())
    assert dock.next_button.toolTip().endswith("(PageDown)")
    assert dock.previous_button.toolTip().endswith("(F4)"), "the user's own key"
    assert dock.state.image.name == "0"
    assert dock.thumbnails.count() == 4
    driver.key(Qt.Key.Key_PageDown)
    shown(dock, "1")
    assert [layer.name for layer in dock.state.viewer.layers].count("Classes") == 1
    assert np.array_equal(dock.state.image.data, disc_image(1, (100, 130))[0])
    assert dock.thumbnails.currentRow() == 1
    driver.press(dock.next_button)
    shown(dock, "2")
    driver.key(Qt.Key.Key_F4)
    shown(dock, "1")
    item = dock.thumbnails.item(3)
    QTest.mouseClick(dock.thumbnails.viewport(), LEFT, NONE, dock.thumbnails.visualItemRect(item).center())
    shown(dock, "3")
    assert dock.work.session.files.mpp == pytest.approx(0.5)
    assert dock.state.annotator.layers.classes.scale.tolist() == pytest.approx([0.5, 0.5])
    driver.press(dock.next_button)
    wait_until(lambda: "last image" in dock.status.message.text(), 10, "the sentence")


def test_states_are_kept_and_annotations_found_again(open_folder: Callable[..., Any], folder: Path) -> None:
    dock, driver = open_folder(DiscModel())
    assert "0 of 4 done, 0 begun" in dock.progress.text()
    dock.work.session.paint([5, 6], [5, 5], 1)
    assert "1 begun" in dock.progress.text()
    driver.press(dock.done_button)
    shown(dock, "1")
    assert "1 of 4 done, 0 begun" in dock.progress.text()
    driver.press(dock.unsure_button)
    shown(dock, "2")
    assert "1 unsure" in dock.progress.text()
    driver.press(dock.previous_button)
    shown(dock, "1")
    assert not dock.work.session.area.mask().any(), "unsure says nothing about the pixels"
    driver.press(dock.previous_button)
    shown(dock, "0")
    assert dock.work.session.area.mask().all(), "done means that all of it is annotated"
    assert dock.state.annotator.layers.classes.data[5, 5] == 1

    from napari_sampath.session import FolderQueue

    again = FolderQueue(folder, dock.work.queue.file.parent)
    assert [entry.state for entry in again.entries] == ["done", "unsure", "untouched", "untouched"]
    assert again.current.path.name == "0.png"


def test_the_next_image_is_encoded_ahead(open_folder: Callable[..., Any]) -> None:
    model = patch_model()
    dock, driver = open_folder(model)
    wait_until(lambda: not dock.work.ahead.busy and model.encoder.passes == 2, 60, "the image ahead")
    driver.press(dock.next_button)
    shown(dock, "1")
    wait_until(lambda: not dock.work.ahead.busy and model.encoder.passes == 3, 60, "the image after it")


def test_an_image_that_cannot_be_read_is_one_sentence(open_folder: Callable[..., Any], folder: Path) -> None:
    dock, driver = open_folder(DiscModel())
    (folder / "1.png").write_bytes(b"no image")
    driver.press(dock.next_button)
    wait_until(lambda: "1.png" in dock.status.message.text(), 60, "the sentence")
    assert "unexpected" not in dock.status.message.text()
    assert not dock.done_button.isEnabled(), "the image that is shown is not the one of the queue"
    driver.press(dock.next_button)
    shown(dock, "2")


def test_where_one_is_cannot_be_kept_is_one_sentence(open_folder: Callable[..., Any], folder: Path) -> None:
    dock, driver = open_folder(DiscModel())
    states, dock.work.queue.file = dock.work.queue.file, folder / "0.png" / "states.json"
    driver.press(dock.next_button)
    assert "Could not write" in dock.status.message.text()
    assert dock.work.queue.current.path.name == "0.png"
    assert dock.done_button.isEnabled(), "the image that is shown is still the one of the queue"
    dock.work.queue.file = states
    driver.press(dock.next_button)
    shown(dock, "1")


@pytest.fixture
def desk(tmp_path: Path) -> Callable[[Any], Any]:
    """Choose a dataset in which a linear head that finds the discs is accepted."""

    def chosen(dock: Any) -> Any:
        from napari_sampath.training import TrainingConfig, open_dataset, train

        data = DatasetFolder.create(tmp_path / "discs", (DISC,))
        for number in range(10, 14):
            data.save_image(Snapshot(f"disc {number}", *disc_image(number)))
        dock.state.training.choose(data.path)
        wait_until(lambda: dock.state.training.heads is not None, 60, "the dataset")
        heads = dock.state.training.heads
        path = heads.new_path("linear")
        config = TrainingConfig(epochs=15, batch_size=2, patience=0)
        train(open_dataset(data.path), "linear", config, patch_model(), path)
        heads.offer(path)
        heads.accept()
        dock.state.training.changed.emit()
        return heads

    return chosen


def test_the_head_proposes_and_the_person_completes(
    open_folder: Callable[..., Any], desk: Callable[[Any], Any]
) -> None:
    dock, driver = open_folder(patch_model())
    desk(dock)
    dock.stage.setCurrentIndex(dock.stage.findData("semi-automatic"))
    dock.stage.activated.emit(dock.stage.currentIndex())
    wait_until(lambda: bool(dock.work.session.document.objects), 60, "the proposal")
    assert "proposes" in dock.status.message.text()
    assert {one.source for one in dock.work.session.document.objects.values()} == {"head"}
    assert "0 begun" in dock.progress.text(), "nobody has touched it"
    truth = disc_image(0, (100, 130))[1]
    found = np.asarray(dock.work.session.document.class_map) > 0
    assert (found == (truth == 1)).mean() > 0.9
    assert not dock.work.session.area.mask().any(), "a proposal is not verified"
    driver.press(dock.view_button)
    assert dock.work.session.area.mask().all()
    assert all(one.reviewed for one in dock.work.session.document.objects.values())
    driver.press(dock.next_button)
    shown(dock, "1")
    wait_until(lambda: bool(dock.work.session.document.objects), 60, "the next proposal")
    wait_until(lambda: not dock.state.training.samples.pending, 60, "the training samples")
    assert "0" in DatasetFolder.open(dock.state.training.folder).images
    assert [info.name for info in dock.work.session.classes] == ["disc"]
    assert "1" not in DatasetFolder.open(dock.state.training.folder).images


def test_the_head_does_all_and_the_most_doubtful_image_comes_next(
    open_folder: Callable[..., Any], desk: Callable[[Any], Any]
) -> None:
    dock, driver = open_folder(patch_model())
    desk(dock)
    driver.press(dock.all_button)
    wait_until(lambda: "went through 3 images" in dock.status.message.text(), 120, "all images")
    doubts = {entry.path.stem: entry.uncertainty for entry in dock.work.queue.entries}
    assert doubts.pop("0") is None, "the one that is open is left alone"
    assert dock.stage.currentData() == "automatic"
    driver.press(dock.next_button)
    most = max(doubts, key=lambda one: doubts[one])
    shown(dock, most)
    assert list(dock.work.session.classes) == [DISC], "those of the dataset alone"
    assert {one.source for one in dock.work.session.document.objects.values()} == {"head"}
    driver.press(dock.done_button)
    del doubts[most]
    shown(dock, max(doubts, key=lambda one: doubts[one]))


def test_a_review_goes_on_without_a_verdict_and_back(
    open_folder: Callable[..., Any], desk: Callable[[Any], Any]
) -> None:
    dock, driver = open_folder(patch_model())
    desk(dock)
    driver.press(dock.all_button)
    wait_until(lambda: "went through 3 images" in dock.status.message.text(), 120, "all images")
    doubts = {entry.path.stem: entry.uncertainty for entry in dock.work.queue.entries}
    del doubts["0"]
    order = sorted(doubts, key=lambda one: -doubts[one])
    for name in order:
        assert dock.work.queue.upcoming.path.stem == name, "what is prepared meanwhile"
        driver.key(Qt.Key.Key_PageDown)
        shown(dock, name)
    driver.key(Qt.Key.Key_PageUp)
    shown(dock, order[1])
    # Page Down goes by name again once somebody begins by hand, and that is what is prepared.
    dock.stage.setCurrentIndex(dock.stage.findData("assisted"))
    dock.stage.activated.emit(dock.stage.currentIndex())
    after = {"1": "2", "2": "3", "3": None}[order[1]]
    upcoming = dock.work.queue.upcoming
    assert (None if upcoming is None else upcoming.path.stem) == after


def test_a_run_over_the_folder_leaves_out_what_auto_segment_does(
    open_folder: Callable[..., Any], desk: Callable[[Any], Any]
) -> None:
    dock, driver = open_folder(patch_model())
    desk(dock)
    dock.state.training.result_filter = ResultFilter(10**6)
    (dock.work.queue.folder / "2.png").write_bytes(b"no image")
    driver.press(dock.all_button)
    wait_until(lambda: "went through 2 images" in dock.status.message.text(), 120, "all images")
    assert "One image was left out; 2.png:" in dock.status.message.text()
    doubts = {entry.path.stem: entry.uncertainty for entry in dock.work.queue.entries}
    driver.press(dock.next_button)
    shown(dock, max("13", key=lambda one: doubts[one]))
    assert not dock.work.session.document.objects, "all pieces are smaller than was wished"


def test_going_on_does_not_end_the_run_over_the_folder(
    open_folder: Callable[..., Any], desk: Callable[[Any], Any]
) -> None:
    dock, driver = open_folder(patch_model())
    desk(dock)
    driver.press(dock.all_button)
    driver.press(dock.next_button)
    shown(dock, "1")
    wait_until(lambda: not dock.work.runner.busy, 120, "all images")
    assert "The head went through" in dock.status.message.text()
    assert dock.state.image.name == "1"
