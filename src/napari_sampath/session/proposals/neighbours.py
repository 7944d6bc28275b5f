"""Classify objects by their nearest neighbours in feature space."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...annotations import AnnotatedObject, bounds
from ...arrays import GRID, Features, FloatArray, LocalMask
from ...geometry import Frame, tile_for
from ...jobs import Job, Progress
from ..prompts.tile_cache import TileFeatures

NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Guess:
    """The most probable class of an object."""

    class_id: int
    share: float
    """Share of this class in the weights of the neighbours, 0..1."""
    of: AnnotatedObject | None = None
    """The object at the time of the guess."""


def mean_features_job(
    masks: Sequence[LocalMask], tiles: TileFeatures, hw: tuple[int, int]
) -> Job[FloatArray]:
    """Make a job that describes each object by the mean feature inside its mask.

    Each object is described on the tile centred closest to it, so that objects of a large image are compared at one
    scale unless they are larger than half a tile.

    Args:
        masks: N masks, none empty.
        tiles: The tiles of the image; missing ones are encoded.
        hw: Size (H, W) of the image in pixels.

    Returns:
        (N, C) float32 unit vectors.
    """
    by_frame: dict[Frame, list[int]] = defaultdict(list)
    for index, mask in enumerate(masks):
        r0, c0, r1, c1 = bounds(mask)
        by_frame[tile_for(hw, [(c0, r0), (c1, r1)])].append(index)
    rows: dict[int, FloatArray] = {}
    for done, (frame, indices) in enumerate(by_frame.items()):
        yield Progress(done, len(by_frame), "Describing the objects", "tiles")
        features = _flat(tiles.get(frame))
        for index in indices:
            rows[index] = features @ cell_weights(masks[index], frame)
    yield Progress(len(by_frame), len(by_frame), "Describing the objects", "tiles")
    means = np.stack([rows[index] for index in range(len(masks))]).astype(np.float32)
    unit: FloatArray = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return unit


def cell_weights(mask: LocalMask, frame: Frame) -> FloatArray:
    """Return the share of a mask's pixels in each cell of a tile's feature map, (4096,) with sum 1."""
    rows, cols = np.nonzero(mask.bitmap)
    xy = np.stack([cols + mask.col + 0.5, rows + mask.row + 0.5], axis=-1)
    cells = np.clip(frame.to_input(xy) * GRID / frame.input_px, 0, GRID - 1).astype(np.int64)
    counts = np.bincount(cells[:, 1] * GRID + cells[:, 0], minlength=GRID * GRID)
    weights: FloatArray = counts / max(1, len(rows))
    return weights


def classify(
    targets: FloatArray, examples: FloatArray, class_ids: Sequence[int], neighbours: int = NEIGHBOURS
) -> list[Guess]:
    """Give each target the class with the largest weight among its nearest examples.

    Args:
        targets: (N, C) unit vectors.
        examples: (M, C) unit vectors of classified objects, M >= 1.
        class_ids: (M,) their classes.
        neighbours: Number of examples that vote; each weighs its cosine similarity minus that of the farthest.
    """
    classes = np.asarray(class_ids)
    guesses = []
    for similarity in targets @ examples.T:
        nearest = np.argsort(-similarity, kind="stable")[:neighbours]
        # Relative to the farthest, so that one identical example outweighs four dissimilar ones.
        weights = similarity[nearest] - similarity[nearest].min() + 1e-3
        votes = np.bincount(classes[nearest], weights=weights)
        best = int(votes.argmax())
        guesses.append(Guess(best, float(votes[best] / weights.sum())))
    return guesses


def _flat(features: Features) -> FloatArray:
    """Return all maps of a tile as (C, 4096) float32."""
    maps = [values.detach().float().cpu().numpy() for values in features.maps.values()]
    flat: FloatArray = np.concatenate([values.reshape(len(values), -1) for values in maps])
    return flat
