"""Adaptation of the prompt decoder to the committed objects, in the background, between commits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from ....errors import SampathError
from ....jobs import Job, Progress
from ...background.native_libraries import import_triton_isolated
from ...background.workers import JobRunner

if TYPE_CHECKING:
    from ....arrays import Features
    from ....geometry import Frame
    from ....predict import Model
    from ....predict.decoder.prompt_decoder import PromptDecoder
    from ....session import Session
    from ....training.prompts.adaptation.adapt import AdaptationConfig
    from ....training.prompts.adaptation.decoders import AdaptedDecoder
    from ....training.prompts.adaptation.examples import ExampleTile, RecordedObject

IDLE_MS = 1500
"""Time after the last commit at which a round may begin."""
NEW_OBJECTS = 8
"""Number of new objects with prompts after which the next round begins."""
MAX_OBJECTS = 200
"""Largest number of objects of one image, the newest."""
MAX_TILES = 24
"""Largest number of tiles of all images, the newest; each takes 2 MB."""

NOT_BETTER = "The model stays as it was, because held-back objects would need more clicks after this round."


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """Result of a job: a decoder that is ready for use, and its record."""

    record: AdaptedDecoder | None = None
    decoder: PromptDecoder | None = None
    """The adapted decoder; None if there is none, or if the round gave no better one."""
    tiles: list[ExampleTile] | None = None
    """The tiles of the image of a round."""


class Adaptation(QObject):
    """Adapts the prompt decoder to the user's objects and decides whether it is used.

    A round begins after `NEW_OBJECTS` new objects, when no object was committed for `IDLE_MS`. It runs in a process of
    low priority. Its result is used only if it answers the held-back objects of the user at least as well as before,
    and is saved in the open project. Without a project it is used until the program ends.

    Args:
        parent: The Qt parent.
    """

    changed = Signal()
    """Emitted when a round began or ended, or another decoder is in use."""
    message = Signal(str)
    """Message for the user."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.runner = JobRunner(self)
        self.record: AdaptedDecoder | None = None
        """Record of the adapted decoder of the model; None if there is none."""
        self.config: AdaptationConfig | None = None
        """Configuration of the rounds; the default one if None."""
        self._on = False
        self._folder: Path | None = None
        self._model: Model | None = None
        self._session: Session | None = None
        self._used: dict[tuple[str, int], tuple[object, RecordedObject | None]] = {}
        """Digest of the image and id of each object -> its state and its example."""
        self._new = 0
        self._learning = False
        """Whether the job that was started last is a round."""
        self._tiles: dict[str, list[ExampleTile]] = {}
        """Digest of each image -> its tiles, the newest image last."""
        self._decoder: PromptDecoder | None = None
        """The adapted decoder, also while it is switched off."""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(IDLE_MS)
        self._timer.timeout.connect(self._begin)
        self.runner.failed.connect(self.message)
        self.runner.started.connect(lambda _: self.changed.emit())
        self.runner.finished.connect(self.changed)

    @property
    def on(self) -> bool:
        """Whether the adapted decoder is used and adapted further."""
        return self._on

    @property
    def text(self) -> str:
        """What is in use, in words."""
        if self._learning and self.runner.busy:
            return "learning from your objects …"
        if self.record is None:
            return (
                "not adapted yet: commit more objects"
                if self._on
                else "off: the model does not learn from you"
            )
        return self.record.text if self._on else "off: the original decoder is in use"

    @property
    def summary(self) -> str:
        """What is in use, in a few words."""
        if self._learning and self.runner.busy:
            return "learning …"
        if not self._on:
            return ""
        if self.record is None:
            return "not yet"
        return f"{self.record.clicks_before:.1f} -> {self.record.clicks_after:.1f} clicks"

    def use_model(self, model: Model | None) -> None:
        """Adapt another model from now on, and use its decoder that is saved in the project."""
        if model is not self._model:
            self._model, self._tiles, self._used, self._new = model, {}, {}, 0
            self._load()

    def use_project(self, folder: Path | None) -> None:
        """Use the decoder of another project from now on; None if none is open."""
        if folder != self._folder:
            self._folder = folder
            self._load()

    def follow(self, session: Session | None) -> None:
        """Learn from the objects of another session."""
        if self._session is not None:
            self._session.saved.disconnect(self._on_saved)
        self._session = session
        if session is not None:
            session.saved.connect(self._on_saved)
            self._on_saved()

    def switch(self, on: bool) -> None:
        """Use and adapt the decoder, or return to the original one."""
        if on == self._on:
            return
        self._on = on
        if not on:
            self._timer.stop()
            self.runner.cancel()
        if self.record is not None and self._folder is not None:
            self._record_switch(self._folder, self.record)
        self._apply()
        self._on_saved()

    def close(self) -> None:
        """Stop the round."""
        self._timer.stop()
        self.follow(None)
        self.runner.cancel()

    def _on_saved(self) -> None:
        if self._on and self._model is not None:
            self._timer.start()

    def _load(self) -> None:
        """Load the decoder of the model that is saved in the project."""
        self.runner.cancel()
        self.record = self._decoder = None
        self._apply()
        if self._model is not None and self._folder is not None and _is_promptable(self._model):
            self._learning = False
            job = load_job(self._model, self._folder)
            self.runner.start(job, "loading the adapted decoder", self._on_loaded)

    def _on_loaded(self, adapted: Adapted) -> None:
        self.record, self._decoder = adapted.record, adapted.decoder
        if adapted.record is not None:
            self._on = adapted.record.on
        self._apply()

    def _apply(self) -> None:
        """Let the model use the decoder that the switch selects."""
        if self._model is not None and _is_promptable(self._model) and self._model.decoder is not None:
            self._model.decoder = (self._decoder if self._on else None) or self._model.decoder.original
        self.changed.emit()

    def _record_switch(self, folder: Path, record: AdaptedDecoder) -> None:
        from ....training.prompts.adaptation.decoders import AdaptedDecoders

        try:
            self.record = AdaptedDecoders(folder).switch(record, self._on)
        except SampathError as error:
            self.message.emit(str(error))

    def _begin(self) -> None:
        """Start a round if there are enough new objects."""
        model, session = self._model, self._session
        if model is None or session is None or not self._on or not _is_promptable(model):
            return
        if self.runner.busy:
            self._timer.start()
            return
        objects = self._collect(session)
        if self._new < NEW_OBJECTS:
            return
        self._new = 0
        others = [tile for digest, tiles in self._tiles.items() if digest != session.digest for tile in tiles]
        job = round_job(session, objects, others[-MAX_TILES:], model, self._folder, self.record, self.config)
        digest, self._learning = session.digest, True
        self.runner.start(job, "learning from your objects", lambda adapted: self._on_round(digest, adapted))

    def _collect(self, session: Session) -> list[RecordedObject]:
        """Return the examples of a session, and count the new ones."""
        from ....training.prompts.adaptation.examples import RecordedObject

        document, examples = session.document, []
        for obj in list(document.objects.values())[-MAX_OBJECTS:]:
            key, state = (session.digest, obj.id), (obj.modified, obj.area_px, obj.trust)
            if key not in self._used or self._used[key][0] != state:
                example = (
                    RecordedObject.of(obj, document.pixels(obj.id), session.digest) if obj.prompts else None
                )
                self._new += example is not None and key not in self._used
                self._used[key] = state, example
            examples.append(self._used[key][1])
        return [example for example in examples if example is not None]

    def _on_round(self, digest: str, adapted: Adapted) -> None:
        self._tiles.pop(digest, None)
        self._tiles[digest] = adapted.tiles or []
        self._forget_old_tiles()
        if adapted.decoder is not None:
            self.record, self._decoder = adapted.record, adapted.decoder
            self.message.emit(f"The model is {self.text}.")
        elif adapted.tiles:
            self.message.emit(NOT_BETTER)
        self._apply()

    def _forget_old_tiles(self) -> None:
        """Keep the newest images with at most `MAX_TILES` tiles, and the last image."""
        while len(self._tiles) > 1 and sum(map(len, self._tiles.values())) > MAX_TILES:
            del self._tiles[next(iter(self._tiles))]


def _is_promptable(model: Model) -> bool:
    """Return False for a model without a decoder whose weights can change, such as one that runs elsewhere."""
    return getattr(model, "decoder", None) is not None


def load_job(model: Model, folder: Path) -> Job[Adapted]:
    """Make a job that loads the adapted decoder of a model from a project, whether it is switched on or not."""
    yield Progress(0, 0, "Loading the adapted decoder")
    import_triton_isolated()
    from ....training.prompts.adaptation.decoders import AdaptedDecoders

    decoders = AdaptedDecoders(folder)
    record = decoders.find(model)
    if record is None or model.decoder is None:
        return Adapted()
    return Adapted(record, model.decoder.with_weights(decoders.weights(record)))


def round_job(
    session: Session,
    objects: list[RecordedObject],
    others: list[ExampleTile],
    model: Model,
    folder: Path | None,
    record: AdaptedDecoder | None,
    config: AdaptationConfig | None = None,
) -> Job[Adapted]:
    """Make a job that carries out one round, and saves the decoder in the project if it is better.

    Args:
        session: The session of the image.
        objects: Its objects.
        others: Tiles of other images.
        model: The model.
        folder: Folder of the open project; None if there is none.
        record: Record of the decoder in use, if it is adapted.
        config: The configuration.
    """
    yield Progress(0, 0, "Collecting your objects")
    import_triton_isolated()
    from ....training.prompts.adaptation.decoders import AdaptedDecoders, record_of
    from ....training.prompts.adaptation.examples import collect_job, sample_tiles
    from ....training.prompts.adaptation.process import Round, adapt_in_process_job

    cache, decoder = session.prompts.tiles, model.decoder
    if cache is None or decoder is None:
        return Adapted()

    def features(frame: Frame) -> Features:
        return cache.get(frame) if cache.holds(frame) else model.encode(session.image, frame)

    tiles = yield from collect_job(objects, session.hw, features, session.slide is not None)
    tiles = tiles[-MAX_TILES:]
    task = Round.of(decoder, [*others, *tiles], sample_tiles(model), config)
    result = yield from adapt_in_process_job(task)
    if not result.better:
        return Adapted(tiles=tiles)
    adapted = decoder.with_weights(result.weights)
    if folder is None:
        new = record_of(model, result, 1 if record is None else record.rounds + 1)
    else:
        new = AdaptedDecoders(folder).save(model, result)
    return Adapted(new, adapted, tiles)
