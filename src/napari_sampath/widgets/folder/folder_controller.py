"""Working through a folder: opens its images, lets a head propose, and keeps account of what a person did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from qtpy.QtCore import QObject, Signal

from ..background.workers import JobRunner
from ..canvas import layers as shown
from ..canvas.viewport import box_in_view
from ..common.apply_queue import Intake, Result
from ..segment.jobs import segment_job
from ..viewer.annotator import completion_message
from .jobs import automatic_job, picture_job, queue_job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari.layers import Image

    from ...annotations import AnnotatedObject, Box
    from ...images.loaded_image import LoadedImage
    from ...session import FolderQueue, FolderRun, Session, Stage, State
    from ..segment.jobs import Segmented
    from ..viewer.viewer_state import ViewerState

T = TypeVar("T")


class FolderWork(QObject):
    """The folder of one viewer: which image is open, what the head proposes on it, what comes next.

    Args:
        state: The viewer state.
        parent: The owner.
    """

    changed = Signal()
    """Another image, or another state of one."""
    message = Signal(str)
    """A sentence for the user."""
    opened = Signal()
    """Another folder."""

    def __init__(self, state: ViewerState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.queue: FolderQueue | None = None
        self.runner = JobRunner(self)
        """Runs heads."""
        self.opener = JobRunner(self)
        """Opens images, so that going on does not end a run over the whole folder."""
        self.ahead = JobRunner(self)
        """Encodes the next image while this one is annotated."""
        self.intake = Intake(state, self)
        """Takes over what heads propose."""
        self._stage: Stage = "assisted"
        self._image: Image | None = None
        self._name = ""
        """File name of the image that is shown."""
        self._session: Session | None = None
        self._prepared: Session | None = None
        self._proposing = False
        for runner in (self.opener, self.ahead):
            runner.failed.connect(self.message)
        self.intake.message.connect(self.message)
        state.changed.connect(self._on_bench)
        state.image_chosen.connect(self._on_session)

    @property
    def head(self) -> str | None:
        """The head that proposes: the accepted one, else the first that ships."""
        heads, catalogue = self._state.training.heads, self._state.catalogue
        if heads is not None and heads.current is not None:
            return str(heads.current)
        return catalogue.heads[0] if catalogue is not None and catalogue.heads else None

    @property
    def session(self) -> Session | None:
        """The session of the queue's image; None while that is not read yet, or another layer is in use."""
        queue = self.queue
        shown_now = queue is not None and self._image is not None and self._name == queue.current.path.name
        return self._state.session if shown_now and self._state.image is self._image else None

    @property
    def stage(self) -> Stage:
        """Who annotates first."""
        return self._stage

    @stage.setter
    def stage(self, stage: Stage) -> None:
        self._stage = stage
        if self._session is not None:
            self._session.proposals.stage = stage
            if stage == "semi-automatic" and self._state.ready:
                self._propose()
            if self._state.ready:
                self._encode_ahead()  # Another image may come next.
        self.changed.emit()

    def open_folder(self, folder: Path) -> None:
        """Work through another folder, from where one was."""
        job = queue_job(folder, self._state.sessions_dir)
        self.opener.start(job, "opening the folder", self._on_queue)

    def open(self, name: str) -> None:
        """Open an image by its file name."""
        queue = self.queue
        if queue is None or (name == queue.current.path.name and self.session is not None):
            return
        if self._attempt(lambda: queue.open(name)):
            self._open()

    def step(self, by: int) -> None:
        """Open the image after (1) or before (-1) the one that is open; when reviewing, from the most doubtful on."""
        queue = self.queue
        if queue is None:
            return
        before = queue.current.path

        queue.by_uncertainty = self._stage == "automatic"
        if not self._attempt(queue.next if by > 0 else queue.previous):
            return
        if queue.current.path == before:
            end = "Nothing else is left to review." if queue.by_uncertainty else "This is the last image."
            self.message.emit(end if by > 0 else "This is the first image.")
        else:
            self._open()

    def finish(self, state: State, complete: bool) -> None:
        """Mark the image as done or unsure and open the next.

        Args:
            state: Its state.
            complete: Mark all of it as annotated, too.
        """
        queue, session = self.queue, self.session
        if queue is None or session is None:
            return
        if complete and not self._complete((0, 0, *session.hw)):
            return
        if self._attempt(lambda: queue.mark(queue.current.path.name, state)):
            self.changed.emit()
            self.step(1)

    def complete_view(self) -> None:
        """Mark what is in view as annotated to the end, and agree with the objects in it."""
        session, image = self.session, self._image
        if session is not None and image is not None:
            self._complete(box_in_view(self._state.viewer, image, session.hw))

    def run_on_all(self) -> None:
        """Have the head propose on all images that are not done, but for the one that is open."""
        queue, head = self.queue, self.head
        if queue is None or head is None:
            return
        leave = (queue.current.path.name,) if self.session is not None else ()
        state = self._state
        job = automatic_job(
            queue,
            head,
            state.model,
            state.sessions_dir,
            state.training.result_filter,
            leave,
            state.training.folder,
            state.classes,
        )

        def take(run: FolderRun) -> None:
            self.stage = "automatic"
            self.message.emit(
                f"The head went through {len(run.uncertainty)} images; 'Next' opens the one it doubts most."
                + _left_out(run.skipped)
            )

        self.runner.start(job, "running the head on all images", take)

    def _attempt(self, call: Callable[[], object]) -> bool:
        return self._state.attempt(call, self.message.emit)

    def _on_queue(self, queue: FolderQueue) -> None:
        self.queue = queue
        self.opened.emit()
        self._open()

    def _open(self) -> None:
        """Open the current image of the queue in place of the one before."""
        if self.queue is None:
            return
        path = self.queue.current.path
        self.changed.emit()
        self.opener.start(
            picture_job(path), f"reading {path.name}", lambda picture: self._on_picture(picture, path.name)
        )

    def _on_picture(self, picture: LoadedImage, name: str) -> None:
        viewer, before = self._state.viewer, self._image
        old: list[Any] = []
        if before is not None and before in viewer.layers:
            marks = (shown.MARK, shown.MARK_HEAD)
            old = [one for one in viewer.layers if any(one.metadata.get(m) == before.name for m in marks)]
            old.append(before)
        self._name = name
        # Before the old ones go, so that the viewer is never empty.
        placed: dict[str, Any] = (
            {} if picture.mpp is None else {"scale": (picture.mpp,) * 2, "units": ("um", "um")}
        )
        image = self._image = viewer.add_image(picture.pixels, name=picture.name, rgb=True, **placed)
        # All at once: napari searches for garbage each time that layers go.
        shown.remove(viewer, old)
        if self._state.image is before:
            self._state.choose_image(None)
        if before is not None:
            self._state.release(before)
        image.name = picture.name  # which the old one may have had
        self._state.choose_image(image)
        viewer.reset_view()
        self.message.emit(picture.note or "")
        self.changed.emit()

    def _on_session(self) -> None:
        """Follow the session of the queue's image."""
        if self._session is not None:
            self._session.document_changed.disconnect(self._on_document)
        self._session = self.session
        if self._session is not None:
            self._session.document_changed.connect(self._on_document)
            self._session.proposals.stage = self._stage

    def _on_bench(self) -> None:
        """Once the image is ready for clicks: let the head propose, then prepare the next image."""
        session = self.session
        if self._state.ready and session is not None and session is not self._prepared:
            self._prepared = session
            if session.proposals.stage == "semi-automatic":
                self._propose()
            self._encode_ahead()

    def _on_document(self, _box: object = None) -> None:
        queue = self.queue
        if queue is not None and self.session is not None and not self._proposing:
            self._attempt(lambda: queue.touch(self._name))
            self.changed.emit()

    def _complete(self, box: Box) -> bool:
        session = self.session
        if session is None:
            return False
        agreed: list[int] = []
        done = self._attempt(lambda: agreed.extend(session.area.complete(box)))
        if done:
            self.message.emit(completion_message(len(agreed)))
        return done

    def _propose(self) -> None:
        """Run the head on the image in use and take its result as the stage says."""
        session, head, model = self._session, self.head, self._state.model
        if session is None or head is None or self.runner.busy:
            return

        def take(result: Segmented) -> None:
            if self._session is not session:
                return
            if session.proposals.stage == "assisted":
                then(session.proposals.offer(result.objects))  # which says why there is nothing
                return
            change = session.proposals.replace(result.objects)
            self.intake.add(Result(session, change, then, self._quietly))

        def then(made: list[AnnotatedObject]) -> None:
            self.message.emit(
                f"The head proposes {len(made)} objects; correct them, then press 'Done, next'."
            )

        job = segment_job(session.image, head, model, None, self._state.training.result_filter)
        self.runner.start(job, "letting the head propose", take)

    def _quietly(self, change: Callable[[], T]) -> T:
        """Change the session as the head does, which is no work of a person."""
        self._proposing = True
        try:
            return change()
        finally:
            self._proposing = False

    def _encode_ahead(self) -> None:
        job = None
        if self.queue is not None and self._state.model is not None:
            self.queue.by_uncertainty = self._stage == "automatic"
            job = self.queue.encode_ahead_job(self._state.model)
        if job is not None:
            self.ahead.start(job, "preparing the next image", lambda _tiles: None)


def _left_out(reasons: Mapping[str, str]) -> str:
    """Say how many images were left out, and why the first was."""
    if not reasons:
        return ""
    name, why = next(iter(reasons.items()))
    count = "One image was" if len(reasons) == 1 else f"{len(reasons)} images were"
    return f" {count} left out; {name}: {why}"
