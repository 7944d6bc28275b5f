"""Segmentation of a whole slide with a trained head, block by block, into a result that can be resumed.

Each block is segmented with all tiles that reach into it, so that the result does not depend on the blocks. The tiles
are chosen by the tissue and by the tile grid of the whole slide.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...formats.maps.slide_result import BLOCK_PX, SlideResult
from ...geometry import Frame
from ...images.slides import Slide
from ...images.slides.scaled import ScaledSlide
from ...images.slides.tissue import Tissue
from ...jobs import Job, Progress
from ..head_tiles import head_tile_px, head_tiles
from ..segmentation import Segmentation, check_match, overlaps, segment_job

if TYPE_CHECKING:
    from ...heads import LoadedHead
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


def slide_run_job(
    slide: Slide,
    head: LoadedHead,
    model: Model,
    path: Path,
    tissue: Tissue,
    mpp: float | None = None,
    part: tuple[int, int] = (1, 1),
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

    Raises:
        WeightsError: If the head was trained on another model.
        ConfigError: If `part` is not within its count, or the scale is out of range.
        StorageError: If the result cannot be written.
    """
    check_match(head, model)
    first, count = part
    if not 1 <= first <= count:
        raise ConfigError(f"The part {first}/{count} does not exist; give a number from 1 to {count}.")
    factor, notes = scale_factor(slide, head, mpp)
    scaled = ScaledSlide(slide, factor)
    hw = scaled.shape[0], scaled.shape[1]
    tile_px = head_tile_px(head)
    fingerprint = _fingerprint(slide, head, model, tissue, factor, tile_px)
    result, note = SlideResult.open(
        path, hw, slide.mpp and slide.mpp * factor, factor, head.classes, fingerprint
    )
    notes += (note,) if note else ()
    wanted = [block for block in result.blocks if tissue.touches(_level0(block.box, factor))]
    for block in result.blocks if first == 1 else ():
        if block not in wanted:
            result.mark(block)
    own = wanted[first - 1 :: count]
    missing = [block for block in own if not result.is_done(block)]

    def is_blank(frame: Frame) -> bool:
        box = frame.top, frame.left, frame.top + frame.height, frame.left + frame.width
        return not tissue.touches(_level0(box, factor))

    label = f"Segmenting '{slide.name}' with {head.name}"
    frames = head_tiles(hw, tile_px)
    counts = [sum(overlaps(frame, block.box) for frame in frames) for block in missing]
    for number, block in enumerate(missing):
        job = segment_job(scaled, head, model, block.box, is_blank, tile_px=tile_px)
        segmentation = yield from _forwarded(job, sum(counts[:number]), sum(counts), label)
        result.write(block, segmentation.labels, segmentation.confidence)
    yield Progress(sum(counts), sum(counts), label, "tiles")
    return SlideRun(result.path, len(result.blocks), len(missing), len(own) - len(missing), notes)


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


def _forwarded(job: Job[Segmentation], done: int, total: int, label: str) -> Job[Segmentation]:
    """Run the job of a block, and report its tiles among those of all blocks."""
    while True:
        try:
            step = next(job)
        except StopIteration as stop:
            segmentation: Segmentation = stop.value
            return segmentation
        yield Progress(done + step.done, total, label, "tiles")


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
        "block_px": BLOCK_PX,
    }


def head_digest(head: LoadedHead) -> str:
    """Return the digest of a head's weights, 32 hex digits."""
    import hashlib

    digest = hashlib.sha256()
    for name, value in sorted(head.head.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
