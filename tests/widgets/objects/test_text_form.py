"""Classification of proposals by texts in the Objects dock, with a small text model of random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.session import NewObjects
from napari_sampath.session.proposals.new_objects import NewObject
from napari_sampath.widgets.objects.text_form import prompts_of
from support.models.discs import DiscModel
from support.models.small_clip import save_small_clip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"gland": ["gland"], "stroma": ["stroma"]}),
        (" gland: round gland ; stroma", {"gland": ["round gland"], "stroma": ["stroma"]}),
        ("fat: a; fat: b;", {"fat": ["a", "b"]}),
    ],
)
def test_texts_are_read(text: str, expected: dict[str, list[str]]) -> None:
    assert prompts_of(text, ["gland", "stroma"]) == expected


# open_clip leaves its vocabulary file open.
@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.gui
def test_proposals_are_classified_by_text_as_one_undo_step(
    open_window: Callable[..., Any], tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sampath.widgets.objects.dock import ObjectsDock

    folder = save_small_clip(tmp_path / "small")
    window = open_window(tissue, DiscModel())
    dock = ObjectsDock(window.viewer, window.state)
    window.viewer.window.add_dock_widget(dock, name="Objects", area="bottom")
    form, session = dock.text_form, window.session
    window.driver.settle()
    assert form.isVisible()
    session.classes.restore(CLASSES)
    session.classes_changed.emit()
    window.driver.press(form.button)
    assert not form.runner.busy, "a download is asked for first"
    assert "'QuiltNet' is not on this machine (about 0.6 GB)" in dock.status.message.text()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    form.models.setCurrentIndex(form.models.count() - 1)
    form.models.activated.emit(form.models.count() - 1)
    assert form.models.currentText() == "small"

    def press() -> None:
        window.driver.press(form.button)
        wait_until(lambda: not form.runner.busy and not form.apply_queue.busy, 60, "the classification")

    press()
    assert "no proposal to classify" in dock.status.message.text()
    pieces = [NewObject(1, LocalMask(12, 30 * n, np.ones((20, 20), bool)), 0.9) for n in range(3)]
    session.proposals.add(NewObjects(tuple(pieces), CLASSES, "a head")).apply()
    QTest.keyClicks(form.texts, "gland: round gland; fat: white fat")
    press()
    assert "Classified 3 proposals by text" in dock.status.message.text()
    objects = session.document.objects.values()
    assert [obj.source for obj in objects] == ["text"] * 3
    assert {session.classes.by_id(obj.class_id).name for obj in objects} <= {"gland", "fat"}
    assert all(obj.trust == 0 for obj in objects)
    session.undo()
    assert [obj.source for obj in session.document.objects.values()] != ["text"] * 3
