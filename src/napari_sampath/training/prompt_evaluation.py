"""How well a promptable model answers: one box or one point for every object of a split, beside plain baselines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from skimage.color import rgb2gray, rgb2lab
from skimage.filters import threshold_otsu
from skimage.segmentation import flood

from ..annotations import innermost
from ..arrays import BoolArray, FloatArray, IntArray, LocalMask, Prompts, UInt8Array
from ..geometry import tiles
from ..jobs import Job, Progress
from ..predict.masks import local_mask, pieces_at, pointed_at
from .instances import InstanceImage

if TYPE_CHECKING:
    from ..predict import Model


@dataclass(frozen=True, slots=True)
class PromptScore:
    """Mean IoU of one way of answering, over all objects of one kind."""

    kind: str
    """"nucleus", "gland", "tumour", or the name of a dataset."""
    prompt: str
    """"box" or "point"."""
    method: str
    """Name of the model, or of the baseline."""
    mean_iou: float
    objects: int
    images: int


def iou(predicted: BoolArray, target: BoolArray) -> float:
    """Intersection over union of two bool arrays of one shape; 1 if both are empty."""
    union = int((predicted | target).sum())
    return float((predicted & target).sum() / union) if union else 1.0


def evaluate_prompts(model: Model, images: list[InstanceImage]) -> Job[list[PromptScore]]:
    """Prompt every object once by its box and once by its innermost pixel.

    The answer to a box is the single mask (`multimask` off), that to a point the candidate with the highest
    predicted IoU, as in SAM's own evaluation. Images larger than a tile are cut as a session does.

    Args:
        model: A promptable model.
        images: Images of a validation split.

    Returns:
        One score for each kind, prompt and method; for a point also that of the piece of the mask that the point is
        in, which is what a session shows. Baselines: the box itself, Otsu's threshold inside the
        box, and a flood fill in CIELAB from the point.
    """
    found: dict[tuple[str, str, str], list[float]] = {}
    seen: dict[str, int] = {}
    for number, image in enumerate(images):
        yield Progress(number, len(images), f"prompting the objects of {image.name}", "images")
        seen[image.kind.name] = seen.get(image.kind.name, 0) + 1
        for pixels, instances, ids in _tiles(image):
            for key, values in _answers(model, pixels, instances, ids).items():
                found.setdefault((image.kind.name, *key), []).extend(values)
    return [
        PromptScore(kind, prompt, method, float(np.mean(values)), len(values), seen[kind])
        for (kind, prompt, method), values in found.items()
    ]


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


def _answers(
    model: Model, pixels: UInt8Array, instances: IntArray, ids: list[int]
) -> dict[tuple[str, str], list[float]]:
    """Prompt for the objects of one tile; (prompt, method) -> IoU of each."""
    found: dict[tuple[str, str], list[float]] = {}
    features, colours, shape = model.encode(pixels), rgb2lab(pixels), instances.shape
    boxes = [bounding_box(instances == i) for i in ids]
    for i, box, (answer, _) in zip(ids, boxes, model.predict_boxes(features, np.array(boxes)), strict=True):
        target = instances == i
        point = innermost(LocalMask(0, 0, target))
        prompts = Prompts.make(points=[point])
        logits, scores = model.decode(features, prompts, multimask=True)
        best = logits[int(np.argmax(scores))]
        piece = pieces_at(best, pointed_at(features.frame, prompts))
        masks = {
            ("box", model.name): answer.to_dense(shape),
            ("box", "box itself"): _fill(box, shape),
            ("box", "Otsu in box"): _otsu(pixels, box),
            ("point", model.name): local_mask(features.frame, best).to_dense(shape),
            ("point", f"{model.name}, the piece"): local_mask(features.frame, piece).to_dense(shape),
            ("point", "flood fill"): _flood(colours, point),
        }
        for key, mask in masks.items():
            found.setdefault(key, []).append(iou(mask, target))
    return found


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
