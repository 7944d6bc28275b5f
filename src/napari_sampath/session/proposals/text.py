"""Classify the proposals of a session by texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...annotations import AnnotatedObject, Document, Operation
from ...annotations.model.classes import next_color
from ...arrays import ClassInfo
from ...errors import PromptError
from ...jobs import Job
from ..change import Change
from ..editor import Editor
from .classifying import UNCLASSIFIED
from .new_objects import NewObject, NewObjects
from .plan import plan_objects

if TYPE_CHECKING:
    from ...encoders.text.text_model import TextModel
    from ...predict.text.classify import Prompts, TextMatch
    from ...predict.text.settings import TextSettings


@dataclass(frozen=True, slots=True, eq=False)
class TextResult:
    """The classes that texts give to objects."""

    matches: tuple[tuple[AnnotatedObject, TextMatch], ...]
    """Record of each object at the time of the classification, and its match."""
    names: tuple[str, ...]
    """All classes that could be chosen."""
    model: str
    """Name of the text model."""


def text_job(
    document: Document,
    pixels: Any,
    prompts: Prompts,
    model: TextModel,
    ids: Iterable[int] | None = None,
    rejected: Sequence[str] = (),
    settings: TextSettings | None = None,
) -> Job[TextResult]:
    """Make a job that classifies objects by texts; it can run in any thread.

    Args:
        document: The document, which is read immediately and may change while the job runs.
        pixels: (H, W, 3) uint8 RGB, or an array-like that is read crop by crop.
        prompts: Name of a class -> one or more texts that describe it.
        model: Model of `load_text_model`.
        ids: The objects to classify; defaults to "unclassified" objects and proposals that nobody has reviewed.
        rejected: Texts that describe unwanted objects.
        settings: Size of the crops, and templates of the texts.

    Raises:
        PromptError: If there is no text, or no object to classify.
        UnknownNameError: If an object does not exist.
    """
    unclassified = document.classes.find(UNCLASSIFIED.name)
    if ids is None:
        ids = [
            obj.id
            for obj in document.objects.values()
            if obj.area_px
            and (obj.trust == 0 or (unclassified is not None and obj.class_id == unclassified.id))
        ]
    targets = [document.record(object_id) for object_id in ids]
    if not targets:
        raise PromptError(
            "There is no proposal to classify; use Segment everything or Find similar first, or select objects."
        )
    masks = [document.pixels(obj.id) for obj in targets]
    return _classify(targets, masks, pixels, prompts, model, rejected, settings)


def _classify(
    targets: list[AnnotatedObject],
    masks: list[Any],
    pixels: Any,
    prompts: Prompts,
    model: TextModel,
    rejected: Sequence[str],
    settings: TextSettings | None,
) -> Job[TextResult]:
    from ...predict.text.classify import classify_by_text_job

    matches = yield from classify_by_text_job(pixels, masks, prompts, model, rejected, settings)
    return TextResult(tuple(zip(targets, matches, strict=True)), tuple(prompts), model.name)


def text_change(editor: Editor, result: TextResult, min_score: float = 0.0) -> Change:
    """Return the change that replaces objects by proposals with the classes that texts gave them, as one undo step.

    The new objects have the source "text" and the score of the match, and do not count as reviewed. Objects stay as
    they are if their score is below `min_score`, if a text for unwanted objects fits better, or if they were deleted,
    reclassified or reviewed since.

    Args:
        editor: The editor of the session.
        result: Result of `text_job`.
        min_score: Minimum score, 0..1.
    """
    return Change(editor, lambda document: _plan(document, result, min_score))


def _plan(document: Document, result: TextResult, min_score: float) -> Operation | None:
    classes: list[ClassInfo] = []
    for number, name in enumerate(result.names, start=1):
        known = document.classes.find(name)
        used = [info.color for info in (*document.classes, *classes)]
        classes.append(ClassInfo(number, name, known.color if known else next_color(used)))
    numbers = {info.name: info.id for info in classes}
    new: list[NewObject] = []
    replaced: list[int] = []
    for before, match in result.matches:
        obj = document.objects.get(before.id)
        if obj is None or (obj.class_id, obj.trust) != (before.class_id, before.trust) or not obj.area_px:
            continue
        if match.name is not None and match.score >= min_score:
            replaced.append(obj.id)
            new.append(NewObject(numbers[match.name], document.pixels(obj.id), match.score))
    used_ids = {obj.class_id for obj in new}
    objects = NewObjects(tuple(new), tuple(info for info in classes if info.id in used_ids), result.model)
    return plan_objects(document, objects, "text", None, None, tuple(replaced))
