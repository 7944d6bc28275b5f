"""Add masks to a document: resolve overlaps and, in semantic mode, merge touching regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from scipy import ndimage

from ...annotations import Add, AnnotatedObject, Batch, Document, clip
from ...annotations.masks.shaping import joined
from ...annotations.model.annotated_object import TRUSTED, now
from ...arrays import LocalMask
from ...errors import PromptError
from ...files.messages import plural
from .reshaping import free_of, reshaped, review_steps

OverlapRule: TypeAlias = Literal["overwrite", "keep", "ask"]
"""What happens to pixels of other objects under a new mask: overwrite them, keep them, or ask the user.

`Session.overlap` is the default. `Session.commit` handles "ask"; the functions of this module treat it as "overwrite".
"""
MaskMode: TypeAlias = Literal["instance", "semantic"]
"""Whether a mask becomes a separate object or part of the region of its class."""


DUPLICATE_IOU = 0.8
"""Intersection over union from which a mask and an object count as the same, as after a double click."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Objects under a mask that is not committed yet."""

    pixels: dict[int, int]
    """Object id -> number of its pixels under the mask."""
    swallowed: tuple[int, ...]
    """Ids of the objects that lie completely under the mask."""

    @property
    def sentence(self) -> str:
        """Question for the user."""
        count, area = len(self.pixels), sum(self.pixels.values())
        complete = f", {len(self.swallowed)} of them completely" if self.swallowed else ""
        return f"The mask covers {area} px of {plural(count, 'object')}{complete}; overwrite or keep them?"


def name_overlap(document: Document, overlap: Overlap, most: int = 3) -> str:
    """Describe the objects under a mask, largest overlap first: "gland 3 (120 px) and stroma 5 (all of it)".

    Args:
        document: The document.
        overlap: The objects under the mask.
        most: Maximum number of objects to name; further objects are only counted.
    """
    ordered = sorted(overlap.pixels.items(), key=lambda item: -item[1])
    names = []
    for object_id, pixels in ordered[:most]:
        class_name = document.classes.by_id(document.record(object_id).class_id).name
        part = "all of it" if object_id in overlap.swallowed else f"{pixels:,} px"
        names.append(f"{class_name} {object_id} ({part})")
    if len(ordered) > most:
        names.append(f"{len(ordered) - most} more")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def find_overlap(
    document: Document, mask: LocalMask, class_id: int, mode: MaskMode, own: int = 0
) -> Overlap | None:
    """Return the objects under a mask, except `own` and objects to merge with it; None if there are none."""
    pixels = {key: n for key, n in document.counts_under(mask).items() if key != own}
    if mode == "semantic":
        pixels = {key: n for key, n in pixels.items() if not _merges(document.objects[key], class_id)}
    swallowed = tuple(key for key, n in pixels.items() if n == document.objects[key].area_px)
    return Overlap(pixels, swallowed) if pixels else None


def find_duplicate(document: Document, mask: LocalMask, class_id: int) -> int:
    """Return the id of an object of a class that equals a mask (IoU >= `DUPLICATE_IOU`); 0 if there is none."""
    overlap = find_overlap(document, mask, class_id, "instance")
    for object_id, pixels in (overlap.pixels if overlap else {}).items():
        record = document.record(object_id)
        union_px = record.area_px + mask.area_px - pixels
        if record.class_id == class_id and pixels >= DUPLICATE_IOU * union_px:
            return object_id
    return 0


def place(
    document: Document, obj: AnnotatedObject, mask: LocalMask, rule: OverlapRule, mode: MaskMode
) -> tuple[Add, int]:
    """Return the operation that adds a mask as an object.

    In semantic mode, the mask is merged with all verified objects of its class that it touches (8-connected), and the
    result has the id of the oldest. Proposals are not merged, because a newer proposal would replace the merged pixels;
    unsure objects are not merged, because training ignores them.

    Args:
        document: The document, which is not changed.
        obj: Record of the new object.
        mask: The pixels.
        rule: "keep" leaves the pixels of other objects unchanged; other values overwrite them.
        mode: See `MaskMode`.

    Returns:
        The operation, and the id of the object that gets the pixels.

    Raises:
        PromptError: If the mask has no pixels in the image, or all of them belong to objects that are kept.
    """
    touched = _touched(document, mask, obj.class_id) if mode == "semantic" else []
    free = _free(document, mask, rule, touched)
    if not touched:
        return Add(((obj, free),)), obj.id
    owned_px = sum(n for key, n in document.counts_under(free).items() if key in touched)
    parts = [*map(document.record, touched), replace(obj, area_px=free.area_px)]
    record = merged_record(parts, sum(part.area_px for part in parts[:-1]) + free.area_px - owned_px)
    others = [part for key in touched[1:] for part in document.parts(key)]
    whole = (
        [joined([free, *others])]
        if free.step == 1 and all(part.step == 1 for part in others)
        else [free, *others]
    )
    return Add(tuple((record, mask) for mask in whole)), touched[0]


def merged_record(parts: Sequence[AnnotatedObject], area_px: int) -> AnnotatedObject:
    """Return the record of several objects after a merge.

    It is the record of the largest object with the id, class and creation time of the first. The score is dropped if
    the merged object is larger than the object for which the score was predicted.

    Args:
        parts: Records of the objects, with their areas.
        area_px: Area of the merged object.
    """
    first, largest = parts[0], max(parts, key=lambda part: part.area_px)
    score = largest.score if largest.area_px == area_px else None
    if (largest.id, score) == (first.id, first.score):
        return first
    return replace(
        largest,
        id=first.id,
        class_id=first.class_id,
        score=score,
        created=first.created,
        reviewed=first.reviewed or largest.reviewed,
        unsure=first.unsure,
        modified=now(),
    )


def extend(document: Document, object_id: int, mask: LocalMask, rule: OverlapRule) -> Batch:
    """Return the operation that adds the pixels of a stroke to an object; see `place`."""
    record = document.record(object_id)
    free = _free(document, mask, rule, [object_id])
    return Batch((Add(((record, free),)), *review_steps(record)), "the brush stroke")


def refine(
    document: Document,
    object_id: int,
    mask: LocalMask,
    rule: OverlapRule,
    mode: MaskMode,
    refinement: AnnotatedObject | None = None,
) -> Batch:
    """Return the operation that replaces the pixels of a refined object by a mask.

    The object keeps its id, class, flags and creation time. In semantic mode, it is merged with the other objects of
    its class that the mask touches, unless it is marked as unsure.

    Args:
        document: The document, which is not changed.
        object_id: Id of the object.
        mask: The pixels.
        rule: As for `place`.
        mode: See `MaskMode`.
        refinement: Record with the new source, score, model and prompts; by default they do not change.

    Raises:
        PromptError: As for `place`.
    """
    record = document.record(object_id)
    touched = _touched(document, mask, record.class_id) if mode == "semantic" and not record.unsure else []
    free = _free(document, mask, rule, [object_id, *touched])
    whole = joined([free, *(document.pixels(key) for key in touched if key != object_id)])
    steps = reshaped(document, object_id, whole, overwrite=True) or review_steps(record)
    if refinement is not None:
        renewed = replace(
            refinement,
            id=object_id,
            score=refinement.score if whole.area_px == free.area_px else None,
            created=record.created,
            # The steps above mark a proposal as reviewed.
            reviewed=record.reviewed or record.trust == 0,
            unsure=record.unsure,
            modified=now(),
        )
        # Last, because the earlier steps contain the old record.
        steps = (*steps, Add(((renewed, whole),)))
    return Batch(steps, "the refinement")


def _free(document: Document, mask: LocalMask, rule: OverlapRule, own: list[int]) -> LocalMask:
    """Return the pixels of a mask to write: all of them, or with "keep" only free pixels and those of `own`."""
    clipped = clip(mask, document.hw)
    if not clipped.bitmap.any():
        raise PromptError("The mask has no pixels in the image; draw it on the image.")
    if rule != "keep":
        return clipped
    free = free_of(document, clipped, own)
    if not free.bitmap.any():
        raise PromptError(
            "The mask covers only pixels of other objects, which are kept; choose to overwrite them."
        )
    return free


def _touched(document: Document, mask: LocalMask, class_id: int) -> list[int]:
    """Return the ids of the objects that a mask touches and is merged with, oldest first."""
    wide = LocalMask(
        mask.row - mask.step,
        mask.col - mask.step,
        ndimage.binary_dilation(np.pad(mask.bitmap, 1), np.ones((3, 3), dtype=np.bool_)),
        mask.step,
    )
    return [key for key in sorted(document.counts_under(wide)) if _merges(document.objects[key], class_id)]


def _merges(record: AnnotatedObject, class_id: int) -> bool:
    """Return whether a mask of a class is merged with an object in semantic mode."""
    return record.class_id == class_id and record.trust == TRUSTED
