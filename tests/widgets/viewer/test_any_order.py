"""Random sequences of user actions: the layers equal the session, and the journal restores it.

`SAMPATH_MONKEY_STEPS=2000` makes long runs.
"""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt

from napari_sampath.config import load_config
from napari_sampath.session import Session
from napari_sampath.widgets.canvas.napari_internals.label_tools import is_outlining
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("small_window")]

STEPS = int(os.environ.get("SAMPATH_MONKEY_STEPS", "60"))
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
OFTEN = ["brush", "click", "commit", "commit", "undo"]


class RandomUser:
    """Performs random actions at random positions; every public method is an action.

    Args:
        window: A viewer with an image that is annotated.
        seed: Seed of the random numbers.
    """

    def __init__(self, window: Any, seed: int) -> None:
        self._window, self._random = window, random.Random(seed)
        self._labels, self._session = window.layers.classes, window.session
        self._actions = [name for name in vars(RandomUser) if not name.startswith("_") and name != "act"]

    def act(self) -> str:
        """Perform one action and return its name."""
        name = self._random.choice(self._actions + OFTEN)
        getattr(self, name)()
        return name

    def brush(self) -> None:
        self._tool("brush")
        self._labels.brush_size = self._random.choice([1, 5, 20])
        self._window.driver.drag(self._places(self._random.randint(2, 3)))

    def erase(self) -> None:
        self._tool("erase")
        self._window.driver.drag(self._places(2))

    def fill(self) -> None:
        self._own_tool("fill")
        self._window.driver.click(*self._place())

    def polygon(self) -> None:
        self._own_tool("polygon")
        places = self._places(self._random.randint(1, 4))
        for place in places:
            self._window.driver.click(*place)
        self._window.driver.double_click(*places[-1])

    def outline(self) -> None:
        """Draw an outline with the right mouse button, and close it or not."""
        self._tool("brush")
        self._window.driver.click(*(start := self._place()), RIGHT)
        for place in self._places(4):
            self._window.driver.move(*place)
        if self._random.random() < 0.5:
            self._window.driver.move(*start)

    def click(self) -> None:
        self._tool("point")
        self._window.driver.click(*self._place(), self._random.choice([LEFT, LEFT, RIGHT]))
        if self._random.random() < 0.7:
            self._window.answered()

    def box(self) -> None:
        self._tool("box")
        self._window.driver.drag(self._places(2))

    def lasso(self) -> None:
        self._tool("lasso")
        self._window.driver.drag(self._places(4))

    def scribble(self) -> None:
        self._tool("mask")
        self._window.driver.drag(self._places(2))

    def commit(self) -> None:
        self._window.driver.key(Qt.Key.Key_Return)

    def clear(self) -> None:
        self._window.driver.key(Qt.Key.Key_Escape)

    def undo(self) -> None:
        for _ in range(self._random.randint(1, 3)):
            self._window.driver.key(Qt.Key.Key_Z, CTRL)

    def redo(self) -> None:
        for _ in range(self._random.randint(1, 3)):
            self._window.driver.key(Qt.Key.Key_Z, CTRL | SHIFT)

    def key(self) -> None:
        keys = [Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3, Qt.Key.Key_X, Qt.Key.Key_M, Qt.Key.Key_Q]
        self._window.driver.key(self._random.choice(keys))

    def rule(self) -> None:
        self._session.overlap = self._random.choice(["keep", "overwrite"])

    def mode(self) -> None:
        self._session.mask_mode = self._random.choice(["semantic", "instance"])

    def preserve(self) -> None:
        self._labels.preserve_labels = not self._labels.preserve_labels

    def delete(self) -> None:
        if self._session.document.objects:
            self._session.objects.delete((self._random.choice(list(self._session.document.objects)),))

    def _tool(self, name: str) -> None:
        self._window.driver.press(self._window.dock.modes.buttons[type(self._window.annotator.mode)(name)])

    def _own_tool(self, mode: str) -> None:
        self._window.viewer.layers.selection.active = self._labels
        self._labels.mode = mode

    def _place(self) -> tuple[int, int]:
        height, width = self._session.hw
        return self._random.randrange(2, width - 2), self._random.randrange(2, height - 2)

    def _places(self, count: int) -> list[tuple[int, int]]:
        return [self._place() for _ in range(count)]


@pytest.mark.parametrize("seed", [13, 21])
def test_layers_and_journal_follow_every_action(
    open_window: Callable[..., Any], tissue: np.ndarray, tmp_path: Path, seed: int
) -> None:
    window = open_window(tissue, DiscModel())
    document, user = window.session.document, RandomUser(window, seed)
    for name in ("tumour", "stroma"):
        window.session.classes.add(name)

    def shown() -> bool:
        return np.array_equal(window.layers.classes.data, document.class_map) and np.array_equal(
            window.layers.objects.data, document.instance_map
        )

    actions: list[str] = []
    for _ in range(STEPS):
        actions.append(user.act())
        if not is_outlining(window.layers.classes):
            wait_until(shown, 60, f"the layers to show the session after {actions[-6:]}")
        for obj in document.objects.values():
            pixels = np.asarray(document.instance_map) == obj.id
            assert pixels.sum() == obj.area_px > 0, actions[-6:]
            assert (np.asarray(document.class_map)[pixels] == obj.class_id).all(), actions[-6:]
    window.driver.key(Qt.Key.Key_Escape)
    window.answered()
    (journal,) = load_config().sessions_dir.glob("*.jsonl")
    again = Session(tissue, "tissue", None, (), shutil.copy(journal, tmp_path / "copy.jsonl"))
    np.testing.assert_array_equal(again.document.class_map, document.class_map)
    np.testing.assert_array_equal(again.document.instance_map, document.instance_map)
    assert again.document.objects == document.objects
    assert document.objects, "a run without objects would test nothing"
    again.close()
