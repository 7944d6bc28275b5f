"""Steps of a project in the panel: create, annotate four images, segment, correct, train, judge, export."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QLineEdit
from scipy import ndimage

from napari_sampath.widgets.panel.panel import TABS, SamPathPanel
from napari_sampath.widgets.samples import h_and_e
from napari_sampath.widgets.viewer.mouse import Mode

from ..gui_driver import LEFT, NONE, GuiDriver, wait_until
from .walk import TIMEOUT_S, StepError, Walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_sampath.arrays import UInt8Array
    from napari_sampath.widgets.viewer.viewer_state import ViewerState

IMAGES = ("skin A", "skin B", "skin C", "skin D")
CLASSES = ("nucleus", "stroma")
NUCLEI, FEWER = 10, 6
"""Number of nuclei to click in the first image, and in each of the others."""
QUICK_NUCLEI, QUICK_EPOCHS = 2, 3


class ProjectWorkflow(Walk):
    """A project from an empty window to exported labels, in the panel only.

    Args:
        viewer: The viewer.
        state: State of the viewer.
        output: Folder for screenshots and the project.
        prefix: First letters of the names of the screenshots.
        quick: Click fewer nuclei in the other images, and train for a few epochs.
    """

    def __init__(
        self, viewer: Viewer, state: ViewerState, output: Path, prefix: str, quick: bool = False
    ) -> None:
        super().__init__(viewer, state, output, prefix)
        self._quick = quick
        self.panel = SamPathPanel(viewer, state)
        viewer.window.add_dock_widget(self.panel, name="SamPath", area="right")
        self.folder = Path(tempfile.mkdtemp(prefix="project-", dir=output.absolute()))
        self._files = _images(output / "images")
        self._pixels: dict[str, UInt8Array] = {}

    def plan(self) -> list[tuple[str, Callable[[], str]]]:
        """List the steps."""
        return [
            ("Start", self._start),
            ("Create a project", self._create),
            ("Open an image", partial(self._open, IMAGES[0])),
            ("Put the image in", self._put_in),
            ("Name the classes", self._name),
            ("One click, one object", self._nuclei),
            ("Paint the other class", self._paint),
            ("Look at the objects", self._objects),
            ("Auto-segment", self._segment),
            ("Correct the result", self._correct),
            ("Annotate three more images", self._more),
            ("See the project", self._see),
            ("See the checklist", self._checklist),
            ("Train a head", self._train),
            ("Accept the head", self._accept),
            ("Segment with the new head", self._own_head),
            ("Export", self._export),
        ]

    def message_of(self, title: str) -> str:
        """Return the message of a tab."""
        dock: Any = self.panel.docks[title]
        return str(dock.status.message.text())

    def _start(self) -> str:
        start: Any = self.panel.docks["Project"].start  # type: ignore[attr-defined]
        wait_until(start.isVisible, TIMEOUT_S, "the start page")
        return "Without an image and a project, the panel offers to open, to try, and to continue."

    def _create(self) -> str:
        start = self._tab("Project").start
        with patch.object(QFileDialog, "getExistingDirectory", lambda *_: str(self.folder)):
            self._press(start.new_button)
        training = self.state.training
        wait_until(lambda: training.project is not None, TIMEOUT_S, "the project")
        return self.message_of("Project")

    def _open(self, name: str) -> str:
        dock, file = self._tab("Project"), self._files[name]
        with patch.object(QFileDialog, "getOpenFileNames", lambda *_: ([str(file)], "")):
            self._press(dock.image.open_button)
        wait_until(
            lambda: self.state.image is not None and self.state.image.name == name and self.state.ready,
            TIMEOUT_S,
            "the image",
        )
        self._driver = GuiDriver(self.viewer, self.state.image)  # type: ignore[arg-type]
        self._pixels[name] = np.asarray(self.annotator.session.image)
        self.driver.settle()
        return f"{file.name} is open, and the header shows that it is not in the project."

    def _put_in(self) -> str:
        header = self.panel.header
        self._press(header.put_in_button)
        wait_until(header.training_button.isVisible, TIMEOUT_S, "the image to be in the project")
        wait_until(header.training_button.isEnabled, TIMEOUT_S, "the end of the change")
        return header.project.text()

    def _name(self) -> str:
        dock = self._tab("Annotate")
        self._press(dock.classes.rename_button)
        self._type(dock, CLASSES[0])
        self._press(dock.classes.add_button)
        self._type(dock, CLASSES[1])
        names = tuple(info.name for info in self.annotator.session.classes)
        self._check(names == CLASSES, f"the classes are {names}")
        return "Both classes have a number key."

    def _nuclei(self) -> str:
        dock = self._tab("Annotate")
        if not self.annotator.input.one_click:
            self._press(dock.modes.one_click)
        return self._click_nuclei()

    def _paint(self) -> str:
        dock, session = self._tab("Annotate"), self.annotator.session
        self.driver.key(Qt.Key.Key_2)
        self._press(dock.modes.buttons[Mode.BRUSH])
        before = len(session.document.objects)
        for y in (430, 470):
            self.driver.drag([(60, y), (440, y)])
        self._press(dock.modes.buttons[Mode.POINT])
        self._check(len(session.document.objects) > before, "the strokes made no object")
        return f"Two strokes in class {CLASSES[1]}."

    def _objects(self) -> str:
        dock = self._tab("Objects")
        return str(dock.count.text())

    def _segment(self) -> str:
        dock = self._tab("Auto-segment")
        self._press(dock.run_button)
        wait_until(lambda: not dock.runner.busy, TIMEOUT_S, "the segmentation")
        self._check(dock.result is not None, self.message_of("Auto-segment"))
        return str(dock.summary.text())

    def _correct(self) -> str:
        dock = self._tab("Auto-segment")
        self._press(dock.add_button)
        wait_until(lambda: not dock.apply_queue.busy, TIMEOUT_S, "the objects")
        added = self.message_of("Auto-segment")
        modes = self._tab("Annotate").modes
        self._press(modes.buttons[Mode.ERASE])
        self.driver.drag([(100, 100), (200, 100)])
        self._press(modes.buttons[Mode.POINT])
        return f"{added} Erased a part of them."

    def _more(self) -> str:
        for name in IMAGES[1:]:
            self._open(name)
            self._put_in()
            self._tab("Annotate")
            self._click_nuclei()
            self._paint()
        return self.panel.header.project.text()

    def _see(self) -> str:
        return str(self._tab("Project").project.text.text())

    def _checklist(self) -> str:
        dock = self._tab("Train")
        wait_until(
            lambda: not self.state.training._timer.isActive() and not self.state.training.runner.busy,
            TIMEOUT_S,
            "the samples to be saved",
        )
        wait_until(dock.train_button.isEnabled, TIMEOUT_S, "the checklist to be met")
        return " ".join(dock.checklist.lines)

    def _train(self) -> str:
        dock = self._tab("Train")
        if self._quick:
            dock.form.setValue(replace(dock.form.value(), epochs=QUICK_EPOCHS))
        self._press(dock.train_button)
        wait_until(lambda: not dock.runner.busy, TIMEOUT_S, "the training")
        self._check(dock.training.heads.offered is not None, self.message_of("Train"))
        return str(dock.comparison.verdict.text())

    def _accept(self) -> str:
        dock = self._tab("Train")
        self._press(dock.accept_button)
        if dock.training.heads.current is None:  # The dock asks again if the head may not be useful.
            self._press(dock.accept_button)
        self._check(dock.training.heads.current is not None, self.message_of("Train"))
        return str(dock.head_in_use.text())

    def _own_head(self) -> str:
        dock = self._tab("Auto-segment")
        self._check("yours" in dock.head.combo.currentText(), "the head of the project is not proposed")
        return self._segment()

    def _export(self) -> str:
        dock = self._tab("Export")
        dock.folder.setText(str((self.output / "exported").absolute()))
        self._press(dock.export_button)
        wait_until(lambda: not dock.runner.busy, TIMEOUT_S, "the export")
        files = sorted((self.output / "exported").glob("[!.]*"))
        self._check(bool(files), self.message_of("Export"))
        self.facts.files += files
        return self.message_of("Export")

    def _click_nuclei(self) -> str:
        session, name = self.annotator.session, self.annotator.session.name
        self.driver.key(Qt.Key.Key_1)
        number = NUCLEI if name == IMAGES[0] else QUICK_NUCLEI if self._quick else FEWER
        before, places = len(session.document.objects), dark_spots(self._pixels[name], number)
        for x, y in places:
            self.driver.click(x, y)
        wait_until(lambda: not len(session.waiting) and self.state.prompts.idle, TIMEOUT_S, "the objects")
        made = len(session.document.objects) - before
        self._check(made > 0, self.message_of("Annotate"))
        return f"{len(places)} clicks, {made} objects: {self.message_of('Annotate')}"

    def _tab(self, title: str) -> Any:
        bar = self.panel.tabs.tabBar()
        self._click(bar, bar.tabRect(list(TABS).index(title)).center())
        if self._driver is not None:
            self.driver.settle()  # A wider tab makes the canvas smaller.
        return self.panel.docks[title]

    def _press(self, button: Any) -> None:
        if not (button.isVisible() and button.isEnabled()):
            raise StepError(f"The button '{button.text()}' is hidden or disabled.")
        x = button.height() // 2 if button.isCheckable() and button.text() else button.width() // 2
        self._click(button, QPoint(x, button.height() // 2))

    def _click(self, widget: Any, place: QPoint) -> None:
        QTest.mouseClick(widget, LEFT, NONE, place)
        wait_until(lambda: True, 1, "the events")

    def _type(self, dock: Any, name: str) -> None:
        editors = [editor for editor in dock.classes.list.findChildren(QLineEdit) if editor.isVisible()]
        self._check(bool(editors), "the name of the class cannot be edited")
        QTest.keyClicks(editors[-1], name)
        QTest.keyClick(editors[-1], Qt.Key.Key_Return)
        classes = self.annotator.session.classes
        wait_until(lambda: classes.find(name) is not None, 10, f"the class '{name}'")


def dark_spots(pixels: UInt8Array, number: int) -> list[tuple[float, float]]:
    """Return the centres (x, y) of the largest dark spots of an image (H, W, 3), such as nuclei."""
    smooth = ndimage.gaussian_filter(pixels.astype(np.float32).mean(axis=-1), 2)
    spots, count = ndimage.label(smooth < np.percentile(smooth, 6))
    numbers = np.arange(1, count + 1)
    sizes = ndimage.sum(spots > 0, spots, numbers)
    centres = np.array(ndimage.center_of_mass(spots > 0, spots, numbers))
    inside = ((centres > 20) & (centres < np.array(spots.shape) - 20)).all(axis=1) & (sizes < 800)
    best = np.flatnonzero(inside)[np.argsort(-sizes[inside])][:number]
    return [(float(centres[index][1]), float(centres[index][0])) for index in best]


def _images(folder: Path) -> dict[str, Path]:
    """Write the quarters of the H&E sample as files with their pixel size, and return name -> file."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, options, _ = h_and_e()[0]
    half = pixels.shape[0] // 2
    files = {}
    for number, name in enumerate(IMAGES):
        row, col = divmod(number, 2)
        part = pixels[row * half : (row + 1) * half, col * half : (col + 1) * half]
        dots_per_inch = 25_400 / options["scale"][0]
        files[name] = folder / f"{name}.tif"
        Image.fromarray(part).save(files[name], dpi=(dots_per_inch, dots_per_inch), compression="tiff_lzw")
    return files
