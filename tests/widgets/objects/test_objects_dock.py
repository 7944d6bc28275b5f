"""The Objects dock: content of the table, camera, highlights on the image, changes and undo."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import QModelIndex, QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.session import NewObjects, Session
from napari_sampath.session.proposals.new_objects import NewObject
from napari_sampath.widgets.objects.table import AREA, AREA_UM2, CLASS, HEADINGS, REVIEWED, SCORE, ObjectTable
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))


def squares(count: int, side: int = 10, score: float | None = None) -> NewObjects:
    """Make squares of two alternating classes in rows of ten, each one pixel smaller than the previous one."""
    pieces = []
    for number in range(count):
        size = max(2, side - number)
        place = LocalMask(12 * (number // 10), 12 * (number % 10), np.ones((size, size), bool))
        pieces.append(NewObject(1 + number % 2, place, score))
    return NewObjects(tuple(pieces), CLASSES, "a head")


def column(table: Any, place: int) -> list[str]:
    model = table.model()
    return [model.index(row, place).data() for row in range(model.rowCount())]


def click(table: Any, row: int, place: int = CLASS, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
    centre = table.visualRect(table.model().index(row, place)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, modifier, centre)
    QApplication.processEvents()


@pytest.fixture
def opened(open_window: Callable[..., Any], tissue: np.ndarray) -> Any:
    """Open an image with four objects of a head and two of a person in both docks."""
    from napari_sampath.widgets.objects.dock import ObjectsDock

    window = open_window(tissue, DiscModel(), scale=(0.5, 0.5), units=("um", "um"))
    window.objects = ObjectsDock(window.viewer, window.state)
    window.viewer.window.add_dock_widget(window.objects, name="Objects", area="bottom")
    window.session.classes.restore(CLASSES)
    window.session.classes_changed.emit()
    window.session.proposals.add(squares(4, score=0.75)).apply()
    for row in (80, 100):
        window.session.paint(*np.nonzero(np.pad(np.ones((4, 4), bool), ((row, 116 - row), (100, 56)))), 2)
    window.driver.settle()
    return window


def test_the_table_shows_the_session_sorted_and_filtered(opened: Any) -> None:
    window, table = opened, opened.objects.table
    assert column(table, CLASS) == ["gland", "stroma", "gland", "stroma", "stroma", "stroma"]
    assert column(table, AREA) == ["100", "81", "64", "49", "16", "16"]
    assert column(table, AREA_UM2)[0] == "25.0", "0.5 µm a pixel"
    assert window.session.files.mpp == 0.5
    assert column(table, SCORE) == ["0.75"] * 4 + ["", ""]
    assert column(table, len(HEADINGS) - 1) == ["1", "2", "3", "4", "5", "6"]
    assert "6 objects" in window.objects.count.text()
    heading = table.horizontalHeader()
    place = QPoint(heading.sectionViewportPosition(AREA) + 10, heading.height() // 2)
    QTest.mouseClick(heading.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert column(table, AREA) == ["16", "16", "49", "64", "81", "100"]
    QTest.mouseClick(heading.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert column(table, AREA)[0] == "100"

    filters = window.objects.filters
    filters.class_id.setCurrentText("stroma")
    filters.class_id.activated.emit(2)
    filters.source.setCurrentText("Brush")
    filters.source.activated.emit(1)
    assert column(table, AREA) == ["16", "16"]
    assert "2 of 6" in window.objects.count.text()
    filters.source.setCurrentIndex(0)
    window.driver.press(filters.unreviewed)
    window.session.objects.flag((2,), "reviewed")
    QApplication.processEvents()
    assert column(table, AREA) == ["49", "16", "16"]
    window.session.undo()
    QApplication.processEvents()
    assert column(table, AREA) == ["81", "49", "16", "16"]

    window.session.classes.rename(2, "connective tissue")
    assert set(column(table, CLASS)) == {"connective tissue"}, "the filter keeps its class"


def test_a_click_centres_and_highlights_the_object(opened: Any) -> None:
    window, table = opened, opened.objects.table
    zoom = window.viewer.scene.camera.zoom
    click(table, 4)
    assert window.objects.selected() == (5,)
    np.testing.assert_allclose(window.viewer.scene.camera.center[-2:], (82 * 0.5, 102 * 0.5))
    assert window.viewer.scene.camera.zoom == zoom
    frame = window.viewer.layers["Selection"].data
    assert len(frame) == 1
    np.testing.assert_allclose(frame[0].min(axis=0), (77.5, 97.5))
    assert window.viewer.layers.selection.active is window.image
    QTest.keyClick(table, Qt.Key.Key_Down)
    assert window.objects.selected() == (6,)
    np.testing.assert_allclose(window.viewer.scene.camera.center[-2:], (102 * 0.5, 102 * 0.5))
    click(table, 0, CLASS, Qt.KeyboardModifier.ControlModifier)
    assert window.annotator.tools.highlight.frames == 2
    window.session.paint([0], [150], 1)
    QApplication.processEvents()
    assert window.objects.selected() == (1, 6), "a new object does not change the selection"
    assert "2 selected" in window.objects.count.text()


def test_buttons_and_keys_change_the_selected_objects_in_one_step(opened: Any) -> None:
    window, dock, table = opened, opened.objects, opened.objects.table
    records = window.session.document.objects

    def choose() -> None:
        table.setFocus()
        click(table, 0)
        click(table, 1, CLASS, Qt.KeyboardModifier.ControlModifier)

    def undo_all() -> None:
        QTest.keyClick(table, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        QApplication.processEvents()
        assert column(table, AREA) == ["100", "81", "64", "49", "16", "16"]
        assert [records[object_id].class_id for object_id in range(1, 7)] == [1, 2, 1, 2, 2, 2]
        assert not any(obj.reviewed or obj.unsure for obj in records.values())

    window.annotator.activate(1)
    keys = {
        "reviewed": Qt.Key.Key_T,
        "unsure": Qt.Key.Key_U,
        "reclassify": Qt.Key.Key_R,
        "merge": Qt.Key.Key_J,
        "delete": Qt.Key.Key_Delete,
    }
    checks: dict[str, Callable[[], bool]] = {
        "reviewed": lambda: records[1].reviewed and records[2].reviewed and not records[3].reviewed,
        "unsure": lambda: records[1].unsure and records[2].unsure,
        "reclassify": lambda: (
            column(table, CLASS)[:3] == ["gland"] * 3 and window.layers.classes.data[5, 14] == 1
        ),
        "merge": lambda: (
            2 not in records and column(table, AREA)[0] == "181" and window.layers.objects.data[5, 14] == 1
        ),
        "delete": lambda: (
            column(table, AREA) == ["64", "49", "16", "16"] and window.layers.objects.data[5, 5] == 0
        ),
    }
    assert {*keys, "undo"} == set(dock.buttons)
    for name, key in keys.items():
        for way in (
            lambda key=key: QTest.keyClick(table, key),
            lambda name=name: window.driver.press(dock.buttons[name]),
        ):
            choose()
            way()
            QApplication.processEvents()
            assert checks[name](), name
            undo_all()
    choose()
    window.driver.press(dock.buttons["reviewed"])
    window.driver.press(dock.buttons["reviewed"])
    assert not records[1].reviewed, "a second press removes the mark"
    QTest.keyClick(table, Qt.Key.Key_2)
    assert window.session.active_class == 2


def test_check_boxes_in_the_table_set_the_flags(opened: Any) -> None:
    window, table = opened, opened.objects.table
    spot = table.visualRect(table.model().index(2, REVIEWED))
    QTest.mouseClick(
        table.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(spot.left() + 10, spot.center().y())
    )
    QApplication.processEvents()
    assert window.session.document.objects[3].reviewed
    checked = table.model().index(2, REVIEWED).data(Qt.ItemDataRole.CheckStateRole)
    assert Qt.CheckState(checked) == Qt.CheckState.Checked
    window.driver.press(window.objects.buttons["undo"])
    assert not window.session.document.objects[3].reviewed


def test_closing_the_dock_removes_its_highlights(opened: Any) -> None:
    window = opened
    click(window.objects.table, 1)
    assert window.annotator.tools.highlight.frames == 1
    window.viewer.window.remove_dock_widget(window.objects)
    wait_until(lambda: window.annotator.tools.highlight.frames == 0, 60, "the dock to go")
    window.session.objects.delete((1,))
    assert window.layers.objects.data[5, 5] == 0


def test_two_viewers_have_separate_tables(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    from napari_sampath.widgets.objects.dock import ObjectsDock

    windows = [open_window(tissue, DiscModel()), open_window(tissue[:, ::-1].copy(), DiscModel())]
    docks = []
    for number, window in enumerate(windows):
        docks.append(ObjectsDock(window.viewer, window.state))
        window.viewer.window.add_dock_widget(docks[-1], name="Objects", area="bottom")
        window.session.proposals.add(squares(2 + number)).apply()
        window.driver.settle()
    assert [dock.model.rowCount() for dock in docks] == [2, 3]
    docks[0].table.setFocus()
    click(docks[0].table, 0)
    window.driver.press(docks[0].buttons["delete"])
    assert column(docks[0].table, AREA) == ["81"]
    assert column(docks[1].table, AREA) == ["100", "81", "64"]
    assert windows[1].annotator.tools.highlight.frames == 0
    assert windows[0].layers.objects.data[5, 5] == 0
    assert windows[1].layers.objects.data[5, 5] == 1


def test_adding_one_to_5000_objects_is_fast(qtbot: Any) -> None:
    """Measured as a ratio in one process, because machines differ."""
    session = Session(np.zeros((900, 900, 3), np.uint8), "many", None, CLASSES)
    pieces = tuple(
        NewObject(1 + n % 2, LocalMask(12 * (n // 72), 12 * (n % 72), np.ones((9, 9), bool)), n / 5000)
        for n in range(5000)
    )
    session.proposals.add(NewObjects(pieces, CLASSES, "a head")).apply()
    table = ObjectTable()
    table.use(session)
    begin = time.process_time()
    assert len(session.objects.rows()) == 5000
    whole = time.process_time() - begin
    assert table.rowCount() == table.total == 5000
    table.sort(SCORE, Qt.SortOrder.DescendingOrder)
    assert table.rows[0].id == 5000
    emitted: list[frozenset[int]] = []
    session.objects_changed.connect(emitted.append)
    times = []
    for object_id in range(1, 10):
        session.objects.reclassify((object_id,), 2)
        begin = time.process_time()
        table.update_objects()
        times.append(time.process_time() - begin)
    assert emitted == [frozenset({object_id}) for object_id in range(1, 10)]
    assert [table.index(row, CLASS, QModelIndex()).data() for row in range(4991, 5000)] == ["stroma"] * 9
    print(f"rows of all objects {1000 * whole:.1f} ms, one object {1000 * np.median(times):.1f} ms")
    assert np.median(times) < 0.5 * whole
    session.objects.delete((5000,))
    table.update_objects()
    assert table.total == 4999
