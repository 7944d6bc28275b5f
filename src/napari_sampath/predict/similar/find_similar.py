"""Find all objects that look like given exemplars, without training.

The features that are cached for prompts are compared with those of the exemplars and of the background. Peaks of the
similarity become point prompts, whose masks are filtered by similarity, size and overlap. If a shipped head finds the
exemplars as well, its objects are the candidates instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import BoolArray, LocalMask
from ...errors import PromptError
from ...geometry import Frame
from ...jobs import Job, Progress, run
from ...tiling import high_resolution_px, tile_for, tiles
from ..model import as_pixels
from .prototypes import mean_feature, measure_prototypes, unit_cells
from .selection import SimilarResult
from .settings import CANDIDATE_HEADS, ENLARGED, SMALL_PX, CandidateHead, SimilarSettings
from .shipped_heads import ShippedHeads
from .tile_search import SimilarObject, TileSearch, searched_part

if TYPE_CHECKING:
    from ...arrays import Features
    from ..decoder.prompt_decoder import PromptDecoder
    from ..model import Model
    from .prototypes import Prototypes

Box = tuple[int, int, int, int]
Tiles = Callable[[Frame], "Features"]
"""Function that returns the features of a tile, and encodes it if necessary."""


@dataclass(frozen=True, slots=True, eq=False)
class Exemplars:
    """Measured exemplars; they can also be searched for in other images of the same kind."""

    prototypes: Prototypes
    area_px: float
    """Geometric mean area in pixels."""
    diameter_px: float
    """Largest side of a bounding box, in pixels."""
    high_resolution: bool
    """Whether high-resolution tiles are searched."""
    head: CandidateHead | None = None
    """The shipped head that finds the exemplars, so that its objects are the candidates."""


def find_similar(
    image: Any,
    exemplars: Sequence[BoolArray | LocalMask],
    model: Model,
    rejected: Sequence[BoolArray | LocalMask] = (),
    within: Box | None = None,
    settings: SimilarSettings | None = None,
) -> list[SimilarObject]:
    """Find the objects of an image that look like exemplars.

    Args:
        image: (H, W, 3) uint8 RGB; other arrays are converted like image files.
        exemplars: Masks (H, W) bool of the image, or local masks, of one or more objects of one class.
        model: A model that answers prompts; tiles are looked up in its store.
        rejected: Masks of unwanted objects; similar objects are left out, too.
        within: Part (r0, c0, r1, c1) of the image to search; the whole image if left out.
        settings: Criteria for keeping objects.

    Returns:
        The objects found, without the exemplars, most similar first.

    Raises:
        ImageError: If the array is not an image.
        PromptError: If there is no exemplar, one is empty or outside the image, or the model answers no prompts.
    """
    pixels = as_pixels(image)
    hw = int(pixels.shape[0]), int(pixels.shape[1])
    own, others = [_local(mask, hw) for mask in exemplars], [_local(mask, hw) for mask in rejected]
    tile = partial(model.encode, pixels)
    result = run(find_similar_job(hw, own, model, tile, others, within, ShippedHeads(model, pixels)))
    return result.select(settings)


def find_similar_job(
    hw: tuple[int, int],
    exemplars: Sequence[LocalMask],
    model: Model,
    tile: Tiles,
    rejected: Sequence[LocalMask] = (),
    within: Box | None = None,
    heads: ShippedHeads | None = None,
) -> Job[SimilarResult]:
    """Make a job that searches an image and can be cancelled between batches of prompts.

    Args:
        hw: Size (H, W) of the image.
        exemplars: At least one mask.
        model: A model that answers prompts.
        tile: Function that returns the features of a tile.
        rejected: Masks of unwanted objects.
        within: Part (r0, c0, r1, c1) of the image to search.
        heads: Finder of the objects of shipped heads, which are the candidates if a head finds most of the exemplars.

    Raises:
        PromptError: If there is no exemplar, or the model answers no prompts.
    """
    _check(exemplars, model)
    measured = yield from measure_exemplars_job(hw, exemplars, tile, rejected, heads)
    candidates = yield from search_job(hw, measured, model, tile, within, heads)
    return SimilarResult(tuple(candidates), tuple(exemplars), measured.area_px, measured.prototypes)


def measure_exemplars_job(
    hw: tuple[int, int],
    exemplars: Sequence[LocalMask],
    tile: Tiles,
    rejected: Sequence[LocalMask] = (),
    heads: ShippedHeads | None = None,
) -> Job[Exemplars]:
    """Make a job that measures exemplars, on tiles of the same scale as in the search."""
    area = float(np.exp(np.mean(np.log([mask.area_px for mask in exemplars]))))
    diameter = float(max(mask.step * max(mask.bitmap.shape) for mask in exemplars))
    standard = tiles(hw)[0]
    scale = max(standard.input_hw) / max(standard.hw)
    input_px = 2 * float(np.sqrt(area / np.pi)) * scale
    finest = high_resolution_px(hw) is not None
    high_resolution, head = finest and input_px < SMALL_PX, None
    for source in CANDIDATE_HEADS:
        if heads is not None and source.diameters_px[0] <= input_px < source.diameters_px[1]:
            fine = finest and scale < ENLARGED and input_px < source.high_resolution_px
            if (yield from _found_job(hw, exemplars, tile, heads, source, fine)):
                high_resolution, head = fine, source
                break
    groups = _by_tile(hw, exemplars, high_resolution)
    examples = []
    for done, (frame, masks) in enumerate(groups.items()):
        yield Progress(done, len(groups), "Reading the exemplars", "tiles")
        examples.append((tile(frame), masks))
    prototypes = measure_prototypes(examples)
    if rejected:
        features = []
        for mask in rejected:
            read = tile(_tile_of(hw, mask, high_resolution))
            features.append(mean_feature(unit_cells(read), mask, read.frame))
        prototypes = prototypes.rejecting(np.stack(features))
    return Exemplars(prototypes, area, diameter, high_resolution, head)


def search_job(
    hw: tuple[int, int],
    exemplars: Exemplars,
    model: Model,
    tile: Tiles,
    within: Box | None = None,
    heads: ShippedHeads | None = None,
) -> Job[list[SimilarObject]]:
    """Make a job that searches an image for objects like measured exemplars; arguments: see `find_similar_job`."""
    decoder = _decoder(model)
    box = within or (0, 0, *hw)
    frames = search_tiles(hw, exemplars.diameter_px, exemplars.high_resolution)
    parts = [
        (frame, _intersection(part, box)) for frame, part in zip(frames, own_parts(frames, hw), strict=True)
    ]
    parts = [(frame, part) for frame, part in parts if part[0] < part[2] and part[1] < part[3]]
    found: list[SimilarObject] = []
    for done, (frame, part) in enumerate(parts):
        yield Progress(done, len(parts), "Finding similar objects", "tiles")
        features = tile(frame)
        search = TileSearch(features, decoder, exemplars.prototypes, exemplars.area_px)
        searched = searched_part(frame, part, decoder.logits_px)
        if exemplars.head is not None and heads is not None:
            objects = heads.on_tile(exemplars.head, features)
            found += search.similar_objects(objects, exemplars.head, searched)
            continue
        for batch in search.candidates(searched):
            found += batch
            yield Progress(done, len(parts), "Finding similar objects", "tiles")
    yield Progress(len(parts), len(parts), "Finding similar objects", "tiles")
    return found


def search_tiles(hw: tuple[int, int], diameter_px: float, high_resolution: bool) -> list[Frame]:
    """Cover an image with the tiles to search: high-resolution ones for small objects, larger ones for large objects.

    Args:
        hw: Size (H, W) of the image.
        diameter_px: Largest side of an exemplar; neighbouring tiles overlap by 4/3 of it if possible.
        high_resolution: Whether the objects are small.
    """
    overlap = max(1, int(diameter_px * 4 / 3))
    side = high_resolution_px(hw) if high_resolution else None
    if side is not None and overlap < side // 2:
        # With half of the overlap added, two tiles along each side cover an image that is one standard tile.
        return tiles(hw, side + (-(-overlap // 2) if max(hw) <= 2 * side else 0), overlap)
    side = 1024
    while side < max(hw) and overlap > side // 2:
        side *= 2
    return tiles(hw, side, min(overlap, side // 2))


def own_parts(frames: Sequence[Frame], hw: tuple[int, int]) -> list[Box]:
    """Assign each pixel of the image to one of the overlapping tiles; return a box (r0, c0, r1, c1) per tile."""
    edges = []
    for starts, length, size in (
        (sorted({frame.top for frame in frames}), frames[0].height, hw[0]),
        (sorted({frame.left for frame in frames}), frames[0].width, hw[1]),
    ):
        borders = [0, *((a + length + b) // 2 for a, b in pairwise(starts)), size]
        edges.append({start: (borders[n], borders[n + 1]) for n, start in enumerate(starts)})
    return [
        (edges[0][frame.top][0], edges[1][frame.left][0], edges[0][frame.top][1], edges[1][frame.left][1])
        for frame in frames
    ]


def _found_job(
    hw: tuple[int, int],
    exemplars: Sequence[LocalMask],
    tile: Tiles,
    heads: ShippedHeads,
    source: CandidateHead,
    high_resolution: bool,
) -> Job[bool]:
    """Make a job that returns whether a head finds at least half of the exemplars."""
    groups = _by_tile(hw, exemplars, high_resolution)
    found = 0
    for done, (frame, masks) in enumerate(groups.items()):
        yield Progress(done, len(groups), "Reading the exemplars", "tiles")
        features = tile(frame)
        found += sum(heads.finds(source, mask, features) for mask in masks)
    return 2 * found >= len(exemplars)


def _by_tile(
    hw: tuple[int, int], masks: Sequence[LocalMask], high_resolution: bool
) -> dict[Frame, list[LocalMask]]:
    groups: dict[Frame, list[LocalMask]] = defaultdict(list)
    for mask in masks:
        groups[_tile_of(hw, mask, high_resolution)].append(mask)
    return groups


def _tile_of(hw: tuple[int, int], mask: LocalMask, high_resolution: bool) -> Frame:
    rows, cols = mask.slices
    corners = [(cols.start, rows.start), (min(cols.stop, hw[1]), min(rows.stop, hw[0]))]
    return tile_for(hw, corners, high_resolution)


def _intersection(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _decoder(model: Model) -> PromptDecoder:
    if model.decoder is None:
        raise PromptError(
            f"The encoder '{model.name}' answers no prompts, so it cannot find similar objects; "
            "choose 'sampath-tiny' or 'vit_b'."
        )
    return model.decoder


def _check(exemplars: Sequence[LocalMask], model: Model) -> None:
    _decoder(model)
    if not exemplars:
        raise PromptError("There is no exemplar; give at least one object.")
    if not all(mask.bitmap.any() for mask in exemplars):
        raise PromptError("An exemplar is empty; give objects with at least one pixel.")


def _local(mask: BoolArray | LocalMask, hw: tuple[int, int]) -> LocalMask:
    """Convert a mask of the image to a local mask.

    Raises:
        PromptError: If it does not have the size of the image.
    """
    if isinstance(mask, LocalMask):
        rows, cols = mask.slices
        if rows.start < 0 or cols.start < 0 or rows.stop > hw[0] or cols.stop > hw[1]:
            raise PromptError(
                f"An object lies outside the image of {hw[1]} x {hw[0]} px; give objects inside it."
            )
        return mask
    if np.shape(mask) != hw:
        raise PromptError(f"The mask of an object has shape {np.shape(mask)}; give the image's size {hw}.")
    return LocalMask.from_dense(np.asarray(mask, dtype=np.bool_))
