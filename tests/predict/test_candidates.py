"""Ranking of candidate masks by satisfied points, and correction of masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sampath.arrays import Features, Prompts
from napari_sampath.geometry import whole
from napari_sampath.predict.decoder.candidates import best_first, corrected, satisfied_points
from napari_sampath.predict.decoder.mask_upscaling import full_masks

FRAME = whole((1024, 1024))
FEATURES = Features({}, FRAME, "none")


class FixedModel:
    """A model with fixed answers that records the values of `multimask`."""

    def __init__(self, logits: np.ndarray, scores: list[float]) -> None:
        self.logits, self.scores = logits.astype(np.float32), np.array(scores, np.float32)
        self.multimasks: list[bool | None] = []

    def decode(
        self, _features: Features, _prompts: Prompts, multimask: bool | None = True
    ) -> tuple[np.ndarray, np.ndarray]:
        self.multimasks.append(multimask)
        return self.logits, self.scores


def half(side: str) -> np.ndarray:
    """Logits of a mask that covers one half of the tile, or of an empty mask."""
    logits = np.full((256, 256), -5.0)
    logits[{"left": np.s_[:, :128], "right": np.s_[:, 128:], "none": np.s_[:0]}[side]] = 5.0
    return logits


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(*[st.integers(0, 1023)] * 2, st.booleans()), min_size=1, max_size=9),
)
def test_satisfied_points_agree_with_the_full_masks(seed: int, points: list[tuple[int, int, bool]]) -> None:
    logits = np.random.default_rng(seed).normal(size=(3, 256, 256)).astype(np.float32)
    masks = full_masks(FRAME, logits)
    prompts = Prompts.make([(x + 0.5, y + 0.5) for x, y, _ in points], [int(inside) for *_, inside in points])
    expected = [sum(bool(mask[y, x]) == inside for x, y, inside in points) for mask in masks]
    assert satisfied_points(logits, prompts, FRAME).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(*[st.floats(0, 1000)] * 2, st.booleans()), min_size=1, max_size=6),
    st.floats(0.0, 40.0),
)
def test_the_last_correction_is_always_satisfied(
    seed: int, points: list[tuple[float, float, bool]], size: float
) -> None:
    logits = np.random.default_rng(seed).normal(scale=size, size=(256, 256)).astype(np.float32)
    xy, labels = np.array([point[:2] for point in points]), np.array([int(point[2]) for point in points])
    before = logits.copy()
    result = corrected(logits, xy, labels, FRAME)
    last = Prompts.make(xy[-1:], labels[-1:])
    assert satisfied_points(result[None], last, FRAME).tolist() == [1]
    assert (logits == before).all()


def test_corrections_are_local_and_reach_farther_in_large_masks() -> None:
    changed = []
    for side in (8, 64):
        logits = np.full((256, 256), -6.0, np.float32)
        logits[128 - side // 2 : 128 + side // 2, 128 - side // 2 : 128 + side // 2] = 6.0
        result = corrected(logits, np.array([(128.0 * 4, 128.0 * 4)]), np.array([0]), FRAME)
        removed = (logits > 0) & (result <= 0)
        rows, cols = np.nonzero(removed)
        assert np.hypot(rows - 127.5, cols - 127.5).max() < side / 2
        far = np.abs(np.arange(256) - 128) > side
        np.testing.assert_allclose(result[far], logits[far], atol=1e-3)
        changed.append(removed.sum())
        kept = corrected(logits, np.zeros((0, 2)), np.zeros(0, int), FRAME)
        assert (kept == logits).all()
    assert changed[1] > 4 * changed[0] > 0
    in_empty_mask = corrected(np.full((256, 256), -6.0), np.array([(500.0, 20.0)]), np.array([1]), FRAME)
    assert 0 < (in_empty_mask > 0).sum() <= 9, "a spot in an empty mask"


def test_satisfied_points_rank_before_predicted_iou() -> None:
    model = FixedModel(
        np.stack([half("left"), half("right"), half("none"), half("left")]), [0.5, 0.99, 0.98, 0.6]
    )
    prompts = Prompts.make([(100, 500), (900, 500)], [1, 0])
    logits, scores = best_first(model, FEATURES, prompts)
    np.testing.assert_allclose(scores, [0.6])
    assert (logits == half("left")).all()
    assert model.multimasks == [None]


def test_empty_masks_rank_last_among_equals() -> None:
    model = FixedModel(np.stack([half("none"), half("right")]), [0.99, 0.5])
    _, scores = best_first(model, FEATURES, Prompts.make([(100, 500)], [1]))
    np.testing.assert_allclose(scores, [0.5, 0.99])


@pytest.mark.parametrize(
    ("prompts", "multimask"),
    [
        (Prompts.make([(9, 9)], [1]), True),
        (Prompts.make([(9, 9)], [1], mask=half("left")), False),
        (Prompts.make([(9, 9), (99, 9)], [1, 1]), None),
        (Prompts.make([(9, 9), (99, 9)], [1, 0], mask=half("left")), None),
        (Prompts.make(box=(9, 9, 99, 99)), False),
        (Prompts.make([(20, 20)], [0], box=(9, 9, 99, 99)), None),
        (Prompts.make(mask=half("left")), False),
    ],
)
def test_multimask_depends_on_the_prompts(prompts: Prompts, multimask: bool | None) -> None:
    model = FixedModel(half("left")[None], [0.5])
    best_first(model, FEATURES, prompts)
    assert model.multimasks == [multimask]


def test_point_near_the_outline_is_moved_to_the_margin() -> None:
    """A logit of 1.5 has the right sign, but is below the margin of 2."""
    points = np.array([(512.0, 512.0)])
    corrected_logits = corrected(np.full((256, 256), 1.5, np.float32), points, np.array([1]), FRAME)
    np.testing.assert_allclose(corrected_logits[127:129, 127:129].mean(), 2.0, atol=0.05)


def test_reach_of_a_correction_depends_on_the_mask_area() -> None:
    """A mask with logits of 0.5 has the same area as one with logits of 5."""
    points, labels = np.array([(514.0, 514.0)]), np.array([0])
    changes = []
    for inside in (0.5, 5.0):
        logits = np.full((256, 256), inside, np.float32)
        change = logits - corrected(logits, points, labels, FRAME)
        changes.append(change / change.max())
    np.testing.assert_allclose(changes[0], changes[1], atol=1e-5)
