"""What is to be done to a document to take in pieces that a head found or a file holds; nothing is done here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...annotations import Add, Batch, Box, Delete, Document, Erase, Operation, Source, bounds
from ...annotations.masks import shaping
from ...arrays import BoolArray, LocalMask
from .components import Components, make_items, match_classes


def plan_addition(
    document: Document, found: Components, model: str | None = None, keep_existing: bool = False
) -> Operation | None:
    """Plan to add a head's pieces; see `Session.add_segmentation`. None if there is nothing to do."""
    taken = (lambda box: document.instance_map.window(box) > 0) if keep_existing else None
    return _plan(document, found, "head", model, taken)


def plan_import(document: Document, found: Components) -> Operation | None:
    """Plan to add what a file holds; what lies under it is overwritten. None if there is nothing to do."""
    return _plan(document, found, "import", None, None)


def plan_proposal(document: Document, found: Components, model: str | None = None) -> Operation | None:
    """Plan to put a head's pieces in place of what heads proposed before; see `Session.propose`.

    Returns:
        None if there is nothing to do.

    Raises:
        ClassListError: If more than 255 classes come together.
    """
    records = document.objects.values()
    old = tuple(one.id for one in records if one.source == "head" and one.trust == 0)
    stays = np.zeros(document.next_id, dtype=np.bool_)
    stays[[one.id for one in records]] = True
    stays[list(old)] = False
    replaced, wipe = _outdated(document, old, found.within or (0, 0, *document.hw))

    marked = document.verified_map.written()
    if not marked and not stays.any():
        return _plan(document, found, "head", model, None, replaced, wipe)

    def taken(box: Box) -> BoolArray:
        kept: BoolArray = stays[document.instance_map.window(box)]
        return kept | document.verified(box) if marked else kept

    return _plan(document, found, "head", model, taken, replaced, wipe)


def _outdated(
    document: Document, old: tuple[int, ...], within: Box
) -> tuple[tuple[int, ...], LocalMask | None]:
    """Tell proposals of which nothing stays from the pixels that others lose, None if there are none.

    What lies outside of the region stays, and what lies in an area that was marked as annotated.
    """
    if within == (0, 0, *document.hw) and not document.verified_map.written():
        return old, None
    gone: list[int] = []
    cuts: list[LocalMask] = []
    for one in old:
        mask = document.pixels(one)
        box = bounds(mask)
        part = tuple(slice(max(within[n] - box[n], 0), max(within[n + 2] - box[n], 0)) for n in (0, 1))
        going = np.zeros_like(mask.bitmap)
        going[part] = mask.bitmap[part] & ~document.verified(box)[part]
        if np.array_equal(going, mask.bitmap):
            gone.append(one)
        elif going.any():
            cuts.append(LocalMask(mask.row, mask.col, going))
    return tuple(gone), shaping.joined(cuts) if cuts else None


def _plan(
    document: Document,
    found: Components,
    source: Source,
    model: str | None,
    taken: Callable[[Box], BoolArray] | None,
    delete: tuple[int, ...] = (),
    wipe: LocalMask | None = None,
) -> Operation | None:
    """Plan to add pieces, less the pixels that are `taken`, and to delete others or pixels of them, as one step."""
    to_id, classes = match_classes(found, document.classes)
    items = make_items(found, document.next_id, to_id, source, model or found.head, taken)
    if not items and not delete and wipe is None:
        return None
    add = Add(tuple(items), classes if items and classes != document.classes.snapshot else None)
    # A plain addition is written as one, so that what a journal says stays short.
    before = (*((Delete(delete),) if delete else ()), *((Erase(wipe),) if wipe is not None else ()))
    return Batch((*before, add), "the automatic result") if before else add
