"""Two readers in the Project tab: names, agreement, disagreements one after another, consensus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_sampath.config import load_config, overriding
from napari_sampath.session import Session
from napari_sampath.session.project.journals import read_document
from napari_sampath.widgets.panel.panel import SamPathPanel
from napari_sampath.widgets.viewer.viewer_state import ViewerState
from support.models.discs import DiscModel, loader

pytestmark = pytest.mark.gui


def paint(session: Session, class_id: int, box: tuple[int, int, int, int]) -> None:
    rows, cols = np.mgrid[box[0] : box[2], box[1] : box[3]]
    session.paint(rows.ravel(), cols.ravel(), class_id)


def test_disagreements_are_stepped_through_and_the_consensus_is_a_new_version(
    viewer: Any, tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_config_dir", lambda _app: str(tmp_path / "settings"))
    theirs = tmp_path / "ben.jsonl"
    with overriding(reader="Ben"):
        other = Session(tissue, "tissue", None, (), theirs)
    for box in ((10, 10, 30, 30), (80, 80, 100, 110)):
        paint(other, 1, box)
    other.close()
    panel = SamPathPanel(viewer, ViewerState(viewer, loader(DiscModel()), tmp_path / "journals"))
    viewer.window.add_dock_widget(panel, name="SamPath", area="right")
    image = viewer.add_image(tissue, name="tissue")
    wait_until(lambda: panel.state.ready, 60, "the image")
    state, training = panel.state, panel.state.training
    dock = panel.show_tab("Project")
    training.choose(tmp_path / "project")
    wait_until(lambda: training.project is not None, 60, "the project")
    training.membership.put_in()
    wait_until(lambda: training.membership.image is not None, 60, "the image in the project")
    readers = dock.readers
    readers.name.setFocus()
    QTest.keyClicks(readers.name, "Anna")
    QTest.keyClick(readers.name, Qt.Key.Key_Return)
    assert load_config().reader == "Anna"
    session = state.session
    paint(session, 1, (10, 12, 30, 32))
    paint(session, 1, (50, 50, 60, 60))
    assert {obj.made_by for obj in session.document.objects.values()} == {"Anna"}
    readers.compare(theirs)
    wait_until(lambda: readers.compared is not None, 60, "the comparison")
    assert readers.text.text().startswith("Ben: kappa 0.")
    assert "Dice 0." in readers.text.text()
    assert "1 of 2: second only: object" in readers.text.text()
    overlay = next(layer for layer in viewer.layers if layer.metadata.get("reader"))
    assert (np.asarray(overlay.data) > 0).sum() == 20 * 20 + 20 * 30
    assert state.image is image, "the overlay is no image to annotate"
    readers.take_button.click()
    assert len(session.document.objects) == 3
    assert "1 of 1: first only: object" in readers.text.text()
    readers.delete_button.click()
    assert sorted(obj.box for obj in session.document.objects.values()) == [
        (10, 12, 30, 32),
        (80, 80, 100, 110),
    ]
    assert "0 disagreements" in readers.text.text()
    assert not readers.take_button.isEnabled()
    kept = tmp_path / "project" / "conflicts" / "tissue (before the consensus).jsonl"
    assert len(read_document(kept).objects) == 2
    assert {obj.box for obj in read_document(kept).objects.values()} == {(10, 12, 30, 32), (50, 50, 60, 60)}
    session.undo()
    session.undo()
    assert len(session.document.objects) == 2, "each decision can be undone"
    readers.close_button.click()
    assert not any(layer.metadata.get("reader") for layer in viewer.layers)
