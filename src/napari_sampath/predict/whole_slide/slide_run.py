"""Segmentation of a whole slide with a trained head, block by block, into a result that can be resumed.

Each block is segmented with all tiles that reach into it, so that the result does not depend on the blocks. The tiles
are chosen by the tissue and by the tile grid of the whole slide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...formats.maps import slide_result
from ...formats.maps.slide_result import Block, SlideResult
from ...geometry import Frame
from ...images.slides import Slide
from ...images.slides.scaled import ScaledSlide
from ...images.slides.tissue import Tissue
from ...jobs import Job, Progress
from ..head_tiles import head_tile_px, head_tiles
from ..segmentation import check_match, overlaps, segment_job
from .objects_job import slide_objects_job

if TYPE_CHECKING:
    from ...heads import LoadedHead
    from ..instances.settings import InstanceSettings
    from ..model import Model

_VERSION = 2
"""Version of the computation; results of other versions are not continued."""
MAX_RATIO = 64.0
"""Largest ratio of the scales of head and slide."""


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
        part: (number, count): compute every `count`-th block, from the `number`-th on (from 1), to share the work.
        objects: How objects are separated, if they are. The process that completes the last block numbers them.

    Raises:
        WeightsError: If the head was trained on another model.
        ConfigError: If `part` is not within its count, or the scale is out of range.
        StorageError: If the result cannot be written.
    """
    _check_part(part)
    plan = SlidePlan.make(slide, head, model, path, tissue, mpp)
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
        choose: Returns the block to compute next from those that are missing.
        on_block: Called after a block has been written.
    """
    first, count = _check_part(part)
    if first == 1:
        plan.mark_blank()
    own = plan.wanted[first - 1 :: count]
    missing = [block for block in own if not plan.result.is_done(block)]
    computed, done, total = len(missing), 0, sum(map(plan.tiles, missing))
    while missing:
        block = choose(missing)
        missing.remove(block)
        tiles = plan.tiles(block)
        for step in plan.block_job(block):
            share = step.done / step.total if step.total else 0
            yield Progress(done + round(share * tiles), total, plan.label, "tiles")
        done += tiles
        on_block(block)
    yield Progress(total, total, plan.label, "tiles")
    found = None if objects is None else (yield from slide_objects_job(plan.result, objects, own))
    blocks = len(plan.result.blocks)
    return SlideRun(plan.result.path, blocks, computed, len(own) - computed, plan.notes, found)


def _check_part(part: tuple[int, int]) -> tuple[int, int]:
    number, count = part
    if not 1 <= number <= count:
        raise ConfigError(f"The part {number}/{count} does not exist; give a number from 1 to {count}.")
    return part


@dataclass(frozen=True, slots=True, eq=False)
class SlidePlan:
    """What a run computes; made once in each process that takes part."""

    slide: ScaledSlide
    """The slide at the scale of the head."""
    head: LoadedHead
    model: Model
    tissue: Tissue
    tile_px: int
    """Side of the tiles in pixels of the result."""
    result: SlideResult
    wanted: tuple[Block, ...]
    """The blocks with tissue."""
    notes: tuple[str, ...]
    """Sentences for the user."""

    @classmethod
    def make(
        cls,
        slide: Slide,
        head: LoadedHead,
        model: Model,
        path: Path,
        tissue: Tissue,
        mpp: float | None = None,
        magnification: float = 1.0,
        create: bool = True,
    ) -> SlidePlan:
        """Open or create the result of a run.

        See `slide_run_job`, `head_tile_px` and `SlideResult.open` for arguments and errors.
        """
        check_match(head, model)
        factor, notes = scale_factor(slide, head, mpp)
        scaled = ScaledSlide(slide, factor)
        tile_px = head_tile_px(head, magnification=magnification)
        fingerprint = _fingerprint(slide, head, model, tissue, factor, tile_px)
        hw = scaled.shape[0], scaled.shape[1]
        result, note = SlideResult.open(
            path, hw, slide.mpp and slide.mpp * factor, factor, head.classes, fingerprint, create
        )
        notes += (note,) if note else ()
        wanted = tuple(block for block in result.blocks if tissue.touches(_level0(block.box, factor)))
        return cls(scaled, head, model, tissue, tile_px, result, wanted, notes)

    @property
    def label(self) -> str:
        """Description of the run for progress bars."""
        return f"Segmenting '{self.slide.slide.name}' with {self.head.name}"

    def mark_blank(self) -> None:
        """Mark the blocks without tissue as complete."""
        for block in self.result.blocks:
            if block not in self.wanted:
                self.result.mark(block)

    def tiles(self, block: Block) -> int:
        """Return the number of tiles with tissue that reach into a block."""
        hw = self.slide.shape[0], self.slide.shape[1]
        frames = head_tiles(hw, self.tile_px)
        return sum(overlaps(frame, block.box) and not self._is_blank(frame) for frame in frames)

    def _is_blank(self, frame: Frame) -> bool:
        box = frame.top, frame.left, frame.top + frame.height, frame.left + frame.width
        return not self.tissue.touches(_level0(box, self.slide.factor))

    def block_job(self, block: Block) -> Job[None]:
        """Make a job that computes a block and writes it."""
        # The comparison would read some tiles of each block again, and a run of blocks shows no warning.
        job = segment_job(
            self.slide, self.head, self.model, block.box, self._is_blank, tile_px=self.tile_px, compare=False
        )
        segmentation = yield from job
        self.result.write(block, segmentation.labels, segmentation.confidence)


def scale_factor(slide: Slide, head: LoadedHead, mpp: float | None = None) -> tuple[float, tuple[str, ...]]:
    """Choose the level-0 pixels per pixel at which a head runs, with a sentence if a scale is unknown.

    Raises:
        ConfigError: If the ratio of the scales is not plausible.
    """
    wanted = mpp or head.metadata.mpp
    if wanted is None or slide.mpp is None:
        unknown = (
            f"The scale of '{slide.name}' is unknown"
            if slide.mpp is None
            else f"The scale that '{head.name}' was trained at is unknown"
        )
        return 1.0, (f"{unknown}, so it runs on the pixels of the finest level.",)
    factor = wanted / slide.mpp
    if not 1 / MAX_RATIO <= factor <= MAX_RATIO:
        raise ConfigError(
            f"The head runs at {wanted:g} µm per pixel and the slide has {slide.mpp:g}; the ratio must be from "
            f"{1 / MAX_RATIO:g} to {MAX_RATIO:g}."
        )
    note = ""
    if factor < 1 / 1.5:
        note = (
            f"'{head.name}' needs {wanted:g} µm per pixel and '{slide.name}' has only {slide.mpp:g}: it is enlarged, "
            "and detail is missing."
        )
    # Whole factors, so that levels are used as they are, if the error is below 2 %
    whole = round(factor)
    return (float(whole) if whole and abs(factor / whole - 1) < 0.02 else factor), ((note,) if note else ())


def _level0(box: tuple[int, int, int, int], factor: float) -> tuple[float, float, float, float]:
    r0, c0, r1, c1 = box
    return r0 * factor, c0 * factor, r1 * factor, c1 * factor


def _fingerprint(
    slide: Slide, head: LoadedHead, model: Model, tissue: Tissue, factor: float, tile_px: int
) -> dict[str, Any]:
    """Return everything that the pixels of a result depend on."""
    import hashlib

    mask = hashlib.sha256(f"{tissue.mask.shape} {tissue.step}".encode() + tissue.mask.tobytes()).hexdigest()
    return {
        "version": _VERSION,
        "slide": slide.digest,
        "head": head.name,
        "head_weights": head_digest(head),
        "encoder": model.name,
        "encoder_weights": model.encoder.weights_digest,
        "preprocessing": model.encoder.preprocessing_version,
        "precision": model.precision,
        "factor": factor,
        "tile_px": tile_px,
        "tissue": mask[:32],
        "block_px": slide_result.BLOCK_PX,
    }


def head_digest(head: LoadedHead) -> str:
    """Return the digest of a head's weights, 32 hex digits."""
    import hashlib

    digest = hashlib.sha256()
    for name, value in sorted(head.head.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
