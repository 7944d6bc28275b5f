"""State shared by the docks of a viewer: the image, its session, the model, and the threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from napari.layers import Image, Layer
from qtpy.QtCore import QObject, QTimer, Signal

from ...arrays import ClassInfo
from ...config import sessions_folder
from ...errors import attempt
from ...jobs import Job
from ..background.activity import Activity
from ..background.workers import JobRunner, PromptWorker
from ..canvas.layers import is_helper
from ..canvas.napari_internals.layer_list import HiddenRows
from ..canvas.napari_internals.napari_canvas import make_context_current
from ..canvas.overlays.orientation import Orientation
from ..canvas.shown_image import show_instead, shown_for, source_file
from ..canvas.viewport import centre_of_view
from .annotator import Annotator
from .commit_queue import CommitQueue
from .image_follower import ImageFollower, user_images, visible_image
from .jobs import Catalogue, ModelChoice, OpenedImage, catalogue_job, model_job, open_job, prepare_job
from .preferences import first_choice, share_config
from .prefetch import ViewPrefetcher
from .training.state import TrainingState

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from ...predict import Model
    from ...session import Session

READY = "Ready: click on an object."
PREPARING = "You can already navigate and click; masks appear when the image is prepared."

__all__ = ["ModelChoice", "ViewerState", "viewer_state_of"]

_states: WeakValueDictionary[int, ViewerState] = WeakValueDictionary()


class ViewerState(QObject):
    """Prepares the image of a viewer for prompts in several background steps.

    The steps are: open the session (which replays its journal), list the models, load the chosen model, and encode the
    image, starting with the region in view. If the image or the model is changed, only the affected steps are repeated.
    A session is kept as long as its image layer, so that its undo history survives switching to another image.

    Args:
        viewer: The viewer (not napari's public proxy of it).
        load_model: Returns a job that loads a model.
        sessions_dir: Folder of the journals; by default the folder in the user's configuration.
    """

    message = Signal(str)
    """Message for the user."""
    changed = Signal()
    """Emitted when the image, session or model changed, or a step finished."""
    image_chosen = Signal()
    """Emitted after switching to the session of another image."""

    def __init__(
        self,
        viewer: Viewer,
        load_model: Callable[[ModelChoice], Job[Model]] | None = None,
        sessions_dir: Path | None = None,
    ) -> None:
        super().__init__()
        self.viewer = viewer
        self.image: Image | None = None
        self.annotator: Annotator | None = None
        self.model: Model | None = None
        share_config()
        self.choice = first_choice()
        self._loaded: tuple[ModelChoice, Model] | None = None
        """The model that was loaded last; it stays in use if another one cannot be loaded."""
        self._was_ready = False
        """`ready` with that model."""
        self._failure = ""
        """Message of the last failed job."""
        self.catalogue: Catalogue | None = None
        self.runner = JobRunner(self)
        self.prompts = PromptWorker(self)
        self.commits = CommitQueue(self.prompts, lambda: self.session, self.message.emit, self)
        self.ready = False
        """Whether the image is encoded, at least in the region in view."""
        self.sessions_dir = sessions_dir or sessions_folder()
        """Folder of the journals."""
        self._load_model = load_model or _load
        self._sessions: WeakKeyDictionary[Layer, Session] = WeakKeyDictionary()
        self._users = 0
        self._classes: tuple[ClassInfo, ...] = ()
        """Classes of the previous image."""
        self.training = TrainingState(self.sessions_dir, self)
        self.activity = Activity(self)
        """The running background work of all docks."""
        self.activity.watch(self.runner, self.commits.runner)
        self.activity.watch(self.training.runner, self.training.membership.runner)
        self._prefetcher = ViewPrefetcher(self, self)
        self.follower = ImageFollower(self, self)
        self.follower.changed.connect(self._on_seen)
        self._rows = HiddenRows(viewer, is_helper)
        self.orientation = Orientation(viewer, self)
        self.prompts.failed.connect(self.message)
        self.runner.finished.connect(self._on_finished)
        self.runner.failed.connect(self._on_failed)
        viewer.layers.events.removing.connect(self._on_removing)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)

    def start(self) -> None:
        """Choose an image of the viewer, if none is chosen yet."""
        self._follow_layers()

    def join(self) -> None:
        """Register a dock."""
        self._users += 1

    def leave(self) -> None:
        """Unregister a dock; close after the last dock."""
        self._users -= 1
        if self._users == 0:
            self.close()

    def close(self) -> None:
        """Stop the threads and disconnect from the viewer; annotations are already in the journal."""
        if _states.get(id(self.viewer)) is self:
            # Other references may keep this object alive, but the next dock needs a new state.
            del _states[id(self.viewer)]
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            event.disconnect(self._on_layers)
        self.runner.cancel()
        self.follower.close()
        self._prefetcher.close()
        self.prompts.close()
        for session in self._sessions.values():
            self.commits.release(session)
        self.training.close()
        self._detach()
        self._rows.close()
        self.orientation.close()
        self.image = None
        self.viewer.layers.events.removing.disconnect(self._on_removing)
        for session in self._sessions.values():
            session.close()

    @property
    def session(self) -> Session | None:
        """The session of the current image."""
        return None if self.annotator is None else self.annotator.session

    def sessions(self) -> list[Session]:
        """Return the open sessions of all images."""
        return list(self._sessions.values())

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes of the current image, or of the previous image if there is none."""
        return self._classes if self.session is None else self.session.classes.snapshot

    def attempt(self, call: Callable[[], object], say: Callable[[str], object] | None = None) -> bool:
        """Call a function; if it raises a `SampathError`, show the message and return False.

        Args:
            call: The function.
            say: Receives the message; the signal `message` by default.
        """
        return attempt(call, say or self.message.emit)

    def release(self, image: Image) -> None:
        """Close the session of a removed image layer, so that its journal can be opened again."""
        session = self._sessions.pop(image, None)
        if session is not None:
            self.commits.release(session)
            session.close()

    def images(self) -> list[Image]:
        """List the image layers from bottom to top, without the results of heads."""
        return user_images(self.viewer)

    def choose_image(self, image: Image | None) -> None:
        """Switch to another image layer or none; for the current layer, retry a failed or cancelled step."""
        if image is not None:
            image = shown_for(self.viewer, image)
        if image is self.image and (image is None or self.ready or self.runner.busy):
            return
        if image is not self.image:
            self.runner.cancel()
            self._detach(hide=True)
            self.image, self.ready = image, False
        self._proceed()

    def choose_model(self, choice: ModelChoice) -> None:
        """Use another model for prompts."""
        if choice == self.choice and self.model is not None:
            return
        if self.model is not None:
            self._was_ready = self.ready
        self.choice, self.model, self.ready, self._failure = choice, None, False, ""
        self.runner.cancel()
        self._proceed()

    def _proceed(self) -> None:
        """Start the first missing step."""
        self.changed.emit()
        if self.image is None:
            return
        if self.annotator is None:
            session = self._sessions.get(self.image)
            if session is None:
                classes = self.training.first_classes(self.classes)
                opened = {other.digest: layer.name for layer, other in self._sessions.items()}
                job = open_job(self.image, self.sessions_dir, None, classes, opened)
                self.runner.start(job, "opening the image", self._on_opened)
                return
            self._attach(session)
        if self.catalogue is None:
            self.runner.start(catalogue_job(), "looking up the models", self._on_catalogue)
        elif self.model is None:
            self.runner.start(self._load_model(self.choice), f"loading {self.choice.name}", self._on_model)
        elif not self.ready and self.session is not None:
            self._prefetcher.skip()
            prepare = prepare_job(self.session, centre_of_view(self.viewer, self.image))
            self.runner.start(prepare, "preparing the image for clicks", self._on_encoded)

    def _on_opened(self, opened: OpenedImage) -> None:
        session, note = opened.session, opened.note
        if self.image is None:
            return
        if not opened.is_shown:
            self.image = show_instead(self.viewer, self.image, session.image)
        self._sessions[self.image] = session
        self.commits.follow(session)
        count = len(session.document.objects)
        text = f"Restored {count} earlier object{'s' * (count > 1)} of this image." if count else PREPARING
        self._attach(session)
        self.message.emit(f"{note} {text}" if note else text)
        self._proceed()

    def _on_catalogue(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._proceed()

    def _on_finished(self) -> None:
        # Wait for the result of the job, which is delivered after this signal.
        QTimer.singleShot(0, self._keep_model)

    def _keep_model(self) -> None:
        """Return to the previous model if the chosen one could not be loaded."""
        if self.model is not None or self._loaded is None or self.runner.busy or self.annotator is None:
            return
        reason = self._failure or f"{self.choice.name} was not loaded."
        (self.choice, self.model), self.ready = self._loaded, self._was_ready
        self.message.emit(f"{reason} {self.choice.name} stays in use.")
        self._proceed()

    def _on_failed(self, message: str) -> None:
        self._failure = message

    def _on_model(self, model: Model) -> None:
        self.model, self._loaded = model, (self.choice, model)
        self.training.adaptation.use_model(model)
        if self.session is not None:
            self.session.model = model
            self.commits.ask(self.session)
        self._proceed()

    def _on_encoded(self, _tiles: Any) -> None:
        self.ready = True
        self.message.emit(READY)
        self.changed.emit()
        if self.annotator is not None and self.annotator.session.prompts.candidate is None:
            self.annotator.input.ask()

    def _attach(self, session: Session) -> None:
        if self.image is None:
            return
        session.model = self.model
        self.commits.ask(session)
        self.orientation.follow(self.image, session.files.mpp)
        self.annotator = Annotator(self.viewer, self.image, session, self.prompts, self)
        self.annotator.mouse.accepts = self.follower.accepts
        self.annotator.message.connect(self.message)
        self.annotator.changed.connect(self.changed)
        self.ready = False
        self.training.follow(session, source_file(self.image))
        self.image_chosen.emit()

    def _detach(self, hide: bool = False) -> None:
        """Close the annotator; with `hide`, also hide its label layers, because another image is shown."""
        annotator, self.annotator = self.annotator, None
        self.orientation.follow(None)
        self.training.follow(None)
        if annotator is not None:
            self._classes = annotator.session.classes.snapshot
            annotator.close(hide)
            annotator.deleteLater()
            self._rows.update()

    def _on_seen(self) -> None:
        """Let the brush paint only on an image that the user sees."""
        if self.annotator is not None:
            self.annotator.layers.classes.editable = self.follower.seen

    def _on_removing(self) -> None:
        make_context_current(self.viewer)

    def _on_layers(self) -> None:
        # Wait for the end of the event: napari is still changing its layer list.
        QTimer.singleShot(0, self._follow_layers)

    def _follow_layers(self) -> None:
        layers = self.viewer.layers
        if self.image is not None and self.image not in layers:
            self.choose_image(None)
            # Close the sessions now: removed layers may stay referenced, and reopening an image needs its journal.
            for image in [layer for layer in self._sessions if layer not in layers]:
                self.release(image)
        elif self.annotator is not None and any(layer not in layers for layer in self.annotator.layers.all()):
            self.message.emit("An annotation layer was closed; the annotations are kept and are shown again.")
            self._detach()
            self._proceed()
        if self.image is None and self.images():
            active = layers.selection.active
            self.choose_image(
                active if active in self.images() else visible_image(self.viewer) or self.images()[-1]
            )
        self.changed.emit()


def _load(choice: ModelChoice) -> Job[Model]:
    return model_job(choice.name, choice.device, choice.weights)


def viewer_state_of(viewer: Any) -> ViewerState:
    """Return the state of a viewer; it is created at the first call and lives as long as a dock uses it.

    Args:
        viewer: A viewer, or the proxy that napari hands to plugins.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    state = _states.get(id(viewer))
    if state is None or state.viewer is not viewer:
        state = _states[id(viewer)] = ViewerState(viewer)
    return state
