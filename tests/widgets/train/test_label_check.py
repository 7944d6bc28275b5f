"""Labels that look wrong, with real clicks and keys: the confusion matrix, its cards, decisions and undo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import save_screenshot, wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.widgets.train.dock import TrainDock
from support.dock_layout import assert_nothing_cut_off
from support.models.patches import disc_image, four_discs, patch_model

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "vessel", (240, 228, 66)))


@pytest.fixture
def checked(open_window: Callable[..., Any], tmp_path: Path) -> tuple[Any, Any]:
    """Return a window and its Train dock after a check of labels; in 'case 2' a gland is labelled as a vessel."""
    folder = DatasetFolder.create(tmp_path / "discs", CLASSES)
    for number in range(4):
        pixels, labels, instances = four_discs(number)
        if number == 2:
            labels[instances == 2] = 2
        folder.save_image(Snapshot(f"case {number}", pixels, labels, instances))
    window = open_window(disc_image(9)[0], patch_model(), name="new")
    dock = TrainDock(window.viewer, window.state)
    window.viewer.window.add_dock_widget(dock, name="Train", area="right", tabify=True)
    wait_until(lambda: dock._kinds_known and not dock.training.runner.busy, 60, "the kinds of head")
    assert not dock.labels_button.isEnabled()
    dock.choose_folder(folder.path)
    wait_until(lambda: dock.labels_button.isEnabled(), 60, "the dataset")
    before = sorted(path for path in folder.path.rglob("*") if path.is_file())
    window.driver.press(dock.labels_button)
    assert not dock.stop_button.isVisible()
    wait_until(lambda: not dock.runner.busy, 120, "the check")
    assert sorted(path for path in folder.path.rglob("*") if path.is_file()) == before, "nothing is stored"
    return window, dock


def click(widget: Any, rect: Any) -> None:
    QTest.mouseClick(
        widget.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, rect.center()
    )
    QApplication.processEvents()


def choose_cell(dock: Any, row: int, column: int) -> None:
    matrix = dock.labels.matrix
    click(matrix, matrix.visualItemRect(matrix.item(row, column)))


def test_a_cell_opens_cards_and_a_card_its_image(checked: Any) -> None:
    window, dock = checked
    view, cards = dock.labels, dock.labels.cards
    assert view.isVisible(), dock.status.message.text()
    assert not dock.form.isVisible()
    assert [view.matrix.item(row, row).text() for row in (1, 2)] == ["7", "8"]
    assert view.matrix.item(2, 1).text() == "1"
    assert cards.values == view._check.first
    choose_cell(dock, 2, 1)
    (entry,) = cards.values
    assert (entry.image, entry.object, entry.predicted) == ("case 2", 2, "gland")
    assert cards.item(0).text().startswith("gland ")
    assert "suggest 'gland': 1 label." in view.text.text()

    QTest.keyClick(cards, Qt.Key.Key_1)
    assert "press the key again" in dock.status.message.text()
    assert cards.values == [entry]
    wait_until(
        lambda: window.state.ready and len(window.state.session.document.objects) == 4, 60, "the image"
    )
    click(cards, cards.visualItemRect(cards.item(0)))
    centre = np.array(window.viewer.scene.camera.center[-2:])
    np.testing.assert_allclose(centre, (24, 72), atol=2)
    assert window.state.annotator.tools.highlight.frames == 1

    document = window.state.session.document
    (number,) = (obj.id for obj in document.objects.values() if obj.box[0] < 48 < obj.box[1])
    assert document.record(number).class_id == 2
    QTest.keyClick(cards, Qt.Key.Key_1)
    assert document.record(number).class_id == 1
    assert cards.values == []
    QTest.keyClick(cards, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert document.record(number).class_id == 2
    assert cards.values == [entry]
    QTest.keyClick(cards, Qt.Key.Key_U)
    assert document.record(number).unsure
    QTest.keyClick(cards, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(cards, Qt.Key.Key_R)
    assert number not in document.objects
    QTest.keyClick(cards, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(cards, Qt.Key.Key_7)
    assert "There is no class 7" in dock.status.message.text()
    QTest.keyClick(cards, Qt.Key.Key_A)
    assert document.record(number).class_id == 2
    assert cards.values == []

    window.driver.press(view.all_button)
    assert entry not in cards.values, "decided"
    window.driver.press(view.close_button)
    assert not view.isVisible()
    assert dock.form.isVisible()


def test_undo_of_a_card_never_undoes_another_change(checked: Any) -> None:
    window, dock = checked
    cards = dock.labels.cards
    choose_cell(dock, 2, 1)
    (entry,) = cards.values
    QTest.keyClick(cards, Qt.Key.Key_1)  # Opens the image of the card.
    wait_until(
        lambda: window.state.ready and len(window.state.session.document.objects) == 4, 60, "the image"
    )
    session, undo = window.state.session, (Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    objects = session.document.objects
    (number,) = (obj.id for obj in objects.values() if obj.box[0] < 48 < obj.box[1])
    QTest.keyClick(cards, Qt.Key.Key_1)
    assert cards.values == []
    other = next(object_id for object_id in objects if object_id != number)
    session.objects.delete((other,))
    QTest.keyClick(cards, *undo)
    assert other not in objects, "the newest change is not this decision"
    assert session.document.record(number).class_id == 1
    assert cards.values == []
    assert "press Ctrl-Z in the image" in dock.status.message.text()

    session.undo()
    QTest.keyClick(cards, *undo)
    assert session.document.record(number).class_id == 2
    assert cards.values == [entry]

    QTest.keyClick(cards, Qt.Key.Key_1)
    session.undo()
    QTest.keyClick(cards, *undo)
    assert cards.values == [entry], "the decision was undone in the image"
    assert set(objects) >= {number, other}


def test_a_decision_is_undone_after_its_image_was_closed(checked: Any) -> None:
    window, dock = checked
    cards, undo = dock.labels.cards, (Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    choose_cell(dock, 2, 1)
    (entry,) = cards.values

    def is_open() -> bool:
        session = window.state.session
        return window.state.ready and session is not None and len(session.document.objects) == 4

    QTest.keyClick(cards, Qt.Key.Key_1)  # Opens the image of the card.
    wait_until(is_open, 60, "the image")
    session = window.state.session
    (number,) = (obj.id for obj in session.document.objects.values() if obj.box[0] < 48 < obj.box[1])
    QTest.keyClick(cards, Qt.Key.Key_1)
    assert session.document.record(number).class_id == 1
    window.viewer.layers.remove(window.state.annotator.image)
    wait_until(lambda: window.state.session is not session, 60, "the image to be closed")
    QTest.keyClick(cards, *undo)
    assert cards.values == [], "the image has to be opened first"
    wait_until(is_open, 60, "the image to be opened again")
    assert window.state.session is not session
    assert window.state.session.document.record(number).class_id == 1
    QTest.keyClick(cards, *undo)
    assert window.state.session.document.record(number).class_id == 2
    assert cards.values == [entry]


def test_the_labels_fit_into_the_window_in_both_themes(checked: Any) -> None:
    window, dock = checked
    for theme in ("dark", "light"):
        window.viewer.theme = theme
        dock.parentWidget().raise_()
        window.driver.settle()
        assert_nothing_cut_off(window.viewer, dock)
        assert dock.verticalScrollBar().maximum() == 0
        if "SAMPATH_SCREENSHOTS" in os.environ:
            save_screenshot(window.viewer, Path(os.environ["SAMPATH_SCREENSHOTS"]) / f"labels_{theme}.png")
