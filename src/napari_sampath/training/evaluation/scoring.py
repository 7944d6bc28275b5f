"""Scores of one method on a split, accumulated image by image, and the calibration of its confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays import BoolArray, ClassInfo, FloatArray, IntArray, UInt8Array
from ..data.dataset import IGNORED
from .metrics import Confusion, confusion, dice, iou, summarise
from .panoptic_quality import ObjectCounts, connected
from .surface_distance import surface_distances

BINS = 15
"""Number of bins of the calibration error (Guo et al. 2017)."""


class Calibration:
    """Comparison of confidence with accuracy, accumulated over images."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS)
        self._confidence = np.zeros(BINS)
        self._correct = np.zeros(BINS)

    def add(self, confidence: FloatArray, correct: BoolArray) -> None:
        """Add pixels: the probability 0..1 of the predicted class, and whether this class is correct."""
        bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1).ravel()
        self._counts += np.bincount(bins, minlength=BINS)
        self._confidence += np.bincount(bins, confidence.ravel(), minlength=BINS)
        self._correct += np.bincount(bins, correct.ravel(), minlength=BINS)

    def error(self) -> float | None:
        """Return the expected calibration error (Guo et al. 2017), 0 (best) to 1; None without pixels.

        It is the mean absolute difference between confidence and accuracy over bins of equal width, weighted by the
        number of pixels.
        """
        total = self._counts.sum()
        return float(np.abs(self._confidence - self._correct).sum() / total) if total else None


class Scorer:
    """Scores of one method, accumulated image by image; `classes[i]` is the class with index i."""

    def __init__(self, classes: Sequence[ClassInfo]) -> None:
        self.classes = tuple(classes)
        self.matrices: list[Confusion] = []
        self.rows: list[dict[str, Any]] = []
        """Name and group of each image, and its mean Dice and IoU over the classes that occur in it."""
        self._counted = [index for index, info in enumerate(classes) if info.id > 0]
        self._distances: dict[int, list[tuple[float, float]]] = {index: [] for index in self._counted}
        self._without_outline = dict.fromkeys(self._counted, 0)
        self._objects = {index: ObjectCounts() for index in self._counted}
        self._calibration = Calibration()

    def add(
        self,
        name: str,
        group: str,
        predicted: UInt8Array,
        targets: UInt8Array,
        instances: IntArray | None = None,
        confidence: FloatArray | None = None,
    ) -> None:
        """Add the scores of an image.

        Args:
            name: Name of the image.
            group: Slide or case of the image.
            predicted: (H, W) class index of each pixel.
            targets: (H, W) true class index, or `IGNORED`.
            instances: (H, W) true object numbers; by default, the connected components of each class.
            confidence: (H, W) probability of the predicted class.
        """
        valid = targets != IGNORED
        matrix = confusion(predicted, targets, len(self.classes))
        self.matrices.append(matrix)
        for index in self._counted:
            self._add_class(index, (predicted == index) & valid, targets == index, instances)
        if confidence is not None:
            self._calibration.add(confidence[valid], (predicted == targets)[valid])
        values = {"dice": dice(matrix)[self._counted], "iou": iou(matrix)[self._counted]}
        means = {key: None if np.isnan(v).all() else float(np.nanmean(v)) for key, v in values.items()}
        self.rows.append({"name": name, "group": group, **means})

    def _add_class(
        self, index: int, predicted: BoolArray, true: BoolArray, instances: IntArray | None
    ) -> None:
        distances = surface_distances(predicted, true)
        if distances is not None:
            self._distances[index].append((distances.hd95, distances.assd))
        elif predicted.any() or true.any():
            self._without_outline[index] += 1
        true_objects = connected(true) if instances is None else np.where(true, instances, 0)
        self._objects[index].add(connected(predicted), true_objects)

    def scores(self) -> dict[str, Any]:
        """Return the result of `metrics.summarise` with "outlines", "objects" and "calibration_error".

        "outlines": {class: {"hd95_px", "assd_px", "images", "without": number of images in which the class is
        either predicted or true, but not both}}; "objects": {class: see `ObjectCounts.scores`}. Both have a "mean" over
        classes.
        """
        outlines: dict[str, Any] = {}
        objects: dict[str, Any] = {}
        for index in self._counted:
            name, distances = self.classes[index].name, np.array(self._distances[index]).reshape(-1, 2)
            hd95, assd = distances.mean(axis=0).tolist() if len(distances) else (None, None)
            outlines[name] = {
                "hd95_px": hd95,
                "assd_px": assd,
                "images": len(distances),
                "without": self._without_outline[index],
            }
            objects[name] = self._objects[index].scores()
        return {
            **summarise(self.matrices, self.classes),
            "outlines": {**outlines, "mean": _mean_of(outlines, ("hd95_px", "assd_px"))},
            "objects": {**objects, "mean": _mean_of(objects, ("f1", "aji", "pq"))},
            "calibration_error": self._calibration.error(),
        }


def _mean_of(table: dict[str, Any], keys: Sequence[str]) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for key in keys:
        values = [row[key] for row in table.values() if row[key] is not None]
        means[key] = float(np.mean(values)) if values else None
    return means
