"""Name of the reader, and comparison of the image in use with the annotations of another reader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QFileDialog, QLineEdit, QMenu, QWidget

from ...config import load_config, write_setting
from ...files.messages import plural
from ...jobs import Job, Progress
from ..background.workers import JobRunner
from ..canvas import layers as canvas_layers
from ..canvas.appearance import class_colors
from ..canvas.viewport import look_at
from ..common.controls import button, column, label, row
from ..viewer.viewer_state import ViewerState

if TYPE_CHECKING:
    from ...annotations import Document
    from ...session import Session
    from ...session.project.agreement import Agreement, Disagreement

OVERLAY = "Other reader"
LARGEST_OVERLAY_PX = 2**26
READER_HINT = "Your name, which is recorded with each object that you make or change; empty records none"
Compared = tuple[str, "Document", "Agreement"]
"""Name of the other version, its document, and the comparison."""


class ReadersForm(QWidget):
    """Form for the reader's name and for comparing two readers, object by object, up to a consensus.

    Args:
        state: The viewer state.
    """

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self._state = state
        self.runner = JobRunner(self)
        self.compared: Compared | None = None
        self._session: Session | None = None
        """The session that `compared` belongs to."""
        self._place = -1
        self._kept: Path | None = None
        self.name = QLineEdit(load_config().reader)
        self.name.setPlaceholderText("Reader")
        self.name.setToolTip(READER_HINT)
        self.name.setAccessibleName("Name of the reader")
        self.name.editingFinished.connect(self._on_name)
        self.compare_button = button("Compare", "Compare this image with the annotations of another reader")
        self.menu = QMenu(self.compare_button)
        self.menu.aboutToShow.connect(self._fill)
        self.compare_button.setMenu(self.menu)
        self.text = label(wrap=True)
        self.next_button = button("Next ▶", "Show the next disagreement", self.next)
        self.keep_button = button("Keep mine", "Keep your object, and show the next disagreement", self.next)
        self.take_button = button(
            "Take theirs", "Use the other reader's object", lambda: self._take("second")
        )
        self.delete_button = button("Neither", "Keep neither object", lambda: self._take("neither"))
        self.close_button = button("Close", "End the comparison", self.close_comparison)
        self._steps = QWidget()
        buttons = (
            self.next_button,
            self.keep_button,
            self.take_button,
            self.delete_button,
            self.close_button,
        )
        self._steps.setLayout(row(*buttons))
        column(
            row(label("Reader"), self.name, self.compare_button, stretch=1),
            self.text,
            self._steps,
            parent=self,
        )
        self.runner.failed.connect(state.training.message)
        self.refresh()

    def refresh(self) -> None:
        """Show the current state."""
        session, project = self._state.session, self._state.training.project
        if self.compared is not None and session is not self._session:
            self.close_comparison()
        self.compare_button.setEnabled(session is not None and project is not None and not self.runner.busy)
        compared = self.compared
        self.text.setVisible(compared is not None)
        self._steps.setVisible(compared is not None)
        if compared is None:
            return
        current = self._current()
        for widget in (self.keep_button, self.take_button, self.delete_button):
            widget.setEnabled(current is not None)
        self.next_button.setEnabled(bool(compared[2].disagreements))
        self.text.setText(f"{describe(compared[0], compared[2])}{self._describe_place(current)}")

    def compare(self, theirs: Path) -> None:
        """Compare the image in use with the journal of another reader."""
        session = self._state.session
        if session is not None:
            job = _compare_job(session.document.fork(), theirs)
            self.runner.start(job, "comparing the readers", lambda result: self._on_compared(session, result))

    def next(self) -> None:
        """Show the next disagreement."""
        if self.compared is None or not self.compared[2].disagreements:
            return
        self._place = (self._place + 1) % len(self.compared[2].disagreements)
        annotator, current = self._state.annotator, self._current()
        if annotator is not None and current is not None:
            look_at(self._state.viewer, annotator.image, current.box)
            annotator.tools.highlight.show([current.box])
        self.refresh()

    def close_comparison(self) -> None:
        """Hide the other version."""
        self.compared, self._session, self._place = None, None, -1
        canvas_layers.remove(self._state.viewer, self._overlays())
        if self._state.annotator is not None:
            self._state.annotator.tools.highlight.clear()
        self.refresh()

    def _on_compared(self, session: Session, compared: Compared) -> None:
        image = self._state.image
        if session is not self._state.session or image is None:
            return
        self.compared, self._session, self._place, self._kept = compared, session, -1, None
        other = compared[1]
        canvas_layers.remove(self._state.viewer, self._overlays())
        if other.hw[0] * other.hw[1] <= LARGEST_OVERLAY_PX:
            layer = self._state.viewer.add_labels(
                np.asarray(other.class_map),
                name=f"{OVERLAY}: {compared[0]}",
                opacity=0.9,
                metadata={canvas_layers.MARK_HEAD: image.name, "reader": True},
                **canvas_layers.placement(image),
            )
            layer.contour, layer.editable = 2, False
            canvas_layers.recolour(layer, class_colors(list(other.classes)))
            self._state.viewer.layers.selection.active = image
        self.next()
        self.refresh()

    def _take(self, choice: str) -> None:
        from ...session.project.agreement import compare, consensus

        current, compared, session = self._current(), self.compared, self._state.session
        if current is None or compared is None or session is None:
            return
        name, other, agreement = compared
        step = consensus(session.document, other, agreement, {current: choice})

        def change() -> None:
            self._keep_ours(session)
            if step is not None:
                session.do(step)

        if self._state.attempt(change, self._state.training.message.emit):
            self.compared = (name, other, compare(session.document, other))
            self._place -= 1
            self.next()
            self.refresh()

    def _keep_ours(self, session: Session) -> None:
        """Keep our version before the first change, so that the consensus is a new version."""
        from ...session import journal_path
        from ...session.project.versions import keep_version

        project, image = self._state.training.project, self._state.training.membership.image
        if self._kept is None and project is not None and image is not None:
            journal = journal_path(session.image, self._state.sessions_dir)
            self._kept = keep_version(project, image, journal, "before the consensus")
            self._state.training.message.emit(
                f"Your version before the consensus is kept as {self._kept.name}."
            )

    def _current(self) -> Disagreement | None:
        entries = () if self.compared is None else self.compared[2].disagreements
        return entries[self._place] if 0 <= self._place < len(entries) else None

    def _describe_place(self, current: Disagreement | None) -> str:
        if current is None or self.compared is None:
            return ""
        return f" {self._place + 1} of {len(self.compared[2].disagreements)}: {current.text}."

    def _overlays(self) -> list[object]:
        return [layer for layer in self._state.viewer.layers if layer.metadata.get("reader")]

    def _fill(self) -> None:
        from ...session.project.versions import other_versions

        self.menu.clear()
        project, session = self._state.training.project, self._state.session
        if project is None or session is None:
            return
        for path in other_versions(project, session.digest):
            self.menu.addAction(path.stem, lambda path=path: self.compare(path))
        self.menu.addAction("Journal of another reader…", self._choose)

    def _choose(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Journal of another reader", "", "Journals (*.jsonl)")
        if path:
            self.compare(Path(path))

    def _on_name(self) -> None:
        name = self.name.text().strip()
        if name != load_config().reader and self._state.attempt(lambda: write_setting("reader", name)):
            for session in self._state.sessions():
                session.document.reader = name


def describe(name: str, agreement: Agreement) -> str:
    """Describe a comparison in one to two sentences."""
    classes = "; ".join(
        f"{entry.name}: Dice {_figure(entry.dice)}, F1 {_figure(entry.f1)}" for entry in agreement.classes
    )
    rest = plural(len(agreement.disagreements), "disagreement")
    return f"{name}: kappa {agreement.kappa:.2f}; {classes or 'no objects'}. {rest}."


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _compare_job(ours: Document, theirs: Path) -> Job[Compared]:
    from ...session.project.agreement import compare
    from ...session.project.journals import read_document
    from ...session.project.versions import version_name

    yield Progress(0, 0, "Comparing the readers")
    other = read_document(theirs)
    return version_name(other, theirs), other, compare(ours, other)
