"""Base class of a scripted workflow that records screenshots and measurements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_sampath.errors import SampathError

from ..gui_driver import GuiDriver, save_screenshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.viewer import Viewer

    from napari_sampath.arrays import BoolArray
    from napari_sampath.widgets.viewer.annotator import Annotator
    from napari_sampath.widgets.viewer.viewer_state import ViewerState

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
        output: Folder for screenshots and exported files.
        prefix: First letters of the names of the screenshots.
    """

    def __init__(self, viewer: Viewer, state: ViewerState, output: Path, prefix: str = "") -> None:
        self.viewer = viewer
        self.state = state
        self.output = output
        self.prefix = prefix
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
            name = title.lower().replace(" ", "-").replace(",", "")
            step.screenshot = f"{self.prefix}{number:02d}-{name}.png"
            save_screenshot(self.viewer, self.output / step.screenshot)

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
            raise StepError(f"The image could not be opened: {self.message_of('Annotate')}")
        return self.state.annotator

    def message_of(self, title: str) -> str:
        """Return the message of a dock."""
        raise NotImplementedError

    def _check(self, condition: bool, error: str) -> None:
        if not condition:
            raise StepError(f"{error[:1].upper()}{error[1:]}")


def iou(first: BoolArray, second: BoolArray) -> float:
    """Return intersection over union of two masks (H, W); 1 if both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum()) / union if union else 1.0
