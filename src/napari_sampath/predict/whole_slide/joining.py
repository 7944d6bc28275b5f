"""The objects of a slide, from those of its blocks: pieces are joined, and all objects numbered.

The result depends only on the class map and on the outlines of the decoder, not on the number of processes or their
order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...formats.maps.slide_objects import (
    BlockObjects,
    ObjectTable,
    new_folder,
    objects_settings,
    write_table,
)
from ...formats.maps.slide_result import create_pyramid
from .block_objects import Row, describe
from .large_components import Component, large_components, split_large
from .outline_choice import Unit, refine_outlines

if TYPE_CHECKING:
    from ...arrays import IntArray
    from ...formats.maps.slide_outlines import OutlineStore
    from ...formats.maps.slide_result import Block, SlideResult
    from ..instances.settings import InstanceSettings


def join_objects(
    result: SlideResult,
    parts: dict[str, BlockObjects],
    settings: InstanceSettings,
    name: str,
    outlines: OutlineStore | None = None,
) -> Iterator[None]:
    """Join the objects of all blocks and write them into the result.

    Args:
        result: The complete result.
        parts: Name of each block -> its objects.
        settings: How large components are split, and when an outline of the decoder is used.
        name: Name of everything that the objects depend on.
        outlines: The decoder's outlines of the objects of all blocks and large components; None to keep the head's.

    Yields:
        Nothing, after each block.
    """
    import zarr

    components = large_components(result, parts)
    tables, luts, units = _numbered(parts, [one for one in components if not one.is_split])
    total = sum(map(len, tables))
    path = result.path / "objects"
    with new_folder(path, lambda: objects_settings(result.path) != name) as folder:
        root = zarr.open_group(folder, mode="w", zarr_format=3, attributes={"sampath": {"settings": name}})
        levels: list[Any] = create_pyramid(root, "numbers", result.hw, result.mpp, "uint32")
        for block in result.blocks:
            yield
            _paint(levels[0], block, result, parts, luts)
        for component in components:
            if component.is_split:
                yield
                described = _add_split(levels[0], component, result, parts, settings, total)
                tables.append(ObjectTable.of_rows(described))
                units.append((component.name, total + 1, len(described)))
                total += len(described)
        table, scores = tables[0].joined(*tables[1:]), None
        if outlines is not None:
            table, scores = yield from refine_outlines(levels[0], table, units, outlines, settings, folder)
        for block in result.blocks:
            yield
            _downsample(levels, block)
        write_table(root, table, scores)


def _numbered(
    parts: dict[str, BlockObjects], unsplit: list[Component]
) -> tuple[list[ObjectTable], dict[str, IntArray], list[Unit]]:
    """Number the objects of all blocks, and then the large components that stay one object.

    Returns:
        Their tables; name of a block -> number of each row + 1 of its table, 0 for pieces; and the blocks as units.
    """
    tables: list[ObjectTable] = []
    luts: dict[str, IntArray] = {}
    units: list[Unit] = []
    total = 0
    for name, part in parts.items():
        whole = ~part.is_piece
        luts[name] = np.concatenate([[0], np.where(whole, np.cumsum(whole) + total, 0)]).astype(np.uint32)
        tables.append(part.table.take(whole))
        units.append((name, total + 1, len(tables[-1])))
        total += len(tables[-1])
    for component in unsplit:
        tables.append(_joined_row(component, parts))
        total += 1
        for name, rows in component.pieces.items():
            luts[name][rows + 1] = total
    return tables, luts, units


def _joined_row(component: Component, parts: dict[str, BlockObjects]) -> ObjectTable:
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
    """Write the instance map of a block, from the objects found in it and in its neighbours."""
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


def _add_split(
    target: Any,
    component: Component,
    result: SlideResult,
    parts: dict[str, BlockObjects],
    settings: InstanceSettings,
    total: int,
) -> list[Row]:
    """Split a large component, and write the numbers of its objects."""
    r0, c0 = component.box[:2]
    confidence = result.confidence(component.box)
    described: list[Row] = []
    for one in split_large(component, result, parts, settings):
        rows, cols = one.slices
        place = slice(rows.start - r0, rows.stop - r0), slice(cols.start - c0, cols.stop - c0)
        described.append(describe(component.class_id, one.bitmap, confidence[place], (one.row, one.col)))
        values = np.asarray(target[one.slices])
        values[one.bitmap] = total + len(described)
        target[one.slices] = values
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
