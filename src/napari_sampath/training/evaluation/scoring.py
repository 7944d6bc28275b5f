"""All figures of one method on a split, added up image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays import BoolArray, ClassInfo, FloatArray, IntArray, UInt8Array
from ..data.dataset import IGNORED
from .calibration import Calibration
from .metrics import Confusion, confusion, dice, iou, summarise
from .panoptic_quality import ObjectCounts, connected
from .surface_distance import surface_distances


class Scorer:
    """Scores predictions on images.

    Args:
        classes: One for each index.
    """

    def __init__(self, classes: Sequence[ClassInfo]) -> None:
        self.classes = tuple(classes)
        self.matrices: list[Confusion] = []
        self.rows: list[dict[str, Any]] = []
        """One for each image: name, group, and mean Dice and IoU of the classes in it."""
        self._counted = [index for index, c in enumerate(classes) if c.id > 0]
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
        """Score an image.

        Args:
            name: Of the image.
            group: Its slide or case.
            predicted: (H, W) class index of each pixel.
            targets: (H, W) true class index, or `IGNORED`, which counts nowhere.
            instances: (H, W) number of the true object of each pixel; connected areas of a class if left out.
            confidence: (H, W) probability of the prediction.
        """
        known = targets != IGNORED
        matrix = confusion(predicted, targets, len(self.classes))
        self.matrices.append(matrix)
        for index in self._counted:
            self._add_class(index, (predicted == index) & known, targets == index, instances)
        if confidence is not None:
            self._calibration.add(confidence[known], (predicted == targets)[known])
        figures = {"dice": dice(matrix)[self._counted], "iou": iou(matrix)[self._counted]}
        means = {key: None if np.isnan(v).all() else float(np.nanmean(v)) for key, v in figures.items()}
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
        """Return what `metrics.summarise` returns, and "outlines", "objects" and "calibration_error".

        "outlines": {class: {"hd95_px", "assd_px", "images", "without": images in which only one of prediction and
        truth has the class}}; "objects": {class: see `ObjectCounts.scores`}. Both have a "mean" over classes.
        """
        outlines: dict[str, Any] = {}
        objects: dict[str, Any] = {}
        for index in self._counted:
            name, found = self.classes[index].name, np.array(self._distances[index]).reshape(-1, 2)
            means = found.mean(axis=0).tolist() if len(found) else [None, None]
            outlines[name] = {
                "hd95_px": means[0],
                "assd_px": means[1],
                "images": len(found),
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
    found = {}
    for key in keys:
        values = [row[key] for row in table.values() if row[key] is not None]
        found[key] = float(np.mean(values)) if values else None
    return found
