"""Reordering, merging and deleting classes in the dock, checked on the layers and the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui


def names(window: Any) -> list[str]:
    shown = window.dock.classes.list
    return [shown.item(row).text() for row in range(shown.count())]


def test_order_merge_and_delete(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    classes = window.session.classes
    classes.rename(1, "gland")
    classes.add("stroma")
    classes.add("lymphocytes")
    for class_id, row in ((1, 10), (2, 40), (2, 70)):
        window.session.paint(
            *np.nonzero(np.pad(np.ones((10, 10), bool), ((row, 110 - row), (10, 140)))), class_id
        )
    original = window.layers.classes.data.copy()
    dock = window.dock.classes

    window.annotator.activate(3)
    window.driver.press(dock.up_button)
    window.driver.press(dock.up_button)
    assert names(window) == ["lymphocytes", "gland", "stroma"] == [info.name for info in classes]
    assert not dock.up_button.isEnabled()
    window.driver.key(Qt.Key.Key_2)
    assert window.session.active_class == 1, "number keys follow the order"
    assert np.array_equal(window.layers.classes.data, original), "ids do not change"

    window.driver.press(dock.delete_button)
    question = window.dock.question
    assert question.isVisible()
    assert "'gland' has 1 object with 100 px" in question.text.text()
    _, _, cancel = question.buttons
    window.driver.press(cancel)
    assert not question.isVisible()
    assert names(window) == ["lymphocytes", "gland", "stroma"]

    window.driver.key(Qt.Key.Key_3)
    window.driver.press(dock.delete_button)
    assert "'stroma' has 2 objects with 200 px" in question.text.text()
    delete, reclass, _ = question.buttons
    assert [action.text() for action in reclass.menu().actions()] == ["lymphocytes", "gland"]
    window.driver.press(delete)
    assert names(window) == ["lymphocytes", "gland"]
    assert set(np.unique(window.layers.classes.data)) == {0, 1}
    window.driver.press(window.dock.buttons["undo"])
    assert names(window) == ["lymphocytes", "gland", "stroma"]
    assert np.array_equal(window.layers.classes.data, original)

    window.driver.key(Qt.Key.Key_3)
    window.driver.press(dock.delete_button)
    question.buttons[1].menu().actions()[1].trigger()
    assert names(window) == ["lymphocytes", "gland"]
    assert (window.layers.classes.data[original > 0] == 1).all()
    assert window.session.active_class == 1
    assert "Moved 2 objects from 'stroma' to 'gland'" in window.text
    window.driver.press(window.dock.buttons["undo"])
    assert np.array_equal(window.layers.classes.data, original)

    window.annotator.activate(3)
    window.driver.press(dock.delete_button)
    assert not question.isVisible(), "a class without objects is deleted without a question"
    assert names(window) == ["gland", "stroma"]
    window.annotator.activate(2)
    dock.merge_menu.aboutToShow.emit()
    dock.merge_menu.actions()[0].trigger()
    assert names(window) == ["gland"]
    assert (window.layers.classes.data[original > 0] == 1).all()
