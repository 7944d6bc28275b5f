"""Random actions on two images, projects and docks with a model that is late: objects, layers, journals agree.

`SAMPATH_MONKEY_STEPS=500 SAMPATH_MONKEY_SEEDS=1,2,3,4` makes a long run of 2,000 actions.
"""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import GuiDriver, wait_until
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_sampath.session import Project, Session, journal_path
from napari_sampath.widgets.panel.panel import TABS, SamPathPanel
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("small_window")]

STEPS = int(os.environ.get("SAMPATH_MONKEY_STEPS", "120"))
SEEDS = [int(seed) for seed in os.environ.get("SAMPATH_MONKEY_SEEDS", "7").split(",")]
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
NONE = Qt.KeyboardModifier.NoModifier
LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
KEYS = [
    (Qt.Key.Key_Return, NONE),
    (Qt.Key.Key_Return, NONE),
    (Qt.Key.Key_Return, NONE),
    (Qt.Key.Key_W, NONE),
    (Qt.Key.Key_K, NONE),
    (Qt.Key.Key_M, NONE),
    (Qt.Key.Key_Backspace, NONE),
    (Qt.Key.Key_Escape, NONE),
    (Qt.Key.Key_Delete, NONE),
    (Qt.Key.Key_R, NONE),
    (Qt.Key.Key_G, NONE),
    (Qt.Key.Key_T, NONE),
    (Qt.Key.Key_U, NONE),
    (Qt.Key.Key_1, NONE),
    (Qt.Key.Key_2, NONE),
    (Qt.Key.Key_A, SHIFT),
    (Qt.Key.Key_A, NONE),
    (Qt.Key.Key_B, NONE),
    (Qt.Key.Key_P, NONE),
    (Qt.Key.Key_E, NONE),
    (Qt.Key.Key_I, NONE),
    (Qt.Key.Key_I, SHIFT),
    (Qt.Key.Key_O, NONE),
    (Qt.Key.Key_Z, CTRL),
    (Qt.Key.Key_Z, CTRL),
    (Qt.Key.Key_Z, CTRL | SHIFT),
]


class Monkey:
    """Performs random actions; every public method except `act` is an action.

    Args:
        window: A viewer with the Annotate dock.
        images: The image layers.
        chance: Source of random numbers.
        folder: Folder for projects.
    """

    def __init__(self, window: Any, images: list[Any], chance: random.Random, folder: Path) -> None:
        self._window, self._images, self._chance, self._folder = window, images, chance, folder
        self._panel: SamPathPanel | None = None
        self._actions = [name for name in vars(Monkey) if not name.startswith("_") and name != "act"]
        self._often = ["click", "click", "click", "key", "key", "key", "key", "drag"]

    def act(self) -> str:
        """Perform an action and return its name."""
        name = self._chance.choice(self._actions + self._often)
        getattr(self, name)()
        return name

    def click(self) -> None:
        self._driver.click(*self._place(), self._chance.choice([LEFT, LEFT, LEFT, RIGHT]))

    def drag(self) -> None:
        self._driver.drag([self._place(), self._place()])

    def move(self) -> None:
        self._driver.move(*self._place())

    def key(self) -> None:
        self._driver.key(*self._chance.choice(KEYS))

    def select(self) -> None:
        self._window.viewer.layers.selection.active = self._chance.choice(self._images)
        QApplication.processEvents()

    def hide_or_show(self) -> None:
        image = self._chance.choice(self._images)
        image.visible = not image.visible
        QApplication.processEvents()

    def bar(self) -> None:
        if self._window.dock.image_bar.isVisible():
            self._driver.press(self._window.dock.image_bar.button)

    def rename(self) -> None:
        image = self._chance.choice(self._images)
        image.name = f"{image.name[:6]} {self._chance.randrange(100)}"

    def rule(self) -> None:
        if self._window.state.session is not None:
            self._window.state.session.overlap = self._chance.choice(["overwrite", "keep", "ask"])

    def answer(self) -> None:
        if self._window.dock.question.isVisible():
            self._driver.press(self._chance.choice(self._window.dock.question.buttons))

    def block_or_release_the_model(self) -> None:
        event = self._window.model.go_on
        event.clear() if event.is_set() else event.set()

    def open_or_close_the_panel(self) -> None:
        if self._panel is None:
            self._panel = SamPathPanel(self._window.viewer, self._window.state)
            self._window.viewer.window.add_dock_widget(self._panel, name="SamPath", area="right")
        else:
            self._window.viewer.window.remove_dock_widget(self._panel)
            self._panel = None
        self._driver.settle()

    def tab(self) -> None:
        if self._panel is not None:
            self._panel.show_tab(self._chance.choice(list(TABS)))
            self._driver.settle()

    def open_or_close_a_project(self) -> None:
        training = self._window.state.training
        if training.project is None:
            training.choose(self._folder / self._chance.choice(["first", "second"]))
        else:
            training.close_project()

    def change_the_project(self) -> None:
        membership = self._window.state.training.membership
        change = self._chance.choice(
            [
                membership.put_in,
                membership.take_out,
                lambda: membership.set_training(self._chance.random() < 0.5),
                lambda: membership.restrict(self._chance.choice([None, (10, 10, 90, 90)])),
                lambda: membership.rename(f"case {self._chance.randrange(9)}"),
            ]
        )
        change()

    def change_classes(self) -> None:
        session = self._window.state.session
        if session is None:
            return
        classes = list(session.classes)
        if len(classes) < 4 and self._chance.random() < 0.5:
            self._window.dock.classes.add_requested.emit()
        else:
            chosen = self._chance.choice(classes)
            self._window.dock.classes.rename_requested.emit(chosen.id, f"class {self._chance.randrange(99)}")

    def wait(self) -> None:
        self._window.model.go_on.set()
        self._window.answered()

    @property
    def _driver(self) -> GuiDriver:
        return GuiDriver(self._window.viewer, self._window.state.image or self._images[0])

    def _place(self) -> tuple[int, int]:
        return self._chance.randrange(3, 157), self._chance.randrange(3, 117)


@pytest.mark.timeout(60 + 3 * STEPS)
@pytest.mark.parametrize("seed", SEEDS)
def test_objects_layers_and_journals_agree_after_random_actions(
    open_window: Callable[..., Any], tissue: np.ndarray, tmp_path: Path, seed: int
) -> None:
    window = open_window(tissue, DiscModel())
    state = window.state
    window.session.classes.add("stroma")
    second = window.viewer.add_image(np.ascontiguousarray(tissue[::-1, ::-1] - 3), name="second")
    wait_until(lambda: state.image is second and state.ready, 60, "the second image")
    images, journals = [window.image, second], {}
    monkey = Monkey(window, images, random.Random(seed), tmp_path)
    actions = [monkey.act() for _ in range(STEPS)]
    window.model.go_on.set()
    counts = []
    for image in images:
        for layer in images:
            layer.visible = layer is image
        window.viewer.layers.selection.active = image
        wait_until(lambda image=image: state.image is image and state.ready, 60, f"{image.name} to be in use")
        session = state.session
        while session.waiting.overlap is not None:
            session.waiting.decide("keep")
        wait_until(lambda session=session: not len(session.waiting), 60, f"the commits after {actions[-8:]}")
        window.answered()
        window.driver.key(Qt.Key.Key_Escape)
        document, layers = session.document, state.annotator.layers
        wait_until(
            lambda layers=layers, document=document: (
                np.array_equal(layers.classes.data, document.class_map)
                and np.array_equal(layers.objects.data, document.instance_map)
            ),
            60,
            f"the layers to show the objects after {actions[-8:]}",
        )
        ids = np.asarray(document.instance_map)
        assert set(np.unique(ids[ids > 0]).tolist()) == set(document.objects)
        assert all(int((ids == obj.id).sum()) == obj.area_px for obj in document.objects.values())
        journals[image] = journal_path(session.image, state.sessions_dir)
        copy = shutil.copy(journals[image], tmp_path / f"{len(counts)}.jsonl")
        again = Session(session.image, "again", None, (), copy)
        assert again.document.objects == document.objects
        np.testing.assert_array_equal(again.document.instance_map, ids)
        assert again.classes.snapshot == session.classes.snapshot
        again.close()
        counts.append(len(document.objects))
        own = [layer for layer in window.viewer.layers if layer.metadata.get("napari-sampath") == image.name]
        assert set(layers.all()) <= set(own)
    training = state.training
    wait_until(
        lambda: not (training.runner.busy or training.membership.runner.busy or training._timer.isActive()),
        60,
        "the project to be saved",
    )
    for folder in (tmp_path / "first", tmp_path / "second"):
        if Project.exists(folder):  # It can be read, and its images are those that were put in.
            assert len(Project(folder).images) <= len(images)
    assert sum(counts) > 0, "a run without objects would test nothing"
    shown = [layer for layer in window.viewer.layers if not layer.metadata.get("napari-sampath-helper")]
    assert len(shown) <= 4, [layer.name for layer in shown]
