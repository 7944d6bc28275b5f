"""A journal as short as it can be: what the document was before the oldest step that can be undone, then the steps."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...arrays import LocalMask
from ...errors import StorageError
from ...run_lengths import mask_from_json, mask_to_json
from ..model.annotated_object import from_json, now, to_json
from ..model.document import Document
from ..model.operations import classes_from_json, classes_to_json
from .history import History
from .journal import Journal

logger = logging.getLogger(__name__)

MIN_BYTES = 2**20
"""Shorter journals are left alone."""
GAIN = 3
"""A journal is written anew if it becomes at least so many times shorter."""


def compact(document: Document, history: History, journal: Journal) -> bool:
    """Write a journal anew if that makes it much shorter; what it holds, and what can be undone, stays the same.

    Crash-safe: the new file is whole and on the disk before it takes the place of the old one.

    Args:
        document: As the journal made it; it is taken back to the first step and forth again.
        history: Its history.
        journal: With the records that made both.

    Returns:
        Whether it was written anew; a disk that refuses leaves the old one.
    """
    steps = [step.number for step in (*history.done, *reversed(history.undone))]
    first = steps[0] if steps else journal.last + 1
    if journal.nbytes < MIN_BYTES or first <= 1:
        return False
    kept = set(steps)
    by_number = {record["seq"]: record for record in journal.records}
    records = [_base(document, history, first - 1), *(by_number[number] for number in sorted(kept))]
    # The steps bring the ids they gave; those given in steps that are forgotten must not be given again either.
    after: list[dict[str, Any]] = [{"op": "reserve", "next_id": document.next_id}]
    after += [{"op": "undo", "of": step.number} for step in history.undone]
    for number, record in enumerate(after, start=journal.last + 1):
        records.append({"seq": number, "at": now(), **record})
    content = journal.encode(records)
    if len(content) * GAIN > journal.nbytes:
        return False
    try:
        journal.rewrite(content, records[-1]["seq"])
    except StorageError as error:
        logger.warning("The journal %s stays as long as it is: %s", journal.path, error)
        return False
    return True


def _base(document: Document, history: History, number: int) -> dict[str, Any]:
    """Describe the document as it was before the oldest step in its history."""
    steps = history.done
    for step in reversed(steps):
        document.revert(step.patch)
    try:
        return {"seq": number, "at": now(), "op": "snapshot", **_describe(document)}
    finally:
        for step in steps:
            document.reapply(step.patch)


def _describe(document: Document) -> dict[str, Any]:
    annotations = [
        {
            **to_json(one),
            "box": list(one.box),
            "pixels": mask_to_json(document.pixels(one.id)),
        }
        for one in document.objects.values()
    ]
    verified = [
        mask_to_json(LocalMask.from_dense(document.verified_map.window(box), box[0], box[1]))
        for box in document.verified_map.filled_boxes()
    ]
    return {
        "classes": classes_to_json(document.classes.snapshot),
        "annotations": annotations,
        "vouched": verified,
    }


def restore(document: Document, fields: Mapping[str, Any]) -> None:
    """Fill an empty document from the snapshot that `compact` wrote.

    Raises:
        ValueError: If a part does not fit.
        KeyError: If a part is missing.
    """
    document.classes.restore(classes_from_json(fields["classes"]))
    for one in fields["annotations"]:
        mask = mask_from_json(one["pixels"])
        r0, c0, r1, c1 = one["box"]
        annotation = replace(from_json(one), box=(r0, c0, r1, c1), area_px=mask.area_px)
        _paint(document.instance_map, mask, annotation.id)
        document.put(annotation.id, annotation)
    for mask in _masks(fields["vouched"]):
        _paint(document.verified_map, mask, True)
    document.next_id = max(document.objects, default=0) + 1


def _masks(entries: Iterable[Mapping[str, Any]]) -> Iterable[LocalMask]:
    return (mask_from_json(entry) for entry in entries)


def _paint(target: Any, mask: LocalMask, value: int) -> None:
    rows, cols = mask.slices
    box = rows.start, cols.start, rows.stop, cols.stop
    target.write(box, np.where(mask.bitmap, value, target.window(box)))
