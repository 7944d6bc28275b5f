"""Segmentation of a whole slide with a trained head, block by block, into a result that can be resumed.

Each block is segmented with all tiles that reach into it, so that the result does not depend on the blocks. The tiles
are chosen by the tissue and by the tile grid of the whole slide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ConfigError
from ...formats.maps.slide_result import Block
from ...images.slides import Slide
from ...images.slides.tissue import Tissue
from ...jobs import Job, Progress
from ..instances.instances import check_promptable
from .block_stream import compute_blocks
from .objects_job import slide_objects_job
from .outlining import Outliner
from .slide_plan import SlidePlan

if TYPE_CHECKING:
    from ...heads import LoadedHead
    from ..instances.settings import InstanceSettings
    from ..model import Model


@dataclass(frozen=True, slots=True)
class SlideRun:
    """Result of a run."""

    path: Path
    """Folder of the result."""
    blocks: int
    """Number of blocks of the slide."""
    computed: int
    """Number of blocks that this run computed."""
    skipped: int
    """Number of blocks that were done before."""
    notes: tuple[str, ...]
    """Sentences for the user."""
    objects: int | None = None
    """Number of objects; None if they were not separated, or blocks are missing."""


def slide_run_job(
    slide: Slide,
    head: LoadedHead,
    model: Model,
    path: Path,
    tissue: Tissue,
    mpp: float | None = None,
    part: tuple[int, int] = (1, 1),
    objects: InstanceSettings | None = None,
    tile_px: int | None = None,
) -> Job[SlideRun]:
    """Make a job that segments a slide; it can be cancelled, killed and continued at any time.

    Args:
        slide: The slide.
        head: The head.
        model: The model whose encoder the head was trained on.
        path: Folder of the result, ending in `.ome.zarr`. An unfinished result of the same run is continued.
        tissue: Where to segment; the rest is background.
        mpp: Micrometres per pixel at which the head runs; that of its training images by default, and that of level 0
            if this is unknown or the slide's scale is.
        part: (number, count): compute the `number`-th (from 1) of `count` parts of the blocks, to share the work.
        objects: How objects are separated, if they are; with `outlines=True`, the model outlines each. The process that
            completes the last block numbers them.
        tile_px: Side of the tiles in level-0 pixels, if chosen by the user; see `head_tile_px`.

    Raises:
        WeightsError: If the head was trained on another model.
        PromptError: If the model shall outline objects and answers no prompts.
        ConfigError: If `part` is not within its count, or the scale or `tile_px` is out of range.
        StorageError: If the result cannot be written.
    """
    _check_part(part)
    if objects is not None and objects.outlines:
        check_promptable(model)
    plan = SlidePlan.make(slide, head, model, path, tissue, mpp, tile_px=tile_px)
    return (yield from plan_job(plan, part, objects))


def plan_job(
    plan: SlidePlan,
    part: tuple[int, int] = (1, 1),
    objects: InstanceSettings | None = None,
    choose: Callable[[Sequence[Block]], Block] = itemgetter(0),
    on_block: Callable[[Block], object] = lambda block: None,
) -> Job[SlideRun]:
    """Make a job that computes the blocks of a plan.

    Args:
        plan: The plan.
        part: As for `slide_run_job`.
        objects: As for `slide_run_job`.
        choose: Returns the block to compute next from those that are missing; called in a thread, shortly before the
            block is computed.
        on_block: Called in a thread after a block has been written.
    """
    first, count = _check_part(part)
    outliner = Outliner.of(plan, objects)
    if first == 1:
        plan.mark_blank()
    own = plan.part(first, count)
    missing = [block for block in own if not plan.result.is_done(block)]

    def chosen() -> Iterator[Block]:
        while missing:
            block = choose(missing)
            missing.remove(block)
            yield block

    computed, total = len(missing), sum(map(plan.tiles, missing))
    yield Progress(0, total, plan.label, "tiles")
    for done in compute_blocks(plan, chosen(), on_block):
        yield Progress(done, total, plan.label, "tiles")
    yield Progress(total, total, plan.label, "tiles")
    found = None
    if objects is not None:
        found = yield from slide_objects_job(plan.result, objects, own, outliner)
    blocks = len(plan.result.blocks)
    return SlideRun(plan.result.path, blocks, computed, len(own) - computed, plan.notes, found)


def _check_part(part: tuple[int, int]) -> tuple[int, int]:
    number, count = part
    if not 1 <= number <= count:
        raise ConfigError(f"The part {number}/{count} does not exist; give a number from 1 to {count}.")
    return part
