"""Convert a candidate to the operation that adds or changes objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...annotations import Add, AnnotatedObject, Document, Operation
from ...annotations.masks.shaping import joined
from ...arrays import LocalMask
from ...errors import PromptError
from ..objects.overlap import MaskMode, Overlap, OverlapRule, find_overlap, place, refine
from ..objects.remnants import without_remnants
from ..objects.reshaping import without
from .candidate import Candidate
from .prompt_state import PromptState


def new_objects(
    candidate: Candidate, state: PromptState, first_id: int, class_id: int, model: str | None
) -> list[tuple[AnnotatedObject, LocalMask]]:
    """Return the objects to commit: one for the candidate, or one per box of the prompt."""
    pairs = [(candidate, state)]
    if candidate.members:
        prompts = [PromptState(box=box, frame=state.frame) for box in state.boxes]
        pairs = list(zip(candidate.members, prompts, strict=True))
    items: list[tuple[AnnotatedObject, LocalMask]] = []
    for member, prompt in pairs:
        if member.mask.bitmap.size:
            score = member.score if math.isfinite(member.score) else None
            new_id = first_id + len(items)
            obj = AnnotatedObject(new_id, class_id, prompt.source, score, model, prompt.to_json())
            items.append((obj, member.mask))
    return items


def overlap_of(
    document: Document, candidate: Candidate, state: PromptState, class_id: int, mode: MaskMode
) -> Overlap | None:
    """Return the objects under a candidate, except the object being refined; see `find_overlap`."""
    refined = document.objects.get(state.refines)
    if refined is not None:
        class_id = refined.class_id
    return find_overlap(document, candidate.mask, class_id, mode, state.refines)


@dataclass(frozen=True, slots=True)
class Commit:
    """The operation of a commit."""

    operation: Operation
    object_id: int
    """Id of the first object that gets pixels."""
    remark: str = ""
    """One sentence about slivers of overwritten objects that are removed; "" if there are none."""


def make_commit(
    document: Document,
    candidate: Candidate,
    state: PromptState,
    class_id: int,
    model: str | None,
    rule: OverlapRule,
    mode: MaskMode,
) -> Commit:
    """Return a commit that changes the object being refined, if it still exists, or adds objects.

    Slivers of overwritten objects are removed with it; see `without_remnants`.

    Raises:
        PromptError: If no object would get any pixels.
    """
    items = new_objects(candidate, state, document.next_id, class_id, model)
    operation: Operation
    if state.refines in document.objects:
        ((refinement, _),) = items
        operation, object_id = (
            refine(document, state.refines, candidate.mask, rule, mode, refinement),
            state.refines,
        )
    else:
        operation, object_id = place_all(document, items, rule, mode)
    operation, remnants = without_remnants(document, operation)
    return Commit(operation, object_id, "" if remnants is None else remnants.sentence(document))


def place_all(
    document: Document, items: Sequence[tuple[AnnotatedObject, LocalMask]], rule: OverlapRule, mode: MaskMode
) -> tuple[Add, int]:
    """Return the operation that adds objects in one step; see `overlap.place`.

    Where masks overlap, the first object gets the pixels. In semantic mode all masks become part of one region.

    Returns:
        The operation, and the id of the first object that gets pixels.

    Raises:
        PromptError: If no object would get any pixels.
    """
    if mode == "semantic" and len(items) > 1:
        items = [(items[0][0], joined([mask for _, mask in items]))]
    placed: list[tuple[AnnotatedObject, LocalMask]] = []
    refusal: PromptError | None = None
    earlier: list[LocalMask] = []
    for obj, mask in items:
        free = without(mask, earlier)
        earlier.append(mask)
        if not free.bitmap.any():
            continue
        try:
            placed += place(document, obj, free, rule, mode)[0].items
        except PromptError as error:
            refusal = error
    if not placed:
        raise refusal or PromptError("The mask is empty; add a point or choose another candidate.")
    return Add(tuple(placed)), placed[0][0].id
