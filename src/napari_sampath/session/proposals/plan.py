"""Plan the operations that add new objects to a document.

The functions do not change the document, and return None if there is nothing to do. More than `MAX_IN_JOURNAL` objects
are written into a file beside the journal, which the journal names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice

import numpy as np

from ...annotations import Add, Batch, Box, Delete, Document, Erase, Operation, Source, bounds
from ...annotations.masks import shaping
from ...annotations.model.object_file import Item, write_objects
from ...annotations.model.operations import label
from ...arrays import BoolArray, LocalMask
from .new_objects import NewObjects, make_items, match_classes

MAX_IN_JOURNAL = 20_000
"""Largest number of objects of a step that are written into the journal itself."""


def plan_addition(
    document: Document, new: NewObjects, model: str | None = None, keep_existing: bool = False
) -> Operation | None:
    """Plan the addition of objects from a head; see `Proposals.add`."""
    unavailable = (lambda box: document.instance_map.window(box) > 0) if keep_existing else None
    return plan_objects(document, new, "head", model, unavailable)


def plan_import(document: Document, new: NewObjects) -> Operation | None:
    """Plan the addition of objects from a file, which overwrite existing objects."""
    return plan_objects(document, new, "import", None, None)


def plan_proposal(document: Document, new: NewObjects, model: str | None = None) -> Operation | None:
    """Plan the replacement of unreviewed proposals by objects from a head; see `Proposals.replace`.

    Raises:
        ClassListError: If there would be more than 255 classes.
        StorageError: If the file beside the journal cannot be written.
    """
    replaced = ("head", "text")  # objects of a head or of "segment everything", and those classified by text
    proposals = tuple(
        obj.id for obj in document.objects.values() if obj.source in replaced and obj.trust == 0
    )
    is_kept = np.zeros(document.next_id, dtype=np.bool_)
    is_kept[list(document.objects)] = True
    is_kept[list(proposals)] = False
    deleted, erased = _outdated(document, proposals, new.within or (0, 0, *document.hw))

    any_verified = document.verified_map.written()
    if not any_verified and not is_kept.any():
        return plan_objects(document, new, "head", model, None, deleted, erased)

    def unavailable(box: Box) -> BoolArray:
        kept: BoolArray = is_kept[document.instance_map.window(box)]
        return kept | document.verified(box) if any_verified else kept

    return plan_objects(document, new, "head", model, unavailable, deleted, erased)


def _outdated(
    document: Document, proposals: tuple[int, ...], within: Box
) -> tuple[tuple[int, ...], list[LocalMask]]:
    """Return the proposals to delete, and the pixels to erase from proposals that are partly kept."""
    if within == (0, 0, *document.hw) and not document.verified_map.written():
        return proposals, []
    deleted: list[int] = []
    erased: list[LocalMask] = []
    for object_id in proposals:
        parts: list[LocalMask] = []
        for mask in document.parts(object_id):
            box = bounds(mask)
            part = tuple(slice(max(within[n] - box[n], 0), max(within[n + 2] - box[n], 0)) for n in (0, 1))
            pixels = np.zeros_like(mask.bitmap)
            pixels[part] = mask.bitmap[part] & ~document.verified(box)[part]
            if pixels.any():
                parts.append(LocalMask(mask.row, mask.col, pixels))
        if sum(part.area_px for part in parts) == document.objects[object_id].area_px:
            deleted.append(object_id)
        else:
            erased += parts
    return tuple(deleted), shaping.exact_union(erased) if erased else []


def plan_objects(
    document: Document,
    new: NewObjects,
    source: Source,
    model: str | None,
    unavailable: Callable[[Box], BoolArray] | None,
    deleted: tuple[int, ...] = (),
    erased: Sequence[LocalMask] = (),
) -> Operation | None:
    """Plan to delete objects, erase pixels and add new objects outside `unavailable` pixels, as one step."""
    to_id, classes, _ = match_classes(new, document.classes, document)
    made = make_items(new, document.next_id, to_id, source, model or new.head, unavailable, document.hw)
    in_file = document.journal is not None and len(new.objects) > MAX_IN_JOURNAL
    items: Sequence[Item] = tuple(islice(made, 1 if in_file else None))
    if not items and not deleted and not erased:
        return None
    file = None
    if document.journal is not None and in_file and items:
        file, items = write_objects(document.journal, chain(items, made), document.hw)
    add = Add(items, classes if items and classes != document.classes.snapshot else None, file)
    # A plain addition is a single operation, which keeps the journal short.
    before = (*((Delete(deleted),) if deleted else ()), *map(Erase, erased))
    return Batch((*before, add), label(add) if items else "the automatic result") if before else add
