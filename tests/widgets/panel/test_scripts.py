"""*Copy as script*: the copied command and the copied program give the result of the dock."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from PIL import Image
from qtpy.QtWidgets import QApplication
from safetensors.numpy import load_file

from napari_sampath.arrays import ClassInfo
from napari_sampath.cli import main
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.widgets.canvas.shown_image import SOURCE_FILE
from napari_sampath.widgets.canvas.viewport import camera
from napari_sampath.widgets.common.script_view import ScriptDialog
from napari_sampath.widgets.panel.panel import SamPathPanel
from napari_sampath.widgets.train.jobs import TrainingSettings
from napari_sampath.widgets.viewer.viewer_state import ViewerState
from support.models.patches import disc_image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.gui


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of stored features: all tests show the same image."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def panel(
    viewer: Any, tmp_path: Path, tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch, features: Path
) -> SamPathPanel:
    """Return a panel with an image file, with sampath-tiny."""
    monkeypatch.setenv("SAMPATH_CACHE", str(features))
    monkeypatch.chdir(tmp_path)
    panel = SamPathPanel(viewer, ViewerState(viewer, sessions_dir=tmp_path / "journals"))
    viewer.window.add_dock_widget(panel, name="SamPath", area="right")
    file = tmp_path / "my tissue.png"
    Image.fromarray(tissue).save(file)
    viewer.add_image(tissue, name="my tissue", metadata={SOURCE_FILE: str(file)})
    wait_until(lambda: panel.state.ready, 120, "the image")
    return panel


def test_a_search_for_similar_objects_is_repeated(panel: SamPathPanel, tmp_path: Path) -> None:
    dock, session = panel.show_tab("Annotate"), panel.state.session
    rows, cols = np.indices((120, 160))
    session.paint(*np.nonzero((rows - 60) ** 2 + (cols - 50) ** 2 <= 20**2), 1)
    dock.similar.region.setCurrentIndex(dock.similar.region.findData("image"))
    dock.similar.slider.setValue(0)
    command, program = copied(dock.similar)
    dock.similar.find()
    wait_until(lambda: session.proposals.similar.result is not None, 120, "the search")
    wait_until(lambda: not dock.similar._busy and len(session.document.objects) > 1, 60, "the proposals")
    names: dict[str, Any] = {}
    exec(program, names)
    proposed = [obj.area_px for obj in session.document.objects.values() if obj.source == "similar"]
    assert max(obj.mask.area_px for obj in names["objects"]) >= max(proposed)
    run_command(command)
    assert np.asarray(Image.open(tmp_path / "my tissue_similar.png")).max() > 1


def copied(dock: Any) -> tuple[str, str]:
    """Press *Copy as script* and both Copy buttons; return the command and the program."""
    dock.script_button.click()
    dialogs = dock.findChildren(ScriptDialog)
    assert len(dialogs) == 1
    texts = []
    for copy in (dialogs[0].copy_command_button, dialogs[0].copy_python_button):
        copy.click()
        texts.append(QApplication.clipboard().text())
    assert texts == [dialogs[0].command.toPlainText(), dialogs[0].python.toPlainText()]
    dialogs[0].close()
    return texts[0], texts[1]


def run_command(command: str) -> None:
    program, *words = shlex.split(command)
    assert program == "sampath"
    assert main([*words, "--quiet"]) == 0


@pytest.mark.parametrize("region", ["image", "view"])
def test_a_segmentation_is_repeated(panel: SamPathPanel, tmp_path: Path, viewer: Any, region: str) -> None:
    dock = panel.show_tab("Auto-segment")
    wait_until(lambda: dock.head.value() is not None, 60, "the heads")
    dock.head.setValue("nucleus-cnn")
    camera(viewer).zoom *= 3
    dock.region.combo.setCurrentIndex(dock.region.combo.findData(region))
    dock.run_button.click()
    wait_until(lambda: dock.result is not None, 120, "the result")
    command, program = copied(dock)
    run_command(command)
    row, col = dock.result.segmentation.origin_rc
    expected = dock.result.segmentation.labels
    rows, cols = expected.shape
    assert (region == "image") == (expected.shape == (120, 160))
    written = np.asarray(Image.open(tmp_path / "my tissue_segmentation.png"))
    assert written.shape == (120, 160)
    np.testing.assert_array_equal(written[row : row + rows, col : col + cols], expected)
    names: dict[str, Any] = {}
    exec(program, names)
    np.testing.assert_array_equal(names["labels"], dock.result.labels)


def test_an_export_is_repeated(panel: SamPathPanel, tmp_path: Path, viewer: Any) -> None:
    panel.state.session.paint([60, 61, 62], [50, 50, 50], 1)
    dock = panel.show_tab("Export")
    dock.folder.setText(str(tmp_path / "out"))
    dock.formats.setValue(("png", "geojson"))
    command, program = copied(dock)
    dock.export_button.click()
    wait_until(lambda: "Wrote" in dock.status.message.text(), 60, "the export")
    viewer.layers.clear()
    wait_until(lambda: panel.state.session is None, 60, "the image to be closed")
    expected = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("[!.]*")}
    assert len(expected) > 3
    for name in ("command", "program"):
        (tmp_path / "out").rename(tmp_path / f"before {name}")
        if name == "command":
            run_command(command)
        else:
            exec(program, {})
        written = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("[!.]*")}
        assert set(written) == set(expected)
        for file in written:
            if file.endswith((".png", ".geojson")):
                assert written[file] == expected[file], f"{name}: {file}"


def test_a_training_is_repeated(panel: SamPathPanel, tmp_path: Path) -> None:
    folder = DatasetFolder.create(tmp_path / "discs", (ClassInfo(1, "object", (0, 158, 115)),))
    for number in range(4):
        folder.save_image(Snapshot(f"case{number}", *disc_image(number)))
    dock = panel.show_tab("Train")
    dock.choose_folder(folder.path)
    wait_until(lambda: dock.summary is not None and dock.train_button.isEnabled(), 60, "the project")
    dock.form.setValue(TrainingSettings("linear", 2))
    command, program = copied(dock)
    dock.train_button.click()
    wait_until(lambda: dock.training.heads.offered is not None, 120, "the training")
    expected = load_file(dock.training.heads.offered)
    written = tmp_path / "discs-linear.safetensors"
    for run in (lambda: run_command(command), lambda: exec(program, {})):
        run()
        tensors = load_file(written)
        assert tensors.keys() == expected.keys()
        for name, values in tensors.items():
            np.testing.assert_allclose(values, expected[name], atol=1e-3, err_msg=name)
        written.unlink()


def test_an_image_without_a_file_has_no_script(panel: SamPathPanel, viewer: Any, tissue: np.ndarray) -> None:
    viewer.layers.clear()
    viewer.add_image(np.ascontiguousarray(tissue[::-1]), name="no file")
    wait_until(lambda: panel.state.session is not None, 60, "the image")
    dock = panel.show_tab("Export")
    dock.script_button.click()
    assert "has no file" in dock.status.message.text()
    assert not dock.findChildren(ScriptDialog)
