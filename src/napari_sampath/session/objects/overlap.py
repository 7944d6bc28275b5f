"""How a person's mask becomes part of a document: what happens to objects under it, and to those it touches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from scipy import ndimage

from ...annotations import Add, AnnotatedObject, Batch, Document, bounds, clip
from ...annotations.masks.shaping import joined
from ...annotations.model.annotated_object import TRUSTED, now
from ...arrays import BoolArray, LocalMask
from ...errors import PromptError
from .reshaping import reshaped, review_steps

OverlapRule: TypeAlias = Literal["overwrite", "keep", "ask"]
"""What a commit does to objects under it: take their pixels, leave them, or report them and wait."""
MaskMode: TypeAlias = Literal["instance", "semantic"]
"""A mask becomes an object of its own, or part of the region of its class."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """What lies under a mask that is to be committed."""

    pixels: dict[int, int]
    """Id of an annotation -> how many of its pixels the mask covers."""
    swallowed: tuple[int, ...]
    """Those of them of which nothing would be left."""

    @property
    def sentence(self) -> str:
        """The question to a person."""
        count, area = len(self.pixels), sum(self.pixels.values())
        objects = "1 object" if count == 1 else f"{count} objects"
        gone = f", {len(self.swallowed)} of them altogether" if self.swallowed else ""
        return f"The mask covers {area} px of {objects}{gone}; overwrite them, or keep them as they are?"


def name_overlap(document: Document, overlap: Overlap, most: int = 3) -> str:
    """Name what lies under a mask: "gland 3 (120 px) and stroma 5 (all of it)", the largest parts first.

    Args:
        document: The document.
        overlap: What was found in it.
        most: At most so many by name; the rest is counted.
    """
    ordered = sorted(overlap.pixels.items(), key=lambda item: -item[1])
    names = []
    for one, pixels in ordered[:most]:
        class_name = document.classes.by_id(document.record(one).class_id).name
        names.append(f"{class_name} {one} ({'all of it' if one in overlap.swallowed else f'{pixels:,} px'})")
    if len(ordered) > most:
        names.append(f"{len(ordered) - most} more")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def find_overlap(
    document: Document, mask: LocalMask, class_id: int, mode: MaskMode, own: int = 0
) -> Overlap | None:
    """Say which annotations a mask covers, but its own; None if there are none, or those alone that it would join."""
    clipped = clip(mask, document.hw)
    under = document.instance_map.window(bounds(clipped))[clipped.bitmap]
    ids, counts = np.unique(under[(under > 0) & (under != own)], return_counts=True)
    pixels = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    if mode == "semantic":
        pixels = {one: n for one, n in pixels.items() if not _joins(document.objects[one], class_id)}
    swallowed = tuple(one for one, n in pixels.items() if n == document.objects[one].area_px)
    return Overlap(pixels, swallowed) if pixels else None


def place(
    document: Document, annotation: AnnotatedObject, mask: LocalMask, rule: OverlapRule, mode: MaskMode
) -> tuple[Add, int]:
    """Work out how to add a mask.

    Args:
        document: Where it goes; it is not changed.
        annotation: New; in semantic mode its place is taken by the oldest one of its class that the mask touches
            (corners count), and all others of that class that it touches join that too, but those that nobody
            verified: a newer proposal would take the person's pixels with it, and what a person is unsure of is
            not learned from. Its record is then that of the largest of them, see `joint_record`.
        mask: The pixels.
        rule: "keep" leaves the pixels of others alone; anything else overwrites.
        mode: See `MaskMode`.

    Returns:
        The operation, and the id of the annotation that gets the pixels.

    Raises:
        PromptError: If no pixel of it is in the image, or none is free.
    """
    joins = _touched(document, mask, annotation.class_id) if mode == "semantic" else []
    free = _free(document, mask, rule, joins)
    if not joins:
        return Add(((annotation, free),)), annotation.id
    new = int(np.count_nonzero(free.bitmap & ~_owned(document, free, joins)))
    parts = [*map(document.record, joins), replace(annotation, area_px=free.area_px)]
    record = joint_record(parts, sum(one.area_px for one in parts[:-1]) + new)
    whole = joined([free, *(document.pixels(one) for one in joins[1:])])
    return Add(((record, whole),)), joins[0]


def joint_record(parts: Sequence[AnnotatedObject], area_px: int) -> AnnotatedObject:
    """Return the record of what becomes of several annotations that are joined.

    It is that of the largest, with the id, class and age of the first; without its score if there are more pixels than
    the score was given for.

    Args:
        parts: Their records, with their areas.
        area_px: Area of all of them together.
    """
    first, largest = parts[0], max(parts, key=lambda one: one.area_px)
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
    """Work out how to give an annotation the pixels of a stroke besides its own; see `place`."""
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
    """Work out how to give an annotation that a person has refined the pixels of a mask in place of its own.

    It keeps its id, class, marks and age; in semantic mode all others of the class that the mask touches join it,
    unless the person is unsure of it.

    Args:
        document: Where it is; it is not changed.
        object_id: The annotation.
        mask: The pixels.
        rule: As `place`.
        mode: See `MaskMode`.
        refinement: What the refinement would be as an annotation of its own: from here are source, score, model
            and prompts. If left out they stay as they are.

    Raises:
        PromptError: As `place`.
    """
    record = document.record(object_id)
    joins = _touched(document, mask, record.class_id) if mode == "semantic" and not record.unsure else []
    free = _free(document, mask, rule, [object_id, *joins])
    whole = joined([free, *(document.pixels(one) for one in joins if one != object_id)])
    steps = reshaped(document, object_id, whole, overwrite=True) or review_steps(record)
    if refinement is not None:
        renewed = replace(
            refinement,
            id=object_id,
            score=refinement.score if whole.area_px == free.area_px else None,
            created=record.created,
            # What a head proposed is reviewed by now; see `review_steps`.
            reviewed=record.reviewed or record.trust == 0,
            unsure=record.unsure,
            modified=now(),
        )
        # In the end, when the pixels are its own: what comes before was worked out with the record as it was.
        steps = (*steps, Add(((renewed, whole),)))
    return Batch(steps, "the refinement")


def _owned(document: Document, mask: LocalMask, ids: list[int]) -> BoolArray:
    """Return which pixels of the box of a mask belong to some annotations."""
    owned: BoolArray = np.isin(document.instance_map.window(bounds(mask)), ids)
    return owned


def _free(document: Document, mask: LocalMask, rule: OverlapRule, own: list[int]) -> LocalMask:
    """Return the pixels of a mask that it may have: all, or those of no others than its own."""
    clipped = clip(mask, document.hw)
    if not clipped.bitmap.any():
        raise PromptError("The mask has no pixel in the image; give one that has.")
    if rule != "keep":
        return clipped
    under = document.instance_map.window(bounds(clipped))
    free = clipped.bitmap & ((under == 0) | np.isin(under, own))
    if not free.any():
        raise PromptError(
            "The mask lies on other objects altogether, and they are to be kept; choose to overwrite them."
        )
    return LocalMask(clipped.row, clipped.col, free)


def _touched(document: Document, mask: LocalMask, class_id: int) -> list[int]:
    """List annotations of a class that a mask overlaps or touches and would join, oldest first."""
    wide = LocalMask(
        mask.row - 1,
        mask.col - 1,
        ndimage.binary_dilation(np.pad(mask.bitmap, 1), np.ones((3, 3), dtype=np.bool_)),
    )
    wide = clip(wide, document.hw)
    ids = np.unique(document.instance_map.window(bounds(wide))[wide.bitmap]).tolist()
    return [one for one in ids if one and _joins(document.objects[one], class_id)]


def _joins(record: AnnotatedObject, class_id: int) -> bool:
    """Say whether what a person adds to a class becomes one region with an annotation."""
    return record.class_id == class_id and record.trust == TRUSTED
