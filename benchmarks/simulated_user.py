"""A simulated person who corrects an image until it looks like the true mask, and counts what it takes."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.measure import label, regionprops

from napari_sampath.session import Session


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two bool arrays; 1 if both are empty."""
    total = int(found.sum() + truth.sum())
    return float(2 * (found & truth).sum() / total) if total else 1.0


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two bool arrays; 1 if both are empty."""
    union = int((found | truth).sum())
    return float((found & truth).sum() / union) if union else 1.0


def middle(region: np.ndarray) -> tuple[int, int]:
    """Return (row, col) of the pixel of a region that lies deepest in it."""
    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), region.shape)
    return int(row), int(col)


def largest(region: np.ndarray) -> np.ndarray:
    """Return the largest connected piece of a region (H, W) bool."""
    pieces = label(region)
    counts = np.bincount(pieces.ravel())
    counts[0] = 0
    piece: np.ndarray = pieces == int(counts.argmax())
    return piece if counts.any() else np.zeros_like(region)


class SimulatedUser:
    """Clicks into the largest mistake until what is left is small.

    Args:
        session: The image, with what was proposed.
        truth: (H, W) bool, what belongs to the class.
    """

    GOOD_DICE, GOOD_IOU, FAIR_IOU = 0.95, 0.85, 0.5
    CLICKS, BRUSH, STEPS = 4, 5, 40
    LEAST_SHARE = 0.01
    """Mistakes smaller than this share of the image are let be."""

    def __init__(self, session: Session, truth: np.ndarray) -> None:
        self.session, self.truth = session, truth
        pieces = label(truth)
        self.pieces = pieces
        self.objects = sum(one.area >= self.LEAST_SHARE * truth.size for one in regionprops(pieces))

    @property
    def have(self) -> np.ndarray:
        """(H, W) bool, what is annotated now."""
        return np.asarray(self.session.document.class_map) > 0

    def annotate(self) -> int:
        """Correct the image; return how many clicks it took."""
        actions = 0
        for _ in range(self.STEPS):
            have = self.have
            if dice(have, self.truth) >= self.GOOD_DICE:
                break
            wrong = max(largest(self.truth & ~have), largest(have & ~self.truth), key=np.sum)
            if wrong.sum() < self.LEAST_SHARE * wrong.size:
                break
            actions += self._add(wrong) if self.truth[middle(wrong)] else self._remove(wrong)
        return actions

    def _remove(self, wrong: np.ndarray) -> int:
        """Remove an object that should not be there, or rub out what is too much of it."""
        found = self.session.document.object_at(*middle(wrong))
        pixels = np.asarray(self.session.document.instance_map) == found
        if (pixels & self.truth).sum() < 0.5 * pixels.sum():
            self.session.objects.delete((found,))
            return 1
        self.session.paint(*np.nonzero(wrong), 0)
        return self.BRUSH

    def _add(self, wrong: np.ndarray) -> int:
        """Click into what is missed until the candidate is the gland."""
        target = self.pieces == self.pieces[middle(wrong)]
        row, col = middle(wrong)
        positive, actions = True, 0
        for _ in range(self.CLICKS):
            self.session.prompts.add_point(col, row, positive)
            actions += 1
            request = self.session.prompts.request()
            if request is None:
                raise RuntimeError("the session has no model")
            self.session.prompts.accept(self.session.prompts.answerer.answer(request))
            masks = [one.mask.to_dense(self.session.hw) for one in self.session.prompts.candidates]
            best = int(np.argmax([iou(one, target) for one in masks]))
            if iou(masks[best], target) < iou(masks[0], target) + 0.05:
                best = 0
            for _ in range(best):
                self.session.prompts.next_candidate()
            actions += best
            shown = masks[best]
            if iou(shown, target) >= self.GOOD_IOU:
                break
            missed, extra = largest(target & ~shown), largest(shown & ~target)
            positive = bool(missed.sum() >= extra.sum())
            row, col = middle(missed if positive else extra)
        if iou(shown, target) >= self.FAIR_IOU:
            self.session.commit()
        else:
            self.session.prompts.clear()
        # The answer may be what a head proposed there already.
        if (wrong & self.have).sum() >= 0.5 * wrong.sum():
            return actions
        self.session.paint(*np.nonzero(wrong), 1)
        return actions + self.BRUSH
