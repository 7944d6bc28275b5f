"""How well a promptable model answers: one box or one point for every object of a split, beside plain baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit
from skimage.color import rgb2gray, rgb2lab
from skimage.filters import threshold_otsu
from skimage.segmentation import flood

from ...annotations import innermost
from ...arrays import BoolArray, Features, FloatArray, IntArray, LocalMask, Prompts, UInt8Array
from ...geometry import Frame, closer_px, tile_for, tiles
from ...jobs import Job, Progress
from ...predict.decoder.candidates import best_first, corrected
from ...predict.decoder.mask_upscaling import local_mask, pieces_at, pointed_at
from ..data.instances import UNKNOWN, InstanceImage
from ..data.simulated_clicks import worst_mistake
from ..data.stain import shift_colours
from .failures import WorstAnswers

if TYPE_CHECKING:
    from ...predict import Model


ENOUGH = 0.80
"""IoU at which a person stops clicking, in "points to IoU 0.80"."""
MOST_POINTS = 10
"""An object that is not good enough by then counts as this many."""

POINTS = f"points to IoU {ENOUGH:.2f}"

Answers = dict[tuple[str, str], list[float]]
"""(prompt, method) -> one figure for each object."""


@dataclass(frozen=True, slots=True)
class PromptScore:
    """Mean figure of one way of answering, over all objects of one kind."""

    kind: str
    """"nucleus", "gland", "tumour", or the name of a dataset."""
    prompt: str
    """"box", "point", or "points to IoU 0.80"; ", colours x 0.8" where the image's were changed."""
    method: str
    """Name of the model, or of the baseline."""
    mean: float
    """Mean IoU; for "points to IoU 0.80" the mean number of points."""
    low: float | None
    """The lower end of a 95 % interval over the cases; None where there is one case only."""
    high: float | None
    objects: int
    images: int
    cases: int
    """Slides, patients or parent fields; images of one are not independent."""


def iou(predicted: BoolArray, target: BoolArray) -> float:
    """Intersection over union of two bool arrays of one shape; 1 if both are empty."""
    union = int((predicted | target).sum())
    return float((predicted & target).sum() / union) if union else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """What is asked at once."""

    image: InstanceImage
    pixels: UInt8Array
    instances: IntArray
    ids: list[int]

    @property
    def known(self) -> BoolArray:
        """(H, W), the verified area."""
        known: BoolArray = self.instances != UNKNOWN
        return known


def evaluate_prompts(
    model: Model,
    images: list[InstanceImage],
    clicked: int = 0,
    shifts: tuple[float, ...] = (),
    worst: WorstAnswers | None = None,
    closer: bool = False,
) -> Job[list[PromptScore]]:
    """Prompt every object once by its box and once by its innermost pixel.

    The answer to a box is the single mask (`multimask` off), that to a point the candidate with the highest
    predicted IoU, as in SAM's own evaluation. Images larger than a tile are cut as a session does.

    Args:
        model: A promptable model.
        images: Images of a validation split.
        clicked: Of how many objects of a tile, drawn at random, the corrections are simulated too; 0 for none.
        shifts: Further rows are of images with other colours, see `shift_colours`.
        worst: Gets the answers to boxes and points, to keep the worst.
        closer: Further rows are of the same objects on tiles of half the side, as a session answers who has zoomed in;
            of images that are large enough for them, and whose ids are single objects.

    Returns:
        One score for each kind, prompt and method, in this order, the highest mean first; for a point also that of the
        piece of the mask that the point is in, which is what a session shows. Baselines: the box itself, Otsu's
        threshold inside the box, and a flood fill in CIELAB from the point.
    """
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    seen: Counter[str] = Counter()
    for number, image in enumerate(images):
        yield Progress(number, len(images), f"prompting the objects of {image.name}", "images")
        seen[image.kind.name] += 1
        for tile in _tiles(image):
            for key, values in _all_answers(model, tile, clicked, shifts, worst, closer).items():
                cases = found.setdefault((image.kind.name, *key), {})
                cases.setdefault(image.case or image.name, []).extend(values)
    scores = [
        PromptScore(
            *key,
            *mean_and_interval(list(cases.values())),
            sum(map(len, cases.values())),
            seen[key[0]],
            len(cases),
        )
        for key, cases in found.items()
    ]
    return sorted(scores, key=lambda one: (one.kind, one.prompt, -one.mean))


def mean_and_interval(cases: list[list[float]]) -> tuple[float, float | None, float | None]:
    """Return the mean over all objects and its 95 % interval.

    Cases are the units: a ratio of two sums over them, with its linearised variance and Student's t (Cochran 1977,
    "Sampling Techniques", chapter 6).
    """
    sums, counts = np.array([sum(values) for values in cases]), np.array([len(values) for values in cases])
    mean, number = float(sums.sum() / counts.sum()), len(cases)
    if number < 2:
        return mean, None, None
    spread = np.sqrt(number / (number - 1) * np.square(sums - mean * counts).sum()) / counts.sum()
    reach = float(stdtrit(number - 1, 0.975) * spread)
    return mean, max(0.0, mean - reach), mean + reach


def _all_answers(
    model: Model,
    tile: _Tile,
    clicked: int,
    shifts: tuple[float, ...],
    worst: WorstAnswers | None,
    closer: bool,
) -> Answers:
    """Ask for the objects of one tile everything that was asked for."""
    features = model.encode(tile.pixels)
    found = _answers(model, features, tile, worst) | _baselines(tile)
    rng = np.random.default_rng(len(tile.ids))
    clicked_ids = set(rng.choice(tile.ids, size=min(clicked, len(tile.ids)), replace=False).tolist())
    if clicked:
        found[POINTS, model.name] = _points_needed(model, features, tile, clicked_ids)
    if closer and tile.image.kind.separate and closer_px(tile.instances.shape):
        for frame, ids in _by_closer_frame(tile).items():
            near, part = model.encode(tile.pixels, frame, keep=False), replace(tile, ids=ids)
            answers = _answers(model, near, part)
            if clicked:
                answers[POINTS, model.name] = _points_needed(model, near, part, clicked_ids)
            for (prompt, method), values in answers.items():
                found.setdefault((f"{prompt}, closer", method), []).extend(values)
    for factor in shifts:
        changed = _answers(model, model.encode(shift_colours(tile.pixels, factor), keep=False), tile)
        for (prompt, method), values in changed.items():
            found[f"{prompt}, colours x {factor:g}", method] = values
    return found


def _points_needed(model: Model, features: Features, tile: _Tile, clicked: set[int]) -> list[float]:
    """Count the points that those of the tile's objects need which are clicked."""
    return [
        float(points_needed(model, features, tile.instances == i, tile.known))
        for i in tile.ids
        if i in clicked
    ]


def _by_closer_frame(tile: _Tile) -> dict[Frame, list[int]]:
    """Group the objects of a tile by the closer tile that a session would ask."""
    grouped: dict[Frame, list[int]] = {}
    for i in tile.ids:
        corners = np.reshape(bounding_box(tile.instances == i), (2, 2))
        grouped.setdefault(tile_for(tile.instances.shape, corners, closer=True), []).append(i)
    return grouped


def _tiles(image: InstanceImage) -> Iterator[_Tile]:
    """Cut an image as a session does; each object counts in the first tile that holds all of it."""
    ids, counts = np.unique(image.instances, return_counts=True)
    areas = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    left = set(image.objects())
    for frame in tiles(image.instances.shape):
        instances = image.instances[frame.slices]
        ids, counts = np.unique(instances, return_counts=True)
        here = [i for i, n in zip(ids.tolist(), counts.tolist(), strict=True) if i in left and n == areas[i]]
        left.difference_update(here)
        if here:
            yield _Tile(image, np.ascontiguousarray(image.pixels[frame.slices]), instances, here)


def _answers(model: Model, features: Features, tile: _Tile, worst: WorstAnswers | None = None) -> Answers:
    """Prompt the model for the objects of one tile."""
    found: Answers = {}
    instances = tile.instances
    boxes = [bounding_box(instances == i) for i in tile.ids]
    for i, (answer, _) in zip(tile.ids, model.predict_boxes(features, np.array(boxes)), strict=True):
        target = instances == i
        prompts = Prompts.make(points=[innermost(LocalMask(0, 0, target))])
        logits, scores = model.decode(features, prompts, multimask=True)
        best = logits[int(np.argmax(scores))]
        piece = pieces_at(best, pointed_at(features.frame, prompts))
        masks = {
            ("box", model.name): answer,
            ("point", model.name): local_mask(features.frame, best),
            ("point", f"{model.name}, the piece"): local_mask(features.frame, piece),
        }
        for (prompt, method), mask in masks.items():
            dense = mask.to_dense(target.shape) & tile.known
            score = iou(dense, target)
            found.setdefault((prompt, method), []).append(score)
            if worst is not None and method == model.name:
                worst.offer(f"{tile.image.kind.name}, {prompt}", score, tile.pixels, target, dense)
    return found


def _baselines(tile: _Tile) -> Answers:
    """Answer the same prompts without a model."""
    found: Answers = {}
    pixels, colours = tile.pixels, rgb2lab(tile.pixels)
    for i in tile.ids:
        target = tile.instances == i
        box = bounding_box(target)
        masks = {
            ("box", "box itself"): _fill(box, target.shape),
            ("box", "Otsu in box"): _otsu(pixels, box),
            ("point", "flood fill"): _flood(colours, innermost(LocalMask(0, 0, target))),
        }
        for key, mask in masks.items():
            found.setdefault(key, []).append(iou(mask, target))
    return found


def points_needed(model: Model, features: Features, target: BoolArray, known: BoolArray) -> int:
    """Correct an answer by points until it is good enough, as the person in front of it would.

    Each point goes to the middle of the worst mistake, and the previous logits are fed back (Sofiiuk et al. 2021,
    "Reviving iterative training with mask guidance", section 4).

    Args:
        model: A promptable model.
        features: The tile.
        target: (H, W) bool, not empty.
        known: (H, W) bool; what the model says elsewhere is neither right nor wrong.

    Returns:
        Number of points to an IoU of `ENOUGH`, at most `MOST_POINTS`.
    """
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    previous, found = None, np.zeros_like(target)
    while len(points) < MOST_POINTS and iou(found, target) < ENOUGH:
        point, mark = worst_mistake(found, target)
        points.append(point)
        labels.append(mark)
        logits, _ = best_first(model, features, Prompts.make(points, labels, mask=previous))
        previous = logits[0]
        followed = corrected(
            previous, np.array(points[1:]).reshape(-1, 2), np.array(labels[1:]), features.frame
        )
        piece = pieces_at(followed, pointed_at(features.frame, Prompts.make(points, labels)))
        found = local_mask(features.frame, piece).to_dense(target.shape) & known
    return len(points) if iou(found, target) >= ENOUGH else MOST_POINTS


def bounding_box(mask: BoolArray) -> tuple[float, float, float, float]:
    """Return the outer edges (x0, y0, x1, y1) of a non-empty mask (H, W), as a person drags them."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(cols[0]), float(rows[0]), float(cols[-1] + 1), float(rows[-1] + 1)


def _fill(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> BoolArray:
    x0, y0, x1, y1 = (int(v) for v in box)
    mask = np.zeros(shape[:2], dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def _otsu(pixels: UInt8Array, box: tuple[float, float, float, float]) -> BoolArray:
    x0, y0, x1, y1 = (int(v) for v in box)
    grey = rgb2gray(pixels[y0:y1, x0:x1])
    mask = np.zeros(pixels.shape[:2], dtype=np.bool_)
    mask[y0:y1, x0:x1] = grey < threshold_otsu(grey) if grey.min() < grey.max() else True
    return mask


def _flood(colours: FloatArray, point: tuple[float, float], tolerance: float = 14.0) -> BoolArray:
    """Fill from (x, y) over pixels whose CIELAB colour lies within `tolerance` of the point's neighbourhood."""
    col, row = int(point[0]), int(point[1])
    seed = colours[max(0, row - 2) : row + 3, max(0, col - 2) : col + 3].reshape(-1, 3).mean(axis=0)
    close = np.linalg.norm(colours - seed, axis=2) < tolerance
    close[row, col] = True
    filled: BoolArray = flood(close.astype(np.uint8), (row, col), connectivity=1).astype(np.bool_)
    return filled
