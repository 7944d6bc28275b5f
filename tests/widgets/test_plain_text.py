"""Names of images, folders and classes are shown as they are, never as HTML, which could load files and mislead."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import GuiDriver, wait_until
from PIL import Image
from qtpy.QtCore import QAbstractTableModel, Qt
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import QAbstractItemView, QComboBox, QLabel, QWidget

import napari_sampath.widgets
from napari_sampath.arrays import ClassInfo
from napari_sampath.widgets.annotate.help_overlay import HelpOverlay
from napari_sampath.widgets.common.controls import plain_tooltip
from support.models.discs import DiscModel, loader
from support.models.patches import disc_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "<img src=x><b>7"
DOCKS = (
    "annotate:Annotate",
    "objects:Objects",
    "segment:Segment",
    "train:Train",
    "folder:Folder",
    "project:Project",
    "export:Export",
)


def shown(tooltip: str) -> str:
    """Return a tooltip as Qt shows it."""
    if not Qt.mightBeRichText(tooltip):
        return tooltip
    document = QTextDocument()
    document.setHtml(tooltip)
    return document.toPlainText()


@pytest.mark.parametrize("text", [NAME, "a < b", "<br>", "a & b &lt;", "", "<i>x</i> 'y'", "1 <2> 3"])
def test_a_tooltip_shows_the_text_itself(text: str) -> None:
    assert shown(plain_tooltip(text)) == text


def tooltips(widget: QWidget) -> Iterator[str]:
    """Yield the tooltips of a widget and of its items."""
    yield widget.toolTip()
    model = widget.model() if isinstance(widget, QAbstractItemView | QComboBox) else None
    if model is None:
        return
    for row in range(model.rowCount()):
        for column in range(model.columnCount() if isinstance(model, QAbstractTableModel) else 1):
            yield str(model.data(model.index(row, column), Qt.ItemDataRole.ToolTipRole) or "")


@pytest.mark.gui
def test_names_are_plain_text_in_every_dock(viewers: Callable[[], Any], tmp_path: Path) -> None:
    from napari_sampath.widgets.viewer.viewer_state import ViewerState

    folder = tmp_path / f"{NAME} folder"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(disc_image(number, (100, 130))[0]).save(folder / f"{NAME}{number}.png")
    viewer = viewers()
    state = ViewerState(viewer, load_model=loader(DiscModel()))
    docks = {}
    for entry in DOCKS:
        module, kind = entry.split(":")
        dock_class = getattr(import_module(f"napari_sampath.widgets.{module}.dock"), f"{kind}Dock")
        docks[kind] = dock_class(viewer, state)
        viewer.window.add_dock_widget(docks[kind], name=kind, area="right", tabify=True)
    docks["Folder"].controller.open_folder(folder)
    wait_until(lambda: docks["Folder"].controller.session is not None and state.ready, 60, "the first image")
    state.training.choose(tmp_path / f"{NAME} project", NAME, (ClassInfo(1, NAME, (0, 0, 0)),))
    wait_until(lambda: state.training.project is not None, 60, "the project")
    state.training.membership.put_in()
    wait_until(lambda: state.training.membership.image is not None, 60, "the image in the project")
    state.session.classes.add(f"{NAME}2")
    state.session.paint(*np.indices((20, 20)).reshape(2, -1), 1)
    for dock in docks.values():
        dock.status.say(f"'{NAME}' was not found; choose another.")
    GuiDriver(viewer, state.image).settle()
    texts: list[str] = []
    for dock in docks.values():
        for widget in (dock, *dock.findChildren(QWidget)):
            if isinstance(widget, QLabel) and not isinstance(widget.parent(), HelpOverlay):
                assert widget.textFormat() == Qt.TextFormat.PlainText or not Qt.mightBeRichText(widget.text())
                texts.append(widget.text())
                if widget.textFormat() != Qt.TextFormat.PlainText:
                    assert NAME not in widget.text(), "a label of a name is not plain text"
            for tooltip in tooltips(widget):
                assert "<" not in tooltip or "<" in shown(tooltip), f"{tooltip!r} is shown as HTML"
                texts.append(shown(tooltip))
    assert any(NAME in text for text in texts), "the name is shown somewhere"


def test_labels_are_made_in_one_place() -> None:
    """A `QLabel` decides by its content whether it is HTML; `label` makes one that does not."""
    root = Path(napari_sampath.widgets.__file__).parent
    exceptions = {"common/controls.py", "common/status_line.py", "annotate/help_overlay.py"}
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        source = path.read_text(encoding="utf-8")
        assert "QToolTip" not in source, name
        assert "QMessageBox" not in source, f"{name}: questions are shown in the dock"
        if name not in exceptions:
            # A label without text, for a picture, has nothing to interpret.
            assert source.count("QLabel(") == source.count("QLabel()"), f"{name}: use controls.label"
