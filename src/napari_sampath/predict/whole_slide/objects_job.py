"""Separate the objects in the result of a slide: block by block, then all together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ...formats.maps.slide_objects import BlockObjectStore, objects_of, objects_settings
from ...jobs import Job, Progress
from .block_objects import find_block_objects
from .joining import join_objects

if TYPE_CHECKING:
    from ...formats.maps.slide_result import Block, SlideResult
    from ..instances.settings import InstanceSettings


def slide_objects_job(
    result: SlideResult, settings: InstanceSettings, own: Sequence[Block] = ()
) -> Job[int | None]:
    """Make a job that separates objects in all blocks whose neighbours are complete, and numbers them at the end.

    Several processes may run it on one result; each block is kept from the first that completes it.

    Args:
        result: The result.
        settings: How objects are split.
        own: Blocks to begin with, which differ between the processes.

    Returns:
        The number of objects; None if blocks are missing.
    """
    name = settings_name(settings)
    store = BlockObjectStore(result.path, name)
    order = [*own, *(block for block in result.blocks if block not in set(own))]
    label = "Separating objects"
    for done, block in enumerate(order):
        yield Progress(done, len(order), label, "blocks")
        if not store.has(block.name) and is_ready(result, block):
            yield from block_objects_job(result, block, settings, done, len(order))
    yield Progress(len(order), len(order), label, "blocks")
    if not all(store.has(block.name) for block in result.blocks):
        return None
    if objects_settings(result.path) != name:
        steps = join_objects(result, lambda block: store.read(block.name), settings, name)
        for _ in steps:
            yield Progress(len(order), len(order), "Numbering objects", "blocks")
    objects = objects_of(result.path)
    return None if objects is None else len(objects.table)


def block_objects_job(
    result: SlideResult, block: Block, settings: InstanceSettings, done: int = 0, total: int = 1
) -> Job[None]:
    """Make a job that separates the objects of one block and writes them.

    Args:
        result: The result, in which the block and its neighbours are complete.
        block: The block.
        settings: How objects are split.
        done: Number of blocks before it, for the progress.
        total: Number of all blocks.
    """
    for objects in find_block_objects(result, block, settings):
        if objects is not None:
            BlockObjectStore(result.path, settings_name(settings)).write(block.name, objects)
        yield Progress(done, total, "Separating objects", "blocks")


def is_ready(result: SlideResult, block: Block) -> bool:
    """Return True if a block and its neighbours are complete."""
    return all(result.is_done(other) for other in result.neighbours(block))


def settings_name(settings: InstanceSettings) -> str:
    """Return a name for the settings that the objects depend on: 16 hex digits."""
    values = asdict(settings)
    del values["agreement"]  # Concerns outlines of the prompt decoder, which are not used here.
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]
