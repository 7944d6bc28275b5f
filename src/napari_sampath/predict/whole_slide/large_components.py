"""Components that extend beyond the windows of all blocks; they are put together from the pieces of the blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ...arrays import LocalMask
from ..instances.split_touching import split_component

if TYPE_CHECKING:
    from ...arrays import BoolArray, IntArray
    from ...formats.maps.slide_objects import BlockObjects
    from ...formats.maps.slide_result import Block, Box, SlideResult
    from ..instances.settings import InstanceSettings

SPLIT_PX = 2**26
"""Largest bounding box of a component beyond the windows of all blocks that is split: 8,192 x 8,192 px."""


@dataclass(slots=True, eq=False)
class Component:
    """A component that extends beyond the window of every block."""

    name: str
    """Unique name, from its first block and the row of its first piece there; different from the names of blocks."""
    class_id: int
    box: Box
    pieces: dict[str, IntArray] = field(default_factory=dict)
    """Name of a block -> rows of its pieces."""

    @property
    def is_split(self) -> bool:
        """True if it is split into objects; larger ones are one object."""
        r0, c0, r1, c1 = self.box
        return (r1 - r0) * (c1 - c0) <= SPLIT_PX


def large_components(result: SlideResult, parts: dict[str, BlockObjects]) -> list[Component]:
    """Find the components that extend beyond the window of every block, in the order of their first blocks."""
    # Number all pieces: block -> row of its table + 1 -> number of the piece, or 0
    numbers: dict[str, IntArray] = {}
    total = 0
    for name, part in parts.items():
        count = np.cumsum(part.is_piece)
        numbers[name] = np.concatenate([[0], np.where(part.is_piece, count + total, 0)])
        total += int(part.is_piece.sum())
    if not total:
        return []
    links, seen_whole = _links(result, parts, numbers)
    graph = coo_array((np.ones(len(links)), tuple(links.T)), shape=(total, total))
    _, groups = connected_components(graph, directed=False)
    # Leave out those that another block has described
    described = set(groups[seen_whole])
    components: dict[int, Component] = {}
    pieces = [(name, int(row)) for name, part in parts.items() for row in np.flatnonzero(part.is_piece)]
    for (name, row), group in zip(pieces, groups, strict=True):
        if group in described:
            continue
        table = parts[name].table
        box = table.box[row]
        new = Component(f"{name}_{row}", int(table.class_id[row]), tuple(map(int, box)))  # type: ignore[arg-type]
        one = components.setdefault(group, new)
        one.box = (
            *np.minimum(one.box[:2], box[:2]).tolist(),
            *np.maximum(one.box[2:], box[2:]).tolist(),
        )
        one.pieces[name] = np.append(one.pieces.get(name, np.zeros(0, np.int64)), row)
    return list(components.values())


def _links(
    result: SlideResult, parts: dict[str, BlockObjects], numbers: dict[str, IntArray]
) -> tuple[IntArray, IntArray]:
    """Find which pieces touch each other or a component inside a window, along all borders of blocks.

    Returns:
        (n, 2) pairs of pieces, and the pieces of components that lie inside the window of another block.
    """
    rows: dict[int, list[Block]] = {}
    columns: dict[int, list[Block]] = {}
    for block in result.blocks:
        rows.setdefault(block.row, []).append(block)
        columns.setdefault(block.col, []).append(block)
    pairs, whole = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    for lines, edges in ((rows, ("bottom", "top")), (columns, ("right", "left"))):
        for number in range(len(lines) - 1):
            first = _line(lines[number], edges[0], parts, numbers)
            second = _line(lines[number + 1], edges[1], parts, numbers)
            for one, other in _neighbours(first, second):
                same = one[1] == other[1]
                both = same & (one[0] > 0) & (other[0] > 0)
                pairs.append(np.unique(np.stack([one[0][both], other[0][both]], axis=1), axis=0) - 1)
                for piece, known in ((one, other), (other, one)):
                    seen = same & (piece[0] > 0) & (known[0] < 0)
                    whole.append(np.unique(piece[0][seen]) - 1)
    return np.concatenate(pairs), np.concatenate(whole)


def _line(
    blocks: list[Block], edge: str, parts: dict[str, BlockObjects], numbers: dict[str, IntArray]
) -> IntArray:
    """Return an edge of a row or column of blocks: (2, L) number of the piece (or -1 or 0), and class id."""
    values = []
    for block in blocks:
        part = parts[block.name]
        pixels = part.edges[edge]
        classes = np.concatenate([[0], part.table.class_id.astype(np.int64)])
        row = np.maximum(pixels, 0)
        piece = np.where(pixels < 0, -1, numbers[block.name][row])
        values.append(np.stack([piece, np.where(pixels < 0, -pixels, classes[row])]))
    return np.concatenate(values, axis=1)


def _neighbours(first: IntArray, second: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the pairs of 8-connected pixels of two adjacent lines (2, L)."""
    yield first, second
    yield first[:, 1:], second[:, :-1]
    yield first[:, :-1], second[:, 1:]


def split_large(
    component: Component, result: SlideResult, parts: dict[str, BlockObjects], settings: InstanceSettings
) -> Iterator[LocalMask]:
    """Split a large component into objects, in pixels of the result."""
    r0, c0, r1, c1 = component.box
    mask: BoolArray = np.zeros((r1 - r0, c1 - c0), dtype=bool)
    for block in result.blocks:
        if block.name not in component.pieces:
            continue
        part, rows = parts[block.name], component.pieces[block.name]
        b0, d0, b1, d1 = (
            max(block.box[0], r0),
            max(block.box[1], c0),
            min(block.box[2], r1),
            min(block.box[3], c1),
        )
        top, left = part.origin_rc
        local = np.asarray(part.numbers[b0 - top : b1 - top, d0 - left : d1 - left])
        mask[b0 - r0 : b1 - r0, d0 - c0 : d1 - c0] |= np.isin(local, rows + 1)
    for one in split_component(mask, settings):
        yield LocalMask(r0 + one.row, c0 + one.col, one.bitmap)
