"""Move through the uncertain regions of an image, where corrections help most."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from ...formats.maps.slide_result import SlideResult
from ...session import Reason, Segmentation, Session, UncertainRegion
from ..background.workers import JobRunner
from ..canvas.viewport import look_at
from ..common.controls import button, column, combo_box, set_items
from ..viewer.viewer_state import ViewerState

REASONS: dict[Reason, str] = {
    "entropy": "where the head is uncertain",
    "disagreement": "where the last two heads disagree",
    "distance": "far from verified areas",
}
MESSAGES: dict[Reason, str] = {
    "entropy": "the head is {:.0f} % uncertain in this region",
    "disagreement": "the heads disagree on {:.0f} % of this region",
    "distance": "this region is far from verified areas ({:.0f} % of the maximum distance score)",
}


class UncertainRegions(QWidget):
    """Moves the camera to the uncertain regions of the image, one after another."""

    message = Signal(str)
    """Message for the user, one sentence."""

    def __init__(self, state: ViewerState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.runner = JobRunner(self)
        self.reason = combo_box("How uncertain regions are found")
        set_items(self.reason, [(text, reason) for reason, text in REASONS.items()])
        self.next_button = button(
            "Next uncertain region", "Move to the next region that you should correct", self.next
        )
        column(self.reason, self.next_button, parent=self)
        self.region: UncertainRegion | None = None
        """The region in view."""
        self._results: list[Segmentation | SlideResult] = []
        self._visited: set[tuple[int, ...]] = set()
        self._session: Session | None = None
        self.reason.activated.connect(self._restart)
        self.runner.failed.connect(self.message)

    def add_result(self, result: Segmentation | SlideResult) -> None:
        """Add the newest result of a head on the current image or slide; the two newest heads are compared."""
        self._follow()
        others = [other for other in self._results if other.head != result.head]
        self._results = [result, *others][:2]
        self._restart()

    def next(self) -> None:
        """Move the camera to the next region."""
        self._follow()
        session = self._state.session
        if session is None:
            return
        reason: Reason = self.reason.currentData()
        # Of a slide, a result says where the tissue is.
        needed = reason != "distance" or session.slide is not None
        results: Sequence[Segmentation | SlideResult] = self._results if needed else ()
        job = session.proposals.uncertain_job(reason, results)
        self.runner.start(job, "looking for uncertain regions", partial(self._on_regions, session))

    def _follow(self) -> None:
        if self._state.session is not self._session:
            self._session = self._state.session
            self._results = []
            self._restart()

    def _restart(self) -> None:
        self._visited.clear()
        self.region = None

    def _on_regions(self, session: Session, regions: list[UncertainRegion]) -> None:
        image = self._state.image
        if image is None or self._state.session is not session:
            return
        if not regions:
            self.message.emit("No uncertain region is left.")
            return
        new = [region for region in regions if region.box not in self._visited]
        if not new:
            self._visited.clear()
            new = regions
        region = self.region = new[0]
        self._visited.add(region.box)
        look_at(self._state.viewer, image, region.box)
        if self._state.annotator is not None:
            self._state.annotator.tools.highlight.show([region.box])
        text = MESSAGES[region.reason].format(100 * region.score)
        self.message.emit(f"{text[0].upper()}{text[1:]}. Regions left: {len(new) - 1}.")
