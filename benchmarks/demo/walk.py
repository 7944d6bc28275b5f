"""Doing a job with real mouse and key events, and keeping what was seen and measured."""

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
        state: Its state.
        docks: Annotate, Auto-segment, Export.
        sample: The image.
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
        """Do all steps; one that fails is noted, and the others go on as far as they can."""
        for number, (title, do) in enumerate(self.plan(), start=1):
            step = Step(title)
            self.steps.append(step)
            try:
                step.text = do()
            except (SampathError, TimeoutError) as error:
                step.error = str(error)
            step.screenshot = f"{number:02d}-{title.lower().replace(' ', '-').replace(',', '')}.png"
            self.driver.screenshot(self.output / step.screenshot)

    def plan(self) -> list[tuple[str, Callable[[], str]]]:
        """List the steps: title, and what does it and returns what to say of it."""
        raise NotImplementedError

    @property
    def driver(self) -> GuiDriver:
        """The hand that clicks; there is one once the image is open."""
        if self._driver is None:
            raise StepError("The image is not open; look at the first step.")
        return self._driver

    @property
    def annotator(self) -> Annotator:
        """What binds the image to its session."""
        if self.state.annotator is None:
            raise StepError(f"The image could not be opened: {self.annotate.status.message.text()}")
        return self.state.annotator

    # Helpers

    def _prompt(self, give: Callable[[], object]) -> float:
        """Give a prompt and wait until its answer is painted; returns the seconds from the event on."""
        begin = time.perf_counter()
        give()
        wait_until(lambda: self.state.prompts.idle, PATIENCE_S, "the answer")
        self._check(self.annotator.session.prompts.candidate is not None, self.annotate.status.message.text())
        return time.perf_counter() - begin

    def _score(self, prompt: str, target: Target) -> str:
        candidate = self.annotator.session.prompts.candidate
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
