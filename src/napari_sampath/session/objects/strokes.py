"""Brush strokes: paint new objects, extend objects, erase."""

from __future__ import annotations

from collections.abc import Callable

from ...annotations import AnnotatedObject, Batch, Document, Operation, clip
from ...annotations.masks.steps import elements_with
from ...arrays import LocalMask
from .overlap import MaskMode, OverlapRule, extend, place
from .reshaping import erase_steps


def paint_mask(
    document: Document,
    do: Callable[[Operation], None],
    mask: LocalMask,
    class_id: int,
    object_id: int | None,
    start_rc: tuple[int, int] | None,
    rule: OverlapRule,
    mode: MaskMode,
) -> AnnotatedObject | None:
    """Paint or erase a stroke; see `Session.paint`.

    Args:
        document: The document.
        do: Performs and saves an operation.
        mask: The pixels, of any step.
        class_id: Class of the stroke; 0 erases.
        object_id: The object to extend.
        start_rc: Pixel (row, col) where the stroke starts, if known.
        rule: What happens to pixels of other objects.
        mode: See `MaskMode`.
    """
    mask = clip(mask, document.hw)
    if not mask.bitmap.any():
        return None
    if class_id == 0:
        erasure = plan_erasure(document, mask)
        if erasure is not None:
            do(erasure)
        return None
    stroke, object_id = plan_stroke(document, mask, class_id, object_id, start_rc, rule, mode)
    do(stroke)
    return document.objects[object_id]


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
