"""Object scores F1, AJI and PQ, from the overlaps of two instance maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.measure import label

from ...arrays import BoolArray, IntArray

MATCH_IOU = 0.5
"""IoU above which a predicted and a true object match; at 0.5, no object can have two matches."""


@dataclass(slots=True)
class ObjectCounts:
    """Numbers of matched and unmatched objects, accumulated over images."""

    matched: int = 0
    matched_iou: float = 0.0
    """Sum of the IoU of matched pairs."""
    missed: int = 0
    """True objects without a match."""
    spurious: int = 0
    """Predicted objects without a match."""
    aji_overlap: float = 0.0
    aji_union: float = 0.0

    def add(self, predicted: IntArray, true: IntArray) -> None:
        """Add the predicted and true objects of an image: maps (H, W) of object numbers, 0 for none."""
        # Compute the IoU of every pair of a predicted and a true object.
        overlap, predicted_px, true_px = _overlaps(predicted, true)
        union = predicted_px[:, None] + true_px[None, :] - overlap
        iou = overlap / np.maximum(union, 1)
        # Match the objects, as for panoptic quality (Kirillov et al. 2019).
        hits = iou > MATCH_IOU
        self.matched += int(hits.sum())
        self.matched_iou += float(iou[hits].sum())
        self.missed += int((~hits.any(axis=0)).sum())
        self.spurious += int((~hits.any(axis=1)).sum())
        self._add_aji(overlap, union, iou, predicted_px, true_px)

    def _add_aji(
        self,
        overlap: npt.NDArray[np.int64],
        union: npt.NDArray[np.int64],
        iou: npt.NDArray[np.float64],
        predicted_px: npt.NDArray[np.int64],
        true_px: npt.NDArray[np.int64],
    ) -> None:
        """Add to the aggregated Jaccard index (Kumar et al. 2017, IEEE TMI 36(7))."""
        used = np.zeros(len(predicted_px), dtype=bool)
        # Pair each true object with the predicted object that has the highest IoU.
        for column in range(len(true_px)):
            best = int(iou[:, column].argmax()) if len(predicted_px) else 0
            if len(predicted_px) and overlap[best, column]:
                self.aji_overlap += float(overlap[best, column])
                self.aji_union += float(union[best, column])
                used[best] = True
            else:
                self.aji_union += float(true_px[column])
        # Add predicted objects without a pair to the union.
        self.aji_union += float(predicted_px[~used].sum())

    def scores(self) -> dict[str, float | None]:
        """Return the scores "f1", "aji", "pq" and "sq" (Kirillov et al. 2019), and the number of true "objects".

        A score is None if there are no objects, "sq" also if there are no matches.
        """
        total = self.matched + (self.missed + self.spurious) / 2
        recognition = self.matched / total if total else None
        segmentation = self.matched_iou / self.matched if self.matched else 0.0
        return {
            "f1": recognition,
            "aji": self.aji_overlap / self.aji_union if self.aji_union else None,
            "pq": None if recognition is None else recognition * segmentation,
            "sq": segmentation if self.matched else None,
            "objects": self.matched + self.missed,
        }


def connected(mask: BoolArray) -> IntArray:
    """Number the connected components (8-connectivity) of a mask (H, W)."""
    numbered: IntArray = label(mask, connectivity=2)
    return numbered


def _overlaps(
    predicted: IntArray, true: IntArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the overlaps (P, T) and the areas (P,) and (T,) of predicted and true objects, in pixels."""
    ids_p, index_p = np.unique(predicted, return_inverse=True)
    ids_t, index_t = np.unique(true, return_inverse=True)
    shape = len(ids_p), len(ids_t)
    table = np.bincount(index_p.ravel() * shape[1] + index_t.ravel(), minlength=shape[0] * shape[1])
    table = table.reshape(shape).astype(np.int64)
    keep_p, keep_t = ids_p > 0, ids_t > 0
    return table[np.ix_(keep_p, keep_t)], table.sum(axis=1)[keep_p], table.sum(axis=0)[keep_t]
