"""Operations that correct an object: change its pixels, mark it as reviewed and extend the verified area."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...annotations import Add, AnnotatedObject, Document, Erase, Flag, Operation, Verify, bounds, clip
from ...annotations.masks.steps import at_step, elements_with
from ...arrays import LocalMask
from ...errors import PromptError
from ...tiling import step_for


def review_steps(*records: AnnotatedObject) -> tuple[Operation, ...]:
    """Return the operations that mark proposals as reviewed, so that newer proposals do not replace them."""
    ids = tuple(record.id for record in records if record.trust == 0)
    return (Flag(ids, "reviewed", True),) if ids else ()


def erase_steps(mask: LocalMask) -> tuple[Operation, ...]:
    """Return the operations that erase pixels and mark them as verified background."""
    return Erase(mask), Verify(mask)


def reshaped(
    document: Document, object_id: int, mask: LocalMask, overwrite: bool = False
) -> tuple[Operation, ...]:
    """Return the operations that replace the pixels of an object by the free pixels of a mask.

    Args:
        document: The document, which is not changed.
        object_id: Id of the object.
        mask: New pixels of the object; its other pixels become verified background.
        overwrite: Whether pixels of other objects count as free.

    Returns:
        The operations; none if the object has these pixels already.

    Raises:
        PromptError: If the object would have no pixels left.
        UnknownNameError: If there is no such object.
    """
    record, mask = document.record(object_id), clip(mask, document.hw)
    wanted = mask if overwrite else free_of(document, mask, [object_id])
    if not wanted.bitmap.any():
        raise PromptError(
            f"The object {object_id} would have no pixels left; choose a smaller distance, or delete the object."
        )
    gained = wanted
    if mask.step == 1:
        owned = document.instance_map.window(bounds(wanted)) == object_id
        gained = LocalMask(wanted.row, wanted.col, wanted.bitmap & ~owned)
    # The mask of a large object is exact in parts only.
    whole = document.pixels(object_id)
    old = [whole] if whole.step == 1 else document.parts(object_id)
    lost = [part for part in (without(part, [wanted]) for part in old) if part.bitmap.any()]
    # Add pixels before removing others: an object without pixels is deleted.
    steps: tuple[Operation, ...] = (Add(((record, gained),)),) if gained.bitmap.any() else ()
    for part in lost:
        steps += erase_steps(part)
    return (*steps, *review_steps(record)) if steps else ()


def free_of(document: Document, mask: LocalMask, own: Sequence[int]) -> LocalMask:
    """Return a mask without the pixels of objects other than `own`.

    The mask of a large region gets the finest step that its size allows; elements that other objects touch are left
    out.
    """
    others = document.counts_under(mask).keys() - set(own)
    if not others:
        return mask
    mask = clip(at_step(mask, min(mask.step, step_for(bounds(mask)))), document.hw)
    taken = elements_with(mask, document.instance_map, lambda ids: np.isin(ids, list(others)))
    return LocalMask(mask.row, mask.col, mask.bitmap & ~taken, mask.step)


def without(mask: LocalMask, others: Sequence[LocalMask]) -> LocalMask:
    """Subtract masks from a mask; an element is removed if finer masks cover at least half of it."""
    bitmap = mask.bitmap.copy()
    box = bounds(mask)
    for other in others:
        r0, c0, r1, c1 = bounds(other)
        if other.step != mask.step:
            bitmap &= ~other.window(box, mask.step)
            continue
        top, left = max(mask.row, other.row), max(mask.col, other.col)
        bottom, right = min(box[2], r1), min(box[3], c1)
        if bottom > top and right > left:
            step = mask.step
            part = other.bitmap[
                (top - r0) // step : (bottom - r0) // step, (left - c0) // step : (right - c0) // step
            ]
            rows = slice((top - mask.row) // step, (bottom - mask.row) // step)
            cols = slice((left - mask.col) // step, (right - mask.col) // step)
            bitmap[rows, cols] &= ~part
    return LocalMask.from_dense(bitmap, mask.row, mask.col, mask.step)
