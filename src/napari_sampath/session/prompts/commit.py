"""From a candidate to the operation that makes it an annotation, or several."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...annotations import Add, AnnotatedObject, Document, Operation
from ...annotations.masks.shaping import joined
from ...arrays import LocalMask
from ...errors import PromptError
from ..objects.overlap import MaskMode, Overlap, OverlapRule, find_overlap, place, refine
from ..objects.reshaping import without
from .prompting import Candidate, PromptState

Wish = tuple[AnnotatedObject, LocalMask]
"""A new annotation and the pixels it would have."""


def wishes(
    candidate: Candidate, state: PromptState, next_id: int, class_id: int, model: str | None
) -> tuple[Wish, ...]:
    """List the annotations that a candidate would become: one, or one for each of several boxes.

    Args:
        candidate: Not empty.
        state: The prompt that it answers.
        next_id: Id of the first.
        class_id: Class of all.
        model: Name of the model that answered.
    """
    several = bool(candidate.members)
    found = [
        (one, state.of_box(index) if several else state)
        for index, one in enumerate(candidate.members or (candidate,))
        if one.mask.bitmap.size
    ]
    return tuple(
        (
            AnnotatedObject(
                next_id + number,
                class_id,
                asked.source,
                one.score if math.isfinite(one.score) else None,
                model,
                asked.to_json(),
            ),
            one.mask,
        )
        for number, (one, asked) in enumerate(found)
    )


def overlap_of(
    document: Document, candidate: Candidate, state: PromptState, class_id: int, mode: MaskMode
) -> Overlap | None:
    """Say what lies under a candidate, see `find_overlap`; of the annotation that is refined not its own pixels."""
    refined = document.objects.get(state.refines)
    if refined is not None:
        class_id = refined.class_id
    return find_overlap(document, candidate.mask, class_id, mode, state.refines)


def make_commit(
    document: Document,
    candidate: Candidate,
    state: PromptState,
    class_id: int,
    model: str | None,
    rule: OverlapRule,
    mode: MaskMode,
) -> tuple[Operation, int]:
    """Work out what a commit does: it changes the annotation that was refined, if that is still there, or adds.

    Args:
        document: It is not changed.
        candidate: Not empty.
        state: The prompt that it answers.
        class_id: Class of what is new.
        model: Name of the model that answered.
        rule: See `overlap.place`.
        mode: See `overlap.MaskMode`.

    Returns:
        The operation, and the id of the annotation, the first of several, that gets pixels.

    Raises:
        PromptError: If none would get any.
    """
    if state.refines in document.objects:
        ((refinement, _),) = wishes(candidate, state, document.next_id, class_id, model)
        return refine(document, state.refines, candidate.mask, rule, mode, refinement), state.refines
    return place_all(document, wishes(candidate, state, document.next_id, class_id, model), rule, mode)


def place_all(
    document: Document, wished: Sequence[Wish], rule: OverlapRule, mode: MaskMode
) -> tuple[Add, int]:
    """Work out how to add masks in one step; see `overlap.place`.

    What two of them would have belongs to the first. In semantic mode all become part of one region.

    Returns:
        The operation, and the id of the first annotation that gets pixels.

    Raises:
        PromptError: If none of them would get any.
    """
    if mode == "semantic" and len(wished) > 1:
        wished = [(wished[0][0], joined([mask for _, mask in wished]))]
    items: list[Wish] = []
    refusal: PromptError | None = None
    taken: list[LocalMask] = []
    for annotation, mask in wished:
        free = without(mask, taken)
        taken.append(mask)
        if not free.bitmap.any():
            continue
        try:
            items += place(document, annotation, free, rule, mode)[0].items
        except PromptError as error:
            refusal = error
    if not items:
        raise refusal or PromptError("The mask is empty; add a point or choose another candidate.")
    return Add(tuple(items)), items[0][0].id
