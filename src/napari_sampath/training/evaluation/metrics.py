"""Dice, IoU and accuracy from confusion matrices, per image and pooled, and the scores of constant predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...arrays import ClassInfo, FloatArray
from ..data.dataset import IGNORED

Confusion: TypeAlias = npt.NDArray[np.int64]
"""(K, K) pixel counts; rows are true classes, columns are predicted classes."""


def confusion(predicted: npt.ArrayLike, targets: npt.ArrayLike, classes: int) -> Confusion:
    """Count pixels by true and predicted class index; pixels whose target is `IGNORED` are excluded.

    `predicted` and `targets` contain indices 0..K-1 in arrays of the same shape; `classes` is K.
    """
    true = np.asarray(targets).ravel().astype(np.int64)
    pred = np.asarray(predicted).ravel().astype(np.int64)
    valid = true != IGNORED
    counts = np.bincount(true[valid] * classes + pred[valid], minlength=classes * classes)
    return counts.reshape(classes, classes)


def constant_confusion(matrix: Confusion, index: int) -> Confusion:
    """Return the confusion matrix of predicting class `index` everywhere, given that of any prediction."""
    result = np.zeros_like(matrix)
    result[..., index] = matrix.sum(axis=-1)
    return result


def dice(matrix: Confusion) -> FloatArray:
    """Compute Dice (..., K) from confusion matrices (..., K, K); NaN for classes neither true nor predicted."""
    overlap, true, predicted = _counts(matrix)
    with np.errstate(invalid="ignore"):
        values: FloatArray = 2 * overlap / (true + predicted)
    return values


def iou(matrix: Confusion) -> FloatArray:
    """Compute the intersection over union of each class; see `dice` for shapes and NaN."""
    overlap, true, predicted = _counts(matrix)
    with np.errstate(invalid="ignore"):
        values: FloatArray = overlap / (true + predicted - overlap)
    return values


def _counts(matrix: Confusion) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the numbers of correct, true and predicted pixels of each class, (..., K) each."""
    overlap = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    return overlap, matrix.sum(axis=-1).astype(np.float64), matrix.sum(axis=-2).astype(np.float64)


def summarise(matrices: Sequence[Confusion], classes: Sequence[ClassInfo]) -> dict[str, Any]:
    """Summarise the scores of images, from one confusion matrix per image.

    Means over classes exclude the background (id 0). An image in which a class is neither true nor predicted does
    not count for that class.

    Returns:
        {"per_image": {class name: {"dice", "iou", "images"}, "mean": {"dice", "iou"}},
        "pooled": {class name: {"dice", "iou"}, "mean": {...}}, "pixel_accuracy", "images"}; a score is None
        if its class does not occur in any image.
    """
    stack = np.stack(matrices)
    pooled = stack.sum(axis=0)
    image_scores = {"dice": dice(stack), "iou": iou(stack)}
    pooled_scores = {"dice": dice(pooled), "iou": iou(pooled)}
    per_image: dict[str, Any] = {}
    pooled_table: dict[str, Any] = {}
    for index, info in enumerate(classes):
        images = int((~np.isnan(image_scores["dice"][:, index])).sum())
        per_image[info.name] = {m: _mean(v[:, index]) for m, v in image_scores.items()} | {"images": images}
        pooled_table[info.name] = {m: _mean(v[[index]]) for m, v in pooled_scores.items()}
    names = [info.name for info in classes if info.id > 0]
    for table in (per_image, pooled_table):
        table["mean"] = {
            m: _mean(np.array([table[name][m] for name in names], dtype=np.float64)) for m in ("dice", "iou")
        }
    total = int(pooled.sum())
    accuracy = float(np.trace(pooled) / total) if total else None
    return {"per_image": per_image, "pooled": pooled_table, "pixel_accuracy": accuracy, "images": len(stack)}


def _mean(values: FloatArray) -> float | None:
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if valid.size else None


def best_constant(matrices: Sequence[Confusion], classes: Sequence[ClassInfo]) -> tuple[str, dict[str, Any]]:
    """Return the name ("all gland") and the scores of the best constant prediction; see `summarise`."""
    scores = {
        f"all {info.name}": summarise([constant_confusion(matrix, index) for matrix in matrices], classes)
        for index, info in enumerate(classes)
        if info.id > 0
    }
    best = max(scores, key=lambda name: scores[name]["per_image"]["mean"]["iou"] or 0.0)
    return best, scores[best]
