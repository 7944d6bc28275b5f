"""Base class of a scripted workflow that records screenshots and measurements."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sampath.errors import SampathError

from ..gui_driver import GuiDriver, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.viewer import Viewer

    from napari_sampath.arrays import BoolArray
    from napari_sampath.widgets.annotate.dock import AnnotateDock
    from napari_sampath.widgets.export.dock import ExportDock
    from napari_sampath.widgets.segment.dock import SegmentDock
    from napari_sampath.widgets.viewer.annotator import Annotator
    from napari_sampath.widgets.viewer.viewer_state import ViewerState

    from .sample import Sample, Target

TIMEOUT_S = 300


class StepError(SampathError, RuntimeError):
    """A step of the walk did not have its expected effect."""


@dataclass
class Step:
    """One step of the walk, for the report."""

    title: str
    text: str = ""
    screenshot: str | None = None
    error: str = ""


@dataclass
class Facts:
    """Measurements of the walk."""

    seconds: dict[str, float] = field(default_factory=dict)
    scores: list[tuple[str, float | None, float | None]] = field(default_factory=list)
    """Scores as (prompt, predicted IoU, IoU with the true mask)."""
    files: list[Path] = field(default_factory=list)


class Walk:
    """Scripted workflow in a visible viewer, with screenshots and measurements.

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
        self.viewer = viewer
        self.state = state
        self.annotate, self.segment, self.export = docks
        self.sample = sample
        self.output = output
        self.steps: list[Step] = []
        self.facts = Facts()
        self._driver: GuiDriver | None = None

    def run(self) -> None:
        """Run all steps; if a step fails, record its error and continue."""
        for number, (title, action) in enumerate(self.plan(), start=1):
            step = Step(title)
            self.steps.append(step)
            try:
                step.text = action()
            except (SampathError, TimeoutError) as error:
                step.error = str(error)
            step.screenshot = f"{number:02d}-{title.lower().replace(' ', '-').replace(',', '')}.png"
            self.driver.screenshot(self.output / step.screenshot)

    def plan(self) -> list[tuple[str, Callable[[], str]]]:
        """Return the title of each step, and a function that runs it and returns its text for the report."""
        raise NotImplementedError

    @property
    def driver(self) -> GuiDriver:
        """Driver of mouse and keys; available once the image is open."""
        if self._driver is None:
            raise StepError("The image is not open; see the first step.")
        return self._driver

    @property
    def annotator(self) -> Annotator:
        """Annotator of the image."""
        if self.state.annotator is None:
            raise StepError(f"The image could not be opened: {self.annotate.status.message.text()}")
        return self.state.annotator

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

    def _check(self, condition: bool, error: str) -> None:
        if not condition:
            raise StepError(f"{error[:1].upper()}{error[1:]}")


def iou(first: BoolArray, second: BoolArray) -> float:
    """Return intersection over union of two masks (H, W); 1 if both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum()) / union if union else 1.0
