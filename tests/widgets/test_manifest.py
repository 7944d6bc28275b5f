"""The npe2 manifest is valid, found by napari, and all its commands exist."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManifest

import napari_sampath

PATH = Path(napari_sampath.__file__).parent / "napari.yaml"


def test_the_manifest_is_valid_and_complete() -> None:
    manifest = PluginManifest.from_file(PATH)
    manifest.validate_imports()
    widgets = [widget.display_name for widget in manifest.contributions.widgets]
    assert widgets == [
        "SamPath",
        "Project",
        "Annotate",
        "Objects",
        "Auto-segment",
        "Train",
        "Folder",
        "Export",
    ]
    samples = [sample.display_name for sample in manifest.contributions.sample_data]
    assert samples == ["Skin, H&E", "Colon tissue, immunohistochemistry (DAB)"]
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        target = getattr(import_module(module), name)
        if inspect.isclass(target):
            assert "napari_viewer" in inspect.signature(target.__init__).parameters


def test_installed_plugin_is_found() -> None:
    manifest = PluginManifest.from_distribution("napari-sampath")
    assert manifest.display_name == "SamPath"


def test_the_samples_are_images() -> None:
    from napari_sampath.widgets.samples import SAMPLES

    sides = []
    for _title, load in SAMPLES.values():
        ((pixels, keywords, kind),) = load()
        sides.append(pixels.shape)
        assert (kind, keywords["rgb"]) == ("image", True)
    assert sides == [(1024, 1024, 3), (512, 512, 3)]


def test_opening_a_dock_imports_no_torch() -> None:
    """Importing torch takes seconds and is done in a worker."""
    code = (
        "import sys, importlib;"
        "names = ('panel.panel', 'project', 'annotate', 'objects', 'segment', 'train', 'folder', 'export');"
        "[importlib.import_module(f'napari_sampath.widgets.{name}' + '.dock' * ('.' not in name)) for name in names];"
        "sys.exit(sorted({'torch', 'timm', 'segment_anything'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.gui
def test_the_menus_open_the_docks_and_the_sample(viewer: Any) -> None:
    """Open them as a user does, from the menus, with napari's public proxy of the viewer."""
    from benchmarks.gui_driver import wait_until

    from napari_sampath.widgets.viewer.viewer_state import viewer_state_of

    _, annotate = viewer.window.add_plugin_dock_widget("napari-sampath", "Annotate")
    _, export = viewer.window.add_plugin_dock_widget("napari-sampath", "Export")
    assert annotate.state is export.state is viewer_state_of(viewer), (
        "the docks of a viewer share one viewer state"
    )
    (image,) = viewer.open_sample("napari-sampath", "immunohistochemistry")
    wait_until(lambda: annotate.state.annotator is not None, 60, "the image to be picked up")
    assert annotate.model_form.image.currentText() == image.name
    annotate.state.runner.cancel()
    assert annotate.state.runner.wait(60)
