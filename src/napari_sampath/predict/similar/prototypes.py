"""Compare features with those of exemplars, of the background and of rejected objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ...arrays import GRID, BoolArray, FloatArray, LocalMask
from .settings import LEAST_SPREAD, REJECTION_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import Features
    from ...geometry import Frame


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """Mean features of exemplars, background and rejected objects, all unit vectors."""

    exemplars: FloatArray
    """(E, C) float32."""
    background: FloatArray
    """(B, C) float32."""
    rejected: FloatArray
    """(R, C) float32; R may be 0."""
    zero: float
    """Difference of the cosine similarities, exemplar minus background, at background cells."""
    one: float
    """The same difference at the exemplars."""

    def similarity(self, features: FloatArray) -> FloatArray:
        """Return the similarity of unit vectors (N, C): about 0 for background, 1 for exemplars; (N,) float32."""
        nearest = (features @ self.exemplars.T).max(axis=1)
        contrast = nearest - (features @ self.background.T).max(axis=1)
        if len(self.rejected):
            excess = (features @ self.rejected.T).max(axis=1) - nearest
            contrast = contrast - REJECTION_WEIGHT * np.maximum(excess, 0)
        result: FloatArray = ((contrast - self.zero) / (self.one - self.zero)).astype(np.float32)
        return result

    def rejecting(self, features: FloatArray) -> Prototypes:
        """Return a copy with other features (R, C) of rejected objects."""
        return replace(self, rejected=np.asarray(features, np.float32).reshape(-1, self.exemplars.shape[1]))


def measure_prototypes(examples: Sequence[tuple[Features, Sequence[LocalMask]]]) -> Prototypes:
    """Measure prototypes on the tiles that contain the exemplars.

    Args:
        examples: Each tile with the exemplars in it; at least one exemplar in all.
    """
    cells = [unit_cells(features) for features, _ in examples]
    inside = [content_cells(features.frame) for features, _ in examples]
    exemplars = np.stack(
        [
            mean_feature(unit, mask, features.frame)
            for unit, (features, masks) in zip(cells, examples, strict=True)
            for mask in masks
        ]
    )
    everything = np.concatenate([unit[chosen] for unit, chosen in zip(cells, inside, strict=True)])
    # The background is the mean of all cells at first, and then the mean of the least similar cells.
    likeness = (everything @ exemplars.T).max(axis=1)
    own = float(np.median((exemplars @ exemplars.T).max(axis=1)))
    background = _unit(everything.mean(axis=0))
    contrast = likeness - everything @ background
    zero, one = float(np.median(contrast)), float(np.median(own - exemplars @ background))
    distant = contrast < zero + 0.25 * max(one - zero, 0)
    if distant.sum() >= 16:
        background = _unit(everything[distant].mean(axis=0))
    parts = [background]
    for unit, (features, masks) in zip(cells, examples, strict=True):
        parts += _rings(unit, masks, features.frame, exemplars)
    backgrounds = np.stack(parts)
    contrast = likeness - (everything @ backgrounds.T).max(axis=1)
    one = float(np.median(own - (exemplars @ backgrounds.T).max(axis=1)))
    zero = float(np.median(contrast[distant])) if distant.sum() >= 16 else float(np.median(contrast))
    return Prototypes(
        exemplars,
        backgrounds,
        np.zeros((0, exemplars.shape[1]), np.float32),
        zero,
        max(one, zero + LEAST_SPREAD),
    )


def _rings(
    unit: FloatArray, masks: Sequence[LocalMask], frame: Frame, exemplars: FloatArray
) -> list[FloatArray]:
    """Return the mean features of the cells around each exemplar that are least similar to it."""
    rings = []
    content = content_cells(frame).reshape(GRID, GRID)
    for mask in masks:
        covered = cell_weights(mask, frame).reshape(GRID, GRID) > 0
        around = ndimage.binary_dilation(covered, iterations=3) & ~ndimage.binary_dilation(covered) & content
        features = unit[around.ravel()]
        if len(features) >= 8:
            likeness = (features @ exemplars.T).max(axis=1)
            rings.append(_unit(features[likeness <= np.quantile(likeness, 0.4)].mean(axis=0)))
    return rings


def unit_cells(features: Features) -> FloatArray:
    """Return the embedding of a tile by cell, as unit vectors (4096, C) float32."""
    cells = features.maps["embedding"].detach().float().cpu().numpy().reshape(-1, GRID * GRID).T
    return _unit(np.ascontiguousarray(cells))


def content_cells(frame: Frame) -> BoolArray:
    """Return which cells lie in the image and not in the padding, (4096,) bool."""
    height, width = frame.input_hw
    cell_px = frame.input_px // GRID
    inside = np.zeros((GRID, GRID), dtype=np.bool_)
    inside[: max(1, height // cell_px), : max(1, width // cell_px)] = True
    return inside.ravel()


def mean_feature(unit: FloatArray, mask: LocalMask, frame: Frame) -> FloatArray:
    """Return the mean feature of a mask as a unit vector (C,)."""
    return _unit(cell_weights(mask, frame) @ unit)


def cell_weights(mask: LocalMask, frame: Frame) -> FloatArray:
    """Return the share of a mask's pixels in each cell of a tile, (4096,) float32 with sum 1."""
    rows, cols = np.nonzero(mask.bitmap)
    xy = np.stack([(cols + 0.5) * mask.step + mask.col, (rows + 0.5) * mask.step + mask.row], axis=-1)
    cells = np.clip(frame.to_input(xy) * GRID / frame.input_px, 0, GRID - 1).astype(np.int64)
    counts = np.bincount(cells[:, 1] * GRID + cells[:, 0], minlength=GRID * GRID)
    weights: FloatArray = (counts / max(1, len(rows))).astype(np.float32)
    return weights


def _unit(vectors: FloatArray) -> FloatArray:
    """Scale vectors (..., C) to length 1."""
    scaled: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return scaled.astype(np.float32)
