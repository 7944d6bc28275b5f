"""Search one tile for objects: similarity, seeds and masks, on the 256 x 256 grid of the decoder's logits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from ...arrays import GRID, FloatArray, LocalMask
from ..decoder.mask_upscaling import local_mask
from .prototypes import unit_cells
from .settings import POINT_SIZES, SEED_ROUNDS, SEED_SIMILARITY, SEED_SPACING, UNLIKE_SIZE
from .windows import decode_points, window_side

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...arrays import BoolArray, Features
    from ...geometry import Frame
    from ..decoder.prompt_decoder import PromptDecoder
    from .prototypes import Prototypes
    from .settings import CandidateHead
    from .shipped_heads import HeadObject

_EIGHT = np.ones((3, 3), dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class SimilarObject:
    """One candidate of *Find similar*."""

    mask: LocalMask
    """The pixels, in image coordinates."""
    predicted_iou: float
    """IoU that the decoder predicts for the mask, or the mean probability of its pixels from a shipped head."""
    feature: FloatArray
    """(C,) mean feature inside the mask, a unit vector."""
    similarity: float
    """Similarity: about 0 for background and 1 for exemplars; may lie slightly outside this range. For an object of a
    head, the mean of it and of the probability."""


class TileSearch:
    """Search of one tile.

    Args:
        features: The tile.
        decoder: The prompt decoder.
        prototypes: Features of the exemplars, of the background and of unwanted objects.
        area_px: Mean area of the exemplars in image pixels.
    """

    def __init__(
        self, features: Features, decoder: PromptDecoder, prototypes: Prototypes, area_px: float
    ) -> None:
        self._features, self._frame = features, features.frame
        self._decoder, self._prototypes = decoder, prototypes
        self._step_px = features.frame.input_px // decoder.logits_px
        scale = max(features.frame.input_hw) / max(features.frame.hw) / self._step_px
        self._radius = max(float(np.sqrt(area_px / np.pi)) * scale, 1.0)
        self._area = np.pi * self._radius**2
        self._unit = unit_cells(features)
        self._map = self._similarity_map()

    def candidates(self, searched: BoolArray) -> Iterator[list[SimilarObject]]:
        """Find candidates.

        Args:
            searched: (256, 256), True where seeds may lie.

        Yields:
            The candidates of each batch of seeds.
        """
        side = window_side(self._decoder, 2 * self._radius * self._step_px)
        free = (self._map > SEED_SIMILARITY) & searched
        for number in range(SEED_ROUNDS):
            seeds_rc = self._seeds(free, first=number == 0)
            if not len(seeds_rc):
                return
            xy = (seeds_rc[:, ::-1] + 0.5) * self._step_px - 0.5
            batches = decode_points(self._decoder, self._features.maps["embedding"], xy, side, self._area)
            start = 0
            for batch in batches:
                found = []
                for seed, answer in zip(seeds_rc[start : start + len(batch)], batch, strict=True):
                    logits = np.full(self._map.shape, -10, dtype=np.float32)
                    (top, left), size = answer.origin_rc, len(answer.logits)
                    part = slice(top, top + size), slice(left, left + size)
                    logits[part] = _component_at(answer.logits, seed - (top, left))
                    covered = logits[part] > 0
                    self._cover(free, seed)
                    if POINT_SIZES[0] <= covered.sum() / self._area <= POINT_SIZES[1]:
                        free[part] &= ~covered
                        found.append(self._candidate(logits, answer.predicted_iou))
                start += len(batch)
                yield [candidate for candidate in found if candidate.mask.bitmap.size]

    def similar_objects(
        self, objects: Sequence[HeadObject], head: CandidateHead, searched: BoolArray
    ) -> list[SimilarObject]:
        """Return the candidates among the objects of a head on the tile whose centre is searched."""
        found = []
        for of_head in objects:
            part, inside = of_head.grid.slices, of_head.grid.bitmap
            row, col = (int(at) for at in ndimage.center_of_mass(inside))
            unlike = abs(float(np.log(np.count_nonzero(inside) / self._area)))
            certain = of_head.probability - UNLIKE_SIZE * unlike > head.min_probability
            if searched[part][row, col] and certain:
                inside = of_head.grid.to_dense(self._map.shape)
                obj = self._described(of_head.mask, inside, of_head.probability)
                found.append(replace(obj, similarity=(obj.similarity + of_head.probability) / 2))
        return found

    def _similarity_map(self) -> FloatArray:
        """Return the similarity on the grid of the logits, (256, 256) float32; the padding is far below 0."""
        cells = self._prototypes.similarity(self._unit)
        enlarged = torch.nn.functional.interpolate(
            torch.from_numpy(cells).view(1, 1, GRID, GRID),
            size=self._decoder.logits_px,
            mode="bilinear",
            align_corners=False,
        )[0, 0].numpy()
        height, width = (-(-length // self._step_px) for length in self._frame.input_hw)
        enlarged[height:] = enlarged[:, width:] = -10
        return enlarged

    def _seeds(self, free: BoolArray, first: bool) -> FloatArray:
        """Return the seeds (N, 2) as (row, col) of the grid: peaks of similarity and of distance from the edge."""
        depth = ndimage.distance_transform_edt(np.pad(free, 1))[1:-1, 1:-1]
        height = np.clip(self._map, 0, 1.2)
        value = (
            np.minimum(depth / self._radius, 1) + 0.5 * height
            if first
            else depth / self._radius + 0.25 * height
        )
        value = ndimage.gaussian_filter(value, 0.15 * self._radius)
        window = 2 * max(1, round(SEED_SPACING * self._radius)) + 1
        peaks = (value == ndimage.maximum_filter(value, window)) & free & (depth >= 0.3 * self._radius)
        # All points of a plateau are peaks; use the middle one.
        labels, count = ndimage.label(peaks, structure=_EIGHT)
        centres = ndimage.center_of_mass(peaks, labels, np.arange(1, count + 1))
        return np.asarray(centres, dtype=np.float64).reshape(-1, 2).round()

    def _cover(self, free: BoolArray, seed_rc: FloatArray) -> None:
        """Mark the neighbourhood of a seed as searched."""
        reach = 0.4 * self._radius
        rows, cols = (slice(max(0, int(at - reach)), int(at + reach) + 1) for at in (seed_rc[0], seed_rc[1]))
        free[rows, cols] = False

    def _candidate(self, logits: FloatArray, predicted_iou: float) -> SimilarObject:
        return self._described(local_mask(self._frame, logits), logits > 0, predicted_iou)

    def _described(self, mask: LocalMask, inside: BoolArray, predicted_iou: float) -> SimilarObject:
        """Return a mask (256, 256) with its feature and similarity."""
        feature = _grid_weights(inside) @ self._unit
        feature = (feature / max(float(np.linalg.norm(feature)), 1e-12)).astype(np.float32)
        return SimilarObject(mask, predicted_iou, feature, float(self._map[inside].mean()))


def searched_part(frame: Frame, box: tuple[int, int, int, int], logits_px: int) -> BoolArray:
    """Return which points of the grid of a tile's logits lie in a box (r0, c0, r1, c1) of the image."""
    step = frame.input_px / logits_px
    (y0, y1), (x0, x1) = (
        (frame.to_input([[box[1], box[0]], [box[3], box[2]]])[:, axis] / step) for axis in (1, 0)
    )
    at = np.arange(logits_px) + 0.5
    inside: BoolArray = np.outer((at >= y0) & (at < y1), (at >= x0) & (at < x1))
    return inside


def _component_at(logits: FloatArray, seed_rc: FloatArray) -> FloatArray:
    """Keep the connected component at a seed, or else the largest one, and fill its holes."""
    labels, count = ndimage.label(logits > 0)
    if count == 0:
        return logits
    row, col = np.clip(seed_rc, 0, len(logits) - 1).astype(np.int64)
    number = labels[row, col] or int(np.bincount(labels.ravel())[1:].argmax()) + 1
    kept = ndimage.binary_fill_holes(labels == number)
    return np.where(kept, np.maximum(np.abs(logits), 1e-3), -np.maximum(np.abs(logits), 1e-3))


def _grid_weights(mask: BoolArray) -> FloatArray:
    """Return the share of a mask (256, 256) in each cell, (4096,) float32."""
    step = len(mask) // GRID
    counts = mask.reshape(GRID, step, GRID, step).sum(axis=(1, 3), dtype=np.float32).ravel()
    weights: FloatArray = counts / max(1.0, float(counts.sum()))
    return weights
