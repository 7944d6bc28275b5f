"""Brush strokes: paint new objects, extend objects, erase."""

from __future__ import annotations

from ...annotations import AnnotatedObject, Batch, Document, Operation
from ...annotations.masks.steps import elements_with
from ...arrays import LocalMask
from .overlap import MaskMode, OverlapRule, extend, place
from .reshaping import erase_steps


def plan_stroke(
    document: Document,
    mask: LocalMask,
    class_id: int,
    object_id: int | None,
    start_rc: tuple[int, int] | None,
    rule: OverlapRule,
    mode: MaskMode,
) -> tuple[Operation, int]:
    """Return the operation that paints a stroke; see `Session.paint`.

    Returns:
        The operation, and the id of the object that gets the pixels.

    Raises:
        PromptError: If the stroke has no pixels in the image, or all of them belong to objects that are kept.
        UnknownNameError: If there is no such object.
    """
    if object_id is None and start_rc is not None and mode == "instance":
        started_on = document.objects.get(document.object_at(*start_rc))
        if started_on is not None and started_on.class_id == class_id:
            object_id = started_on.id
    if object_id is not None:
        return extend(document, object_id, mask, rule), object_id
    return place(document, AnnotatedObject(document.next_id, class_id, "brush"), mask, rule, mode)


def plan_erasure(document: Document, mask: LocalMask) -> Operation | None:
    """Return the operation that erases the pixels of a mask; None if no object has any of them."""
    held = mask.bitmap & elements_with(mask, document.instance_map, lambda ids: ids > 0)
    if not held.any():
        return None
    return Batch(erase_steps(LocalMask(mask.row, mask.col, held, mask.step)), "the erasure")
