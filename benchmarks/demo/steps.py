"""Steps of the main workflow: open, name, point, box, mask, commit, undo, segment, correct, export."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit
from scipy.ndimage import distance_transform_edt

from napari_sampath.widgets.demo import bring_to_front
from napari_sampath.widgets.segment.dock import CLASSES, CONFIDENCE
from napari_sampath.widgets.viewer.mouse import Mode

from ..gui_driver import CTRL, LEFT, NONE, RIGHT, SHIFT, GuiDriver, wait_until
from ..stalls import StallMeter
from .walk import TIMEOUT_S, StepError, Walk, iou

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.viewer import Viewer

    from napari_sampath.arrays import BoolArray
    from napari_sampath.widgets.annotate.dock import AnnotateDock
    from napari_sampath.widgets.export.dock import ExportDock
    from napari_sampath.widgets.segment.dock import SegmentDock
    from napari_sampath.widgets.viewer.viewer_state import ViewerState

    from .sample import Sample, Target

CLASS_NAME = "gland"
"""Class name of the shipped head, so that its result and the clicks have the same class."""
CLICKS = 10
"""Number of clicks that are timed."""


class MainWorkflow(Walk):
    """Workflow of a pathologist, from opening an image to exported labels.

    Args:
        viewer: The viewer.
        state: State of the viewer.
        docks: The Annotate, Auto-segment and Export docks.
        sample: Image and objects to prompt.
        output: Folder for screenshots and exported files.
    """

    def __init__(
        self,
        viewer: Viewer,
        state: ViewerState,
        docks: tuple[AnnotateDock, SegmentDock, ExportDock],
        sample: Sample,
        output: Path,
    ) -> None:
        super().__init__(viewer, state, output)
        self.annotate, self.segment, self.export = docks
        self.sample = sample

    def message_of(self, title: str) -> str:
        """Return the message of a dock."""
        docks = {"Annotate": self.annotate, "Auto-segment": self.segment, "Export": self.export}
        return docks[title].status.message.text()

    def plan(self) -> list[tuple[str, Callable[[], str]]]:
        """List the steps."""
        return [
            ("Open an image", self._open),
            ("Name the class", self._name),
            ("Encode in the background", self._encode),
            ("Click on an object", self._click),
            ("Correct with another click", self._refine),
            ("Show other candidates", self._candidates),
            ("Commit with Enter", self._commit),
            ("Drag a box", self._box),
            ("Paint a mask prompt", self._mask),
            ("Undo and redo", self._undo),
            ("Time clicks", self._speed),
            ("Segment with one click", self._segment),
            ("Show the confidence", self._confidence),
            ("Add the result and correct it", self._correct),
            ("Export and import", self._export),
        ]

    def _open(self) -> str:
        begin = time.perf_counter()
        image = self.viewer.add_image(self.sample.pixels, name=self.sample.name)
        self._driver = GuiDriver(self.viewer, image)
        wait_until(lambda: self.state.annotator is not None, TIMEOUT_S, "the session of the image")
        self.facts.seconds["open image"] = time.perf_counter() - begin
        self.driver.settle()
        height, width = self.sample.pixels.shape[:2]
        return f"{self.sample.source}, {width} x {height} px. The Annotate dock opens it automatically."

    def _name(self) -> str:
        self.driver.press(self.annotate.classes.rename_button)
        editors = self.annotate.classes.list.findChildren(QLineEdit)
        self._check(bool(editors), "the name of the class cannot be edited")
        QTest.keyClicks(editors[0], CLASS_NAME)
        QTest.keyClick(editors[0], Qt.Key.Key_Return)
        classes = self.annotator.session.classes
        wait_until(lambda: classes.find(CLASS_NAME) is not None, 10, f"the class to be called {CLASS_NAME}")
        return f"The first class is named {CLASS_NAME}; its number key is 1."

    def _encode(self) -> str:
        wait_until(lambda: self.state.model is not None, TIMEOUT_S, "the model")
        meter = StallMeter()
        seconds = wait_until(lambda: self.state.ready, TIMEOUT_S, "the image to be encoded")
        stall = meter.stop()
        self.facts.seconds["encode image"] = seconds
        self.facts.seconds["longest stall of the window while encoding"] = stall
        name = self.state.model.name if self.state.model is not None else ""
        return f"{name} took {seconds:.2f} s; the longest stall of the window was {1000 * stall:.0f} ms."

    def _click(self) -> str:
        self._prompt(lambda: self.driver.click(*self.sample.targets[0].click))
        return self._score("click", self.sample.targets[0])

    def _refine(self) -> str:
        target = self.sample.targets[0]
        x0, y0, x1, _ = target.box
        spot, positive = ((x0 + x1) / 2, max(3.0, y0 - (x1 - x0) / 6)), False
        if target.truth is not None:
            spot, positive = worst_error(self._shown(), target.truth)
        self._prompt(lambda: self.driver.click(*spot, LEFT if positive else RIGHT))
        action = (
            "Click where the mask is too small" if positive else "Right-click where the mask is too large"
        )
        return f"{action}. {self._score('click, refined by another', target)}"

    def _candidates(self) -> str:
        self.driver.key(Qt.Key.Key_Escape)
        self._prompt(lambda: self.driver.click(*self.sample.targets[0].click))
        shown = []
        for _ in range(len(self.annotator.session.prompts.candidates)):
            self.driver.key(Qt.Key.Key_M)
            candidate = self.annotator.session.prompts.candidate
            if candidate is not None:
                shown.append(f"{candidate.mask.area_px} px (predicted IoU {candidate.score:.2f})")
        return f"M shows {len(shown)} candidates: {', '.join(shown)}; the last one is the best and stays."

    def _commit(self) -> str:
        mask = self._shown()
        self.driver.key(Qt.Key.Key_Return)
        self._check(
            np.array_equal(self._class_layer() == 1, mask), "the committed mask differs from the one shown"
        )
        return "The object is in the journal before it is painted; there is nothing to save."

    def _box(self) -> str:
        x0, y0, x1, y1 = self.sample.targets[1].box
        self._prompt(lambda: self.driver.drag([(x0, y0), (x1, y1)]))
        text = self._score("box", self.sample.targets[1])
        self.driver.key(Qt.Key.Key_Return)
        return text

    def _mask(self) -> str:
        target = self.sample.targets[2]
        self.driver.press(self.annotate.modes.buttons[Mode.MASK])
        self._prompt(lambda: self.driver.drag(list(target.stroke)))
        text = self._score("scribble", target)
        self.driver.key(Qt.Key.Key_Return)
        self.driver.press(self.annotate.modes.buttons[Mode.POINT])
        return text

    def _undo(self) -> str:
        before = self._class_layer().copy()
        self.driver.key(Qt.Key.Key_Z, CTRL)
        undone = self._class_layer().copy()
        self.driver.key(Qt.Key.Key_Z, CTRL | SHIFT)
        self._check(not np.array_equal(before, undone), "undo changed nothing")
        self._check(np.array_equal(before, self._class_layer()), "redo did not restore the commit")
        return "Ctrl-Z undid the last commit, Ctrl-Shift-Z restored it."

    def _speed(self) -> str:
        times = []
        for target in (self.sample.targets * CLICKS)[:CLICKS]:
            times.append(self._prompt(partial(self.driver.click, *target.click)))
            self.driver.key(Qt.Key.Key_Escape)
        self.facts.seconds["click to painted, median"] = median(times)
        self.facts.seconds["click to painted, slowest"] = max(times)
        return f"{CLICKS} clicks: {1000 * median(times):.0f} ms median, {1000 * max(times):.0f} ms slowest."

    def _segment(self) -> str:
        bring_to_front(self.segment)
        self._check(self.segment.head.combo.count() > 0, "no trained head is installed")
        self.driver.press(self.segment.run_button)
        seconds = wait_until(lambda: not self.segment.runner.busy, TIMEOUT_S, "the segmentation")
        result = self.segment.result
        if result is None:
            raise StepError(self.segment.status.message.text())
        self.facts.seconds["segment image"] = seconds
        text = f"{result.segmentation.head} took {seconds:.2f} s: {result.summary}"
        if self.sample.truth is not None:
            predicted = result.segmentation.labels > 0
            self.facts.scores.append(("trained head", None, iou(predicted, self.sample.truth)))
            everything = np.ones_like(predicted)
            self.facts.scores.append(
                ("everything as gland (baseline)", None, iou(everything, self.sample.truth))
            )
        return text

    def _confidence(self) -> str:
        self._check(CONFIDENCE in self.viewer.layers, "there is no confidence layer")
        for name, visible in ((CLASSES, False), (CONFIDENCE, True)):
            self.viewer.layers[name].visible = visible
        return "The confidence layer is dark where a correction helps most: along edges and in unfamiliar tissue."

    def _correct(self) -> str:
        before = len(self.annotator.session.document.objects)
        self._check(self.segment.add_button.isEnabled(), "there is no segmentation to add")
        self.viewer.layers[CONFIDENCE].visible = False
        self.driver.press(self.segment.add_button)
        wait_until(lambda: not self.segment.apply_queue.busy, TIMEOUT_S, "the annotations")
        added = len(self.annotator.session.document.objects) - before
        bring_to_front(self.annotate)
        x0, y0, x1, y1 = self.sample.targets[0].box
        self.driver.press(self.annotate.modes.buttons[Mode.ERASE])
        self.driver.drag([(x0, y0), (x1, y0)], modifiers=NONE)
        self.driver.press(self.annotate.modes.buttons[Mode.BRUSH])
        self.driver.drag([(x0, y1), (x1, y1)], modifiers=NONE)
        self.driver.press(self.annotate.modes.buttons[Mode.POINT])
        same = np.array_equal(self._class_layer(), self.annotator.session.document.class_map)
        self._check(same, "the class layer and the document differ")
        return f"{added} objects added; erased above and painted below the first object by hand."

    def _export(self) -> str:
        bring_to_front(self.export)
        self.export.folder.setText(str((self.output / "labels").absolute()))
        self.driver.press(self.export.export_button)
        wait_until(lambda: not self.export.runner.busy, TIMEOUT_S, "the export")
        files = sorted((self.output / "labels").glob("[!.]*"))
        self._check(bool(files), self.export.status.message.text())
        self.facts.files = files
        before = self._class_layer().copy()
        session = self.annotator.session
        for object_id in list(session.document.objects):
            session.objects.delete((object_id,))
        self._check(not self._class_layer().any(), "the objects could not be deleted")
        self.export.import_from(self.output / "labels")
        runners = self.export.runner, self.export.apply_queue
        wait_until(lambda: not any(runner.busy for runner in runners), TIMEOUT_S, "the import")
        self._check(np.array_equal(before, self._class_layer()), "the imported labels differ")
        return f"{len(files)} files; after the import the class layer is equal in every pixel."

    def _prompt(self, act: Callable[[], object]) -> float:
        """Give a prompt, wait until its mask is painted, and return the seconds that took."""
        begin = time.perf_counter()
        act()
        wait_until(lambda: self.state.prompts.idle, TIMEOUT_S, "the mask")
        self._check(self.annotator.session.prompts.candidate is not None, self.annotate.status.message.text())
        return time.perf_counter() - begin

    def _score(self, prompt: str, target: Target) -> str:
        candidate = self.annotator.session.prompts.candidate
        predicted = None if candidate is None else candidate.score
        true_iou = None if target.truth is None else iou(self._shown(), target.truth)
        self.facts.scores.append((prompt, predicted, true_iou))
        text = f"Predicted IoU {predicted:.2f}" if predicted is not None else "No score"
        return text if true_iou is None else f"{text}, IoU with the true mask {true_iou:.2f}"

    def _shown(self) -> BoolArray:
        shown: BoolArray = np.asarray(self.annotator.layers.candidate.data) == 1
        return shown

    def _class_layer(self) -> Any:
        return self.annotator.layers.classes.data


def worst_error(shown: BoolArray, truth: BoolArray) -> tuple[tuple[float, float], bool]:
    """Return the centre (x, y) of the largest error of a mask, and True if the mask is too small there."""
    depths = [distance_transform_edt(wrong) for wrong in (truth & ~shown, shown & ~truth)]
    positive = bool(depths[0].max() >= depths[1].max())
    depth = depths[0] if positive else depths[1]
    row, col = np.unravel_index(int(depth.argmax()), depth.shape)
    return (float(col), float(row)), positive
