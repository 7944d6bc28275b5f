"""Classes for many objects from a few that a person classified: nearest neighbours in the space of features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...annotations import AnnotatedObject, bounds
from ...arrays import GRID, Features, FloatArray, LocalMask
from ...geometry import Frame, tile_for
from ...jobs import Job, Progress

if TYPE_CHECKING:
    from ..prompts.tile_cache import TileFeatures

NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Guess:
    """The class that an object probably has."""

    class_id: int
    share: float
    """Weight of the neighbours that have this class, 0..1."""
    of: AnnotatedObject | None = None
    """The object as it was when this was guessed."""


def mean_features_job(
    masks: Sequence[LocalMask], tiles: TileFeatures, hw: tuple[int, int]
) -> Job[FloatArray]:
    """Make a job that describes objects by the mean feature of the cells they lie in.

    Each object is described on the tile in whose middle it lies, so that objects of a large image are compared at one
    scale unless they are larger than half a tile.

    Args:
        masks: N masks, none empty.
        tiles: The tiles of the image; those not encoded yet are encoded.
        hw: Size (H, W) of the image in pixels.

    Returns:
        (N, C) float32, every row of length 1.
    """
    by_frame: dict[Frame, list[int]] = defaultdict(list)
    for index, mask in enumerate(masks):
        r0, c0, r1, c1 = bounds(mask)
        by_frame[tile_for(hw, [(c0, r0), (c1, r1)])].append(index)
    rows: dict[int, FloatArray] = {}
    for done, (frame, indices) in enumerate(by_frame.items()):
        yield Progress(done, len(by_frame), "Looking at the objects", "tiles")
        features = _flat(tiles.get(frame))
        for index in indices:
            rows[index] = features @ cell_weights(masks[index], frame)
    yield Progress(len(by_frame), len(by_frame), "Looking at the objects", "tiles")
    found = np.stack([rows[index] for index in range(len(masks))]).astype(np.float32)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    unit: FloatArray = found / np.maximum(length, 1e-12)
    return unit


def cell_weights(mask: LocalMask, frame: Frame) -> FloatArray:
    """Return the share of a mask's pixels in each of the (4096,) cells of a tile; sum 1."""
    rows, cols = np.nonzero(mask.bitmap)
    xy = np.stack([cols + mask.col + 0.5, rows + mask.row + 0.5], axis=-1)
    cells = np.clip(frame.to_input(xy) * GRID / frame.input_px, 0, GRID - 1).astype(np.int64)
    counts = np.bincount(cells[:, 1] * GRID + cells[:, 0], minlength=GRID * GRID)
    weights: FloatArray = counts / max(1, len(rows))
    return weights


def classify(
    unknown: FloatArray, known: FloatArray, class_ids: Sequence[int], neighbours: int = NEIGHBOURS
) -> list[Guess]:
    """Give each object the class that weighs most among its nearest neighbours.

    Args:
        unknown: (N, C) rows of length 1.
        known: (M, C) rows of length 1 of classified objects, at least one.
        class_ids: (M,) their classes.
        neighbours: So many neighbours count, each by its cosine similarity above that of the farthest of them.
    """
    classes = np.asarray(class_ids)
    count = min(neighbours, len(known))
    guesses = []
    for similarity in unknown @ known.T:
        nearest = np.argsort(-similarity, kind="stable")[:count]
        # So that of five neighbours four that are far off do not outvote one that is the same.
        weights = similarity[nearest] - similarity[nearest].min() + 1e-3
        votes: Mapping[int, float] = {
            one: float(weights[classes[nearest] == one].sum()) for one in np.unique(classes[nearest]).tolist()
        }
        best = max(votes, key=lambda one: votes[one])
        guesses.append(Guess(int(best), votes[best] / float(weights.sum())))
    return guesses


def _flat(features: Features) -> FloatArray:
    """Return all maps of a tile as (C, 4096) float32."""
    maps = [values.detach().float().cpu().numpy() for values in features.maps.values()]
    flat: FloatArray = np.concatenate([one.reshape(len(one), -1) for one in maps])
    return flat
