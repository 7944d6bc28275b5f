"""Number of actions, each a real click, drop or key, that common tasks take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.gui_driver import GuiDriver, wait_until
from PIL import Image
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtTest import QTest

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.widgets.panel.panel import TABS, SamPathPanel
from napari_sampath.widgets.viewer.viewer_state import ViewerState
from support.models.discs import DiscModel, loader
from support.models.patches import disc_image, patch_model
from support.models.project_exports import Study

pytestmark = pytest.mark.gui

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


class User:
    """Counts the actions of a user of the panel."""

    def __init__(self, viewer: Any, model: Any, journals: Path | None = None) -> None:
        self.viewer = viewer
        self.panel = SamPathPanel(viewer, ViewerState(viewer, loader(model), journals))
        viewer.window.add_dock_widget(self.panel, name="SamPath", area="right")
        self.actions = 0

    def drop(self, file: Path) -> None:
        """Drop a file onto the window."""
        self.actions += 1
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(file))])
        copy = Qt.DropAction.CopyAction
        self.viewer.window._qt_viewer.dropEvent(QDropEvent(QPointF(5, 5), copy, data, LEFT, NONE))
        wait_until(lambda: self.panel.state.ready, 60, "the image")
        self.driver.settle()

    def click(self, x: float, y: float) -> None:
        self.actions += 1
        self.driver.click(x, y)

    def key(self, key: Any, modifiers: Any = NONE) -> None:
        self.actions += 1
        self.driver.key(key, modifiers)

    def tab(self, title: str) -> Any:
        self.actions += 1
        bar = self.panel.tabs.tabBar()
        QTest.mouseClick(bar, LEFT, pos=bar.tabRect(list(TABS).index(title)).center())
        return self.panel.docks[title]

    def press(self, button: Any) -> None:
        self.actions += 1
        assert button.isEnabled()
        QTest.mouseClick(button, LEFT, NONE, button.rect().center())

    @property
    def driver(self) -> GuiDriver:
        return GuiDriver(self.viewer, self.panel.state.image)


def test_from_the_file_to_the_first_object_takes_three_actions_and_ten_nuclei_take_ten(
    viewer: Any, tissue: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "tissue.png"
    Image.fromarray(tissue).save(file)
    user = User(viewer, DiscModel())
    user.drop(file)
    user.click(50, 60)
    user.key(Qt.Key.Key_Return)
    session = user.panel.state.session
    wait_until(lambda: len(session.document.objects) == 1, 60, "the object")
    assert user.actions <= 3
    user.key(Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)  # once; the mode stays for all images
    session.overlap = "keep"
    before, user.actions = len(session.document.objects), 0
    for number in range(10):
        user.click(12 + 15 * number, 15)
    wait_until(lambda: not len(session.waiting) and user.panel.state.prompts.idle, 60, "the masks")
    assert len(session.document.objects) - before == 10
    assert user.actions <= 10


def test_training_again_after_four_images_takes_at_most_four_actions(viewer: Any, tmp_path: Path) -> None:
    folder = DatasetFolder.create(tmp_path / "discs", (ClassInfo(1, "object", (0, 158, 115)),))
    for number in range(4):
        folder.save_image(Snapshot(f"case{number}", *disc_image(number)))
    user = User(viewer, patch_model())
    viewer.add_image(disc_image(9)[0], name="new")
    state = user.panel.state
    wait_until(lambda: state.ready, 60, "the image")
    state.training.choose(folder.path)
    wait_until(lambda: state.training.heads is not None, 60, "the project")
    train = user.tab("Train")
    wait_until(train.train_button.isEnabled, 60, "the checklist")
    train.form.widgets["epochs"].value = 2
    user.press(train.train_button)
    wait_until(lambda: state.training.heads.offered is not None, 120, "the training")
    user.press(train.accept_button)
    if state.training.heads.current is None:  # The verdict asks for a second press.
        user.press(train.accept_button)
    assert state.training.heads.current is not None
    assert user.actions <= 4


def test_exporting_the_twenty_images_of_a_project_takes_two_actions(viewer: Any, tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    for number in range(20):
        study.add(f"case {number}", seed=number)
    user = User(viewer, DiscModel(), study.journals)
    state = user.panel.state
    state.training.choose(study.project.path)
    wait_until(lambda: state.training.project is not None, 60, "the project")
    export = user.tab("Export")
    user.press(export.project.export_button)
    wait_until(
        lambda: "Exported 20 images with 60 objects" in export.status.message.text(), 120, "the export"
    )
    assert user.actions <= 2
    folder = Path(export.project.folder.text())
    assert len(list(folder.rglob("labels/*.png"))) == 20
    assert "PROBLEM" not in (folder / "dataset-check.txt").read_text()
