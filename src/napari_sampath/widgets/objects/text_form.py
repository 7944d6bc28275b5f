"""Controls that classify proposals by texts: the texts, the text model, and the button."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QLineEdit, QWidget

from ...annotations import AnnotatedObject
from ...files.messages import plural
from ...jobs import Job
from ..background.native_libraries import import_triton_isolated
from ..background.workers import JobRunner
from ..common.apply_queue import ApplyQueue
from ..common.controls import button, column, combo_box, row, set_items
from ..viewer.viewer_state import ViewerState

if TYPE_CHECKING:
    from ...encoders.text.text_model import TextModel
    from ...session import Session
    from ...session.proposals.text import TextResult

MODELS = (("QuiltNet", "quiltnet"), ("PLIP", "plip"), ("BiomedCLIP", "biomedclip"))
"""Text and name of each published model."""
SIZES = {"quiltnet": "0.6 GB", "plip": "0.6 GB", "biomedclip": "0.8 GB"}
"""Approximate size of the download of each published model."""
FOLDER = ""
"""Data of the entry that asks for a folder."""
TEXTS_HINT = (
    "Classes and texts that describe them, such as 'gland: round gland; stroma: pink fibres'; empty for the names of "
    "the classes"
)
CLASSIFY_HINT = (
    "Give each proposal the class whose text describes it best. Texts are weak in pathology: check the result"
)


class TextForm(QWidget):
    """Classifies the proposals of the image by texts; hidden if open_clip is not installed.

    Args:
        state: The viewer state.
        say: Shows a message to the user.
    """

    def __init__(self, state: ViewerState, say: Callable[[str], object]) -> None:
        super().__init__()
        self._state, self._say = state, say
        self.runner = JobRunner(self)
        self.apply_queue = ApplyQueue(state, self)
        self._loaded: TextModel | None = None
        self._model = MODELS[0][1]
        self._folder = ""
        self._asked: set[str] = set()
        """Models whose download the user has been asked about."""
        self.texts = QLineEdit()
        self.texts.setPlaceholderText("class: text; class: text")
        self.texts.setToolTip(TEXTS_HINT)
        self.texts.setAccessibleName("Texts that describe the classes")
        self.models = combo_box("Text model")
        self.models.activated.connect(self._on_model)
        self.button = button("Classify by text", CLASSIFY_HINT, self.classify)
        column(self.texts, row(self.models, self.button, stretch=0), parent=self)
        self._show_models()
        for signal in (self.runner.started, self.runner.finished, self.apply_queue.changed):
            signal.connect(self.refresh)
        self.runner.failed.connect(say)
        self.apply_queue.message.connect(say)
        if importlib.util.find_spec("open_clip") is None:
            self.hide()
        self.refresh()

    def refresh(self) -> None:
        """Enable the button if it can be used now."""
        busy = self.runner.busy or self.apply_queue.busy
        self.button.setEnabled(self._state.session is not None and not busy)

    def classify(self) -> None:
        """Load the text model if necessary, and classify the proposals of the image."""
        session = self._state.session
        if session is None:
            return
        if self._loaded is not None and self._loaded.name == self._model:
            self._classify(session, self._loaded)
        elif self._may_load():
            self.runner.start(
                _load_job(self._model), "loading the text model", partial(self._on_loaded, session)
            )

    def _may_load(self) -> bool:
        """Return True unless the model has to be downloaded and the user has not been told yet."""
        from ...encoders.text.files import is_downloaded

        if self._model in self._asked or is_downloaded(self._model):
            return True
        self._asked.add(self._model)
        self._say(
            f"'{self.models.currentText()}' is not on this machine (about {SIZES[self._model]}); press Classify by "
            "text again to download it."
        )
        return False

    def _on_loaded(self, session: Session, model: TextModel) -> None:
        self._loaded = model
        if self._state.session is session:
            self._classify(session, model)
        else:
            self._say("The text model is loaded; press Classify by text for the image that is in use now.")

    def _classify(self, session: Session, model: TextModel) -> None:
        prompts = prompts_of(self.texts.text(), [info.name for info in session.classes])
        proposals = session.proposals
        jobs: list[Job[TextResult]] = []
        if not self._state.attempt(
            lambda: jobs.append(proposals.classify_by_text_job(session.image, prompts, model)), self._say
        ):
            return

        def on_result(result: TextResult) -> None:
            if self._state.session is session:
                self.apply_queue.add(session, proposals.apply_texts(result), self._on_applied)

        self.runner.start(jobs[0], "comparing the objects with the texts", on_result)

    def _on_applied(self, objects: list[AnnotatedObject]) -> None:
        found = plural(len(objects), "proposal")
        self._say(f"Classified {found} by text; review them as cards, or undo the step.")

    def _on_model(self) -> None:
        name = self.models.currentData()
        if name == FOLDER:
            folder = QFileDialog.getExistingDirectory(
                self, "Folder of a model of open_clip", str(Path.home())
            )
            if folder:
                self._folder = name = folder
        self._model = name or self._model
        self._show_models()

    def _show_models(self) -> None:
        folders = [(Path(self._folder).name, self._folder)] if self._folder else []
        set_items(self.models, [*MODELS, *folders, ("Folder…", FOLDER)], self._model)


def prompts_of(text: str, classes: Sequence[str]) -> dict[str, list[str]]:
    """Read texts such as "gland: round gland; stroma"; a class without a text is described by its name.

    Args:
        text: The texts; if it is empty, the names of the classes are used.
        classes: Names of the classes of the image.
    """
    prompts: dict[str, list[str]] = {}
    for part in text.split(";") if text.strip() else classes:
        name, _, described = (side.strip() for side in part.partition(":"))
        if name:
            prompts.setdefault(name, []).append(described or name)
    return prompts


def _load_job(name: str) -> Job[Any]:
    import_triton_isolated()
    from ...config import load_config
    from ...encoders.text.loading import load_text_model_job

    return (yield from load_text_model_job(name, None, load_config().device))
