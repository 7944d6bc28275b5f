"""Work through a folder: open its images, run the head on them, and save the state of each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from ...annotations import AnnotatedObject, Box
from ...files.messages import plural
from ...images import LoadedImage
from ...session import FolderQueue, FolderRun, Session, Stage, State
from ..background.workers import JobRunner
from ..canvas import layers as canvas_layers
from ..canvas.shown_image import ORIENTATION, SOURCE_FILE
from ..canvas.viewport import box_in_view
from ..common.apply_queue import ApplyQueue
from ..common.head_choice import missing_model, proposed_head
from ..common.segment_jobs import HeadResult, segment_job
from ..viewer.annotator import completion_message
from ..viewer.viewer_state import ViewerState
from .jobs import queue_job, read_job, segment_folder_job

if TYPE_CHECKING:
    from napari.layers import Image


class FolderController(QObject):
    """Opens the images of a folder in one viewer, runs the head on them, and chooses the next image."""

    changed = Signal()
    """Emitted when another image is opened or the state of an image changes."""
    message = Signal(str)
    """Message for the user, one sentence."""
    folder_opened = Signal()

    def __init__(self, state: ViewerState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.queue: FolderQueue | None = None
        self._listing_note: str | None = None
        """Sentence about the files of the folder, to show with the first image."""
        self.runner = JobRunner(self)
        """Runner of the heads."""
        self.opener = JobRunner(self)
        """Runner that reads images without cancelling a run of the head on all images."""
        self.prefetcher = JobRunner(self)
        """Runner that encodes the next image while the current image is annotated."""
        self.apply_queue = ApplyQueue(state, self)
        """Queue that adds the results of heads to sessions."""
        self._stage: Stage = "assisted"
        self._image: Image | None = None
        self._name = ""
        """File name of `_image`."""
        self._session: Session | None = None
        self._prepared: Session | None = None
        """The session for which the head and the prefetcher were started."""
        self._head_is_editing = False
        for runner in (self.opener, self.prefetcher):
            runner.failed.connect(self.message)
        self.apply_queue.message.connect(self.message)
        state.changed.connect(self._on_viewer_state)
        state.image_chosen.connect(self._on_session)

    @property
    def head(self) -> str | None:
        """The head to run: that of the project, otherwise a shipped head that has the classes of the image."""
        heads, state = self._state.training.heads, self._state
        if heads is not None and heads.current is not None:
            return str(heads.current)
        return proposed_head(state.catalogue, state.classes)

    @property
    def session(self) -> Session | None:
        """The session of the current image; None while it is being read or another layer is in use."""
        queue = self.queue
        opened = queue is not None and self._image is not None and self._name == queue.current.path.name
        return self._state.session if opened and self._state.image is self._image else None

    @property
    def stage(self) -> Stage:
        """Whether the person or the head annotates first."""
        return self._stage

    @stage.setter
    def stage(self, stage: Stage) -> None:
        self._stage = stage
        if self._session is not None:
            self._session.proposals.stage = stage
            if self._state.ready:
                if stage == "semi-automatic":
                    self._run_head()
                self._prefetch()  # The next image depends on the stage.
        self.changed.emit()

    def open_folder(self, folder: Path) -> None:
        """Open a folder and the image in it that was open last."""
        job = queue_job(folder, self._state.sessions_dir)
        self.opener.start(job, "opening the folder", self._on_queue)

    def open(self, name: str) -> None:
        """Open an image by its file name."""
        queue = self.queue
        if queue is None or (name == queue.current.path.name and self.session is not None):
            return
        if self._attempt(lambda: queue.open(name)):
            self._open_current()

    def step(self, by: int) -> None:
        """Open the next (1) or previous (-1) image; in the stage "automatic", the next image is the most uncertain."""
        queue = self.queue
        if queue is None:
            return
        before = queue.current.path
        queue.by_uncertainty = self._stage == "automatic"
        if not self._attempt(queue.next if by > 0 else queue.previous):
            return
        if queue.current.path != before:
            self._open_current()
        elif by < 0:
            self.message.emit("This is the first image.")
        else:
            end = "No image is left to review." if queue.by_uncertainty else "This is the last image."
            self.message.emit(end)

    def finish(self, image_state: State, verify: bool) -> None:
        """Mark the image as "done" or "unsure", verify all of it if `verify` is set, and open the next image."""
        queue, session = self.queue, self.session
        if queue is None or session is None or (verify and not self._verify((0, 0, *session.hw))):
            return
        if self._attempt(lambda: queue.mark(queue.current.path.name, image_state)):
            self.changed.emit()
            self.step(1)

    def verify_view(self) -> None:
        """Mark the view as verified and the objects in it as reviewed."""
        session, image = self.session, self._image
        if session is not None and image is not None:
            self._verify(box_in_view(self._state.viewer, image, session.hw))

    def run_on_all(self) -> None:
        """Segment all images that are not done, except the open one."""
        queue, head, state = self.queue, self.head, self._state
        if queue is None or head is None or self._needs_download(head):
            return
        job = segment_folder_job(
            queue,
            head,
            state.model,
            state.sessions_dir,
            state.training.result_filter,
            (queue.current.path.name,) if self.session is not None else (),
            None,
            state.training.first_classes(state.classes),
        )

        def on_done(run: FolderRun) -> None:
            self.stage = "automatic"
            self.message.emit(
                f"The head {Path(head).stem} segmented {plural(len(run.uncertainty), 'image')}; "
                "'Next' opens the most uncertain one." + _describe_skipped(run.skipped)
            )

        self.runner.start(job, "running the head on all images", on_done)

    def _needs_download(self, head: str) -> bool:
        """Say if the model of a head is not on this machine; it is only downloaded when the user asks for it."""
        missing = missing_model(head, self._state.catalogue)
        if missing:
            self.message.emit(
                f"The model of the head {Path(head).stem} is not on this machine ({missing}); run the head once in the "
                "Auto-segment tab to download it."
            )
        return bool(missing)

    def _attempt(self, call: Callable[[], object]) -> bool:
        return self._state.attempt(call, self.message.emit)

    def _on_queue(self, queue: FolderQueue) -> None:
        self.queue = queue
        self._listing_note = queue.note
        self.folder_opened.emit()
        self._open_current()

    def _open_current(self) -> None:
        if self.queue is None:
            return
        path = self.queue.current.path
        self.changed.emit()
        job = read_job(path, self._state.sessions_dir)
        self.opener.start(job, f"reading {path.name}", lambda image: self._show_image(image, path))

    def _show_image(self, loaded: LoadedImage, path: Path) -> None:
        viewer, previous = self._state.viewer, self._image
        old: list[Any] = []
        if previous is not None and previous in viewer.layers:
            marks = (canvas_layers.MARK, canvas_layers.MARK_HEAD)
            old = [
                layer
                for layer in viewer.layers
                if layer is previous or any(layer.metadata.get(mark) == previous.name for mark in marks)
            ]
        self._name = path.name
        # Add the image before removing the old layers, so that the viewer is never empty.
        scale = {} if loaded.mpp is None else {"scale": (loaded.mpp,) * 2, "units": ("um", "um")}
        image = self._image = viewer.add_image(loaded.pixels, name=loaded.name, rgb=True, **scale)
        image.metadata[ORIENTATION] = loaded.orientation
        image.metadata[SOURCE_FILE] = str(path)
        # Remove all layers at once, because napari runs the garbage collector on each removal.
        canvas_layers.remove(viewer, old)
        if self._state.image is previous:
            self._state.choose_image(None)
        if previous is not None:
            self._state.release(previous)
        image.name = loaded.name  # napari renames the new layer if the previous one has the same name.
        self._state.choose_image(image)
        viewer.reset_view()
        self.message.emit(" ".join(filter(None, (self._listing_note, loaded.note))))
        self._listing_note = None
        self.changed.emit()

    def _on_session(self) -> None:
        if self._session is not None:
            self._session.document_changed.disconnect(self._on_document)
        self._session = self.session
        if self._session is not None:
            self._session.document_changed.connect(self._on_document)
            self._session.proposals.stage = self._stage

    def _on_viewer_state(self) -> None:
        """Run the head and encode the next image once the current one is ready for prompts."""
        session = self.session
        if self._state.ready and session is not None and session is not self._prepared:
            self._prepared = session
            if session.proposals.stage == "semi-automatic":
                self._run_head()
            self._prefetch()

    def _on_document(self, _box: object = None) -> None:
        queue = self.queue
        if queue is not None and self.session is not None and not self._head_is_editing:
            self._attempt(lambda: queue.touch(self._name))
            self.changed.emit()

    def _verify(self, box: Box) -> bool:
        session = self.session
        if session is None:
            return False
        verified: list[int] = []
        done = self._attempt(lambda: verified.extend(session.area.complete(box)))
        if done:
            self.message.emit(completion_message(len(verified)))
        return done

    def _run_head(self) -> None:
        """Segment the current image and add the result, depending on the stage."""
        session, head, state = self._session, self.head, self._state
        if session is None or head is None or self.runner.busy or self._needs_download(head):
            return

        def on_done(objects: list[AnnotatedObject]) -> None:
            self.message.emit(
                f"The head {Path(head).stem} added {plural(len(objects), 'object')}; correct them, then press "
                "'Done, next'."
            )

        def add(result: HeadResult) -> None:
            if self._session is not session:
                return
            if session.proposals.stage == "assisted":
                on_done(session.proposals.offer(result.objects))  # The session refuses and emits the reason.
                return
            change = session.proposals.replace(result.objects)
            self.apply_queue.add(session, change, on_done, self._as_head)

        result_filter, mpp = state.training.result_filter, session.files.mpp
        job = segment_job(session.image, head, state.model, None, result_filter, mpp)
        self.runner.start(job, "running the head", add)

    @contextmanager
    def _as_head(self) -> Iterator[None]:
        """Change the session without marking the image as in progress."""
        self._head_is_editing = True
        try:
            yield
        finally:
            self._head_is_editing = False

    def _prefetch(self) -> None:
        job = None
        if self.queue is not None and self._state.model is not None:
            self.queue.by_uncertainty = self._stage == "automatic"
            job = self.queue.encode_ahead_job(self._state.model)
        if job is not None:
            self.prefetcher.start(job, "encoding the next image", lambda _tiles: None)


def _describe_skipped(reasons: Mapping[str, str]) -> str:
    """State how many images were skipped, and why the first one was."""
    if not reasons:
        return ""
    name, reason = next(iter(reasons.items()))
    count = "One image was" if len(reasons) == 1 else f"{len(reasons)} images were"
    return f" {count} skipped; {name}: {reason}"
