"""The Auto-segment and Export docks from the head to the files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_sampath.arrays import ClassInfo
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUND_TRIP = {
    "tiff": "*_classes.tif",
    "geojson": "*.geojson",
    "coco": "*_objects.coco.json",
    "coco-polygons": "*.polygons.coco.json",
    "ome-zarr": "*.ome.zarr",
    "imagej": "*.RoiSet.zip",
    "labelme": "labelme/*.json",
    "yolo": "yolo/labels/*.txt",
    "nnunet": "nnUNet_raw/*/labelsTr/*.png",
}
"""Formats that are exported and imported, with the file that is imported; indexed PNG has a separate test."""

pytestmark = pytest.mark.gui


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A linear head with random weights on the features of `tiny_sam`."""
    import torch
    from benchmarks.tiny_sam import tiny_model

    from napari_sampath.heads import EncoderRef, Metadata, create, save_bundle

    torch.manual_seed(0)
    model = tiny_model()
    classes = (ClassInfo(1, "gland", (255, 0, 0)), ClassInfo(2, "stroma", (0, 0, 255)))
    head = create("linear", model.encoder.spec, classes)
    reference = EncoderRef(model.name, model.encoder.weights_digest, model.encoder.preprocessing_version)
    return save_bundle(tmp_path / "random.safetensors", head, Metadata(name="random", encoders=(reference,)))


def add_dock(window: Any, kind: str) -> Any:
    from napari_sampath.widgets.export.dock import ExportDock
    from napari_sampath.widgets.segment.dock import SegmentDock

    dock = {"segment": SegmentDock, "export": ExportDock}[kind](window.viewer, window.state)
    window.viewer.window.add_dock_widget(dock, name=kind, area="right", tabify=True)
    return dock


def test_a_result_is_shown_and_added_as_objects(
    open_window: Callable[..., Any], tissue: np.ndarray, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.tiny_sam import tiny_model

    from napari_sampath.predict import segment
    from napari_sampath.session import from_segmentation

    model = tiny_model()
    window = open_window(tissue, model)
    dock = add_dock(window, "segment")
    assert not dock.add_button.isEnabled()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(bundle), ""))
    window.driver.press(dock.head.file_button)
    window.driver.press(dock.run_button)
    wait_until(
        lambda: dock.result is not None or "went wrong" in dock.status.message.text(), 60, "the result"
    )
    expected = segment(tissue, bundle, model)
    labels, confidence = window.viewer.layers["Segmentation"], window.viewer.layers["Confidence"]
    kept = from_segmentation(expected, dock.filters.value())
    assert np.array_equal(labels.data, kept.label_map())
    np.testing.assert_allclose(confidence.data, expected.confidence, atol=1e-6)
    assert "gland" in dock.summary.text()
    assert not window.layers.classes.data.any(), "showing a result adds no objects"

    window.driver.press(dock.add_button)
    wait_until(lambda: not dock.apply_queue.busy, 60, "the annotations")
    names = {info.name: info.id for info in window.session.classes}
    both = expected.labels == 1
    agree = (window.layers.classes.data == names["gland"]) == both
    assert agree.mean() > 0.99, "all but objects of a few pixels"
    assert {obj.source for obj in window.session.document.objects.values()} == {"head"}
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.layers.classes.data.any(), "one undo removes all objects"


def test_an_unreadable_head_shows_one_sentence(
    open_window: Callable[..., Any], tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no bundle at all")
    window = open_window(tissue, DiscModel())
    dock = add_dock(window, "segment")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(broken), ""))
    window.driver.press(dock.head.file_button)
    window.driver.press(dock.run_button)
    wait_until(lambda: not dock.runner.busy, 60, "the sentence")
    assert "broken.safetensors" in dock.status.message.text()
    assert "unexpected" not in dock.status.message.text()
    assert "Segmentation" not in window.viewer.layers


def test_export_and_import(open_window: Callable[..., Any], tissue: np.ndarray, tmp_path: Path) -> None:
    window = open_window(tissue, DiscModel())
    window.session.classes.add("stroma")
    for x, key in ((50, Qt.Key.Key_1), (115, Qt.Key.Key_2)):
        window.driver.key(key)
        window.driver.click(x, 60)
        window.answered()
        window.driver.key(Qt.Key.Key_Return)
    classes, objects = window.layers.classes.data.copy(), window.layers.objects.data.copy()
    dock = add_dock(window, "export")
    dock.folder.setText(str(tmp_path / "new" / "labels"))
    window.driver.press(dock.export_button)
    wait_until(lambda: not dock.runner.busy, 60, "the export")
    files = {path.name for path in (tmp_path / "new" / "labels").iterdir()}
    assert {
        "tissue_classes.png",
        "tissue_classes.tif",
        "tissue_instances.png",
        "tissue_instances.tif",
    } <= files
    assert "tissue_classes.png" in dock.status.message.text()
    listed = json.loads((tmp_path / "new" / "labels" / "classes.json").read_text())
    assert "stroma" in json.dumps(listed)

    (tmp_path / "scans" / "a").mkdir(parents=True)
    Image.fromarray(tissue).save(tmp_path / "scans" / "a" / "tissue.png")
    dock.export_images(tmp_path / "scans")
    wait_until(lambda: not dock.runner.busy, 60, "the export of the folder")
    assert (tmp_path / "new" / "labels" / "a" / "tissue_classes.png").is_file()
    assert "Wrote 1 image with 2 objects" in dock.status.message.text()

    for object_id in list(window.session.document.objects):
        window.session.objects.delete((object_id,))
    assert not window.layers.classes.data.any()
    dock.import_from(tmp_path / "new" / "labels" / "tissue_classes.png")
    wait_until(lambda: not dock.runner.busy and not dock.apply_queue.busy, 60, "the import")
    assert np.array_equal(window.layers.classes.data, classes)
    back = window.layers.objects.data
    assert np.array_equal(back > 0, objects > 0)
    assert len(np.unique(back)) == len(np.unique(objects))


def test_a_failed_export_shows_one_sentence(
    open_window: Callable[..., Any], tissue: np.ndarray, tmp_path: Path
) -> None:
    window = open_window(tissue, DiscModel())
    dock = add_dock(window, "export")
    (tmp_path / "file").write_text("in the way")
    dock.folder.setText(str(tmp_path / "file" / "labels"))
    window.driver.press(dock.export_button)
    wait_until(lambda: not dock.runner.busy, 60, "the sentence")
    assert str(tmp_path / "file") in dock.status.message.text()
    assert "unexpected" not in dock.status.message.text()
    dock.formats.setValue(())
    window.driver.press(dock.export_button)
    assert "No format" in dock.status.message.text()
    dock.import_from(tmp_path / "file")
    wait_until(lambda: str(tmp_path / "file") in dock.status.message.text(), 60, "the sentence")


def test_a_relative_path_shows_one_sentence(
    open_window: Callable[..., Any], tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path would depend on the folder in which napari was started."""
    window = open_window(tissue, DiscModel())
    dock = add_dock(window, "export")
    monkeypatch.chdir(tmp_path)
    for folder in ("", " ", "labels"):
        dock.folder.setText(folder)
        window.driver.press(dock.export_button)
        assert f"'{folder}' is not an absolute path" in dock.status.message.text()
        assert not dock.runner.busy
        assert not list(tmp_path.iterdir())


def test_every_format_can_be_exported_and_imported(
    open_window: Callable[..., Any], tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = open_window(tissue, DiscModel())
    rows, cols = np.mgrid[20:40, 30:70]
    window.session.paint(rows.ravel(), cols.ravel(), 1)
    before = window.layers.classes.data.copy()
    dock = add_dock(window, "export")
    assert set(dock.formats.widgets) == {"png", "cellpose", *ROUND_TRIP}
    for name, pattern in ROUND_TRIP.items():
        dock.formats.setValue((name,))
        folder = tmp_path / name
        dock.folder.setText(str(folder))
        window.driver.press(dock.export_button)
        wait_until(lambda: not dock.runner.busy, 60, "the export")
        (written,) = folder.glob(pattern)
        for object_id in list(window.session.document.objects):
            window.session.objects.delete((object_id,))
        assert not window.layers.classes.data.any()
        chooser = "getExistingDirectory" if written.is_dir() else "getOpenFileName"
        answer = str(written) if written.is_dir() else (str(written), "")
        monkeypatch.setattr(QFileDialog, chooser, lambda *_, answer=answer: answer)
        window.driver.press(dock.import_folder_button if written.is_dir() else dock.import_file_button)
        wait_until(lambda: not dock.runner.busy and not dock.apply_queue.busy, 60, "the import")
        assert "Imported 1 object " in dock.status.message.text(), name
        assert np.array_equal(window.layers.classes.data, before), name
