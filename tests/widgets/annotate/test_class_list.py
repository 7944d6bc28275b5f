"""The list of classes: it emits requests and shows the classes that it is given."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_sampath.arrays import ClassInfo

pytestmark = pytest.mark.gui

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(4, "stroma", (240, 228, 66)))


@pytest.fixture
def widget(qtbot: Any) -> Any:
    from napari_sampath.widgets.annotate.class_list import ClassListWidget

    class_list = ClassListWidget()
    qtbot.addWidget(class_list)
    class_list.show_classes(CLASSES, 4)
    class_list.show()
    return class_list


def test_showing_classes_emits_no_request(widget: Any) -> None:
    emitted: list[Any] = []
    widget.class_selected.connect(emitted.append)
    widget.show_classes(CLASSES, 1)
    assert [widget.list.item(row).text() for row in range(widget.list.count())] == ["gland", "stroma"]
    assert widget.list.currentItem().text() == "gland"
    assert not emitted
    assert widget.is_shown(CLASSES, 1)
    assert not widget.is_shown(CLASSES, 4)


def test_a_click_selects_a_class_by_id(widget: Any, qtbot: Any) -> None:
    place = widget.list.visualItemRect(widget.list.item(0)).center()
    with qtbot.waitSignal(widget.class_selected) as signal:
        QTest.mouseClick(widget.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert signal.args == [1]


def test_typing_a_name_requests_it_without_changing_the_list(widget: Any, qtbot: Any) -> None:
    QTest.mouseClick(widget.rename_button, Qt.MouseButton.LeftButton)
    from qtpy.QtWidgets import QLineEdit

    (editor,) = widget.list.findChildren(QLineEdit)
    editor.setText("tumour")
    with qtbot.waitSignal(widget.rename_requested) as signal:
        QTest.keyClick(editor, Qt.Key.Key_Return)
    assert signal.args == [4, "tumour"]
    assert widget.list.item(1).text() == "stroma", "only the owner of the classes changes them"


def test_the_last_class_cannot_be_deleted(widget: Any, qtbot: Any) -> None:
    with qtbot.waitSignal(widget.delete_requested) as signal:
        QTest.mouseClick(widget.delete_button, Qt.MouseButton.LeftButton)
    assert signal.args == [4]
    widget.show_classes(CLASSES[:1], 1)
    assert not widget.delete_button.isEnabled()


def test_the_colour_dialog_requests_a_colour(
    widget: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtGui import QColor

    from napari_sampath.widgets.annotate import class_list

    monkeypatch.setattr(class_list.QColorDialog, "getColor", lambda *_: QColor(1, 2, 3))
    with qtbot.waitSignal(widget.recolor_requested) as signal:
        QTest.mouseClick(widget.color_button, Qt.MouseButton.LeftButton)
    assert signal.args == [4, (1, 2, 3)]


def test_arrows_and_dragging_request_another_order(widget: Any, qtbot: Any) -> None:
    assert not widget.down_button.isEnabled(), "the last class is selected"
    with qtbot.waitSignal(widget.move_requested) as signal:
        QTest.mouseClick(widget.up_button, Qt.MouseButton.LeftButton)
    assert signal.args == [4, 0]
    model = widget.list.model()
    with qtbot.waitSignal(widget.move_requested) as signal:
        assert model.moveRow(model.index(-1, 0), 1, model.index(-1, 0), 0), "as when a dragged row is dropped"
    assert signal.args in ([4, 0], [1, 1])
    assert [widget.list.item(row).text() for row in range(2)] == ["gland", "stroma"], (
        "a request does not change the list"
    )
    item = widget.list.item(0)
    assert not item.flags() & Qt.ItemFlag.ItemIsDropEnabled, "a class can be dropped between others only"


def test_the_merge_menu_lists_the_other_classes(widget: Any, qtbot: Any) -> None:
    widget.merge_menu.aboutToShow.emit()
    (action,) = widget.merge_menu.actions()
    assert action.text() == "into gland"
    with qtbot.waitSignal(widget.merge_requested) as signal:
        action.trigger()
    assert signal.args == [4, 1]
