"""What a whole-slide run computes, and everything that its pixels depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError
from ...formats.maps import slide_result
from ...formats.maps.slide_result import Block, SlideResult
from ...geometry import Frame
from ...images.slides import Slide
from ...images.slides.scaled import ScaledSlide
from ...images.slides.tissue import Tissue
from ...tiling import tiles
from ..head_tiles import check_tile_px, head_tile_px, head_tiles
from ..segmentation import check_match
from .prompt_features import PromptFeatures
from .shared_logits import SharedLogits

if TYPE_CHECKING:
    from ...heads import LoadedHead
    from ..model import Model

_VERSION = 2
"""Version of the computation; results of other versions are not continued."""
MAX_RATIO = 64.0
"""Largest ratio of the scales of head and slide."""


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
    shared: SharedLogits = field(default_factory=SharedLogits)
    """Logits of tiles that neighbouring blocks need."""
    prompt_features: PromptFeatures = field(default_factory=PromptFeatures)
    """Features of the tiles on which objects are outlined."""

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
        tile_px: int | None = None,
    ) -> SlidePlan:
        """Open or create the result of a run.

        See `slide_run_job`, `head_tile_px` and `SlideResult.open` for arguments and errors.
        """
        check_match(head, model)
        factor, notes = scale_factor(slide, head, mpp)
        scaled = ScaledSlide(slide, factor)
        chosen = None if tile_px is None else round(check_tile_px(tile_px) / factor)
        tile_px = head_tile_px(head, tile_px=chosen, magnification=magnification)
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
        for block in set(self.result.blocks).difference(self.wanted):
            if not self.result.is_done(block):
                self.result.mark(block)

    def tiles(self, block: Block) -> int:
        """Return the number of tiles with tissue that reach into a block."""
        return sum(not self.is_blank(frame) for frame in self.frames(block))

    def count_prompt_tiles(self) -> int:
        """Return the number of tiles with tissue on which objects are outlined."""
        return sum(not self.is_blank(frame) for frame in tiles(self.result.hw))

    def part(self, number: int, count: int) -> tuple[Block, ...]:
        """Return the blocks of one of `count` parts, numbered from 1, of about the same number of tiles.

        The blocks of a part are neighbours where possible, so that few tiles belong to two parts.
        """
        if count == 1:
            return self.wanted
        parts = shares([self.tiles(block) for block in self.wanted], count)
        return tuple(block for block, part in zip(self.wanted, parts, strict=True) if part == number - 1)

    def frames(self, block: Block) -> list[Frame]:
        """Return the tiles that reach into a block, row by row."""
        return head_tiles((self.slide.shape[0], self.slide.shape[1]), self.tile_px, block.box)

    def is_blank(self, frame: Frame) -> bool:
        """Return True if a tile has no tissue, so that it counts as background."""
        is_background = self.head.classes[0].id == 0
        return is_background and not self.tissue.touches(_level0(_box(frame), self.slide.factor))

    def is_shared(self, frame: Frame) -> bool:
        """Return True if a tile reaches into several blocks."""
        return len(self.result.blocks_in(_box(frame))) > 1


def shares(amounts: Sequence[int], count: int) -> list[int]:
    """Divide a sequence of work into consecutive shares of about the same size.

    Args:
        amounts: Amount of work of each item.
        count: Number of shares.

    Returns:
        The share of each item, 0 to count - 1, in ascending order.
    """
    total = sum(amounts)
    middles = (end - amount / 2 for end, amount in zip(accumulate(amounts), amounts, strict=True))
    return [int(middle / total * count) for middle in middles]


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


def _box(frame: Frame) -> tuple[int, int, int, int]:
    return frame.top, frame.left, frame.top + frame.height, frame.left + frame.width


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
