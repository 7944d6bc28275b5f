"""Calibration of a head's confidence."""

from __future__ import annotations

import numpy as np

from ...arrays import BoolArray, FloatArray

BINS = 15
"""Number of bins (Guo et al. 2017)."""


class Calibration:
    """Compares confidence with accuracy, over any number of images."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS)
        self._confidence = np.zeros(BINS)
        self._correct = np.zeros(BINS)

    def add(self, confidence: FloatArray, correct: BoolArray) -> None:
        """Add the probability of the predicted class, 0..1, of each pixel, and whether the class is right."""
        bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1).ravel()
        self._counts += np.bincount(bins, minlength=BINS)
        self._confidence += np.bincount(bins, confidence.ravel(), minlength=BINS)
        self._correct += np.bincount(bins, correct.ravel(), minlength=BINS)

    def error(self) -> float | None:
        """Return the expected calibration error (Guo et al. 2017), 0 (best) to 1; None without pixels.

        It is the mean distance of confidence and accuracy over bins of equal width, weighted by pixels.
        """
        total = self._counts.sum()
        return float(np.abs(self._confidence - self._correct).sum() / total) if total else None
