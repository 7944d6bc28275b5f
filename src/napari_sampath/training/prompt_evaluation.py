"""How well a promptable model answers: one box or one point for every object of a split, beside plain baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from skimage.color import rgb2gray, rgb2lab
from skimage.filters import threshold_otsu
from skimage.segmentation import flood

from ..annotations import innermost
from ..arrays import BoolArray, Features, FloatArray, IntArray, LocalMask, Prompts, UInt8Array
from ..geometry import tiles
from ..jobs import Job, Progress
from ..predict.masks import local_mask, pieces_at, pointed_at
from .augment import shift_colours
from .instances import InstanceImage
from .simulate import worst_mistake

if TYPE_CHECKING:
    from ..predict import Model


ENOUGH = 0.80
"""IoU at which a person stops clicking, in "points to IoU 0.80"."""
MOST_POINTS = 10
"""An object that is not good enough by then counts as this many."""
RESAMPLES = 1000
"""Bootstrap samples behind an interval."""

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
    low: float
    """The lower end of a 95 % interval: percentile bootstrap over the cases."""
    high: float
    objects: int
    images: int
    cases: int
    """Slides, patients or parent fields; images of one are not independent."""


def iou(predicted: BoolArray, target: BoolArray) -> float:
    """Intersection over union of two bool arrays of one shape; 1 if both are empty."""
    union = int((predicted | target).sum())
    return float((predicted & target).sum() / union) if union else 1.0


def evaluate_prompts(
    model: Model, images: list[InstanceImage], clicked: int = 0, shifts: tuple[float, ...] = ()
) -> Job[list[PromptScore]]:
    """Prompt every object once by its box and once by its innermost pixel.

    The answer to a box is the single mask (`multimask` off), that to a point the candidate with the highest
    predicted IoU, as in SAM's own evaluation. Images larger than a tile are cut as a session does.

    Args:
        model: A promptable model.
        images: Images of a validation split.
        clicked: Of how many single objects of a tile the corrections are simulated too; 0 for none.
        shifts: Factors by which hue, saturation and brightness of the images are changed in further rows.

    Returns:
        One score for each kind, prompt and method; for a point also that of the piece of the mask that the point is
        in, which is what a session shows. Baselines: the box itself, Otsu's threshold inside the
        box, and a flood fill in CIELAB from the point.
    """
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    seen: Counter[str] = Counter()
    for number, image in enumerate(images):
        yield Progress(number, len(images), f"prompting the objects of {image.name}", "images")
        seen[image.kind.name] += 1
        for pixels, instances, ids in _tiles(image):
            asked = clicked if image.kind.separate else 0
            for key, values in _all_answers(model, pixels, instances, ids, asked, shifts).items():
                cases = found.setdefault((image.kind.name, *key), {})
                cases.setdefault(image.case, []).extend(values)
    return [
        PromptScore(
            *key,
            *_mean_and_interval(list(cases.values())),
            sum(map(len, cases.values())),
            seen[key[0]],
            len(cases),
        )
        for key, cases in found.items()
    ]


def _mean_and_interval(cases: list[list[float]]) -> tuple[float, float, float]:
    """Return the mean over all objects, and what 95 % of bootstrap samples of the cases lie between."""
    sums, counts = np.array([sum(values) for values in cases]), np.array([len(values) for values in cases])
    drawn = np.random.default_rng(0).integers(0, len(cases), (RESAMPLES, len(cases)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(sums.sum() / counts.sum()), float(low), float(high)


def _all_answers(
    model: Model,
    pixels: UInt8Array,
    instances: IntArray,
    ids: list[int],
    clicked: int,
    shifts: tuple[float, ...],
) -> Answers:
    """Ask for the objects of one tile everything that was asked for."""
    features = model.encode(pixels)
    found = _answers(model, features, instances, ids) | _baselines(pixels, instances, ids)
    if clicked:
        chosen = [ids[n] for n in np.unique(np.linspace(0, len(ids) - 1, clicked).astype(int))]
        needed = [float(points_needed(model, features, instances == i)) for i in chosen]
        found[f"points to IoU {ENOUGH:.2f}", model.name] = needed
    for factor in shifts:
        changed = _answers(model, model.encode(shift_colours(pixels, factor)), instances, ids)
        for (prompt, method), values in changed.items():
            found[f"{prompt}, colours x {factor:g}", method] = values
    return found


def _tiles(image: InstanceImage) -> Iterator[tuple[UInt8Array, IntArray, list[int]]]:
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
            yield np.ascontiguousarray(image.pixels[frame.slices]), instances, here


def _answers(model: Model, features: Features, instances: IntArray, ids: list[int]) -> Answers:
    """Prompt the model for the objects of one tile."""
    found: Answers = {}
    boxes = [bounding_box(instances == i) for i in ids]
    for i, (answer, _) in zip(ids, model.predict_boxes(features, np.array(boxes)), strict=True):
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
        for key, mask in masks.items():
            found.setdefault(key, []).append(iou(mask.to_dense(target.shape), target))
    return found


def _baselines(pixels: UInt8Array, instances: IntArray, ids: list[int]) -> Answers:
    """Answer the same prompts without a model."""
    found: Answers = {}
    colours = rgb2lab(pixels)
    for i in ids:
        target = instances == i
        box = bounding_box(target)
        masks = {
            ("box", "box itself"): _fill(box, target.shape),
            ("box", "Otsu in box"): _otsu(pixels, box),
            ("point", "flood fill"): _flood(colours, innermost(LocalMask(0, 0, target))),
        }
        for key, mask in masks.items():
            found.setdefault(key, []).append(iou(mask, target))
    return found


def points_needed(model: Model, features: Features, target: BoolArray) -> int:
    """Correct an answer by points until it is good enough, as the person in front of it would.

    Each point goes to the middle of the worst mistake, and the previous logits are fed back (Sofiiuk et al. 2021,
    "Reviving iterative training with mask guidance", section 4).

    Returns:
        Number of points to an IoU of `ENOUGH`, at most `MOST_POINTS`.
    """
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    previous, answer = None, np.zeros_like(target)
    while len(points) < MOST_POINTS and iou(answer, target) < ENOUGH:
        point, mark = worst_mistake(answer, target)
        points.append(point)
        labels.append(mark)
        logits, scores = model.decode(
            features, Prompts.make(points, labels, mask=previous), multimask=len(points) == 1
        )
        previous = logits[int(np.argmax(scores))]
        piece = pieces_at(previous, pointed_at(features.frame, Prompts.make(points, labels)))
        answer = local_mask(features.frame, piece).to_dense(target.shape)
    return len(points) if iou(answer, target) >= ENOUGH else MOST_POINTS


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
