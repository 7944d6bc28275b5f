"""Evaluation of a promptable model with one box or one point per object, compared with baselines without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit
from skimage.color import rgb2gray, rgb2lab
from skimage.filters import threshold_otsu
from skimage.segmentation import flood

from ...annotations import innermost
from ...arrays import BoolArray, Features, FloatArray, IntArray, LocalMask, Prompts, UInt8Array
from ...geometry import Frame
from ...jobs import Job, Progress
from ...predict import Model
from ...predict.decoder.candidates import PromptModel, best_first, corrected
from ...predict.decoder.mask_upscaling import keep_prompted, local_mask, prompted_cells
from ...tiling import high_resolution_px, tile_for, tiles
from ..data.instances import UNKNOWN, InstanceImage
from ..data.simulated_clicks import worst_mistake
from ..data.stain import shift_colours
from .failures import WorstPredictions

IOU_GOAL = 0.80
"""IoU at which simulated corrections stop."""
MAX_POINTS = 10
"""Maximum number of points, which is also the count for objects that do not reach `IOU_GOAL`."""

POINTS = f"points to IoU {IOU_GOAL:.2f}"

Values = dict[tuple[str, str], list[float]]
"""(prompt, method) -> one value per object."""


@dataclass(frozen=True, slots=True)
class PromptScore:
    """Mean score of one method with one prompt, over all objects of one kind."""

    kind: str
    """Kind of the objects: "nucleus", "gland", "tumour", or the name of a dataset."""
    prompt: str
    """Kind of prompt: "box", "point", or "points to IoU 0.80", followed by ", colours x 0.8" for images with shifted
    colours or ", high resolution" for high-resolution tiles."""
    method: str
    """Name of the model, or of the baseline."""
    mean: float
    """Mean IoU; for "points to IoU 0.80", the mean number of points."""
    low: float | None
    """Lower end of the 95 % confidence interval over cases; None if there is only one case."""
    high: float | None
    """Upper end of the interval; None if there is only one case."""
    objects: int
    images: int
    cases: int
    """Number of slides, patients or larger fields of view; images of the same case are not independent."""


def iou(predicted: BoolArray, target: BoolArray) -> float:
    """Compute the intersection over union of two bool arrays of the same shape; 1 if both are empty."""
    union = int((predicted | target).sum())
    return float((predicted & target).sum() / union) if union else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """One tile of an image, and the ids of the objects to prompt for."""

    image: InstanceImage
    pixels: UInt8Array
    instances: IntArray
    ids: list[int]

    @property
    def verified(self) -> BoolArray:
        """Mask (H, W) of the verified area."""
        verified: BoolArray = self.instances != UNKNOWN
        return verified


def evaluate_prompts(
    model: Model,
    images: list[InstanceImage],
    clicked: int = 0,
    colour_factors: tuple[float, ...] = (),
    worst: WorstPredictions | None = None,
    high_resolution: bool = False,
    baselines: bool = True,
) -> Job[list[PromptScore]]:
    """Score a promptable model, prompted for every object with its bounding box and with its innermost pixel.

    For a box, the model predicts a single mask (`multimask` off). For a point, the candidate with the highest predicted
    IoU is scored, as in SAM's own evaluation. Images larger than a tile are split into tiles as in a session.

    Args:
        model: A promptable model.
        images: Images of a validation split.
        clicked: Number of random objects per tile that are also corrected with simulated points; 0 for none.
        colour_factors: Factors of `shift_colours` for additional scores on images with shifted colours.
        worst: Collection to which the worst predictions for boxes and points are added.
        high_resolution: Whether to add scores on high-resolution tiles, which a session uses after zooming in; only for
            images that are large enough and in which each id is one object.
        baselines: Whether to score the baselines too.

    Returns:
        One score for each kind, prompt and method, sorted by kind, prompt and descending mean. For points,
        "MODEL, component" scores the connected component under the point, which a session shows. Baselines are the box
        itself, Otsu's threshold inside the box, and a flood fill in CIELAB from the point.
    """
    values_by_key: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    image_counts: Counter[str] = Counter()
    for number, image in enumerate(images):
        yield Progress(number, len(images), f"Prompting for the objects of {image.name}", "images")
        image_counts[image.kind.name] += 1
        for tile in _tiles(image):
            scored = _score_tile(model, tile, clicked, colour_factors, worst, high_resolution, baselines)
            for key, values in scored.items():
                cases = values_by_key.setdefault((image.kind.name, *key), {})
                cases.setdefault(image.case or image.name, []).extend(values)
    scores = [
        PromptScore(
            *key,
            *mean_and_interval(list(cases.values())),
            objects=sum(map(len, cases.values())),
            images=image_counts[key[0]],
            cases=len(cases),
        )
        for key, cases in values_by_key.items()
    ]
    return sorted(scores, key=lambda score: (score.kind, score.prompt, -score.mean))


def mean_and_interval(cases: list[list[float]]) -> tuple[float, float | None, float | None]:
    """Return the mean over all objects and its 95 % confidence interval, with the cases as sampling units.

    `cases` contains the values of each case. The mean is a ratio of two sums over cases; the interval uses its
    linearised variance and Student's t (Cochran 1977, "Sampling Techniques", chapter 6).
    """
    sums, counts = np.array([sum(values) for values in cases]), np.array([len(values) for values in cases])
    mean, number = float(sums.sum() / counts.sum()), len(cases)
    if number < 2:
        return mean, None, None
    # Linearised standard error of the ratio.
    standard_error = np.sqrt(number / (number - 1) * np.square(sums - mean * counts).sum()) / counts.sum()
    half_width = float(stdtrit(number - 1, 0.975) * standard_error)
    return mean, max(0.0, mean - half_width), mean + half_width


def _score_tile(
    model: Model,
    tile: _Tile,
    clicked: int,
    colour_factors: tuple[float, ...],
    worst: WorstPredictions | None,
    high_resolution: bool,
    baselines: bool,
) -> Values:
    features = model.encode(tile.pixels)
    scored = _score_model(model, features, tile, worst)
    if baselines:
        scored |= _score_baselines(tile)
    rng = np.random.default_rng(len(tile.ids))
    clicked_ids = set(rng.choice(tile.ids, size=min(clicked, len(tile.ids)), replace=False).tolist())
    if clicked:
        scored[POINTS, model.name] = _count_points(model, features, tile, clicked_ids)
    if high_resolution and tile.image.kind.separate and high_resolution_px(tile.instances.shape):
        for frame, ids in _by_high_resolution_frame(tile).items():
            zoomed, part = model.encode(tile.pixels, frame, keep=False), replace(tile, ids=ids)
            values_by_key = _score_model(model, zoomed, part)
            if clicked:
                values_by_key[POINTS, model.name] = _count_points(model, zoomed, part, clicked_ids)
            for (prompt, method), values in values_by_key.items():
                scored.setdefault((f"{prompt}, high resolution", method), []).extend(values)
    for factor in colour_factors:
        shifted = model.encode(shift_colours(tile.pixels, factor), keep=False)
        for (prompt, method), values in _score_model(model, shifted, tile).items():
            scored[f"{prompt}, colours x {factor:g}", method] = values
    return scored


def _count_points(model: Model, features: Features, tile: _Tile, clicked_ids: set[int]) -> list[float]:
    return [
        float(points_needed(model, features, tile.instances == i, tile.verified))
        for i in tile.ids
        if i in clicked_ids
    ]


def _by_high_resolution_frame(tile: _Tile) -> dict[Frame, list[int]]:
    """Group the objects of a tile by the high-resolution tile that a session would use."""
    grouped: dict[Frame, list[int]] = {}
    for i in tile.ids:
        corners = np.reshape(bounding_box(tile.instances == i), (2, 2))
        grouped.setdefault(tile_for(tile.instances.shape, corners, high_resolution=True), []).append(i)
    return grouped


def _tiles(image: InstanceImage) -> Iterator[_Tile]:
    """Split an image into tiles as in a session; each object belongs to the first tile that contains all of it."""
    ids, counts = np.unique(image.instances, return_counts=True)
    areas = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    remaining = set(image.objects())
    for frame in tiles(image.instances.shape):
        instances = image.instances[frame.slices]
        ids, counts = np.unique(instances, return_counts=True)
        whole = [
            i for i, n in zip(ids.tolist(), counts.tolist(), strict=True) if i in remaining and n == areas[i]
        ]
        remaining.difference_update(whole)
        if whole:
            yield _Tile(image, np.ascontiguousarray(image.pixels[frame.slices]), instances, whole)


def _score_model(
    model: Model, features: Features, tile: _Tile, worst: WorstPredictions | None = None
) -> Values:
    scored: Values = {}
    instances = tile.instances
    boxes = [bounding_box(instances == i) for i in tile.ids]
    for i, (box_mask, _) in zip(tile.ids, model.predict_boxes(features, np.array(boxes)), strict=True):
        target = instances == i
        prompts = Prompts.make(points=[innermost(LocalMask(0, 0, target))])
        logits, scores = model.decode(features, prompts, multimask=True)
        best = logits[int(np.argmax(scores))]
        component = keep_prompted(best, prompted_cells(features.frame, prompts))
        masks = {
            ("box", model.name): box_mask,
            ("point", model.name): local_mask(features.frame, best),
            ("point", f"{model.name}, component"): local_mask(features.frame, component),
        }
        for (prompt, method), mask in masks.items():
            predicted = mask.to_dense(target.shape) & tile.verified
            score = iou(predicted, target)
            scored.setdefault((prompt, method), []).append(score)
            if worst is not None and method == model.name:
                worst.add(f"{tile.image.kind.name}, {prompt}", score, tile.pixels, target, predicted)
    return scored


def _score_baselines(tile: _Tile) -> Values:
    scored: Values = {}
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
            scored.setdefault(key, []).append(iou(mask, target))
    return scored


def points_needed(model: PromptModel, features: Features, target: BoolArray, verified: BoolArray) -> int:
    """Return the number of points needed for an IoU of `IOU_GOAL` with `target`, at most `MAX_POINTS`.

    Each point is placed at the innermost pixel of the wrongly segmented areas, and the previous logits are fed back
    (Sofiiuk et al. 2021, "Reviving iterative training with mask guidance", section 4). `target` is (H, W) bool and not
    empty; pixels outside `verified`, (H, W) bool, are excluded.
    """
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    previous, predicted = None, np.zeros_like(target)
    while len(points) < MAX_POINTS and iou(predicted, target) < IOU_GOAL:
        # Click on the worst mistake.
        point, label = worst_mistake(predicted, target)
        points.append(point)
        labels.append(label)
        # Predict again, with the previous logits.
        logits, _ = best_first(model, features, Prompts.make(points, labels, mask=previous))
        previous = logits[0]
        # As in a session, enforce the corrections and keep the connected component under the points.
        enforced = corrected(
            previous, np.array(points[1:]).reshape(-1, 2), np.array(labels[1:]), features.frame
        )
        component = keep_prompted(enforced, prompted_cells(features.frame, Prompts.make(points, labels)))
        predicted = local_mask(features.frame, component).to_dense(target.shape) & verified
    return len(points) if iou(predicted, target) >= IOU_GOAL else MAX_POINTS


def bounding_box(mask: BoolArray) -> tuple[float, float, float, float]:
    """Return the bounding box (x0, y0, x1, y1) of a non-empty mask (H, W), at the outer edges of its pixels."""
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
    """Flood-fill from the point (x, y) the pixels with a CIELAB colour within `tolerance` of the mean around it."""
    col, row = int(point[0]), int(point[1])
    seed = colours[max(0, row - 2) : row + 3, max(0, col - 2) : col + 3].reshape(-1, 3).mean(axis=0)
    close = np.linalg.norm(colours - seed, axis=2) < tolerance
    close[row, col] = True
    filled: BoolArray = flood(close.astype(np.uint8), (row, col), connectivity=1).astype(np.bool_)
    return filled
