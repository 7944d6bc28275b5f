"""Messages of the docks are current or gone: after another edit, another image, or another project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import GuiDriver, wait_until
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_sampath.widgets.common.pixmaps import swatch
from napari_sampath.widgets.panel.panel import SamPathPanel
from napari_sampath.widgets.viewer.mouse import Mode
from napari_sampath.widgets.viewer.viewer_state import ViewerState
from support.models.discs import DiscModel, loader

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gui


@pytest.fixture
def panel(viewer: Any) -> SamPathPanel:
    panel = SamPathPanel(viewer, ViewerState(viewer, load_model=loader(DiscModel())))
    viewer.window.add_dock_widget(panel, name="SamPath", area="right")
    return panel


def text(dock: Any) -> str:
    return str(dock.status.message.text())


def ready(panel: SamPathPanel, viewer: Any, pixels: np.ndarray, name: str) -> GuiDriver:
    layer = viewer.add_image(pixels, name=name)
    wait_until(lambda: panel.state.image is layer and panel.state.ready, 60, name)
    driver = GuiDriver(viewer, layer)
    driver.settle()
    return driver


def test_a_message_is_replaced_by_the_next_edit_and_the_next_image(
    panel: SamPathPanel, viewer: Any, tissue: np.ndarray
) -> None:
    driver = ready(panel, viewer, tissue, "first")
    annotate = panel.show_tab("Annotate")
    assert text(annotate).startswith("Ready"), "the dock was made after the image was ready"
    annotate.modes.one_click.click()
    driver.settle()
    driver.click(50, 60)
    wait_until(lambda: text(annotate) == "object, 1st object, saved.", 60, "the message of the commit")
    annotate.modes.buttons[Mode.BRUSH].click()
    driver.drag([(20, 100), (60, 100)])
    wait_until(lambda: len(panel.state.session.document.objects) == 2, 60, "the stroke")
    wait_until(lambda: text(annotate).startswith("Ready"), 60, "the old message to go")
    driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    annotate.modes.buttons[Mode.POINT].click()
    driver.click(115, 60)
    wait_until(lambda: "2nd object" in text(annotate), 60, "the next commit")
    ready(panel, viewer, np.ascontiguousarray(tissue[::-1]), "second")
    assert "object, saved" not in text(annotate)
    assert "object, saved" not in text(panel.docks["Project"])


def test_a_project_made_without_an_image_gets_the_classes_of_its_first_image(
    panel: SamPathPanel, viewer: Any, tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    file = tmp_path / "a.png"
    Image.fromarray(tissue).save(file)
    project = panel.show_tab("Project")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "Skin"))
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([str(file)], ""))
    project.start.new_button.click()
    wait_until(lambda: panel.state.training.project is not None, 60, "the project")
    assert text(project) == "Opened the project 'Skin'."
    assert project.image.open_button.isVisible()
    project.image.open_button.click()
    wait_until(lambda: panel.state.ready, 60, "the image")
    driver = GuiDriver(viewer, panel.state.image)
    driver.settle()
    driver.press(panel.header.put_in_button)
    wait_until(lambda: panel.header.training_button.isVisible(), 60, "the image to be in the project")
    assert [info.name for info in panel.state.session.classes] == ["object"]
    assert [info.name for info in panel.state.training.project.classes] == ["object"]
    driver.settle()
    driver.click(50, 60)
    wait_until(lambda: panel.state.session.prompts.candidate is not None, 60, "the mask")
    driver.key(Qt.Key.Key_Return)
    assert len(panel.state.session.document.objects) == 1
    train = panel.show_tab("Train")
    assert "Open a project" not in text(train)


def test_a_swatch_has_its_colour_in_a_selected_row(viewer: Any) -> None:
    from qtpy.QtGui import QIcon

    icon = swatch((240, 228, 66))
    for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected):
        assert icon.pixmap(16, 16, mode).toImage().pixelColor(8, 8).getRgb()[:3] == (240, 228, 66)
