"""The Auto-segment dock: run a trained head, filter its result, add it as objects, find where it is uncertain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...annotations import AnnotatedObject, Box
from ...arrays import ClassInfo, LocalMask
from ...files.messages import plural
from ...session import Guess
from ...session.proposals.result_filter import ResultFilter
from ..background.workers import JobRunner
from ..canvas.shown_image import source_file
from ..common.apply_queue import ApplyQueue
from ..common.base_dock import Dock
from ..common.controls import button, combo_box, elided_label, form, group, label, row, set_items
from ..common.head_choice import card_of, missing_model, proposed_head
from ..common.script_view import Script, script_button
from ..common.segment_jobs import HeadResult, everything_job, filter_job, segment_job
from ..common.status_line import StatusLine
from ..viewer.jobs import MAX_SLIDE_PX
from ..viewer.viewer_state import ViewerState
from .everything_form import EverythingForm
from .head_card_view import HeadCardView
from .head_warning import HeadWarning
from .result_filter_form import ResultFilterForm
from .result_layers import CLASSES, CONFIDENCE, ResultLayers
from .script import segment_script
from .selectors import MAGNIFICATION_HINT, MAGNIFICATIONS, HeadSelector, RegionSelector
from .slide_runs import TISSUE_HINT, SlideRuns
from .uncertain_regions import UncertainRegions

__all__ = ["CLASSES", "CONFIDENCE", "SegmentDock"]

RUN_HINT = "Run the head; your annotations do not change"
ADD_HINT = "Add the result as objects that you can correct; objects that you created or reviewed are kept"
MIN_AGREEMENT = 0.6
"""Minimum `Guess.share` for which an object gets the guessed class."""


class SegmentDock(Dock):
    """Runs a head or *segment everything* on a region and adds the result as objects."""

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__(napari_viewer, state)
        self.runner = JobRunner(self)
        self.apply_queue = ApplyQueue(self.state, self)
        self.result: HeadResult | None = None
        self._result_image: Any = None
        """The image layer that `result` belongs to."""
        self._result_head: str | None = None
        """The entry of `head` that made `result`."""
        self._segmenting = False
        self._layers = ResultLayers(self.state.viewer)
        self.image = elided_label()
        self.head = HeadSelector()
        self.card = HeadCardView()
        self.warning = HeadWarning(self.state)
        self.region = RegionSelector(self.state)
        self.magnification = combo_box(MAGNIFICATION_HINT)
        set_items(self.magnification, MAGNIFICATIONS.items())
        self.run_button = button("Segment", RUN_HINT, self.run)
        self.add_button = button("Add objects", ADD_HINT, self._add_objects)
        self.slide_runs = SlideRuns(self.state, self.runner, self.apply_queue, self)
        self.tissue_button = button("Tissue…", TISSUE_HINT, self.slide_runs.show_tissue)
        self.summary = label(wrap=True)
        self.filters = ResultFilterForm()
        self.uncertain = UncertainRegions(self.state)
        self.everything = EverythingForm()
        self.status = StatusLine(self.runner, "One click segments the classes that the head was trained for.")
        self.script_button = script_button(self, self.script, self.status.say)
        self.fill(
            form(
                ("Image", self.image),
                ("Head", self.head),
                ("Region", row(self.region.combo, self.slide_runs.class_choice)),
                ("Structures", row(self.magnification, self.slide_runs.outlines)),
            ),
            self.card,
            self.warning,
            row(self.run_button, self.add_button, self.tissue_button, self.script_button),
            self.summary,
            group("Filter the result, without running the head again", self.filters),
            self.status,
            group("Where to correct", self.uncertain),
            group("Segment everything", self.everything),
        )
        self._connect()
        self.state.start()
        self.refresh()

    def refresh(self) -> None:
        """Show the current state."""
        state = self.state
        self.image.setText("Open an image first" if state.image is None else state.image.name)
        heads = state.training.heads
        shipped = () if state.catalogue is None else state.catalogue.heads
        self.head.show_heads(None if heads is None else heads.current, shipped)
        self._propose()
        card = card_of(self.head.value(), state.catalogue)
        self.card.show_card(card, () if state.session is None else state.classes)
        self.warning.show_for(self.head.value(), self.magnification.currentData())
        free = state.session is not None and not self.runner.busy
        self.run_button.setEnabled(free and self.head.value() is not None)
        missing = missing_model(self.head.value(), state.catalogue)
        self.run_button.setText("Download and segment" if missing else "Segment")
        self.run_button.setToolTip(
            f"The model of this head is not on this machine: download it ({missing}), then run the head"
            if missing
            else RUN_HINT
        )
        self.everything.refresh(state.model, free and state.ready)
        self.uncertain.next_button.setEnabled(state.session is not None)
        # Another head would suggest that its objects are added.
        fitting = self._shows_result and self.head.value() == self._result_head
        of_slide = self.slide_runs.shows_result and self.head.value() == self.slide_runs.head
        self.add_button.setEnabled((fitting or of_slide) and free and not self.apply_queue.busy)
        self.slide_runs.refresh()
        self.tissue_button.setVisible(self._slide is not None)
        self.tissue_button.setEnabled(free)
        self._show_summary(fitting)

    def _connect(self) -> None:
        state = self.state
        self.filters.valueChanged.connect(self._apply_filter)
        self.head.file_added.connect(self.refresh)
        self.head.head_selected.connect(self.refresh)
        self.magnification.activated.connect(self.refresh)
        self.uncertain.message.connect(self.status.say)
        self.everything.find_requested.connect(self._find_everything)
        self.everything.classify_requested.connect(self._classify)
        self.slide_runs.message.connect(self.status.say)
        self.slide_runs.completed.connect(self.uncertain.add_result)
        self.slide_runs.completed.connect(self.refresh)
        state.changed.connect(self.refresh)
        state.image_chosen.connect(self.region.suggest)
        state.training.changed.connect(self._select_accepted_head)
        self.runner.started.connect(self.refresh)
        self.runner.finished.connect(self._on_finished)
        self.apply_queue.message.connect(self.status.say)
        self.status.expire_on(state.image_chosen, state.training.edited)
        self.apply_queue.changed.connect(self.refresh)
        self.cancel_on_close(self.runner, self.uncertain.runner, self.apply_queue.runner, self.warning.runner)
        key = self.bind_key("next_uncertain", self.uncertain.next)
        self.uncertain.next_button.setText(f"{self.uncertain.next_button.text()} ({key})")
        self.region.suggest()
        self._select_accepted_head()

    @property
    def _slide(self) -> Any:
        """The slide that is open; None for an image that is in memory."""
        return None if self.state.session is None else self.state.session.slide

    @property
    def _shows_result(self) -> bool:
        """Whether there is a result for the current image."""
        return self.result is not None and self.state.image is self._result_image

    def _show_summary(self, fitting: bool) -> None:
        """Show which head made the result, and what to do if another head is selected."""
        text = ""
        if self.result is not None and self._shows_result:
            text = f"{self.result.segmentation.head}: {self.result.summary}"
            if not fitting:
                title = self.head.combo.currentText()
                text += f" Press Segment to run {title}; then you can add its objects."
        if text != self.summary.text():
            self.summary.setText(text)

    def _select_accepted_head(self) -> None:
        self.head.chosen = False
        self.refresh()

    def _propose(self) -> None:
        """Select the accepted head of the project, or else the head that fits the classes of the image."""
        heads, state = self.state.training.heads, self.state
        if heads is not None and heads.current is not None:
            self.head.propose(str(heads.current))
        elif state.session is not None:
            self.head.propose(proposed_head(state.catalogue, state.classes, state.session.files.mpp))

    def _selected_region(self, in_blocks: bool = True) -> Box | None:
        region = self.region.value()
        if region is None:
            self.status.say("The region is empty; draw a box on the image, or select the whole image.")
        elif self._slide is not None:
            height, width = region[2] - region[0], region[3] - region[1]
            if height * width > MAX_SLIDE_PX:
                whole = ", or choose the whole image, which is segmented in blocks" * in_blocks
                self.status.say(
                    f"The region has {width} x {height} px, and at most {MAX_SLIDE_PX:,} px of a slide are segmented "
                    f"at once; zoom in and choose the view{whole}."
                )
                return None
        return region

    def script(self) -> Script | str:
        """Return the run of the selected head as a script, or a sentence that explains why not."""
        state, session, head = self.state, self.state.session, self.head.value()
        file = None if state.image is None else source_file(state.image)
        if session is None or file is None:
            return "The image has no file that a script could read; open an image from a file."
        region = self.region.value()
        if head is None or region is None:
            return "Select a head and a region first."
        if session.slide is not None and self.region.is_whole:
            tile_px = self._tile_px(head) if self.magnification.currentData() != 1 else None
            return self.slide_runs.script(file, head, tile_px)
        card = card_of(head, state.catalogue)
        fits = card is not None and card.encoder == state.choice.name
        choice = state.choice if fits else None
        part = None if region == (0, 0, *session.hw) else region
        return segment_script(file, head, part, self._tile_px(head), self.filters.value(), choice)

    def _tile_px(self, head: str) -> int | None:
        """Return the side of the tiles for the scales or the choice of the user; None for that used in training."""
        session, scale = self.state.session, self.magnification.currentData()
        mpp = None if session is None else session.files.mpp
        if mpp is None and scale == 1:
            return None
        from ...heads import load_head
        from ...predict.head_tiles import head_tile_px

        return head_tile_px(load_head(head), mpp, magnification=scale)

    def run(self) -> None:
        """Run the selected head on the selected region."""
        session, head = self.state.session, self.head.value()
        if self._slide is not None and head is not None and self.region.is_whole:
            self.head.chosen = True
            self.result = None
            self.slide_runs.start(head, self.head.combo.currentText(), self.magnification.currentData())
            return
        region = None if session is None or head is None else self._selected_region()
        if session is None or head is None or region is None:
            return
        self.head.chosen = True
        image, result_filter = self.state.image, self.filters.value()
        self.state.training.result_filter = result_filter
        scale: float = self.magnification.currentData()
        job = segment_job(
            session.image, head, self.state.model, region, result_filter, session.files.mpp, scale
        )
        self.runner.start(
            job,
            f"segmenting with {self.head.combo.currentText()}",
            lambda result: self._on_result(result, image, head, result_filter),
        )
        self._segmenting = True

    def _on_finished(self) -> None:
        self._segmenting = False
        self.refresh()

    def _on_result(self, result: HeadResult, image: Any, head: str, result_filter: ResultFilter) -> None:
        if image is None or self.state.image is not image:
            return
        self.result, self._result_image, self._result_head = result, image, head
        segmentation = result.segmentation
        if self.head.value() == head:
            self.warning.show_sentence(segmentation.warning)
        self._layers.show(
            image,
            result.labels,
            segmentation.confidence,
            segmentation.origin_rc,
            self._in_session_colors(segmentation.classes),
        )
        self.filters.show_classes(info.name for info in segmentation.classes if info.id > 0)
        self.uncertain.add_result(segmentation)
        self.status.say(f"Done. Show the layer '{CONFIDENCE}' to see where the head is uncertain.")
        self.refresh()
        if self.filters.value() != result_filter:  # The user changed the filter while the head ran.
            self._apply_filter()

    def _in_session_colors(self, classes: tuple[ClassInfo, ...]) -> list[ClassInfo]:
        """Return the classes of a head, with the colours of session classes that have the same names."""
        session = self.state.session
        colors = {} if session is None else {info.name: info.color for info in session.classes}
        return [replace(info, color=colors.get(info.name, info.color)) for info in classes]

    def _apply_filter(self) -> None:
        result_filter = self.state.training.result_filter = self.filters.value()
        if self.result is not None and self._shows_result and not self._segmenting:
            job = filter_job(self.result.segmentation, result_filter)
            self.runner.start(job, "filtering the result", self._on_filtered)

    def _on_filtered(self, result: HeadResult) -> None:
        if self._shows_result:
            self.result = result
            self._layers.repaint(self._result_image, result.labels)
            self.refresh()

    def _add_objects(self) -> None:
        session, result, image = self.state.session, self.result, self._result_image
        if session is not None and not self._shows_result and self.slide_runs.shows_result:
            self.slide_runs.add_objects(self.region.value())
            return
        if session is None or result is None or not self._shows_result:
            return

        def on_done(objects: list[AnnotatedObject]) -> None:
            added = f"Added {plural(len(objects), 'object')} of {result.segmentation.head}"
            self.status.say(f"{added}; correct them like your own. Undo removes them.")
            self._layers.hide(image)

        self.apply_queue.add(session, session.proposals.replace(result.objects), on_done)

    def _find_everything(self) -> None:
        session, model, annotator = self.state.session, self.state.model, self.state.annotator
        region = None if session is None or model is None else self._selected_region(in_blocks=False)
        if session is None or model is None or annotator is None or region is None:
            return
        key = annotator.key_choice.shown("reclassify")

        def on_done(objects: list[AnnotatedObject]) -> None:
            self.status.say(
                f"Found {plural(len(objects), 'object')}. Classify a few of each class (select a class, "
                f"point at an object, press {key}), then classify the others by similarity."
            )

        def add(masks: list[tuple[LocalMask, float]]) -> None:
            change = session.proposals.everything(masks, model.name, region)
            self.apply_queue.add(session, change, on_done)

        settings = replace(self.everything.value(), min_mask_region_area=self.filters.value().min_area_px)
        job = everything_job(session.image, model, region, settings)
        self.runner.start(job, "segmenting everything", add)

    def _classify(self) -> None:
        session = self.state.session
        if session is None:
            return

        def apply(guesses: dict[int, Guess]) -> None:
            if not self.state.attempt(
                lambda: session.proposals.apply_guesses(guesses, MIN_AGREEMENT), self.status.say
            ):
                return
            count = sum(guess.share >= MIN_AGREEMENT for guess in guesses.values())
            self.status.say(
                f"{count} of {plural(len(guesses), 'object')} were classified; the rest are ambiguous."
                if guesses
                else "There are no unclassified objects; 'Find all objects' adds some."
            )

        jobs: list[Any] = []
        if self.state.attempt(lambda: jobs.append(session.proposals.classify_job()), self.status.say):
            self.runner.start(jobs[0], "comparing the objects", apply)
