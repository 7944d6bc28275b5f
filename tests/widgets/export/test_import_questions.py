"""Files that can be read in several ways: the Export dock asks, and says what it read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from PIL import Image

from support.event_loop import hold_changes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gui


def settle(dock: Any) -> None:
    wait_until(lambda: not dock.runner.busy and not dock.apply_queue.busy, 60, "the import")


def answers(dock: Any) -> list[str]:
    return [button.text() for button in dock.question_panel.buttons]


def press(window: Any, dock: Any, text: str) -> None:
    (button,) = [button for button in dock.question_panel.buttons if button.text() == text]
    window.driver.press(button)
    settle(dock)
    assert not dock.question_panel.isVisible()


def areas(height: int, width: int) -> np.ndarray:
    values = np.zeros((height, width), np.uint8)
    for number in range(6):
        values[5 + 8 * number : 10 + 8 * number, 10:20] = number + 1
    return values


def test_values_of_a_label_map_are_asked_about(
    window: Any, dock: Any, tissue: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(areas(*tissue.shape[:2])).save(path)
    for answer, classes in {"Cancel": 0, "6 objects": 1, "6 classes": 6}.items():
        dock.import_from(path)
        settle(dock)
        assert "has 6 values, which are classes or numbers of objects." in dock.question_panel.text.text()
        assert answers(dock) == ["6 classes", "6 objects", "Cancel"]
        assert not window.session.document.objects
        press(window, dock, answer)
        objects = window.session.document.objects.values()
        assert len({obj.class_id for obj in objects}) == classes
        if classes:
            assert len(objects) == 6
            assert "6 values were read as" in dock.status.message.text()
            window.session.undo()


@pytest.mark.parametrize(("answer", "count"), [("Outline with the model", 2), ("Cancel", 0)])
def test_points_are_asked_about(window: Any, dock: Any, tmp_path: Path, answer: str, count: int) -> None:
    positions = [[30, 40], [120, 90]]
    features = [{"type": "Feature", "geometry": {"type": "MultiPoint", "coordinates": positions}}]
    path = tmp_path / "points.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    dock.import_from(path)
    settle(dock)
    assert "has 2 points without an outline." in dock.question_panel.text.text()
    assert answers(dock) == ["Outline with the model", "Leave out", "Cancel"]
    press(window, dock, answer)
    assert len(window.session.document.objects) == count
    if count:
        assert "2 of 2 points became objects" in dock.status.message.text()


def test_another_size_is_asked_about(window: Any, dock: Any, tissue: np.ndarray, tmp_path: Path) -> None:
    height, width = tissue.shape[:2]
    path = tmp_path / "m.png"
    values = np.zeros((2 * height, 2 * width), np.uint8)
    values[20:60, 40:100] = 1
    Image.fromarray(values).save(path)
    dock.import_from(path)
    settle(dock)
    assert answers(dock) == ["Scale by 0.5", "Same position", "Cancel"]
    press(window, dock, "Scale by 0.5")
    (obj,) = window.session.document.objects.values()
    assert obj.area_px == 20 * 30


def test_overlaps_follow_the_form_and_are_said(window: Any, dock: Any, tmp_path: Path) -> None:
    def square(x: float, side: float) -> dict[str, Any]:
        ring = [[x, x], [x + side, x], [x + side, x + side], [x, x + side], [x, x]]
        return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}

    path = tmp_path / "q.geojson"
    path.write_text(json.dumps([square(20, 10), square(10, 40)]))
    dock.import_from(path)
    settle(dock)
    assert "Imported 2 objects from q.geojson" in dock.status.message.text()
    assert "1 object overlapped by others: the smaller one is on top." in dock.status.message.text()
    dock.import_settings.widgets["overlap"].value = "file-order"
    dock.import_from(path)
    settle(dock)
    assert "Imported 1 object from q.geojson" in dock.status.message.text()
    assert "1 object that others cover completely" in dock.status.message.text()
    assert "2 objects of the image were overwritten" in dock.status.message.text()


def test_an_import_does_not_reach_another_image(
    window: Any, dock: Any, tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(areas(*tissue.shape[:2])).save(path)
    dock.import_from(path)
    settle(dock)
    assert dock.questions.current is not None
    first = window.session
    second = window.viewer.add_image(np.ascontiguousarray(tissue[:, ::-1]), name="second")
    wait_until(lambda: window.state.image is second and window.state.ready, 60, "the second image")
    assert dock.questions.current is None, "its answer would add the objects to the second image"

    window.viewer.layers.selection.active = window.image
    wait_until(lambda: window.session is first and window.state.ready, 60, "the first image")
    go_on = hold_changes(monkeypatch)
    dock.import_from(path)
    settle_reading(dock)
    button = next(button for button in dock.question_panel.buttons if button.text() == "6 objects")
    window.driver.press(button)
    settle_reading(dock)
    assert dock.apply_queue.busy
    window.viewer.layers.selection.active = second
    wait_until(lambda: window.state.image is second and window.state.ready, 60, "the second image")
    go_on.set()
    settle(dock)
    assert "were not added, because 'tissue' is no longer in use" in dock.status.message.text()
    assert not first.document.objects
    assert not window.session.document.objects


def settle_reading(dock: Any) -> None:
    wait_until(lambda: not dock.runner.busy, 60, "the file to be read")
