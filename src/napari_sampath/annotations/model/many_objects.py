"""Add thousands of new objects to a document at once, tile by tile."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import BoolArray, LocalMask
from ...errors import PromptError
from ...jobs import releasing_gil
from ..masks.map_view import split_at_tiles
from ..masks.masks import bounds, clip
from ..masks.steps import pieces
from ..masks.tiled_map import TiledMap
from .annotated_object import AnnotatedObject
from .document import Document
from .object_file import Item

MANY = 500
"""Number of objects from which an operation is recorded by the tiles that it changes, instead of object by object."""


def are_new(document: Document, items: Sequence[Item]) -> bool:
    """Return whether the ids of objects are in ascending order and were never used."""
    ids = [document.next_id - 1, *(obj.id for obj, _ in items)]
    return all(first < second for first, second in pairwise(ids))


def add_new(document: Document, items: Sequence[Item]) -> dict[int, AnnotatedObject | None]:
    """Add objects for which `are_new` is True; the result is that of adding one after the other.

    Each tile of the instance map is opened once, whatever the order of the objects. The objects are iterated once.

    Returns:
        Id -> record before, of all objects that are new or have lost pixels.

    Raises:
        PromptError, UnknownNameError: As `perform`; do not use the document afterwards.
        ValueError: If an id has been used before.
    """
    # Flat lists and few containers: Python's garbage collector stops the window for the longer, the more there are.
    parts: defaultdict[tuple[int, int], list[Any]] = defaultdict(list)
    records: dict[int, AnnotatedObject | None] = {}
    for obj, mask in releasing_gil(items):
        if obj.id < document.next_id:
            raise ValueError(f"object id {obj.id} has been used before")
        document.next_id = obj.id + 1
        clipped = clip(mask, document.hw)
        if not clipped.bitmap.any():
            raise PromptError("The mask has no pixels in the image; draw it on the image.")
        document.classes.by_id(obj.class_id)
        r0, c0, r1, c1 = bounds(clipped)
        box = r0, c0, min(r1, document.hw[0]), min(c1, document.hw[1])
        maker = obj.made_by or document.reader or None
        records[obj.id] = replace(obj, box=box, area_px=0, made_by=maker)
        for key, row, col, bits in _parts_of(clipped, document.hw):
            parts[key] += obj.id, row, col, bits
    gained: Counter[int] = Counter()
    for key, in_tile in releasing_gil(parts.items()):
        _paint(document.instance_map, key, in_tile, gained)
    before: dict[int, AnnotatedObject | None] = {}
    for object_id, change_px in gained.items():
        before[object_id] = old = document.objects.get(object_id)
        new = records.get(object_id)
        area_px = change_px + (old.area_px if old is not None else 0)
        if area_px == 0:
            records[object_id] = None
        elif new is not None:  # Made above, and not known elsewhere yet.
            object.__setattr__(new, "area_px", area_px)
        elif old is not None:
            records[object_id] = replace(old, area_px=area_px)
    document.put_all(records)
    return before


def _parts_of(mask: LocalMask, hw: tuple[int, int]) -> Iterator[tuple[tuple[int, int], int, int, BoolArray]]:
    """Yield the tiles that a mask touches, the first row and column of its part in the tile, and the pixels there."""
    for box, bits in pieces(mask, hw):
        for key, outer, (rows, cols) in split_at_tiles(box):
            shape = rows.stop - rows.start, cols.stop - cols.start
            part = np.broadcast_to(np.True_, shape) if bits is None else bits[outer]
            yield key, rows.start, cols.start, part


def _paint(instances: TiledMap, key: tuple[int, int], in_tile: Sequence[Any], gained: Counter[int]) -> None:
    """Paint objects into a tile in their order, and count the pixels that objects gain, or lose to later ones.

    Args:
        instances: The instance map.
        key: The tile.
        in_tile: Id, row, column and pixels of each object, one after the other.
        gained: Id -> number of pixels; changed.
    """
    box = instances.tile_box(*key)
    values: npt.NDArray[np.int32] = instances.window(box)
    for object_id, row, col, bits in zip(*(in_tile[start::4] for start in range(4)), strict=True):
        target = values[row : row + bits.shape[0], col : col + bits.shape[1]]
        overwritten = target[bits]
        gained[object_id] += overwritten.size
        if overwritten.any():
            ids, counts = np.unique(overwritten[overwritten > 0], return_counts=True)
            gained.subtract(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        target[bits] = object_id
    instances.write(box, values)
