"""The objects of one block of a slide, such that all blocks together describe each object once.

The window of a block extends `MARGIN_PX` beyond its border. A connected component is split as in `split_class_map` by
one of the blocks whose windows contain it. Of a larger component, each block describes the piece inside of its border;
`joining` puts the pieces together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ...formats.maps.slide_objects import EDGES, BlockObjects, ObjectTable
from ..instances.split_touching import split_component

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...arrays import BoolArray, IntArray, UInt8Array
    from ...formats.maps.slide_result import Block, Box, SlideResult
    from ..instances.settings import InstanceSettings

MARGIN_PX = 512
"""Width of the margin around a block, in pixels of the result."""
_CONNECTED = np.ones((3, 3), dtype=bool)
"""Neighbours of a pixel in a component: 8-connected."""
_REPORT = 256
"""Number of components between two reports."""

Row = tuple[int, float, int, tuple[int, ...], tuple[int, ...]]
"""(class id, score, area, box, first pixel) of an object."""


def find_block_objects(
    result: SlideResult, block: Block, settings: InstanceSettings
) -> Iterator[BlockObjects | None]:
    """Find the objects of a block; its neighbours must be complete.

    Yields:
        None from time to time, then the objects.
    """
    window = window_of(block.box, result.hw)
    labels = result.classes(window)
    finder = _Finder(result, block, window, labels, settings)
    core = labels[_relative(block.box, window)]
    for class_id in map(int, np.flatnonzero(np.bincount(core.ravel(), minlength=1)[1:]) + 1):
        for done, _ in enumerate(finder.add_class(class_id)):
            if done % _REPORT == 0:
                yield None
    yield finder.finish()


def window_of(box: Box, hw: tuple[int, int]) -> Box:
    """Return the window of a block: its box with the margin, clipped to the result (H, W)."""
    r0, c0, r1, c1 = box
    return (
        max(0, r0 - MARGIN_PX),
        max(0, c0 - MARGIN_PX),
        min(hw[0], r1 + MARGIN_PX),
        min(hw[1], c1 + MARGIN_PX),
    )


def sees_whole(window: Box, box: Sequence[int], hw: tuple[int, int]) -> bool:
    """Return True if a component with this bounding box cannot continue outside of a window."""
    return (
        (window[0] == 0 or box[0] > window[0])
        and (window[1] == 0 or box[1] > window[1])
        and (window[2] == hw[0] or box[2] < window[2])
        and (window[3] == hw[1] or box[3] < window[3])
    )


@dataclass(slots=True, eq=False)
class _Finder:
    result: SlideResult
    block: Block
    window: Box
    labels: UInt8Array
    """Class ids in the window."""
    settings: InstanceSettings
    rows: list[Row] = field(default_factory=list)
    is_piece: list[bool] = field(default_factory=list)
    numbers: IntArray = field(init=False)
    confidence: UInt8Array = field(init=False)
    edges: dict[str, IntArray] = field(init=False)

    def __post_init__(self) -> None:
        self.confidence = self.result.confidence(self.window)
        self.numbers = np.zeros(self.labels.shape, dtype=np.uint32)
        r0, c0, r1, c1 = self.block.box
        lengths = (c1 - c0, c1 - c0, r1 - r0, r1 - r0)
        self.edges = {
            edge: np.zeros(length, dtype=np.int64) for edge, length in zip(EDGES, lengths, strict=True)
        }

    def add_class(self, class_id: int) -> Iterator[None]:
        """Add the components of a class that reach into the block; yields after each."""
        mask = self.labels == class_id
        if self.settings.threshold > 0:
            mask &= self.confidence >= self.settings.threshold * 255
        components, count = ndimage.label(mask, _CONNECTED)
        values = np.zeros(count + 1, dtype=np.int64)
        core = _relative(self.block.box, self.window)
        for number, slices in enumerate(ndimage.find_objects(components), start=1):
            shared = _shared(slices, core)
            if shared is None or not (components[shared] == number).any():
                continue
            box = self._absolute(slices)
            if sees_whole(self.window, box, self.result.hw):
                values[number] = -class_id
                bits = components[slices] == number
                if self._owner(box, bits) == self.block:
                    self._add_objects(class_id, bits, slices)
            else:
                self._add_object(class_id, components[shared] == number, shared, piece=True)
                values[number] = len(self.rows)
            yield
        strips = (components[core][0], components[core][-1], components[core][:, 0], components[core][:, -1])
        for edge, strip in zip(EDGES, strips, strict=True):
            self.edges[edge] += values[strip]

    def finish(self) -> BlockObjects:
        """Return the objects of the block."""
        return BlockObjects(
            self.window[:2],
            self.numbers.astype(np.uint32, copy=False),
            ObjectTable.of_rows(self.rows),
            np.array(self.is_piece, dtype=bool),
            self.edges,
        )

    def _absolute(self, slices: tuple[slice, slice]) -> Box:
        rows, cols = slices
        top, left = self.window[:2]
        return rows.start + top, cols.start + left, rows.stop + top, cols.stop + left

    def _owner(self, box: Box, bits: BoolArray) -> Block:
        """Return the first block that a component overlaps and whose window contains it."""
        for block in self.result.blocks_in(box):
            if sees_whole(window_of(block.box, self.result.hw), box, self.result.hw):
                r0, c0 = max(block.box[0] - box[0], 0), max(block.box[1] - box[1], 0)
                if bits[r0 : max(block.box[2] - box[0], 0), c0 : max(block.box[3] - box[1], 0)].any():
                    return block
        return self.block

    def _add_objects(self, class_id: int, bits: BoolArray, slices: tuple[slice, slice]) -> None:
        rows, cols = slices
        for part in split_component(bits, self.settings):
            height, width = part.bitmap.shape
            top, left = rows.start + part.row, cols.start + part.col
            place = slice(top, top + height), slice(left, left + width)
            self._add_object(class_id, part.bitmap, place)

    def _add_object(
        self, class_id: int, bits: BoolArray, place: tuple[slice, slice], piece: bool = False
    ) -> None:
        """Add an object with these pixels at a place of the window."""
        self.rows.append(
            describe(class_id, bits, self.confidence[place], self._absolute(place)[:2]),
        )
        self.is_piece.append(piece)
        self.numbers[place][bits] = len(self.rows)


def describe(class_id: int, bits: BoolArray, confidence: UInt8Array, origin_rc: tuple[int, int]) -> Row:
    """Describe an object.

    Args:
        class_id: Its class.
        bits: (h, w) its pixels, at least one.
        confidence: (h, w) uint8, probability of the class, 0 to 255.
        origin_rc: First pixel of `bits` in the result.
    """
    rows, cols = np.flatnonzero(bits.any(axis=1)), np.flatnonzero(bits.any(axis=0))
    top, left = origin_rc
    first = int(rows[0]) + top, int(bits[rows[0]].argmax()) + left
    box = first[0], int(cols[0]) + left, int(rows[-1]) + 1 + top, int(cols[-1]) + 1 + left
    score = float(confidence[bits].mean(dtype=np.float64)) / 255
    return class_id, score, int(np.count_nonzero(bits)), box, first


def _relative(box: Box, window: Box) -> tuple[slice, slice]:
    top, left = window[:2]
    return slice(box[0] - top, box[2] - top), slice(box[1] - left, box[3] - left)


def _shared(first: tuple[slice, slice], second: tuple[slice, slice]) -> tuple[slice, slice] | None:
    """Return the common part of two boxes; None if there is none."""
    rows, cols = (
        slice(max(one.start, other.start), min(one.stop, other.stop))
        for one, other in zip(first, second, strict=True)
    )
    return (rows, cols) if rows.start < rows.stop and cols.start < cols.stop else None
