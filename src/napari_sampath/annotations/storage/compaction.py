"""Shorten a journal to a snapshot of the document before the oldest undo step, followed by the steps since then."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...arrays import LocalMask
from ...errors import StorageError
from ...files import convert
from ...files.journal_files import named_files, remove_unnamed
from ...formats.run_lengths import mask_from_json, mask_to_json
from ..masks.steps import pieces
from ..masks.tiled_map import TiledMap
from ..model.annotated_object import AnnotatedObject, from_json, now, to_json
from ..model.document import Document
from ..model.operations import classes_from_json, classes_to_json
from .history import History
from .journal import Journal

logger = logging.getLogger(__name__)

MIN_BYTES = 2**20
"""Minimum size of a journal to compact."""
GAIN = 3
"""Minimum factor by which compaction must shorten a journal."""


def compact(document: Document, history: History, journal: Journal) -> bool:
    """Rewrite a journal if that makes it much shorter; the document and its undo history do not change.

    The new file replaces the old one only after it is complete and on disk.

    Args:
        document: The document after replay; it is reverted to the oldest undo step and then restored.
        history: Undo history of the document.
        journal: The journal, with `records` not cleared yet.

    Returns:
        True if the journal was rewritten; the old file is kept if writing fails or it may not be replaced.
    """
    steps = [step.number for step in (*history.done, *reversed(history.undone))]
    first = steps[0] if steps else journal.last + 1
    if journal.nbytes < MIN_BYTES or first <= 1 or not journal.is_replaceable:
        return False
    kept = set(steps)
    by_number = {record["seq"]: record for record in journal.records}
    records = [_base(document, history, first - 1), *(by_number[number] for number in sorted(kept))]
    # Ids assigned in dropped steps must not be reused.
    after: list[dict[str, Any]] = [{"op": "reserve", "next_id": document.next_id}]
    after += [{"op": "undo", "of": step.number} for step in history.undone]
    for number, record in enumerate(after, start=journal.last + 1):
        records.append({"seq": number, "at": now(), **record})
    content = journal.encode(records)
    if len(content) * GAIN > journal.nbytes:
        return False
    files = named_files(journal.path)
    try:
        journal.rewrite(content, records[-1]["seq"])
    except StorageError as error:
        logger.warning("The journal %s could not be compacted: %s", journal.path, error)
        return False
    if files:
        remove_unnamed(files)
    return True


def _base(document: Document, history: History, number: int) -> dict[str, Any]:
    """Return the snapshot record of the document before the oldest step of its history."""
    steps = history.done
    for step in reversed(steps):
        document.revert(step.patch)
    try:
        return {"seq": number, "at": now(), "op": "snapshot", **_describe(document)}
    finally:
        for step in steps:
            document.reapply(step.patch)


def _describe(document: Document) -> dict[str, Any]:
    objects = [
        {**to_json(obj), "box": list(obj.box), **_pixels_to_json(document.parts(obj.id))}
        for obj in document.objects.values()
    ]
    verified = [
        mask_to_json(LocalMask.from_dense(document.verified_map.window(box), box[0], box[1]))
        for box in document.verified_map.filled_boxes()
    ]
    return {
        "classes": classes_to_json(document.classes.snapshot),
        "annotations": objects,
        "vouched": verified,
    }


def _pixels_to_json(parts: Iterable[LocalMask]) -> dict[str, Any]:
    """Return {"pixels": mask} of an object, and {"more": masks} of the other parts of a large one."""
    first, *more = map(mask_to_json, parts)
    return {"pixels": first, "more": more} if more else {"pixels": first}


def restore(document: Document, fields: Mapping[str, Any]) -> None:
    """Fill an empty document from a snapshot record that `compact` wrote.

    Raises:
        ValueError: If a value is missing or not allowed.
    """
    if document.objects or document.verified_map.any():
        raise ValueError("it is not the first record")
    # Check everything before the document is changed.
    classes = classes_from_json(fields.get("classes"))
    objects: list[tuple[AnnotatedObject, list[LocalMask]]] = []
    for entry in convert(fields.get("annotations"), list[dict[str, Any]], "annotations"):
        more = convert(entry.get("more", []), list[Any], "more")
        masks = [mask_from_json(fields, document.hw) for fields in (entry.get("pixels"), *more)]
        r0, c0, r1, c1 = convert(entry.get("box"), tuple[int, int, int, int], "box")
        if not (0 <= r0 <= r1 <= document.hw[0] and 0 <= c0 <= c1 <= document.hw[1]):
            raise ValueError(f"the box of object {entry.get('id')} is not in the image")
        area_px = sum(mask.area_px for mask in masks)
        objects.append((replace(from_json(entry), box=(r0, c0, r1, c1), area_px=area_px), masks))
    verified = [mask_from_json(m, document.hw) for m in convert(fields.get("vouched"), list[Any], "vouched")]
    document.classes.restore(classes)
    for obj, masks in objects:
        for mask in masks:
            _paint(document.instance_map, mask, obj.id)
        document.put(obj.id, obj)
    for mask in verified:
        _paint(document.verified_map, mask, True)
    document.next_id = max(document.objects, default=0) + 1


def _paint(target: TiledMap, mask: LocalMask, value: int) -> None:
    for box, bits in pieces(mask, target.shape):
        if bits is None:
            target.fill(box, value)
        else:
            target.write(box, np.where(bits, value, target.window(box)))
