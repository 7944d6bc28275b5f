"""Separate the objects in the result of a slide: block by block, then all together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...formats.maps.slide_objects import BlockObjectStore, objects_of, objects_settings
from ...jobs import Job, Progress
from ..instances.resolve_outlines import outer_box
from .block_objects import find_block_objects, window_of
from .joining import join_objects
from .large_components import Component, large_components, split_large
from .settings_names import objects_name, settings_name

if TYPE_CHECKING:
    from ...formats.maps.slide_objects import BlockObjects
    from ...formats.maps.slide_result import Block, SlideResult
    from ..instances.settings import InstanceSettings
    from .outlining import Outliner


def slide_objects_job(
    result: SlideResult,
    settings: InstanceSettings,
    own: Sequence[Block] = (),
    outliner: Outliner | None = None,
) -> Job[int | None]:
    """Make a job that separates objects in all blocks whose neighbours are complete, and numbers them at the end.

    Several processes may run it on one result; each block is kept from the first that completes it.

    Args:
        result: The result.
        settings: How objects are split.
        own: Blocks to begin with, which differ between the processes.
        outliner: Outlines the objects; None to keep the outlines of the head.

    Returns:
        The number of objects; None if blocks are missing.
    """
    order = [*own, *(block for block in result.blocks if block not in set(own))]
    total, store = len(order), BlockObjectStore(result.path, settings_name(settings))
    for done, block in enumerate(order):
        yield Progress(done, total, "Separating objects", "blocks")
        if not _is_complete(block, store, outliner) and is_ready(result, block):
            yield from block_objects_job(result, block, settings, outliner, done, total)
    yield Progress(total, total, "Separating objects", "blocks")
    if not all(_is_complete(block, store, outliner) for block in result.blocks):
        return None
    name = objects_name(settings, None if outliner is None else outliner.name)
    if objects_settings(result.path) != name:
        parts = _parts(result, settings)
        if outliner is not None:
            for component in _without_outlines(result, parts, outliner):
                yield from _component_job(component, result, parts, settings, outliner)
        outlines = None if outliner is None else outliner.store
        for _ in join_objects(result, parts, settings, name, outlines):
            yield Progress(total, total, "Numbering objects", "blocks")
    objects = objects_of(result.path)
    return None if objects is None else len(objects.table)


def block_objects_job(
    result: SlideResult,
    block: Block,
    settings: InstanceSettings,
    outliner: Outliner | None = None,
    done: int = 0,
    total: int = 1,
) -> Job[None]:
    """Make a job that separates and outlines the objects of one block and writes them, unless they are written.

    Args:
        result: The result, in which the block and its neighbours are complete.
        block: The block.
        settings: How objects are split.
        outliner: As for `slide_objects_job`.
        done: Number of blocks before it, for the progress.
        total: Number of all blocks.
    """
    store = BlockObjectStore(result.path, settings_name(settings))
    if not store.has(block.name):
        for objects in find_block_objects(result, block, settings):
            if objects is not None:
                store.write(block.name, objects)
            yield Progress(done, total, "Separating objects", "blocks")
    if outliner is not None and not outliner.store.has(block.name):
        found = store.read(block.name)
        boxes = found.table.box[~found.is_piece]
        for outlined in outliner.outline(block.name, boxes, window_of(block.box, result.hw)):
            yield Progress(done + outlined / max(1, len(boxes)), total, "Outlining objects", "blocks")


def unit_objects_job(
    result: SlideResult, name: str, settings: InstanceSettings, outliner: Outliner | None = None
) -> Job[None]:
    """Make a job for a block, or for a large component, which is outlined; see `missing_units`."""
    block = next((block for block in result.blocks if block.name == name), None)
    if block is not None:
        yield from block_objects_job(result, block, settings, outliner)
    elif outliner is not None:
        parts = _parts(result, settings)
        for component in _without_outlines(result, parts, outliner):
            if component.name == name:
                yield from _component_job(component, result, parts, settings, outliner)


def missing_units(
    result: SlideResult, settings: InstanceSettings, outliner: Outliner | None = None
) -> list[str]:
    """Return the names of the blocks whose objects can be separated now; if none is left, of components to outline."""
    store = BlockObjectStore(result.path, settings_name(settings))
    missing = [block for block in result.blocks if not _is_complete(block, store, outliner)]
    if missing or outliner is None:
        return [block.name for block in missing if is_ready(result, block)]
    return [one.name for one in _without_outlines(result, _parts(result, settings), outliner)]


def is_ready(result: SlideResult, block: Block) -> bool:
    """Return True if a block and its neighbours are complete."""
    return all(result.is_done(other) for other in result.neighbours(block))


def _is_complete(block: Block, store: BlockObjectStore, outliner: Outliner | None) -> bool:
    """Return True if the objects of a block have been separated and outlined."""
    return store.has(block.name) and (outliner is None or outliner.store.has(block.name))


def _parts(result: SlideResult, settings: InstanceSettings) -> dict[str, BlockObjects]:
    store = BlockObjectStore(result.path, settings_name(settings))
    return {block.name: store.read(block.name) for block in result.blocks}


def _without_outlines(
    result: SlideResult, parts: dict[str, BlockObjects], outliner: Outliner
) -> list[Component]:
    """Return the large components that are split and have not been outlined yet."""
    return [
        one for one in large_components(result, parts) if one.is_split and not outliner.store.has(one.name)
    ]


def _component_job(
    component: Component,
    result: SlideResult,
    parts: dict[str, BlockObjects],
    settings: InstanceSettings,
    outliner: Outliner,
) -> Job[None]:
    """Outline the objects of a large component."""
    label = "Outlining objects"
    yield Progress(0, 0, label, "objects")
    boxes = np.array(
        [outer_box(mask) for mask in split_large(component, result, parts, settings)], np.int64
    ).reshape(-1, 4)[:, [1, 0, 3, 2]]
    for outlined in outliner.outline(component.name, boxes, component.box):
        yield Progress(outlined, len(boxes), label, "objects")
