"""What the docks of one viewer share: the image, its session, the model, and the threads."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal

from ...errors import SampathError
from ..background.workers import JobRunner, PromptWorker
from ..canvas.napari_internals.napari_canvas import make_context_current
from ..canvas.viewport import centre_of_view
from .annotator import Annotator
from .jobs import Catalogue, catalogue_job, model_job, open_job, prepare_job
from .prefetch import ViewPrefetcher
from .training_state import TrainingState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.layers import Layer
    from napari.viewer import Viewer

    from ...arrays import ClassInfo
    from ...jobs import Job
    from ...predict import Model
    from ...session import Session

logger = logging.getLogger(__name__)

WHILE_PREPARING = "You can look around and click already; answers come once the image is prepared."

_states: WeakValueDictionary[int, ViewerState] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model the user wishes."""

    name: str = "sampath-tiny"
    device: str = "auto"
    weights: Path | None = None
    """A weights file of the user's own."""


class ViewerState(QObject):
    """Brings one viewer's image from opened to ready for prompts, one step after the other, in the
    background.

    The steps are: make the session (which replays its journal), list the models, load the wished one, encode
    the image with the region in view first. Another image or model starts from the step that changed.
    Sessions are kept as long as their image layer is, so going back to an image finds its undo history; the
    journal on disk outlives both.

    Args:
        viewer: The viewer (not napari's public proxy of it).
        load_model: Makes the job that loads a model; for tests with a model of their own.
        sessions_dir: Folder of the journals; the user's if left out.
    """

    message = Signal(str)
    """A sentence for the user."""
    changed = Signal()
    """Another image, session or model, or a step finished."""
    image_chosen = Signal()
    """Another image's session is in use."""

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
        self.choice = ModelChoice()
        self.catalogue: Catalogue | None = None
        self.runner = JobRunner(self)
        self.prompts = PromptWorker(self)
        self.ready = False
        """True once the image in use is encoded, the region in view at least."""
        self._load_model = load_model or _load
        self.sessions_dir = sessions_dir
        """Folder of the journals; None for the user's."""
        self._sessions: WeakKeyDictionary[Layer, Session] = WeakKeyDictionary()
        self._users = 0
        self._classes: tuple[ClassInfo, ...] = ()
        """Of the image that was in use before."""
        self.training = TrainingState(sessions_dir, self)
        """The dataset that what is annotated goes to, and its heads."""
        self._prefetcher = ViewPrefetcher(self, self)
        self.prompts.failed.connect(self.message)
        viewer.layers.events.removing.connect(self._on_removing)
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)

    def start(self) -> None:
        """Pick up the image that is open, if none is in use."""
        self._follow_layers()

    def join(self) -> None:
        """Note that one more dock uses this."""
        self._users += 1

    def leave(self) -> None:
        """Note that a dock is gone; with the last one everything ends."""
        self._users -= 1
        if self._users == 0:
            self.close()

    def close(self) -> None:
        """Stop the threads and give the viewer back; annotations are in the journal already."""
        if _states.get(id(self.viewer)) is self:
            # Somebody may hold it for a while yet; the next dock needs one that works.
            del _states[id(self.viewer)]
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            event.disconnect(self._on_layers)
        self.runner.cancel()
        self._prefetcher.close()
        self.prompts.close()
        self.training.close()
        self._detach()
        self.image = None
        self.viewer.layers.events.removing.disconnect(self._on_removing)
        for session in self._sessions.values():
            session.close()

    @property
    def session(self) -> Session | None:
        """The session of the image in use."""
        return None if self.annotator is None else self.annotator.session

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes of the image in use or, while there is none, of the one before."""
        return self._classes if self.session is None else self.session.classes.snapshot

    def attempt(self, call: Callable[[], object], say: Callable[[str], object] | None = None) -> bool:
        """Call something that may refuse; its sentence goes to the user. True if it did not refuse.

        Args:
            call: What to do.
            say: Takes the sentence; `message` if left out.
        """
        try:
            call()
        except SampathError as error:
            (say or self.message.emit)(str(error))
            return False
        return True

    def release(self, image: Image) -> None:
        """Close the session of an image that was taken out of the viewer, so that another may open its journal."""
        session = self._sessions.pop(image, None)
        if session is not None:
            session.close()

    def images(self) -> list[Image]:
        """List the image layers that can be annotated, the topmost last."""
        return [layer for layer in self.viewer.layers if isinstance(layer, Image)]

    def choose_image(self, image: Image | None) -> None:
        """Annotate another image layer, or none; or try again what failed or was cancelled with this one."""
        if image is self.image and (image is None or self.ready or self.runner.busy):
            return
        if image is not self.image:
            self.runner.cancel()
            self._detach()
            self.image, self.ready = image, False
        self._proceed()

    def choose_model(self, choice: ModelChoice) -> None:
        """Answer prompts with another model."""
        if choice == self.choice and self.model is not None:
            return
        self.choice, self.model, self.ready = choice, None, False
        self.runner.cancel()
        self._proceed()

    def _proceed(self) -> None:
        """Start the first step that is missing."""
        self.changed.emit()
        if self.image is None:
            return
        if self.annotator is None:
            session = self._sessions.get(self.image)
            if session is None:
                job = open_job(self.image, self.sessions_dir, self.training.folder, self.classes)
                self.runner.start(job, "opening the image", self._on_opened)
                return
            self._attach(session)
        if self.catalogue is None:
            self.runner.start(catalogue_job(), "looking up the models", self._on_catalogue)
        elif self.model is None:
            self.runner.start(self._load_model(self.choice), f"loading {self.choice.name}", self._on_model)
        elif not self.ready:
            self._encode()

    def _encode(self) -> None:
        if self.session is None or self.image is None:
            return
        self._prefetcher.skip()
        job = prepare_job(self.session, centre_of_view(self.viewer, self.image))
        self.runner.start(job, "preparing the image for clicks", self._on_encoded)

    def _on_opened(self, opened: tuple[Session, str | None]) -> None:
        session, note = opened
        if self.image is None:
            return
        self._sessions[self.image] = session
        count = len(session.document.objects)
        found = f"Found {count} earlier annotations of this image." if count else WHILE_PREPARING
        self.message.emit(f"{note} {found}" if note else found)
        self._attach(session)
        self._proceed()

    def _on_catalogue(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.training.restore()
        self._proceed()

    def _on_model(self, model: Model) -> None:
        self.model = model
        if self.session is not None:
            self.session.model = model
        self._proceed()

    def _on_encoded(self, _tiles: Any) -> None:
        self.ready = True
        self.message.emit("Ready: click on a structure.")
        self.changed.emit()
        if self.annotator is not None and self.annotator.session.prompts.candidate is None:
            self.annotator.input.ask()

    def _attach(self, session: Session) -> None:
        if self.image is None:
            return
        session.model = self.model
        self.annotator = Annotator(self.viewer, self.image, session, self.prompts, self)
        self.annotator.message.connect(self.message)
        self.annotator.changed.connect(self.changed)
        self.ready = False
        self.training.follow(session)
        self.image_chosen.emit()

    def _detach(self) -> None:
        annotator, self.annotator = self.annotator, None
        self.training.follow(None)
        if annotator is not None:
            self._classes = annotator.session.classes.snapshot
            annotator.close()
            annotator.deleteLater()

    def _on_removing(self) -> None:
        make_context_current(self.viewer)

    def _on_layers(self) -> None:
        # After the event: napari is in the middle of changing its list.
        QTimer.singleShot(0, self._follow_layers)

    def _follow_layers(self) -> None:
        if self.image is not None and self.image not in self.viewer.layers:
            self.choose_image(None)
            # Somebody may still hold the layer: the same image, opened again, needs the journal.
            for image in [one for one in self._sessions if one not in self.viewer.layers]:
                self.release(image)
        elif self.annotator is not None and any(
            layer not in self.viewer.layers for layer in self.annotator.layers.all()
        ):
            self.message.emit("A layer of the annotations was closed; they are kept, and shown anew.")
            self._detach()
            self._proceed()
        if self.image is None and self.images():
            active = self.viewer.layers.selection.active
            self.choose_image(active if active in self.images() else self.images()[-1])
        self.changed.emit()


def _load(choice: ModelChoice) -> Job[Model]:
    return model_job(choice.name, choice.device, choice.weights)


def viewer_state_of(viewer: Any) -> ViewerState:
    """Return the state of a viewer, made at the first call; it lives as long as a dock holds it.

    Args:
        viewer: A viewer, or the proxy of one that napari hands to plugins.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    state = _states.get(id(viewer))
    if state is None or state.viewer is not viewer:
        state = _states[id(viewer)] = ViewerState(viewer)
    return state
