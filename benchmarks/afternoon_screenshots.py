"""Screenshots of the docks for docs/afternoon.md."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_sampath.jobs import Progress
from napari_sampath.widgets.annotate.dock import AnnotateDock
from napari_sampath.widgets.export.dock import ExportDock
from napari_sampath.widgets.folder.dock import FolderDock
from napari_sampath.widgets.objects.dock import ObjectsDock
from napari_sampath.widgets.segment.dock import SegmentDock
from napari_sampath.widgets.train.dock import TrainDock
from napari_sampath.widgets.viewer.viewer_state import ViewerState

from .gui_driver import wait_until

WINDOW = (1280, 800)
TIMEOUT_S = 3600
QUALITY = 82
TITLES = {"segment": "Auto-segment"}
CAPTIONS = {
    "annotate": "The Annotate dock with annotated glands in their class colour and their outlines.",
    "objects": "The Objects dock lists the objects in a table; a click on a row shows the object.",
    "folder": "The Folder dock with thumbnails; images that are done have a green frame.",
    "train": "The Train dock after training: curves, and the new head compared with the current one.",
    "segment": "The Auto-segment dock with the classes of a head and the filters of the result.",
    "export": "The Export dock with the formats to export, and import.",
    "light": "The Annotate dock in napari's light theme.",
}


def take_screenshots(work: Path, model: Any, output: Path, epochs: int = 30) -> str:
    """Open the folder and the dataset of the afternoon in napari, use the docks, and take screenshots of the window.

    Args:
        work: Folder that holds `images` and `dataset`.
        model: Model of the afternoon.
        output: Folder of the page; screenshots go to `images/` in it.
        epochs: Epochs of the head that is trained for a screenshot.

    Returns:
        Markdown that shows the screenshots.
    """

    def load(_choice: Any) -> Any:
        yield Progress(0, 0, "Loading the model")
        return model

    viewer = napari.Viewer(show=True)
    viewer.theme = "dark"
    window = viewer.window._qt_window
    window.resize(*WINDOW)
    state = ViewerState(viewer, load_model=load)
    docks = {
        "annotate": AnnotateDock(viewer, state),
        "folder": FolderDock(viewer, state),
        "segment": SegmentDock(viewer, state),
        "train": TrainDock(viewer, state),
        "objects": ObjectsDock(viewer, state),
        "export": ExportDock(viewer, state),
    }
    for name, dock in docks.items():
        viewer.window.add_dock_widget(
            dock, name=TITLES.get(name, name.capitalize()), area="right", tabify=name != "annotate"
        )
    (output / "images").mkdir(parents=True, exist_ok=True)
    names = {name: f"images/afternoon-{name}.jpg" for name in CAPTIONS}

    def shoot(name: str) -> None:
        docks.get(name, docks["annotate"]).parent().raise_()
        _settle()
        viewer.reset_view()
        _settle()
        pixels = viewer.screenshot(canvas_only=False, flash=False)
        Image.fromarray(np.asarray(pixels)[..., :3]).save(output / names[name], quality=QUALITY)

    _work(docks, state, work, shoot, epochs)
    viewer.theme = "light"
    shoot("light")
    viewer.close()
    _settle()
    return "".join(f"\n![{text}]({names[name]})\n\n{text}\n" for name, text in CAPTIONS.items())


def _work(
    docks: dict[str, Any], state: ViewerState, work: Path, shoot: Callable[[str], None], epochs: int
) -> None:
    folder, train, segment = docks["folder"], docks["train"], docks["segment"]
    folder.controller.open_folder(work / "images")
    wait_until(lambda: state.ready and not folder.thumbnail_runner.busy, TIMEOUT_S, "the folder")
    state.training.choose(work / "dataset")
    wait_until(
        lambda: train.summary is not None and state.training.heads is not None, TIMEOUT_S, "the dataset"
    )
    entries = [entry.path.name for entry in folder.controller.queue.entries]
    folder.controller.open(entries[1])
    wait_until(lambda: folder.controller.session is not None and state.ready, TIMEOUT_S, "an image")
    shoot("folder")
    shoot("annotate")
    shoot("objects")
    docks["export"].folder.setText(str(work / "export"))
    docks["export"].export_button.click()
    wait_until(lambda: not docks["export"].runner.busy, TIMEOUT_S, "the export")
    shoot("export")
    segment.run()
    wait_until(lambda: segment.result is not None and not segment.runner.busy, TIMEOUT_S, "the result")
    annotator = state.annotator
    if annotator is not None:
        for layer in (annotator.layers.classes, annotator.layers.objects):
            layer.visible = False
    shoot("segment")
    if annotator is not None:
        for layer in (annotator.layers.classes, annotator.layers.objects):
            layer.visible = True
        state.viewer.layers["Segmentation"].visible = False
    train.form.widgets["epochs"].value = epochs
    train.train_button.click()
    wait_until(lambda: not train.runner.busy, TIMEOUT_S, "the training")
    shoot("train")


def _settle() -> None:
    for _ in range(20):
        QApplication.processEvents()
        time.sleep(0.02)
