"""Segmentation of whole slides in the Auto-segment dock."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from ...arrays import ClassInfo
from ...files import file_stem
from ...files.messages import plural
from ..background.workers import JobRunner
from ..canvas.viewport import centre_of_view
from ..common.apply_queue import ApplyQueue
from ..common.controls import check_box, combo_box, set_items
from ..common.script_view import Script
from ..viewer.viewer_state import ViewerState
from .script import slide_script
from .slide_job import RunState, tissue_job, whole_slide_job
from .slide_layers import TISSUE, find_layer, show_result, show_tissue, tissue_of

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from ...annotations import AnnotatedObject, Box
    from ...formats.maps.slide_result import SlideResult
    from ...images.slides.tissue import Tissue
    from ...predict.whole_slide import SlideRun
    from ...session import NewObjects, Session

CLASS_HINT = (
    "The class of the result whose objects are added; together with the whole image, all of its objects"
)
OUTLINES_HINT = (
    "In a run over the whole slide, let the model outline each object, where it agrees with the head; on a CPU, this "
    "takes much longer than the segmentation"
)
TISSUE_HINT = "Show where the slide is segmented, and change it with the brush and the eraser"


class SlideRuns(QObject):
    """Runs a head on the slide that is open, shows the growing result, and adds objects of it to the annotations.

    Args:
        state: State of the viewer.
        runner: Runs the jobs of the dock.
        apply_queue: Adds objects.
    """

    message = Signal(str)
    """Message for the user."""
    completed = Signal(object)
    """Emitted with the `SlideResult` of the current slide when it has been completed."""

    def __init__(
        self, state: ViewerState, runner: JobRunner, apply_queue: ApplyQueue, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._runner = runner
        self._apply_queue = apply_queue
        self._run: RunState | None = None
        """State of the current run; None if there is none."""
        self._run_image: Image | None = None
        """The image layer of its slide."""
        self._shown_for: Any = None
        """The image layer that `result` belongs to."""
        self.result: SlideResult | None = None
        """The complete result of the current slide."""
        self.head = ""
        """The entry of the list of heads that made `result`."""
        self.class_choice = combo_box(CLASS_HINT)
        """The class whose objects `add_objects` adds; its data is None for all classes."""
        self.outlines = check_box("Outlines by the model", OUTLINES_HINT)
        runner.reported.connect(self._on_reported)
        runner.finished.connect(self._on_finished)

    @property
    def shows_result(self) -> bool:
        """Whether there is a complete result for the slide that is open."""
        return self.result is not None and self._state.image is self._shown_for

    def refresh(self) -> None:
        """Show the controls that concern the slide that is open, if there is one."""
        session = self._state.session
        self.class_choice.setVisible(self.shows_result)
        self.outlines.setVisible(session is not None and session.slide is not None)

    def show_tissue(self) -> None:
        """Show the tissue mask of the slide as a layer that can be brushed."""
        session, image = self._state.session, self._state.image
        if session is None or image is None or session.slide is None:
            return
        job = tissue_job(session.slide, self._tissue_file(session))
        self._runner.start(job, "looking for tissue", partial(self._on_tissue, session, image))

    def start(self, head: str, title: str, magnification: float) -> None:
        """Segment the slide with a head; an unfinished result is continued."""
        session, image = self._state.session, self._state.image
        if session is None or image is None or session.slide is None:
            return
        layer = find_layer(self._state.viewer, image, TISSUE)
        tissue: Tissue | Path = self._tissue_file(session)
        if layer is not None:
            tissue = self._saved(layer, session)
        run = RunState(centre_of_view(self._state.viewer, image), self.outlines.isChecked())
        self.result = session.proposals.untouched = None
        folder = self._state.sessions_dir / "results"
        path = folder / f"{session.digest[:32]}-{file_stem(Path(head).stem)}.ome.zarr"
        job = whole_slide_job(session.slide, head, self._state.model, path, tissue, magnification, run)
        self._runner.start(job, f"segmenting with {title}", partial(self._on_done, run, image, head))
        self._run, self._run_image = run, image

    def script(self, file: Path, head: str, tile_px: int | None) -> Script | str:
        """Return the run that `start` would start as a script; the tissue mask is saved if it is shown."""
        session, image = self._state.session, self._state.image
        if session is None or image is None or session.slide is None:
            return "Open a slide first."
        layer = find_layer(self._state.viewer, image, TISSUE)
        if layer is not None:
            self._saved(layer, session)
        slide, tissue = session.slide, self._tissue_file(session)
        mpp = None if slide.mpp == slide.stated_mpp else slide.mpp
        saved = tissue if tissue.is_file() else None
        return slide_script(file, head, tile_px, self.outlines.isChecked(), mpp, saved)

    def add_objects(self, box: Box | None) -> None:
        """Add the objects of the chosen class in a box (r0, c0, r1, c1) to the annotations, which keep their pixels."""
        session, result, head = self._state.session, self.result, Path(self.head).stem
        if session is None or result is None:
            return
        if box is None:
            self.message.emit("The region is empty; draw a box on the image, or select the view.")
            return
        from ...session.proposals.slide_objects import slide_objects_in_job

        def on_done(objects: list[AnnotatedObject]) -> None:
            added = f"Added {plural(len(objects), 'object')} of {head}"
            self.message.emit(f"{added}; correct them like your own. Undo removes them.")

        def add(new: NewObjects) -> None:
            self._apply_queue.add(session, session.proposals.add(new, keep_existing=True), on_done)

        name: str | None = self.class_choice.currentData()
        job = slide_objects_in_job(result, head, box, None if name is None else (name,))
        self._runner.start(job, "reading the objects", add)

    def _tissue_file(self, session: Session) -> Path:
        return self._state.sessions_dir / f"{session.digest[:32]}.tissue.npz"

    def _on_tissue(self, session: Session, image: Image, tissue: Tissue) -> None:
        if self._state.session is not session:
            return
        layer = show_tissue(self._state.viewer, image, tissue)
        layer.events.paint.connect(lambda _event: self._saved(layer, session))
        note = f" ({tissue.note})" if tissue.note else ""
        self.message.emit(
            f"Green is segmented{note}. Paint to add tissue, erase to leave out; then press Segment."
        )

    def _saved(self, layer: Labels, session: Session) -> Tissue:
        """Save the tissue mask in a layer and return it."""
        from ...images.slides.tissue import save_tissue

        tissue = tissue_of(layer)
        self._state.attempt(lambda: save_tissue(self._tissue_file(session), tissue), self.message.emit)
        return tissue

    def _on_reported(self, _progress: object) -> None:
        run, image = self._run, self._run_image
        if run is None or image is None or self._state.image is not image:
            return
        run.centre_rc = centre_of_view(self._state.viewer, image)
        if run.plan is not None and self._shown_for is not run:
            self._show(run, image)

    def _show(self, run: RunState, image: Image) -> None:
        if run.plan is None:
            return
        self._shown_for = run
        colors = {info.name: info.color for info in self._state.classes}
        classes: list[ClassInfo] = [
            replace(info, color=colors.get(info.name, info.color)) for info in run.plan.head.classes
        ]
        cache = show_result(self._state.viewer, image, run.plan.result, classes)
        run.on_block = cache.forget
        layer = find_layer(self._state.viewer, image, TISSUE)
        if layer is not None:
            layer.visible = False

    def _on_finished(self) -> None:
        self._run = self._run_image = None

    def _on_done(self, run: RunState, image: Image, head: str, done: SlideRun) -> None:
        if run.plan is None:
            return
        found = plural(done.objects or 0, "object")
        if self._state.image is not image:
            self.message.emit(
                f"Done: {found} in '{image.name}'; the result is kept. Return to this slide and press Segment to show "
                "it."
            )
            return
        if self._shown_for is not run:
            self._show(run, image)
        self.result, self.head, self._shown_for = run.plan.result, head, image
        names = [info.name for info in self.result.classes_of_head if info.id]
        set_items(self.class_choice, [("all classes", None), *((name, name) for name in names)])
        if self._state.session is not None:
            from ...session.proposals.slide_objects import UntouchedObjects

            self._state.session.proposals.untouched = UntouchedObjects(self.result, Path(head).stem)
            self._state.changed.emit()
        notes = "".join(f" {note}" for note in done.notes)
        self.message.emit(
            f"Done: {found} in {plural(done.blocks, 'block')}; the result is kept. Correct an object with any "
            f"tool, or choose a region and a class and press Add objects.{notes}"
        )
        self.completed.emit(self.result)
