"""Objects of "segment everything" in a session: added without a class, then classified like those that have one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ...annotations import AnnotatedObject, Batch, Box, Document, Reclassify
from ...arrays import ClassInfo
from ...errors import PromptError
from ...jobs import Job
from .components import Component, Components
from .neighbours import Guess, classify, mean_features_job

if TYPE_CHECKING:
    from ...arrays import LocalMask
    from ..prompts.tile_cache import TileFeatures

UNCLASSIFIED = ClassInfo(1, "unclassified", (128, 128, 128))
"""Class of objects that nobody has classified yet."""


def everything(masks: Iterable[tuple[LocalMask, float]], model: str, within: Box | None = None) -> Components:
    """Take over masks with their scores, the best on top, as objects without a class.

    Args:
        masks: In image coordinates.
        model: What found them.
        within: The part of the image (r0, c0, r1, c1) that was looked at; None for all of it.
    """
    pieces = tuple(
        Component(UNCLASSIFIED.id, mask, score) for mask, score in sorted(masks, key=lambda one: one[1])
    )
    return Components(pieces, (UNCLASSIFIED,), model, within)


def classify_job(
    document: Document, tiles: TileFeatures, ids: Iterable[int] | None = None
) -> Job[dict[int, Guess]]:
    """Make a job that guesses classes of objects from the verified ones; it runs in any thread.

    Args:
        document: Read now; it may go on changing while the job runs.
        tiles: The tiles of the image.
        ids: Which objects; those of the class "unclassified" and those of heads that nobody has reviewed if left out.

    Raises:
        PromptError: If nothing is classified yet.
        UnknownNameError: If an object is not there.
    """
    waiting = document.classes.find(UNCLASSIFIED.name)
    waiting_id = 0 if waiting is None else waiting.id
    records = document.objects
    if ids is None:
        ids = [one.id for one in records.values() if one.class_id == waiting_id or one.trust == 0]
    wanted = [document.record(one).id for one in ids]
    chosen = set(wanted)
    known = [
        one
        for one in records.values()
        if one.trust == 1 and one.class_id != waiting_id and one.id not in chosen
    ]
    masks = [document.pixels(one) for one in (*wanted, *(one.id for one in known))]
    return _classify(
        [records[one] for one in wanted], [one.class_id for one in known], masks, tiles, document.hw
    )


def _classify(
    wanted: list[AnnotatedObject],
    class_ids: list[int],
    masks: list[LocalMask],
    tiles: TileFeatures,
    hw: tuple[int, int],
) -> Job[dict[int, Guess]]:
    if not wanted:
        return {}
    if not class_ids:
        raise PromptError("No object has a class yet; classify at least one of each class by hand first.")
    features = yield from mean_features_job(masks, tiles, hw)
    count = len(wanted)
    guesses = classify(features[:count], features[count:], class_ids)
    return {one.id: replace(guess, of=one) for one, guess in zip(wanted, guesses, strict=True)}


def apply_guesses(document: Document, guesses: Mapping[int, Guess], min_share: float = 0.0) -> Batch:
    """Return the step that gives objects the classes guessed, but those that have gone or been judged meanwhile.

    Args:
        document: The document.
        guesses: Object -> guess.
        min_share: Less certain ones are left as they are.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for one, guess in guesses.items():
        record = document.objects.get(one)
        if record is None or (guess.of is not None and judged(record) != judged(guess.of)):
            continue
        if guess.class_id in document.classes and guess.share >= min_share:
            by_class[guess.class_id].append(one)
    steps = tuple(Reclassify(tuple(ids), class_id) for class_id, ids in sorted(by_class.items()))
    return Batch(steps, "the classes by likeness")


def judged(record: AnnotatedObject) -> tuple[int, int]:
    """Return what a person says of an object: its class, and whether it can be trusted."""
    return record.class_id, record.trust
