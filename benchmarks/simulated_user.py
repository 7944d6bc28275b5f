"""Simulated user that corrects an image until it matches the true mask, and counts the actions."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.measure import label, regionprops

from napari_sampath.session import Session


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice of two bool arrays; 1 if both are empty."""
    total = int(predicted.sum() + truth.sum())
    return float(2 * (predicted & truth).sum() / total) if total else 1.0


def iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return the intersection over union of two bool arrays; 1 if both are empty."""
    union = int((predicted | truth).sum())
    return float((predicted & truth).sum() / union) if union else 1.0


def innermost(region: np.ndarray) -> tuple[int, int]:
    """Return (row, col) of the pixel of a region farthest from its edge."""
    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    row, col = np.unravel_index(int(depth.argmax()), region.shape)
    return int(row), int(col)


def largest(region: np.ndarray) -> np.ndarray:
    """Return the largest connected component of a region (H, W) bool."""
    components = label(region)
    counts = np.bincount(components.ravel())
    counts[0] = 0
    component: np.ndarray = components == int(counts.argmax())
    return component if counts.any() else np.zeros_like(region)


def prompt_object(
    session: Session, target: np.ndarray, start_rc: tuple[int, int], good_iou: float, clicks: int
) -> tuple[int, np.ndarray]:
    """Click on the largest error and choose candidates until the shown mask matches an object.

    Args:
        session: Session of the image, without a prompt.
        target: (H, W) bool, the object.
        start_rc: Pixel (row, col) of the first click.
        good_iou: IoU at which the user is satisfied.
        clicks: Largest number of clicks.

    Returns:
        The number of clicks and key presses, and the shown mask (H, W) bool.
    """
    (row, col), positive, actions = start_rc, True, 0
    for _ in range(clicks):
        session.prompts.add_point(col, row, positive)
        actions += 1
        request = session.prompts.request()
        if request is None:
            raise RuntimeError("The session has no model.")
        session.prompts.accept(session.prompts.answerer.answer(request))
        masks = [candidate.mask.to_dense(session.hw) for candidate in session.prompts.candidates]
        best = int(np.argmax([iou(mask, target) for mask in masks]))
        if iou(masks[best], target) < iou(masks[0], target) + 0.05:
            best = 0
        for _ in range(best):
            session.prompts.next_candidate()
        actions += best
        shown = masks[best]
        if iou(shown, target) >= good_iou:
            break
        missed, extra = largest(target & ~shown), largest(shown & ~target)
        positive = bool(missed.sum() >= extra.sum())
        row, col = innermost(missed if positive else extra)
    return actions, shown


class SimulatedUser:
    """Simulated user that clicks on the largest error until the remaining errors are small.

    Args:
        session: Session of the image, which may contain proposals.
        truth: (H, W) bool, true mask of the class.
    """

    GOOD_DICE, GOOD_IOU, FAIR_IOU = 0.95, 0.85, 0.5
    CLICKS, BRUSH, STEPS = 4, 5, 40
    MIN_SHARE = 0.01
    """Fraction of the image below which an error is ignored."""

    def __init__(self, session: Session, truth: np.ndarray) -> None:
        self.session, self.truth = session, truth
        self.components = label(truth)
        regions = regionprops(self.components)
        self.objects = sum(region.area >= self.MIN_SHARE * truth.size for region in regions)

    @property
    def annotated(self) -> np.ndarray:
        """(H, W) bool mask of the pixels of all current objects."""
        return np.asarray(self.session.document.class_map) > 0

    def annotate(self) -> int:
        """Correct the image; return the number of actions."""
        actions = 0
        for _ in range(self.STEPS):
            mask = self.annotated
            if dice(mask, self.truth) >= self.GOOD_DICE:
                break
            wrong = max(largest(self.truth & ~mask), largest(mask & ~self.truth), key=np.sum)
            if wrong.sum() < self.MIN_SHARE * wrong.size:
                break
            actions += self._add(wrong) if self.truth[innermost(wrong)] else self._remove(wrong)
        return actions

    def _remove(self, wrong: np.ndarray) -> int:
        """Delete a wrong object, or erase the wrong part of it."""
        object_id = self.session.document.object_at(*innermost(wrong))
        pixels = np.asarray(self.session.document.instance_map) == object_id
        if (pixels & self.truth).sum() < 0.5 * pixels.sum():
            self.session.objects.delete((object_id,))
            return 1
        self.session.paint(*np.nonzero(wrong), 0)
        return self.BRUSH

    def _add(self, wrong: np.ndarray) -> int:
        """Prompt the object under a missed region until the candidate matches it."""
        target = self.components == self.components[innermost(wrong)]
        actions, shown = prompt_object(self.session, target, innermost(wrong), self.GOOD_IOU, self.CLICKS)
        if iou(shown, target) >= self.FAIR_IOU:
            self.session.commit()
        else:
            self.session.prompts.clear()
        # The committed mask may equal the proposal that it replaces.
        if (wrong & self.annotated).sum() >= 0.5 * wrong.sum():
            return actions
        self.session.paint(*np.nonzero(wrong), 1)
        return actions + self.BRUSH
