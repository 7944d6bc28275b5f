"""Objects of "segment everything": added without a class, then classified by similarity to classified objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ...annotations import AnnotatedObject, Batch, Box, Document, Reclassify
from ...arrays import ClassInfo, LocalMask
from ...errors import PromptError
from ...jobs import Job
from ..prompts.tile_cache import TileFeatures
from .neighbours import Guess, classify, mean_features_job
from .new_objects import NewObject, NewObjects

UNCLASSIFIED = ClassInfo(1, "unclassified", (128, 128, 128))
"""Class of objects that are not classified yet."""


def everything(masks: Iterable[tuple[LocalMask, float]], model: str, within: Box | None = None) -> NewObjects:
    """Convert masks and scores to objects without a class, the best on top; see `Proposals.everything`."""
    objects = (
        NewObject(UNCLASSIFIED.id, mask, score) for mask, score in sorted(masks, key=lambda item: item[1])
    )
    return NewObjects(tuple(objects), (UNCLASSIFIED,), model, within)


def classify_job(
    document: Document, tiles: TileFeatures, ids: Iterable[int] | None = None
) -> Job[dict[int, Guess]]:
    """Make a job that guesses classes of objects from verified objects, for any thread.

    Args:
        document: Read now; it may change while the job runs.
        tiles: The tiles of the image.
        ids: The objects to classify; defaults to "unclassified" objects and unreviewed proposals of heads.

    Raises:
        PromptError: If no object is classified yet.
        UnknownNameError: If an object does not exist.
    """
    unclassified = document.classes.find(UNCLASSIFIED.name)
    unclassified_id = 0 if unclassified is None else unclassified.id
    objects = document.objects.values()
    if ids is None:
        ids = [obj.id for obj in objects if obj.class_id == unclassified_id or obj.trust == 0]
    targets = [document.record(object_id) for object_id in ids]
    target_ids = {obj.id for obj in targets}
    examples = [
        obj
        for obj in objects
        if obj.trust == 1 and obj.class_id != unclassified_id and obj.id not in target_ids
    ]
    masks = [document.pixels(obj.id) for obj in (*targets, *examples)]
    return _classify(targets, [obj.class_id for obj in examples], masks, tiles, document.hw)


def _classify(
    targets: list[AnnotatedObject],
    class_ids: list[int],
    masks: list[LocalMask],
    tiles: TileFeatures,
    hw: tuple[int, int],
) -> Job[dict[int, Guess]]:
    if not targets:
        return {}
    if not class_ids:
        raise PromptError("No object has a class yet; classify at least one of each class by hand first.")
    features = yield from mean_features_job(masks, tiles, hw)
    guesses = classify(features[: len(targets)], features[len(targets) :], class_ids)
    return {obj.id: replace(guess, of=obj) for obj, guess in zip(targets, guesses, strict=True)}


def apply_guesses(document: Document, guesses: Mapping[int, Guess], min_share: float = 0.0) -> Batch:
    """Return the operation that gives objects their guessed classes.

    Objects that were deleted or reviewed since the guess are skipped.

    Args:
        document: The document.
        guesses: Object id -> guess.
        min_share: Guesses with a smaller share are skipped.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for object_id, guess in guesses.items():
        obj, before = document.objects.get(object_id), guess.of
        if obj is None or (before and (obj.class_id, obj.trust) != (before.class_id, before.trust)):
            continue
        if guess.class_id in document.classes and guess.share >= min_share:
            by_class[guess.class_id].append(object_id)
    steps = tuple(Reclassify(tuple(ids), class_id) for class_id, ids in sorted(by_class.items()))
    return Batch(steps, "the classes by similarity")
