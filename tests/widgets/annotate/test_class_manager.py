"""Classes put in order, merged and deleted in the dock: what the layers and the session show afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui


def names(b: Any) -> list[str]:
    shown = b.dock.classes.list
    return [shown.item(row).text() for row in range(shown.count())]


def test_order_merge_and_delete(open_bench: Callable[..., Any], tissue: np.ndarray) -> None:
    b = open_bench(tissue, DiscModel())
    classes = b.session.classes
    classes.rename(1, "gland")
    classes.add("stroma")
    classes.add("lymphocytes")
    for class_id, row in ((1, 10), (2, 40), (2, 70)):
        b.session.paint(*np.nonzero(np.pad(np.ones((10, 10), bool), ((row, 110 - row), (10, 140)))), class_id)
    original = b.layers.classes.data.copy()
    dock = b.dock.classes

    b.annotator.activate(3)
    b.driver.press(dock.up_button)
    b.driver.press(dock.up_button)
    assert names(b) == ["lymphocytes", "gland", "stroma"] == [info.name for info in classes]
    assert not dock.up_button.isEnabled()
    b.driver.key(Qt.Key.Key_2)
    assert b.session.active_class == 1, "number keys follow the order"
    assert np.array_equal(b.layers.classes.data, original), "ids stay as they are"

    b.driver.press(dock.remove_button)
    question = b.dock.question
    assert question.isVisible()
    assert "1 object with 100 px is 'gland'" in question.text.text()
    _, _, cancel = question.buttons
    b.driver.press(cancel)
    assert not question.isVisible()
    assert names(b) == ["lymphocytes", "gland", "stroma"]

    b.driver.key(Qt.Key.Key_3)
    b.driver.press(dock.remove_button)
    assert "2 objects with 200 px are 'stroma'" in question.text.text()
    delete, reclass, _ = question.buttons
    assert [action.text() for action in reclass.menu().actions()] == ["lymphocytes", "gland"]
    b.driver.press(delete)
    assert names(b) == ["lymphocytes", "gland"]
    assert set(np.unique(b.layers.classes.data)) == {0, 1}
    b.driver.press(b.dock.undo_button)
    assert names(b) == ["lymphocytes", "gland", "stroma"]
    assert np.array_equal(b.layers.classes.data, original)

    b.driver.key(Qt.Key.Key_3)
    b.driver.press(dock.remove_button)
    question.buttons[1].menu().actions()[1].trigger()
    assert names(b) == ["lymphocytes", "gland"]
    assert (b.layers.classes.data[original > 0] == 1).all()
    assert b.session.active_class == 1
    assert "2 objects of 'stroma' are 'gland' now" in b.text
    b.driver.press(b.dock.undo_button)
    assert np.array_equal(b.layers.classes.data, original)

    b.annotator.activate(3)
    b.driver.press(dock.remove_button)
    assert not question.isVisible(), "nothing has this class, so there is nothing to ask"
    assert names(b) == ["gland", "stroma"]
    b.annotator.activate(2)
    dock.merge_menu.aboutToShow.emit()
    dock.merge_menu.actions()[0].trigger()
    assert names(b) == ["gland"]
    assert (b.layers.classes.data[original > 0] == 1).all()
