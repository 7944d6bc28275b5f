"""Cards in the Objects dock, with real keys and clicks: order, decisions, undo, and the place in the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import QSize, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.session import NewObjects
from napari_sampath.session.objects.cards import card_box, card_pixels, to_review
from napari_sampath.session.proposals.new_objects import NewObject
from napari_sampath.widgets.common.card_list import CARD_PX
from napari_sampath.widgets.objects.cards import COUNT
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))
NO = Qt.KeyboardModifier.NoModifier


def proposals(count: int) -> NewObjects:
    """Squares in rows of ten, the later the less certain."""
    pieces = [
        NewObject(1, LocalMask(12 * (n // 10), 12 * (n % 10), np.ones((9, 9), bool)), 0.99 - n / 100)
        for n in range(count)
    ]
    return NewObjects(tuple(pieces), CLASSES, "a head")


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((50, 60, 60, 80), (31, 46, 79, 94)),
        ((0, 0, 10, 10), (0, 0, 48, 48)),
        ((190, 290, 200, 300), (152, 252, 200, 300)),
        ((0, 0, 200, 300), (0, 0, 200, 300)),
        ((20, 20, 80, 100), (0, 0, 160, 160)),
    ],
)
def test_a_card_shows_the_surroundings_inside_the_image(box: Any, expected: Any) -> None:
    assert card_box(box, (200, 300)) == expected


@pytest.fixture
def opened(open_window: Callable[..., Any], tissue: np.ndarray) -> Any:
    from napari_sampath.widgets.objects.dock import ObjectsDock

    window = open_window(tissue, DiscModel())
    window.objects = ObjectsDock(window.viewer, window.state)
    window.viewer.window.add_dock_widget(window.objects, name="Objects", area="bottom")
    window.session.classes.restore(CLASSES)
    window.session.classes_changed.emit()
    window.session.proposals.add(proposals(COUNT + 6)).apply()
    window.driver.settle()
    window.driver.press(window.objects.cards_button)
    QApplication.processEvents()
    return window


def press(window: Any, key: Any, modifiers: Any = NO) -> None:
    """Press a key on the cards, and wait until they show the decision."""
    cards = window.objects.cards
    QTest.keyClick(cards, key, modifiers)
    wait_until(lambda: not cards._timer.isActive() and not window.objects._timer.isActive(), 10, "the cards")
    QApplication.processEvents()


@pytest.mark.gui
def test_keys_decide_on_the_least_certain_proposals_first_and_undo_brings_them_back(opened: Any) -> None:
    cards, document = opened.objects.cards, opened.session.document
    first = to_review(document)[:COUNT]
    assert cards.isVisible()
    assert not opened.objects.table.isVisible()
    assert cards.ids == first == sorted(first, reverse=True), "the last squares are the least certain"
    assert cards.item(0).text() == "gland 0.70"

    press(opened, Qt.Key.Key_A)
    assert document.record(first[0]).reviewed
    assert cards.ids == to_review(document)[:COUNT]
    assert cards.ids[0] == first[1]
    assert len(cards.ids) == COUNT, "the next proposal fills the place"
    press(opened, Qt.Key.Key_R)
    assert first[1] not in document.objects
    press(opened, Qt.Key.Key_U)
    assert document.record(first[2]).unsure
    press(opened, Qt.Key.Key_2)
    assert document.record(first[3]).class_id == 2
    assert document.record(first[3]).reviewed
    press(opened, Qt.Key.Key_7)
    assert "There is no class 7" in opened.objects.status.message.text()
    assert cards.ids[0] == first[4]

    for _ in range(4):
        press(opened, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert cards.ids == first


@pytest.mark.gui
def test_several_cards_are_decided_in_one_step_and_a_click_shows_the_place(opened: Any) -> None:
    cards, document = opened.objects.cards, opened.session.document
    before = tuple(opened.viewer.scene.camera.center)
    ids = cards.ids
    for index, modifiers in ((0, NO), (2, Qt.KeyboardModifier.ControlModifier)):
        centre = cards.visualItemRect(cards.item(index)).center()
        QTest.mouseClick(cards.viewport(), Qt.MouseButton.LeftButton, modifiers, centre)
    assert tuple(opened.viewer.scene.camera.center) != before
    assert tuple(opened.viewer.scene.camera.center[-2:]) == pytest.approx(
        tuple((np.array(document.record(ids[2]).box[:2]) + document.record(ids[2]).box[2:]) / 2)
    )
    press(opened, Qt.Key.Key_A)
    assert [document.record(i).reviewed for i in ids[:3]] == [True, False, True]
    opened.session.undo()
    assert not document.record(ids[0]).reviewed
    opened.driver.press(opened.objects.cards_button)
    assert opened.objects.table.isVisible()
    assert not cards.isVisible()


@pytest.mark.gui
def test_cards_show_the_object_with_its_outline(opened: Any) -> None:
    cards, session = opened.objects.cards, opened.session
    pixels = card_pixels(session.image, session.document, cards.ids[0], CARD_PX)
    assert (pixels == CLASSES[0].color).all(axis=-1).sum() == 4 * 8, "the outline of a square of 9 px"
    icon = cards.item(0).icon().pixmap(QSize(CARD_PX, CARD_PX)).toImage()
    colors = {icon.pixelColor(x, y).getRgb()[:3] for x in range(0, CARD_PX, 2) for y in range(0, CARD_PX, 2)}
    assert any(abs(r - 0) + abs(g - 158) + abs(b - 115) < 60 for r, g, b in colors)
    session.objects.delete(to_review(session.document))
    wait_until(lambda: not cards.count(), 10, "the cards to go")
    opened.driver.press(opened.objects.cards_button)
    opened.driver.press(opened.objects.cards_button)
    assert "no proposals to review" in opened.objects.status.message.text()
