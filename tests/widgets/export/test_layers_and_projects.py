"""The Export dock adds the objects of foreign layers, refines them, and exports the open project."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from PIL import Image

from napari_sampath.jobs import Job, Progress
from napari_sampath.session import Project

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gui


def settle(dock: Any) -> None:
    wait_until(lambda: not dock.runner.busy and not dock.apply_queue.busy, 60, "the change")


def discs(hw: tuple[int, int]) -> np.ndarray:
    rows, cols = np.indices(hw)
    labels = np.zeros(hw, np.int32)
    labels[np.hypot(rows - 60, cols - 60) <= 20] = 3
    labels[np.hypot(rows - 60, cols - 140) <= 15] = 8
    return labels


def test_a_labels_layer_becomes_objects_that_are_refined(window: Any, dock: Any, tissue: np.ndarray) -> None:
    labels = discs(tissue.shape[:2])
    layer = window.viewer.add_labels(labels, name="cellpose")
    wait_until(lambda: dock.layers.layer.currentText() == "cellpose", 10, "the layer in the list")
    dock.layers.class_name.setCurrentText("nucleus")
    window.driver.press(dock.layers.add_button)
    settle(dock)
    document = window.session.document
    assert len(document.objects) == 2
    assert np.array_equal(document.instance_map[: labels.shape[0], : labels.shape[1]] > 0, labels > 0)
    assert {document.classes.by_id(o.class_id).name for o in document.objects.values()} == {"nucleus"}
    assert not layer.visible
    assert "Added 2 objects of 'nucleus'" in dock.status.message.text()
    window.driver.press(dock.layers.refine_button)
    settle(dock)
    assert "0 objects refined, 2 unchanged (2 good already)" in dock.status.message.text()
    assert window.session.undo()
    assert not document.objects


def test_a_shapes_layer_with_another_transform(window: Any, dock: Any) -> None:
    image = window.image
    square = np.array([[9.5, 9.5], [9.5, 29.5], [29.5, 29.5], [29.5, 9.5]])
    line = np.array([[0.0, 0.0], [5.0, 5.0]])
    circle = np.array([[80.0, 80.0], [80.0, 120.0], [120.0, 120.0], [120.0, 80.0]])
    shapes = window.viewer.add_shapes(
        [square / 2, line, circle / 2], shape_type=["polygon", "line", "ellipse"], name="drawn"
    )
    shapes.scale = np.asarray(image.scale) * 2
    shapes.translate = image.translate
    wait_until(lambda: dock.layers.layer.currentText() == "drawn", 10, "the layer in the list")
    dock.layers.class_name.setCurrentText("region")
    window.driver.press(dock.layers.add_button)
    settle(dock)
    areas = sorted(obj.area_px for obj in window.session.document.objects.values())
    assert areas[0] == 400
    assert areas[1] == pytest.approx(np.pi * 20**2, rel=0.01)
    assert "1 line without an area" in dock.status.message.text()


def test_layers_that_do_not_fit_are_refused(window: Any, dock: Any, tissue: np.ndarray) -> None:
    hw = tissue.shape[:2]
    for words, shape in {"20 x 20 px": (20, 20), "no objects": hw, "3 dimensions": (3, *hw)}.items():
        data = np.zeros(shape, np.int32)
        if words != "no objects":
            data[..., 5:9, 5:9] = 1
        layer = window.viewer.add_labels(data, name=words)
        wait_until(lambda name=words: dock.layers.layer.currentText() == name, 10, "the layer in the list")
        dock.layers.class_name.setCurrentText("nucleus")
        window.driver.press(dock.layers.add_button)
        assert words in dock.status.message.text()
        assert not window.session.document.objects
        window.viewer.layers.remove(layer)


def test_own_layers_are_not_offered(window: Any, dock: Any) -> None:
    assert dock.layers.layer.currentData() is None
    assert "No Labels or Shapes layer" in dock.layers.layer.currentText()
    assert not dock.layers.add_button.isEnabled()
    (info,) = window.session.classes.snapshot
    window.session.classes.rename(info.id, "gland")
    dock.refresh()
    assert dock.layers.class_name.currentText() == "gland", "a name that no class has would make a new one"


def test_no_button_cancels_a_job_that_is_running(window: Any, dock: Any, tissue: np.ndarray) -> None:
    window.viewer.add_labels(discs(tissue.shape[:2]), name="cellpose")
    wait_until(lambda: dock.layers.layer.currentText() == "cellpose", 10, "the layer in the list")
    starting = (
        *(dock.export_button, dock.export_folder_button, dock.figure_button),
        *(dock.import_file_button, dock.import_folder_button),
        *(dock.layers.add_button, dock.layers.refine_button),
    )
    assert all(button.isEnabled() for button in starting)
    end, results = threading.Event(), []

    def job() -> Job[str]:
        while not end.wait(0.01):
            yield Progress(0, 1, "Writing")
        return "written"

    dock.runner.start(job(), "writing the annotations", results.append)
    assert not any(button.isEnabled() for button in starting)
    end.set()
    settle(dock)
    assert results == ["written"]
    assert all(button.isEnabled() for button in starting)


def test_the_open_project_is_exported_and_updated(
    window: Any, dock: Any, tissue: np.ndarray, tmp_path: Path
) -> None:
    training = window.state.training
    assert not dock.project.export_button.isEnabled()
    training.choose(tmp_path / "project")
    wait_until(lambda: isinstance(training.project, Project), 20, "the project")
    training.membership.put_in()
    wait_until(lambda: len(training.project.images) == 1, 20, "the image in the project")
    window.session.paint(*np.indices((30, 30)).reshape(2, -1) + 40, window.session.active_class)
    wait_until(lambda: dock.project.export_button.isEnabled(), 20, "the export")
    dock.project.folder.setText(str(tmp_path / "dataset"))
    dock.project.layout_choice.setCurrentIndex(dock.project.layout_choice.findData("coco"))
    window.driver.press(dock.project.export_button)
    settle(dock)
    assert "Exported 1 image with 1 object" in dock.status.message.text()
    assert (tmp_path / "dataset" / "annotations" / "instances_train.json").is_file()
    assert "same slide or case" in (tmp_path / "dataset" / "dataset-check.txt").read_text()
    window.session.paint(*np.indices((30, 30)).reshape(2, -1) + 90, window.session.active_class)
    assert dock.project.update_box.isChecked()
    window.driver.press(dock.project.export_button)
    settle(dock)
    assert "Exported 1 image with 2 objects" in dock.status.message.text()


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_figure_shows_the_view(window: Any, dock: Any, tmp_path: Path, suffix: str) -> None:
    from napari_sampath.widgets.canvas.viewport import box_in_view, look_at

    hw = window.session.hw
    window.session.paint(*np.indices((20, 20)).reshape(2, -1) + 40, window.session.active_class)
    look_at(window.viewer, window.image, (40, 40, 60, 60))
    r0, c0, r1, c1 = box_in_view(window.viewer, window.image, hw)
    assert (r1 - r0) * (c1 - c0) < hw[0] * hw[1]
    path = tmp_path / f"figure{suffix}"
    dock.save_figure(path)
    settle(dock)
    assert f"Wrote {path}" in dock.status.message.text()
    if suffix == ".svg":
        assert f"rows {r0} to {r1}, columns {c0} to {c1}" in path.read_text()
        assert path.read_text().count("<path ") == 1
    else:
        with Image.open(path) as image:
            assert image.width / 1600 == pytest.approx((c1 - c0) / max(r1 - r0, c1 - c0), abs=0.01)


def test_a_report_from_the_project_tab(window: Any, dock: Any, tmp_path: Path) -> None:
    from napari_sampath.widgets.project.project_form import ProjectForm

    training = window.state.training
    training.choose(tmp_path / "project")
    wait_until(lambda: isinstance(training.project, Project), 20, "the project")
    form = ProjectForm(window.state)
    said: list[str] = []
    training.message.connect(said.append)
    form.report(tmp_path / "report.html")
    wait_until(lambda: any("Wrote the report" in text for text in said), 20, "the report")
    assert "<h1>project</h1>" in (tmp_path / "report.html").read_text()
    training.message.disconnect(said.append)
    form.deleteLater()
