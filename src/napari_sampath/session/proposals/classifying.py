"""Classify objects by their nearest neighbours in feature space, for example those of "segment everything"."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...annotations import AnnotatedObject, Batch, Box, Document, Reclassify, bounds
from ...arrays import GRID, ClassInfo, Features, FloatArray, LocalMask
from ...errors import PromptError
from ...geometry import Frame
from ...jobs import Job, Progress
from ...tiling import tile_for
from ..prompts.tile_cache import TileFeatures
from .new_objects import NewObject, NewObjects

NEIGHBOURS = 5
"""Number of nearest classified objects that vote for a class."""
UNCLASSIFIED = ClassInfo(1, "unclassified", (128, 128, 128))
"""Class of objects that are not classified yet."""


@dataclass(frozen=True, slots=True)
class Guess:
    """The most probable class of an object."""

    class_id: int
    share: float
    """Share of the neighbours' total weight that votes for this class, 0..1."""
    of: AnnotatedObject | None = None
    """Record of the object at the time of the guess."""


def everything(masks: Iterable[tuple[LocalMask, float]], model: str, within: Box | None = None) -> NewObjects:
    """Convert masks with scores to unclassified objects, highest score on top; see `Proposals.everything`."""
    objects = (
        NewObject(UNCLASSIFIED.id, mask, score) for mask, score in sorted(masks, key=lambda item: item[1])
    )
    return NewObjects(tuple(objects), (UNCLASSIFIED,), model, within)


def classify_job(
    document: Document, tiles: TileFeatures, ids: Iterable[int] | None = None
) -> Job[dict[int, Guess]]:
    """Make a job that guesses classes of objects from verified objects; it can run in any thread.

    Args:
        document: The document, which is read immediately and may change while the job runs.
        tiles: The tiles of the image.
        ids: The objects to classify; defaults to "unclassified" objects and unreviewed proposals of heads.

    Raises:
        PromptError: If no object is classified yet.
        UnknownNameError: If an object does not exist.
    """
    unclassified = document.classes.find(UNCLASSIFIED.name)
    unclassified_id = 0 if unclassified is None else unclassified.id
    objects = document.objects.values()
    if ids is None:
        ids = [obj.id for obj in objects if obj.class_id == unclassified_id or obj.trust == 0]
    targets = [document.record(object_id) for object_id in ids]
    target_ids = {obj.id for obj in targets}
    examples = [
        obj
        for obj in objects
        if obj.trust == 1 and obj.class_id != unclassified_id and obj.id not in target_ids
    ]
    masks = [document.pixels(obj.id) for obj in (*targets, *examples)]
    return _classify(targets, [obj.class_id for obj in examples], masks, tiles, document.hw)


def _classify(
    targets: list[AnnotatedObject],
    class_ids: list[int],
    masks: list[LocalMask],
    tiles: TileFeatures,
    hw: tuple[int, int],
) -> Job[dict[int, Guess]]:
    if not targets:
        return {}
    if not class_ids:
        raise PromptError(
            "No object has a class yet; classify at least one object of each class by hand first."
        )
    features = yield from mean_features_job(masks, tiles, hw)
    guesses = classify(features[: len(targets)], features[len(targets) :], class_ids)
    return {obj.id: replace(guess, of=obj) for obj, guess in zip(targets, guesses, strict=True)}


def apply_guesses(document: Document, guesses: Mapping[int, Guess], min_share: float = 0.0) -> Batch:
    """Return the operation that assigns the guessed classes (object id -> guess) to objects.

    Guesses with a share below `min_share` are skipped, as are objects that were deleted, reclassified or reviewed since
    the guess.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for object_id, guess in guesses.items():
        obj, before = document.objects.get(object_id), guess.of
        if obj is None or (before and (obj.class_id, obj.trust) != (before.class_id, before.trust)):
            continue
        if guess.class_id in document.classes and guess.share >= min_share:
            by_class[guess.class_id].append(object_id)
    steps = tuple(Reclassify(tuple(ids), class_id) for class_id, ids in sorted(by_class.items()))
    return Batch(steps, "the classification by similarity")


def mean_features_job(
    masks: Sequence[LocalMask], tiles: TileFeatures, hw: tuple[int, int]
) -> Job[FloatArray]:
    """Make a job that computes the mean feature inside the mask of each object.

    The features are those of the tile whose centre is closest to the object, so that objects of a large image are
    compared at the same scale unless they are larger than half a tile.

    Args:
        masks: N masks, none empty.
        tiles: The tiles of the image; missing tiles are encoded.
        hw: Size (H, W) of the image in pixels.

    Returns:
        The job; its result is (N, C) float32 unit vectors.
    """
    by_frame: dict[Frame, list[int]] = defaultdict(list)
    for index, mask in enumerate(masks):
        r0, c0, r1, c1 = bounds(mask)
        by_frame[tile_for(hw, [(c0, r0), (c1, r1)])].append(index)
    rows: dict[int, FloatArray] = {}
    for done, (frame, indices) in enumerate(by_frame.items()):
        yield Progress(done, len(by_frame), "Comparing objects", "tiles")
        features = _flat(tiles.get(frame))
        for index in indices:
            rows[index] = features @ cell_weights(masks[index], frame)
    yield Progress(len(by_frame), len(by_frame), "Comparing objects", "tiles")
    means = np.stack([rows[index] for index in range(len(masks))]).astype(np.float32)
    unit: FloatArray = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return unit


def cell_weights(mask: LocalMask, frame: Frame) -> FloatArray:
    """Return the share of a mask's pixels in each cell of a tile's feature map, (4096,) with sum 1."""
    rows, cols = np.nonzero(mask.bitmap)
    xy = np.stack([(cols + 0.5) * mask.step + mask.col, (rows + 0.5) * mask.step + mask.row], axis=-1)
    cells = np.clip(frame.to_input(xy) * GRID / frame.input_px, 0, GRID - 1).astype(np.int64)
    counts = np.bincount(cells[:, 1] * GRID + cells[:, 0], minlength=GRID * GRID)
    weights: FloatArray = counts / max(1, len(rows))
    return weights


def classify(
    targets: FloatArray, examples: FloatArray, class_ids: Sequence[int], neighbours: int = NEIGHBOURS
) -> list[Guess]:
    """Assign to each target the class with the largest total weight among its nearest examples.

    Args:
        targets: (N, C) unit vectors.
        examples: (M, C) unit vectors of classified objects, M >= 1.
        class_ids: (M,) classes of the examples.
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
