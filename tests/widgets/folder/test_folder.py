"""The Folder dock: moving through the images by keys and buttons, image states, the three stages."""

from __future__ import annotations

from dataclasses import replace
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
        dock.controller.open_folder(folder)
        wait_until(lambda: dock.controller.session is not None and dock.state.ready, 60, "the first image")
        wait_until(lambda: len(dock.pixels) == 4 and not dock.thumbnail_runner.busy, 60, "the thumbnails")
        driver = GuiDriver(viewer, dock.state.image)
        driver.settle()
        return dock, driver

    return opened


def shown(dock: Any, name: str) -> None:
    wait_until(
        lambda: dock.controller.session is not None and dock.state.image.name == name and dock.state.ready,
        60,
        f"image {name}",
    )


def test_keys_and_buttons_move_through_the_folder(open_folder: Callable[..., Any], folder: Path) -> None:
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
    assert dock.controller.session.files.mpp == pytest.approx(0.5)
    assert dock.state.annotator.layers.classes.scale.tolist() == pytest.approx([0.5, 0.5])
    driver.press(dock.next_button)
    wait_until(lambda: "last image" in dock.status.message.text(), 60, "the sentence")


def test_states_and_annotations_are_saved(open_folder: Callable[..., Any], folder: Path) -> None:
    dock, driver = open_folder(DiscModel())
    assert "0 of 4 done, 0 in progress" in dock.progress.text()
    dock.controller.session.paint([5, 6], [5, 5], 1)
    assert "1 in progress" in dock.progress.text()
    driver.press(dock.done_button)
    shown(dock, "1")
    assert "1 of 4 done, 0 in progress" in dock.progress.text()
    driver.press(dock.unsure_button)
    shown(dock, "2")
    assert "1 unsure" in dock.progress.text()
    driver.press(dock.previous_button)
    shown(dock, "1")
    assert not dock.controller.session.area.mask().any(), "an unsure image is not verified"
    driver.press(dock.previous_button)
    shown(dock, "0")
    assert dock.controller.session.area.mask().all(), "a done image is verified"
    assert dock.state.annotator.layers.classes.data[5, 5] == 1

    from napari_sampath.session import FolderQueue

    again = FolderQueue(folder, dock.controller.queue.file.parent)
    assert [entry.state for entry in again.entries] == ["done", "unsure", "untouched", "untouched"]
    assert again.current.path.name == "0.png"


def test_the_next_image_is_prefetched(open_folder: Callable[..., Any]) -> None:
    model = patch_model()
    dock, driver = open_folder(model)
    wait_until(
        lambda: not dock.controller.prefetcher.busy and model.encoder.passes == 2, 60, "the next image"
    )
    driver.press(dock.next_button)
    shown(dock, "1")
    wait_until(
        lambda: not dock.controller.prefetcher.busy and model.encoder.passes == 3, 60, "the image after it"
    )


def test_an_unreadable_image_shows_one_sentence(open_folder: Callable[..., Any], folder: Path) -> None:
    dock, driver = open_folder(DiscModel())
    (folder / "1.png").write_bytes(b"no image")
    driver.press(dock.next_button)
    wait_until(lambda: "1.png" in dock.status.message.text(), 60, "the sentence")
    assert "unexpected" not in dock.status.message.text()
    assert not dock.done_button.isEnabled(), "the image shown is not the current one"
    driver.press(dock.next_button)
    shown(dock, "2")


def test_states_that_cannot_be_saved_show_one_sentence(open_folder: Callable[..., Any], folder: Path) -> None:
    dock, driver = open_folder(DiscModel())
    states, dock.controller.queue.file = dock.controller.queue.file, folder / "0.png" / "states.json"
    driver.press(dock.next_button)
    assert "Could not write" in dock.status.message.text()
    assert dock.controller.queue.current.path.name == "0.png"
    assert dock.done_button.isEnabled(), "the image shown is still the current one"
    dock.controller.queue.file = states
    driver.press(dock.next_button)
    shown(dock, "1")


@pytest.fixture
def desk(tmp_path: Path) -> Callable[[Any], Any]:
    """Use a dataset with an accepted linear head that finds the discs."""

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


def test_the_head_adds_objects_and_the_person_verifies_them(
    open_folder: Callable[..., Any], desk: Callable[[Any], Any]
) -> None:
    dock, driver = open_folder(patch_model())
    desk(dock)
    dock.state.training.membership.put_in()
    wait_until(lambda: dock.state.training.membership.image is not None, 60, "the image in the project")
    dock.stage.setCurrentIndex(dock.stage.findData("semi-automatic"))
    dock.stage.activated.emit(dock.stage.currentIndex())
    wait_until(lambda: bool(dock.controller.session.document.objects), 60, "the proposal")
    assert "The head linear-1 added" in dock.status.message.text()
    assert {obj.source for obj in dock.controller.session.document.objects.values()} == {"head"}
    assert "0 in progress" in dock.progress.text(), "the head does not change the state"
    truth = disc_image(0, (100, 130))[1]
    predicted = np.asarray(dock.controller.session.document.class_map) > 0
    assert (predicted == (truth == 1)).mean() > 0.9
    assert not dock.controller.session.area.mask().any(), "objects of a head are not verified"
    driver.press(dock.view_button)
    assert dock.controller.session.area.mask().all()
    assert all(obj.reviewed for obj in dock.controller.session.document.objects.values())
    driver.press(dock.next_button)
    shown(dock, "1")
    wait_until(lambda: bool(dock.controller.session.document.objects), 60, "the next proposal")
    wait_until(lambda: not dock.state.training.samples.pending, 60, "the training samples")
    assert "0" in DatasetFolder.open(dock.state.training.folder).images
    assert [info.name for info in dock.controller.session.classes] == ["disc"]
    assert "1" not in DatasetFolder.open(dock.state.training.folder).images


def test_the_head_segments_all_images_and_the_most_uncertain_comes_next(
    open_folder: Callable[..., Any], desk: Callable[[Any], Any]
) -> None:
    dock, driver = open_folder(patch_model())
    desk(dock)
    driver.press(dock.all_button)
    wait_until(lambda: "segmented 3 images" in dock.status.message.text(), 120, "all images")
    uncertainty = {entry.path.stem: entry.uncertainty for entry in dock.controller.queue.entries}
    assert uncertainty.pop("0") is None, "the open image is skipped"
    assert dock.stage.currentData() == "automatic"
    driver.press(dock.next_button)
    most = max(uncertainty, key=lambda name: uncertainty[name])
    shown(dock, most)
    assert list(dock.controller.session.classes) == [DISC], "only the classes of the dataset"
    assert {obj.source for obj in dock.controller.session.document.objects.values()} == {"head"}
    driver.press(dock.done_button)
    del uncertainty[most]
    shown(dock, max(uncertainty, key=lambda name: uncertainty[name]))


def test_no_head_of_a_folder_starts_a_download(open_folder: Callable[..., Any]) -> None:
    dock, driver = open_folder(DiscModel())
    state = dock.state
    (card, *_) = state.catalogue.cards
    state.session.classes.rename(state.session.classes.snapshot[0].id, card.classes[0].name)
    state.catalogue = replace(
        state.catalogue, downloads={each.encoder: "358 MB" for each in state.catalogue.cards}
    )
    dock.refresh()
    driver.press(dock.all_button)
    assert "is not on this machine" in dock.status.message.text()
    assert "358 MB" in dock.status.message.text()
    dock.stage.setCurrentIndex(dock.stage.findData("semi-automatic"))
    dock.stage.activated.emit(dock.stage.currentIndex())
    assert not dock.controller.runner.busy


def test_a_review_can_skip_images_and_return(
    open_folder: Callable[..., Any], desk: Callable[[Any], Any]
) -> None:
    dock, driver = open_folder(patch_model())
    desk(dock)
    driver.press(dock.all_button)
    wait_until(lambda: "segmented 3 images" in dock.status.message.text(), 120, "all images")
    uncertainty = {entry.path.stem: entry.uncertainty for entry in dock.controller.queue.entries}
    del uncertainty["0"]
    order = sorted(uncertainty, key=lambda name: -uncertainty[name])
    for name in order:
        assert dock.controller.queue.upcoming.path.stem == name, "the image that is prefetched"
        driver.key(Qt.Key.Key_PageDown)
        shown(dock, name)
    driver.key(Qt.Key.Key_PageUp)
    shown(dock, order[1])
    # By hand, Page Down follows the names again, and so does the prefetching.
    dock.stage.setCurrentIndex(dock.stage.findData("assisted"))
    dock.stage.activated.emit(dock.stage.currentIndex())
    after = {"1": "2", "2": "3", "3": None}[order[1]]
    upcoming = dock.controller.queue.upcoming
    assert (None if upcoming is None else upcoming.path.stem) == after


def test_a_run_over_the_folder_uses_the_filter_of_auto_segment(
    open_folder: Callable[..., Any], desk: Callable[[Any], Any]
) -> None:
    dock, driver = open_folder(patch_model())
    desk(dock)
    dock.state.training.result_filter = ResultFilter(10**6)
    (dock.controller.queue.folder / "2.png").write_bytes(b"no image")
    driver.press(dock.all_button)
    wait_until(lambda: "segmented 2 images" in dock.status.message.text(), 120, "all images")
    assert "One image was skipped; 2.png:" in dock.status.message.text()
    uncertainty = {entry.path.stem: entry.uncertainty for entry in dock.controller.queue.entries}
    driver.press(dock.next_button)
    shown(dock, max("13", key=lambda name: uncertainty[name]))
    assert not dock.controller.session.document.objects, "all objects are below the minimum area"


def test_opening_the_next_image_does_not_cancel_the_run_over_the_folder(
    open_folder: Callable[..., Any], desk: Callable[[Any], Any]
) -> None:
    dock, driver = open_folder(patch_model())
    desk(dock)
    driver.press(dock.all_button)
    driver.press(dock.next_button)
    shown(dock, "1")
    wait_until(lambda: not dock.controller.runner.busy, 120, "all images")
    assert "segmented" in dock.status.message.text()
    assert dock.state.image.name == "1"
