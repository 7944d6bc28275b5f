"""Where correcting pays most: a button and a key that lead from one uncertain region to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from ..background.workers import JobRunner
from ..canvas.viewport import look_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...session import Reason, Segmentation, Session, UncertainRegion
    from ..viewer.viewer_state import ViewerState

REASONS: dict[Reason, str] = {
    "entropy": "the head is unsure",
    "disagreement": "the last two heads disagree",
    "distance": "nothing is annotated nearby",
}
WHY: dict[Reason, str] = {
    "entropy": "the head's own doubt is {:.0f} % here",
    "disagreement": "the heads differ on {:.0f} % of it",
    "distance": "it is {:.0f} % as far from what is annotated as counts",
}


class UncertainRegions(QWidget):
    """Leads the camera through the regions of an image that deserve a look, those that are annotated left out.

    Args:
        state: The viewer state.
    """

    message = Signal(str)
    """A sentence for the user."""

    def __init__(self, state: ViewerState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.runner = JobRunner(self)
        self.by = QComboBox()
        self.by.setToolTip("What makes a region worth a look")
        self.by.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.by.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for reason, text in REASONS.items():
            self.by.addItem(f"where {text}", reason)
        self.next_button = QPushButton("Next uncertain region")
        self.next_button.setToolTip("Move to the region where correcting pays most")
        self.next_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.by)
        column.addWidget(self.next_button)
        self.region: UncertainRegion | None = None
        """The one that is looked at."""
        self._results: list[Segmentation] = []
        self._seen: set[tuple[int, ...]] = set()
        self._of: Session | None = None
        self.next_button.clicked.connect(self.next)
        self.by.activated.connect(self._begin_again)
        self.runner.failed.connect(self.message)

    def take(self, result: Segmentation) -> None:
        """Note what a head found on the image in use, the newest first; of each head the newest counts."""
        self._follow()
        self._results = [result, *(one for one in self._results if one.head != result.head)][:2]
        self._begin_again()

    def next(self) -> None:
        """Move to the next region."""
        self._follow()
        session = self._state.session
        if session is None:
            return
        reason: Reason = self.by.currentData()
        results: Sequence[Segmentation] = () if reason == "distance" else self._results
        job = session.proposals.uncertain_job(reason, results)
        self.runner.start(job, "looking for uncertain regions", self._on_found)

    def _follow(self) -> None:
        if self._state.session is not self._of:
            self._of = self._state.session
            self._results = []
            self._begin_again()

    def _begin_again(self) -> None:
        self._seen.clear()
        self.region = None

    def _on_found(self, regions: list[UncertainRegion]) -> None:
        image = self._state.image
        if image is None:
            return
        if not regions:
            self.message.emit("No uncertain region is left: everything is annotated, or the head is sure.")
            return
        new = [one for one in regions if one.box not in self._seen]
        if not new:
            self._seen.clear()
            new = regions
        region = self.region = new[0]
        self._seen.add(region.box)
        look_at(self._state.viewer, image, region.box)
        why = WHY[region.reason].format(100 * region.score)
        left = len(new) - 1
        self.message.emit(f"Look here: {why}. {left} more to look at.")
