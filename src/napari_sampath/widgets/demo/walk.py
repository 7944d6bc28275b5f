"""The main job, done with real mouse and key events, from opening an image to exporting its labels."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt

from ...errors import SampathError
from ..mouse import Mode
from ..robot import CTRL, NONE, RIGHT, SHIFT, Robot, wait_until
from ..stalls import StallMeter
from .__main__ import to_front

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.viewer import Viewer

    from ...arrays import BoolArray
    from ..annotate import AnnotateDock
    from ..annotator import Annotator
    from ..export import ExportDock
    from ..segment import SegmentDock
    from ..workbench import Workbench
    from .pictures import Sample, Target

CLICKS = 10
"""Clicks timed for the report."""
PATIENCE_S = 300


class StepError(SampathError, RuntimeError):
    """A step of the walk did not have the effect it should."""


@dataclass
class Step:
    """One step of the walk, for the report."""

    title: str
    text: str = ""
    screenshot: str | None = None
    error: str = ""


@dataclass
class Facts:
    """What was measured."""

    seconds: dict[str, float] = field(default_factory=dict)
    scores: list[tuple[str, float | None, float | None]] = field(default_factory=list)
    """(prompt, predicted IoU, IoU with the true mask)."""
    files: list[Path] = field(default_factory=list)


class Walk:
    """Does the main job in a viewer that is shown and keeps what it sees.

    Args:
        viewer: The viewer.
        bench: Its workbench.
        docks: Annotate, Auto-segment, Export.
        sample: The image.
        output: Folder for screenshots and exported files.
    """

    def __init__(
        self,
        viewer: Viewer,
        bench: Workbench,
        docks: tuple[AnnotateDock, SegmentDock, ExportDock],
        sample: Sample,
        output: Path,
    ) -> None:
        self.viewer = viewer
        self.bench = bench
        self.annotate, self.segment, self.export = docks
        self.sample = sample
        self.output = output
        self.steps: list[Step] = []
        self.facts = Facts()
        self._robot: Robot | None = None

    def run(self) -> None:
        """Do all steps; one that fails is noted, and the others go on as far as they can."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("Open an image", self._open),
            ("The image is prepared in the background", self._encode),
            ("Click on a structure", self._click),
            ("Right-click on what does not belong", self._negative),
            ("Look at the other candidates", self._candidates),
            ("Enter commits", self._commit),
            ("Drag a box", self._box),
            ("Paint a mask prompt", self._mask),
            ("Undo and redo", self._undo),
            ("How fast a click is", self._speed),
            ("Segment with one click", self._segment),
            ("Take it over and correct it", self._correct),
            ("Export, and read back", self._export),
        ]
        for number, (title, do) in enumerate(steps, start=1):
            step = Step(title)
            self.steps.append(step)
            try:
                step.text = do()
            except (SampathError, TimeoutError) as error:
                step.error = str(error)
            step.screenshot = f"{number:02d}-{title.lower().replace(' ', '-').replace(',', '')}.png"
            self.robot.screenshot(self.output / step.screenshot)

    @property
    def robot(self) -> Robot:
        """The hand that clicks; there is one once the image is open."""
        if self._robot is None:
            raise StepError("The image is not open; look at the first step.")
        return self._robot

    @property
    def annotator(self) -> Annotator:
        """What binds the image to its session."""
        if self.bench.annotator is None:
            raise StepError(f"The image could not be opened: {self.annotate.status.message.text()}")
        return self.bench.annotator

    # The steps; each returns what to say of it

    def _open(self) -> str:
        begin = time.perf_counter()
        image = self.viewer.add_image(self.sample.pixels, name=self.sample.name)
        self._robot = Robot(self.viewer, image)
        wait_until(lambda: self.bench.annotator is not None, PATIENCE_S, "the session of the image")
        self.facts.seconds["open image"] = time.perf_counter() - begin
        height, width = self.sample.pixels.shape[:2]
        return f"{self.sample.source}, {width} x {height} px. The Annotate dock picks it up by itself."

    def _encode(self) -> str:
        wait_until(lambda: self.bench.model is not None, PATIENCE_S, "the model")
        meter = StallMeter()
        seconds = wait_until(lambda: self.bench.ready, PATIENCE_S, "the image to be encoded")
        stall = meter.stop()
        self.facts.seconds["encode image"] = seconds
        self.facts.seconds["longest stall of the window while encoding"] = stall
        name = self.bench.model.name if self.bench.model is not None else ""
        return f"{name} took {seconds:.2f} s; the window stood still for {1000 * stall:.0f} ms at most."

    def _click(self) -> str:
        self._prompt(lambda: self.robot.click(*self.sample.targets[0].click))
        return self._score("click", self.sample.targets[0])

    def _negative(self) -> str:
        x0, y0, x1, _ = self.sample.targets[0].box
        away = max(3.0, y0 - (x1 - x0) / 6)
        self._prompt(lambda: self.robot.click((x0 + x1) / 2, away, RIGHT))
        return self._score("click and right-click", self.sample.targets[0])

    def _candidates(self) -> str:
        self.robot.key(Qt.Key.Key_Escape)
        self._prompt(lambda: self.robot.click(*self.sample.targets[0].click))
        seen = []
        for _ in range(len(self.annotator.session.candidates)):
            self.robot.key(Qt.Key.Key_M)
            candidate = self.annotator.session.candidate
            if candidate is not None:
                seen.append(f"{candidate.mask.area_px} px (predicted IoU {candidate.score:.2f})")
        return f"M shows {len(seen)} candidates: {', '.join(seen)}; the last is the best and stays."

    def _commit(self) -> str:
        mask = self._shown()
        self.robot.key(Qt.Key.Key_Return)
        self._check(np.array_equal(self._class_layer() == 1, mask), "the committed mask is not the one shown")
        return "It is in the journal on the disk before it is painted; nothing needs to be saved."

    def _box(self) -> str:
        x0, y0, x1, y1 = self.sample.targets[1].box
        self._prompt(lambda: self.robot.drag([(x0, y0), (x1, y1)]))
        text = self._score("box", self.sample.targets[1])
        self.robot.key(Qt.Key.Key_Return)
        return text

    def _mask(self) -> str:
        target = self.sample.targets[2]
        self.robot.press(self.annotate.modes.buttons[Mode.MASK])
        self._prompt(lambda: self.robot.drag(list(target.stroke)))
        text = self._score("scribble", target)
        self.robot.key(Qt.Key.Key_Return)
        self.robot.press(self.annotate.modes.buttons[Mode.POINT])
        return text

    def _undo(self) -> str:
        before = self._class_layer().copy()
        self.robot.key(Qt.Key.Key_Z, CTRL)
        undone = self._class_layer().copy()
        self.robot.key(Qt.Key.Key_Z, CTRL | SHIFT)
        self._check(not np.array_equal(before, undone), "undo changed nothing")
        self._check(np.array_equal(before, self._class_layer()), "redo did not bring it back")
        return "Ctrl-Z took the last commit back, Ctrl-Shift-Z made it again."

    def _speed(self) -> str:
        times = []
        for target in (self.sample.targets * CLICKS)[:CLICKS]:
            times.append(self._prompt(partial(self.robot.click, *target.click)))
            self.robot.key(Qt.Key.Key_Escape)
        self.facts.seconds["click to painted, median"] = median(times)
        self.facts.seconds["click to painted, slowest"] = max(times)
        return f"{CLICKS} clicks: {1000 * median(times):.0f} ms median, {1000 * max(times):.0f} ms slowest."

    def _segment(self) -> str:
        to_front(self.segment)
        self._check(self.segment.head.count() > 0, "no trained head ships with this version")
        self.robot.press(self.segment.run_button)
        seconds = wait_until(lambda: not self.segment.runner.busy, PATIENCE_S, "the segmentation")
        result = self.segment.result
        if result is None:
            raise StepError(self.segment.status.message.text())
        self.facts.seconds["segment image"] = seconds
        text = f"{result.segmentation.head} took {seconds:.2f} s: {result.summary}."
        if self.sample.truth is not None:
            found = result.segmentation.labels > 0
            self.facts.scores.append(("one-click segmentation", None, iou(found, self.sample.truth)))
            everything = np.ones_like(found)
            self.facts.scores.append(
                ("everything is gland (base line)", None, iou(everything, self.sample.truth))
            )
        return text

    def _correct(self) -> str:
        before = len(self.annotator.session.document.annotations)
        self._check(self.segment.add_button.isEnabled(), "there is no segmentation to take over")
        self.robot.press(self.segment.add_button)
        added = len(self.annotator.session.document.annotations) - before
        to_front(self.annotate)
        x0, y0, x1, y1 = self.sample.targets[0].box
        self.robot.press(self.annotate.modes.buttons[Mode.ERASE])
        self.robot.drag([(x0, y0), (x1, y0)], modifiers=NONE)
        self.robot.press(self.annotate.modes.buttons[Mode.BRUSH])
        self.robot.drag([(x0, y1), (x1, y1)], modifiers=NONE)
        self.robot.press(self.annotate.modes.buttons[Mode.POINT])
        same = np.array_equal(self._class_layer(), self.annotator.session.document.class_map)
        self._check(same, "the layer and the annotations differ")
        return f"{added} more annotations; rubbed out above and painted below the first structure by hand."

    def _export(self) -> str:
        to_front(self.export)
        self.export.folder.setText(str(self.output / "labels"))
        self.robot.press(self.export.export_button)
        wait_until(lambda: not self.export.runner.busy, PATIENCE_S, "the export")
        files = sorted((self.output / "labels").glob("*"))
        self._check(bool(files), self.export.status.message.text())
        self.facts.files = files
        before = self._class_layer().copy()
        session = self.annotator.session
        for annotation_id in list(session.document.annotations):
            session.delete(annotation_id)
        self._check(not self._class_layer().any(), "the annotations could not be removed")
        self.export.import_from(self.output / "labels")
        self._check(np.array_equal(before, self._class_layer()), "what was read back differs")
        return f"{len(files)} files; read back in, the class layer is equal pixel by pixel."

    # Helpers

    def _prompt(self, give: Callable[[], object]) -> float:
        """Give a prompt and wait until its answer is painted; returns the seconds from the event on."""
        begin = time.perf_counter()
        give()
        wait_until(lambda: self.bench.prompts.idle, PATIENCE_S, "the answer")
        self._check(self.annotator.session.candidate is not None, self.annotate.status.message.text())
        return time.perf_counter() - begin

    def _score(self, prompt: str, target: Target) -> str:
        candidate = self.annotator.session.candidate
        predicted = None if candidate is None else candidate.score
        true = None if target.truth is None else iou(self._shown(), target.truth)
        self.facts.scores.append((prompt, predicted, true))
        text = f"Predicted IoU {predicted:.2f}" if predicted is not None else "No score"
        return text if true is None else f"{text}, IoU with the true mask {true:.2f}"

    def _shown(self) -> BoolArray:
        shown: BoolArray = np.asarray(self.annotator.layers.candidate.data) == 1
        return shown

    def _class_layer(self) -> Any:
        return self.annotator.layers.classes.data

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise StepError(f"{otherwise[:1].upper()}{otherwise[1:]}")


def iou(first: BoolArray, second: BoolArray) -> float:
    """Return intersection over union of two masks (H, W); 1 if both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum()) / union if union else 1.0
