"""The list of classes: it asks, and shows what it is given."""

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

    made = ClassListWidget()
    qtbot.addWidget(made)
    made.show_classes(CLASSES, 4)
    made.show()
    return made


def test_it_shows_names_and_the_active_class_without_asking_anything(widget: Any) -> None:
    asked: list[Any] = []
    widget.activated.connect(asked.append)
    widget.show_classes(CLASSES, 1)
    assert [widget.list.item(row).text() for row in range(widget.list.count())] == ["gland", "stroma"]
    assert widget.list.currentItem().text() == "gland"
    assert not asked
    assert widget.is_shown(CLASSES, 1)
    assert not widget.is_shown(CLASSES, 4)


def test_a_click_asks_for_the_class_by_its_id(widget: Any, qtbot: Any) -> None:
    place = widget.list.visualItemRect(widget.list.item(0)).center()
    with qtbot.waitSignal(widget.activated) as asked:
        QTest.mouseClick(widget.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert asked.args == [1]


def test_a_typed_name_is_a_wish_and_stays_one(widget: Any, qtbot: Any) -> None:
    QTest.mouseClick(widget.rename_button, Qt.MouseButton.LeftButton)
    from qtpy.QtWidgets import QLineEdit

    (editor,) = widget.list.findChildren(QLineEdit)
    editor.setText("tumour")
    with qtbot.waitSignal(widget.renamed) as asked:
        QTest.keyClick(editor, Qt.Key.Key_Return)
    assert asked.args == [4, "tumour"]
    assert widget.list.item(1).text() == "stroma", "only who owns the classes changes them"


def test_the_last_class_cannot_be_removed(widget: Any, qtbot: Any) -> None:
    with qtbot.waitSignal(widget.removed) as asked:
        QTest.mouseClick(widget.remove_button, Qt.MouseButton.LeftButton)
    assert asked.args == [4]
    widget.show_classes(CLASSES[:1], 1)
    assert not widget.remove_button.isEnabled()


def test_a_colour_is_asked_for(widget: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from qtpy.QtGui import QColor

    from napari_sampath.widgets.annotate import class_list

    monkeypatch.setattr(class_list.QColorDialog, "getColor", lambda *_: QColor(1, 2, 3))
    with qtbot.waitSignal(widget.recolored) as asked:
        QTest.mouseClick(widget.color_button, Qt.MouseButton.LeftButton)
    assert asked.args == [4, (1, 2, 3)]


def test_arrows_and_dragging_ask_for_another_order(widget: Any, qtbot: Any) -> None:
    assert not widget.down_button.isEnabled(), "the last class is chosen"
    with qtbot.waitSignal(widget.moved) as asked:
        QTest.mouseClick(widget.up_button, Qt.MouseButton.LeftButton)
    assert asked.args == [4, 0]
    model = widget.list.model()
    with qtbot.waitSignal(widget.moved) as asked:
        assert model.moveRow(model.index(-1, 0), 1, model.index(-1, 0), 0), "what dropping a dragged row does"
    assert asked.args in ([4, 0], [1, 1])
    assert [widget.list.item(row).text() for row in range(2)] == ["gland", "stroma"], "a wish stays one"
    item = widget.list.item(0)
    assert not item.flags() & Qt.ItemFlag.ItemIsDropEnabled, "a class is dropped between others, never on one"


def test_merging_names_the_other_classes(widget: Any, qtbot: Any) -> None:
    widget.merge_menu.aboutToShow.emit()
    (action,) = widget.merge_menu.actions()
    assert action.text() == "into gland"
    with qtbot.waitSignal(widget.merged) as asked:
        action.trigger()
    assert asked.args == [4, 1]
