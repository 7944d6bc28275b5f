"""The Auto-segment dock: a trained head over the view, a box or the image, and where its result needs correction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QHBoxLayout, QLabel, QSizePolicy

from ...geometry import SINGLE_TILE_PX
from ..background.workers import JobRunner
from ..canvas.viewport import box_in_view
from ..common.apply_queue import Intake, Result
from ..common.base_dock import Dock, group
from ..common.status_line import StatusLine
from .everything_form import Everything
from .jobs import everything_job, filter_job, segment_job
from .result_filters import Filters
from .result_layers import CLASSES, CONFIDENCE, ResultLayers
from .uncertain_regions import UncertainRegions

if TYPE_CHECKING:
    from ...annotations import AnnotatedObject, Box
    from ...arrays import ClassInfo, LocalMask
    from ...session import Guess, ResultFilter
    from ..viewer.viewer_state import ViewerState
    from .jobs import Segmented

__all__ = ["CLASSES", "CONFIDENCE", "SegmentDock"]

WHERE = {"image": "the whole image", "view": "what is in view", "box": "the box drawn"}
SURE_SHARE = 0.6
"""Likeness below this leaves an object as it is: so many of the nearest neighbours must agree."""


class SegmentDock(Dock):
    """Choose a head, run it, filter what it found, take it over as annotations, and look where it is unsure.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        state: Shared state; that of the viewer by default.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.runner = JobRunner(self)
        self.intake = Intake(self.state, self)
        self.result: Segmented | None = None
        self._files: list[Path] = []
        self._source: Any = None
        self._segmenting = False
        self._layers = ResultLayers(self.state.viewer)
        self.image = QLabel()
        self.image.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.head = self._combo("The trained head to run; yours is the one accepted in the Train dock")
        self.where = self._combo("How much of the image to segment; only this part is computed")
        for name, text in WHERE.items():
            self.where.addItem(text, name)
        self.file_button = self.button("File…", "Use a head (bundle) from a file")
        self.run_button = self.button("Segment", "Run the head; what you annotated is not touched")
        self.add_button = self.button(
            "Add as annotations",
            "Make every piece an annotation that you can correct; what you made or reviewed stays as it is",
        )
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.filters = Filters()
        self.uncertain = UncertainRegions(self.state)
        self.everything = Everything()
        self.status = StatusLine(self.runner, "One click finds the tissue classes the head was trained for.")
        self._arrange()
        self._connect()
        self.state.start()
        self.refresh()

    def refresh(self) -> None:
        """Show how things stand."""
        state = self.state
        self.image.setText("Open an image first" if state.image is None else state.image.name)
        self._show_heads(self.head.currentData())
        free = state.session is not None and not self.runner.busy
        self.run_button.setEnabled(free and self.head.count() > 0)
        self.everything.find_button.setEnabled(free and state.ready)
        self.everything.like_button.setEnabled(free and state.ready)
        self.uncertain.next_button.setEnabled(state.session is not None)
        self.add_button.setEnabled(self._fits and free and not self.intake.busy)

    @property
    def region(self) -> Box | None:
        """The part of the image to work on; None if it has no pixel."""
        session, image = self.state.session, self.state.image
        if session is None or image is None:
            return None
        if self.where.currentData() == "view":
            box = box_in_view(self.state.viewer, image, session.hw)
        elif self.where.currentData() == "box":
            drawn = session.prompts.state.box
            if drawn is None:
                return None
            x0, y0, x1, y1 = drawn
            box = int(y0), int(x0), min(session.hw[0], int(y1) + 1), min(session.hw[1], int(x1) + 1)
        else:
            box = (0, 0, *session.hw)
        return box if box[2] > box[0] and box[3] > box[1] else None

    def _arrange(self) -> None:
        head_row = QHBoxLayout()
        head_row.addWidget(self.head, 1)
        head_row.addWidget(self.file_button)
        form = QFormLayout()
        form.setVerticalSpacing(4)
        form.addRow("Image", self.image)
        form.addRow("Head", head_row)
        form.addRow("Where", self.where)
        self.column.addLayout(form)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button)
        buttons.addWidget(self.add_button)
        self.column.addLayout(buttons)
        self.column.addWidget(self.summary)
        self.column.addWidget(group("Refine, without running the head again", self.filters))
        self.column.addWidget(self.status)
        self.column.addWidget(group("Where to correct", self.uncertain))
        self.column.addWidget(group("Segment everything", self.everything))
        self.column.addStretch(1)

    def _connect(self) -> None:
        self.file_button.clicked.connect(self._on_file)
        self.run_button.clicked.connect(self.run)
        self.add_button.clicked.connect(self._on_add)
        self.filters.changed.connect(self._on_filters)
        self.uncertain.message.connect(self.status.say)
        self.everything.wanted.connect(self._on_everything)
        self.everything.likeness_wanted.connect(self._on_likeness)
        self.state.changed.connect(self.refresh)
        self.state.image_chosen.connect(self._on_image)
        self.state.training.changed.connect(self._on_training_changed)
        self.runner.started.connect(self.refresh)
        self.runner.finished.connect(self._on_finished)
        self.intake.message.connect(self.status.say)
        self.intake.changed.connect(self.refresh)
        self.hold(self.runner, self.uncertain.runner, self.intake.runner)
        key = self.hold_key("next_uncertain", self.uncertain.next)
        self.uncertain.next_button.setText(f"{self.uncertain.next_button.text()} ({key})")
        self._on_image()
        self._on_training_changed()

    @property
    def _fits(self) -> bool:
        """True if there is a result, and it is of the image in use."""
        return self.result is not None and self.state.image is not None and self.state.image is self._source

    def _show_heads(self, wanted: str | None) -> None:
        """List the heads, the accepted one first."""
        heads = self.state.training.heads
        own = None if heads is None else heads.current
        names = () if self.state.catalogue is None else self.state.catalogue.heads
        entries = [
            *([] if own is None else [(f"{own.stem} (yours)", str(own))]),
            *((name, name) for name in names),
            *((path.name, str(path)) for path in self._files),
        ]
        with QSignalBlocker(self.head):
            if entries != [(self.head.itemText(k), self.head.itemData(k)) for k in range(self.head.count())]:
                self.head.clear()
                for text, data in entries:
                    self.head.addItem(text, data)
            self.head.setCurrentIndex(max(0, self.head.findData(wanted)))

    def _on_training_changed(self) -> None:
        """Use the head that was accepted."""
        heads = self.state.training.heads
        if heads is not None and heads.current is not None:
            self._show_heads(str(heads.current))
        self.refresh()

    def _on_image(self) -> None:
        """Offer all of a small image and the view of a large one."""
        session = self.state.session
        if session is not None:
            large = max(session.hw) > SINGLE_TILE_PX
            self.where.setCurrentIndex(self.where.findData("view" if large else "image"))

    def _on_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "A trained head", "", "Heads (*.safetensors);;All files (*)"
        )
        if path:
            self._files.append(Path(path))
            self._show_heads(str(path))
            self.refresh()

    def run(self) -> None:
        """Run the head where the user wishes."""
        session, head, region = self.state.session, self.head.currentData(), self.region
        if session is None or head is None:
            return
        if region is None:
            self.status.say(
                "There is nothing to segment there: draw a box on the image, or choose all of it."
            )
            return
        source = self.state.image
        result_filter = self.state.training.result_filter = self.filters.value()
        job = segment_job(session.image, head, self.state.model, region, result_filter)
        self.runner.start(
            job,
            f"segmenting with {self.head.currentText()}",
            lambda result: self._on_done(result, source, result_filter),
        )
        self._segmenting = True

    def _on_finished(self) -> None:
        self._segmenting = False
        self.refresh()

    def _on_done(self, result: Segmented, source: Any, result_filter: ResultFilter) -> None:
        image = self.state.image
        if image is None or image is not source:
            return
        self.result, self._source = result, source
        found = result.segmentation
        self._layers.show(
            image, result.labels, found.confidence, found.origin_rc, self._colored(found.classes)
        )
        self.filters.show_classes(found.classes)
        self.uncertain.take(found)
        self.summary.setText(result.summary)
        self.status.say(f"Done. Switch the layer '{CONFIDENCE}' on to see where the head is unsure.")
        self.refresh()
        if self.filters.value() != result_filter:  # They were changed while the head ran.
            self._on_filters()

    def _colored(self, classes: tuple[ClassInfo, ...]) -> list[ClassInfo]:
        """Return a head's classes in the colours that the session gives classes of these names."""
        session = self.state.session
        known = {} if session is None else {info.name: info.color for info in session.classes}
        return [type(one)(one.id, one.name, known.get(one.name, one.color)) for one in classes]

    def _on_filters(self) -> None:
        self.state.training.result_filter = self.filters.value()
        if self._fits and self.result is not None and not self._segmenting:
            job = filter_job(self.result.segmentation, self.filters.value())
            self.runner.start(job, "filtering the result", self._on_filtered)

    def _on_filtered(self, result: Segmented) -> None:
        if self._fits:
            self.result = result
            self._layers.repaint(self._source, result.labels)
            self.summary.setText(result.summary)
            self.refresh()

    def _on_add(self) -> None:
        annotator, result = self.state.annotator, self.result
        if annotator is None or result is None or not self._fits:
            return
        source = self._source

        def then(made: list[AnnotatedObject]) -> None:
            self.status.say(
                f"Added {len(made)} annotations; correct them like your own. Undo takes them back in one step."
            )
            self._layers.hide(source)

        session = annotator.session
        self.intake.add(Result(session, session.proposals.replace(result.objects), then))

    def _on_everything(self) -> None:
        session, model, region = self.state.session, self.state.model, self.region
        if session is None or model is None:
            return
        if region is None:
            self.status.say(
                "There is nothing to segment there: draw a box on the image, or choose all of it."
            )
            return
        asked = self.everything.points.value(), self.everything.sure.value() / 100

        annotator = self.state.annotator
        key = "" if annotator is None else annotator.key_choice.shown("reclassify")

        def then(made: list[AnnotatedObject]) -> None:
            self.status.say(
                f"Found {len(made)} objects. Give some of each class theirs (choose a class, point, {key}), "
                "then classify the others by likeness."
            )

        def take(masks: list[tuple[LocalMask, float]]) -> None:
            change = session.proposals.everything(masks, model.name, region)
            self.intake.add(Result(session, change, then))

        job = everything_job(session.image, model, region, *asked, self.filters.size.value())
        self.runner.start(job, "segmenting everything", take)

    def _on_likeness(self) -> None:
        session = self.state.session
        if session is None:
            return

        def take(guesses: dict[int, Guess]) -> None:
            sure = sum(one.share >= SURE_SHARE for one in guesses.values())
            if self.state.attempt(
                lambda: session.proposals.apply_guesses(guesses, SURE_SHARE), self.status.say
            ):
                self.status.say(
                    f"{sure} of {len(guesses)} objects have got a class; the others are like several."
                    if guesses
                    else "There are no objects without a class; 'Find all objects' adds some."
                )

        jobs: list[Any] = []
        if self.state.attempt(lambda: jobs.append(session.proposals.classify_job()), self.status.say):
            self.runner.start(jobs[0], "comparing the objects", take)

    def _combo(self, hint: str) -> QComboBox:
        combo = QComboBox()
        combo.setToolTip(hint)
        combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        combo.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        return combo
