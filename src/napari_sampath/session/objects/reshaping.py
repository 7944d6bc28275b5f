"""Operations that correct an object: change its pixels, mark it as reviewed and extend the verified area."""

from __future__ import annotations

from collections.abc import Sequence

from ...annotations import Add, AnnotatedObject, Document, Erase, Flag, Operation, Verify, clip
from ...arrays import LocalMask
from ...errors import PromptError


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
    owners = document.instance_map[mask.slices]
    wanted = mask.bitmap & ((owners == 0) | (owners == object_id) | overwrite)
    if not wanted.any():
        raise PromptError(
            f"The object {object_id} would have no pixels left; choose a smaller distance, or delete the object."
        )
    lost = without(document.pixels(object_id), [LocalMask(mask.row, mask.col, wanted)])
    gained = wanted & (owners != object_id)
    # Add pixels before removing others: an object without pixels is deleted.
    steps: tuple[Operation, ...] = ()
    if gained.any():
        steps = (Add(((record, LocalMask(mask.row, mask.col, gained)),)),)
    if lost.bitmap.any():
        steps += erase_steps(lost)
    return (*steps, *review_steps(record)) if steps else ()


def without(mask: LocalMask, others: Sequence[LocalMask]) -> LocalMask:
    """Subtract masks from a mask."""
    bitmap = mask.bitmap.copy()
    for other in others:
        top, left = max(mask.row, other.row), max(mask.col, other.col)
        bottom = min(mask.row + bitmap.shape[0], other.row + other.bitmap.shape[0])
        right = min(mask.col + bitmap.shape[1], other.col + other.bitmap.shape[1])
        if bottom > top and right > left:
            part = other.bitmap[top - other.row : bottom - other.row, left - other.col : right - other.col]
            bitmap[top - mask.row : bottom - mask.row, left - mask.col : right - mask.col] &= ~part
    return LocalMask.from_dense(bitmap, mask.row, mask.col)
