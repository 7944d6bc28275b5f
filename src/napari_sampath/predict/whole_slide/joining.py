"""The objects of a slide, from those of its blocks: pieces are joined, and all objects numbered.

The result depends only on the class map, not on the number of processes or their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ...formats.maps.slide_objects import (
    BlockObjects,
    ObjectTable,
    new_folder,
    objects_settings,
    write_table,
)
from ...formats.maps.slide_result import create_pyramid
from ..instances.split_touching import split_component
from .block_objects import Row, describe

if TYPE_CHECKING:
    from ...arrays import BoolArray, IntArray
    from ...formats.maps.slide_result import Block, Box, SlideResult
    from ..instances.settings import InstanceSettings

SPLIT_PX = 2**26
"""Largest bounding box of a component beyond the windows of all blocks that is split: 8,192 x 8,192 px."""


@dataclass(slots=True, eq=False)
class _Component:
    """A component that extends beyond the window of every block."""

    class_id: int
    box: Box
    pieces: dict[str, IntArray] = field(default_factory=dict)
    """Name of a block -> rows of its pieces."""


def join_objects(
    result: SlideResult, blocks: Callable[[Block], BlockObjects], settings: InstanceSettings, name: str
) -> Iterator[None]:
    """Join the objects of all blocks and write them into the result.

    Args:
        result: The complete result.
        blocks: Reads the objects of a block.
        settings: How large components are split.
        name: Name of the settings.

    Yields:
        Nothing, after each block.
    """
    import zarr

    parts = {block.name: blocks(block) for block in result.blocks}
    components = _large_components(result, parts)
    unsplit = [one for one in components if _pixels(one.box) > SPLIT_PX]
    tables: list[ObjectTable] = []
    luts: dict[str, IntArray] = {}
    total = 0
    for block in result.blocks:
        part = parts[block.name]
        whole = ~part.is_piece
        luts[block.name] = np.concatenate([[0], np.where(whole, np.cumsum(whole) + total, 0)]).astype(
            np.uint32
        )
        tables.append(part.table.take(whole))
        total += int(whole.sum())
    for component in unsplit:
        tables.append(_joined_row(component, parts))
        total += 1
        for block_name, rows in component.pieces.items():
            luts[block_name][rows + 1] = total
    path = result.path / "objects"
    with new_folder(path, lambda: objects_settings(result.path) != name) as folder:
        root = zarr.open_group(folder, mode="w", zarr_format=3, attributes={"sampath": {"settings": name}})
        levels: list[Any] = create_pyramid(root, "numbers", result.hw, result.mpp, "uint32")
        for block in result.blocks:
            yield
            _paint(levels[0], block, result, parts, luts)
        for component in components:
            if _pixels(component.box) <= SPLIT_PX:
                yield
                described = _split(levels[0], component, result, parts, settings, total)
                tables.append(ObjectTable.of_rows(described))
                total += len(described)
        for block in result.blocks:
            yield
            _downsample(levels, block)
        write_table(root, tables[0].joined(*tables[1:]))


def _pixels(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _large_components(result: SlideResult, parts: dict[str, BlockObjects]) -> list[_Component]:
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
    components: dict[int, _Component] = {}
    pieces = [(name, int(row)) for name, part in parts.items() for row in np.flatnonzero(part.is_piece)]
    for (name, row), group in zip(pieces, groups, strict=True):
        if group in described:
            continue
        table = parts[name].table
        box = table.box[row]
        one = components.setdefault(group, _Component(int(table.class_id[row]), tuple(map(int, box))))  # type: ignore[arg-type]
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


def _joined_row(component: _Component, parts: dict[str, BlockObjects]) -> ObjectTable:
    """Describe a component as one object."""
    tables = [parts[name].table.take(rows) for name, rows in component.pieces.items()]
    table = tables[0].joined(*tables[1:])
    area = int(table.area_px.sum())
    score = float((table.score * table.area_px.astype(np.float64)).sum() / area)
    first = min(map(tuple, table.first_rc.tolist()))
    return ObjectTable.of_rows([(component.class_id, score, area, component.box, first)])


def _paint(
    target: Any,
    block: Block,
    result: SlideResult,
    parts: dict[str, BlockObjects],
    luts: dict[str, IntArray],
) -> None:
    """Write the numbers of the objects in a block, which it or its neighbours have described."""
    r0, c0, r1, c1 = block.box
    numbers = np.zeros((r1 - r0, c1 - c0), np.uint32)
    for other in result.neighbours(block):
        part = parts[other.name]
        top, left = part.origin_rc
        height, width = part.numbers.shape
        rows = slice(max(r0, top), min(r1, top + height))
        cols = slice(max(c0, left), min(c1, left + width))
        if rows.start >= rows.stop or cols.start >= cols.stop or not luts[other.name].any():
            continue
        local = part.numbers[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
        values = luts[other.name][local]
        view = numbers[rows.start - r0 : rows.stop - r0, cols.start - c0 : cols.stop - c0]
        np.copyto(view, values, where=values > 0)
    if numbers.any():
        target[r0:r1, c0:c1] = numbers


def _split(
    target: Any,
    component: _Component,
    result: SlideResult,
    parts: dict[str, BlockObjects],
    settings: InstanceSettings,
    total: int,
) -> list[Row]:
    """Split a component that extends beyond the window of every block, and write the numbers of its objects."""
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
    confidence = result.confidence(component.box)
    described = []
    for one in split_component(mask, settings):
        place = slice(one.row, one.row + one.bitmap.shape[0]), slice(one.col, one.col + one.bitmap.shape[1])
        origin = r0 + one.row, c0 + one.col
        described.append(describe(component.class_id, one.bitmap, confidence[place], origin))
        box = slice(r0 + place[0].start, r0 + place[0].stop), slice(c0 + place[1].start, c0 + place[1].stop)
        values = np.asarray(target[box])
        values[one.bitmap] = total + len(described)
        target[box] = values
    return described


def _downsample(levels: list[Any], block: Block) -> None:
    """Write the coarser levels of a block from the finest."""
    values = np.asarray(levels[0][block.box[0] : block.box[2], block.box[1] : block.box[3]])
    if not values.any():
        return
    for level, array in enumerate(levels[1:], start=1):
        part = values[:: 2**level, :: 2**level]
        r0, c0 = block.box[0] >> level, block.box[1] >> level
        array[r0 : r0 + part.shape[0], c0 : c0 + part.shape[1]] = part
