"""Dice, IoU and accuracy from confusion matrices, per image and pooled, and what a constant answer scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...arrays import ClassInfo, FloatArray
from ..data.dataset import IGNORED

Confusion: TypeAlias = npt.NDArray[np.int64]
"""(K, K) pixel counts: row = true class, column = predicted class."""


def confusion(predicted: npt.ArrayLike, targets: npt.ArrayLike, classes: int) -> Confusion:
    """Count pixels by true and predicted class index; pixels whose target is `IGNORED` are left out.

    Args:
        predicted: Class indices 0..K-1 of any shape.
        targets: Class indices or `IGNORED`, of the same shape.
        classes: K.
    """
    true = np.asarray(targets).ravel().astype(np.int64)
    found = np.asarray(predicted).ravel().astype(np.int64)
    known = true != IGNORED
    counts = np.bincount(true[known] * classes + found[known], minlength=classes * classes)
    return counts.reshape(classes, classes)


def constant(matrix: Confusion, answer: int) -> Confusion:
    """Return the confusion of predicting the class index `answer` everywhere, given that of any prediction."""
    result = np.zeros_like(matrix)
    result[..., answer] = matrix.sum(axis=-1)
    return result


def dice(matrix: Confusion) -> FloatArray:
    """Dice of each class from (..., K, K): (..., K), NaN where the class is neither true nor predicted."""
    overlap, true, found = _counts(matrix)
    with np.errstate(invalid="ignore"):
        values: FloatArray = 2 * overlap / (true + found)
    return values


def iou(matrix: Confusion) -> FloatArray:
    """Intersection over union of each class, as `dice`."""
    overlap, true, found = _counts(matrix)
    with np.errstate(invalid="ignore"):
        values: FloatArray = overlap / (true + found - overlap)
    return values


def _counts(matrix: Confusion) -> tuple[FloatArray, FloatArray, FloatArray]:
    overlap = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    return overlap, matrix.sum(axis=-1).astype(np.float64), matrix.sum(axis=-2).astype(np.float64)


def summarise(matrices: Sequence[Confusion], classes: Sequence[ClassInfo]) -> dict[str, Any]:
    """Score predictions on images.

    Means over classes leave out the class with id 0 ("rest"). An image in which a class is neither true nor
    predicted does not count for that class.

    Args:
        matrices: One confusion for each image.
        classes: One for each index.

    Returns:
        {"per_image": {class name: {"dice", "iou", "images"}, "mean": {"dice", "iou"}},
        "pooled": {class name: {"dice", "iou"}, "mean": {...}}, "pixel_accuracy", "images"}; figures are None
        where a class does not occur at all.
    """
    stack = np.stack(matrices)
    pooled = stack.sum(axis=0)
    counted = [index for index, c in enumerate(classes) if c.id > 0]
    scores = {"dice": dice(stack), "iou": iou(stack)}
    all_scores = {"dice": dice(pooled), "iou": iou(pooled)}
    per_image: dict[str, Any] = {}
    over_all: dict[str, Any] = {}
    for index, c in enumerate(classes):
        there = int((~np.isnan(scores["dice"][:, index])).sum())
        per_image[c.name] = {m: _mean(v[:, index]) for m, v in scores.items()} | {"images": there}
        over_all[c.name] = {m: _mean(v[[index]]) for m, v in all_scores.items()}
    names = [classes[index].name for index in counted]
    for table in (per_image, over_all):
        table["mean"] = {
            m: _mean(np.array([table[n][m] for n in names], dtype=np.float64)) for m in ("dice", "iou")
        }
    total = int(pooled.sum())
    accuracy = float(np.trace(pooled) / total) if total else None
    return {"per_image": per_image, "pooled": over_all, "pixel_accuracy": accuracy, "images": len(stack)}


def _mean(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def best_constant(matrices: Sequence[Confusion], classes: Sequence[ClassInfo]) -> tuple[str, dict[str, Any]]:
    """Score the best answer that does not look at the image: one class everywhere.

    Returns:
        Its name ("all gland") and its scores as `summarise` gives them.
    """
    tried = []
    for index, c in enumerate(classes):
        if c.id > 0:
            scores = summarise([constant(matrix, index) for matrix in matrices], classes)
            tried.append((scores["per_image"]["mean"]["iou"] or 0.0, f"all {c.name}", scores))
    _, name, scores = max(tried, key=lambda t: t[0])
    return name, scores
