"""How a promptable model is scored: answers, intervals over cases, simulated corrections, changed colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_sampath import jobs
from napari_sampath.predict import load_model
from napari_sampath.training.augment import shift_colours
from napari_sampath.training.instances import InstanceImage, Kind
from napari_sampath.training.prompt_evaluation import MOST_POINTS, evaluate_prompts, points_needed
from napari_sampath.training.simulate import worst_mistake


@pytest.fixture(scope="module")
def model():
    return load_model("sampath-tiny", device="cpu")


def discs(case: str, radius: int = 14) -> InstanceImage:
    """Two dark discs on a light ground."""
    rng = np.random.default_rng(0)
    rows, cols = np.indices((96, 96))
    instances = np.zeros((96, 96), np.int32)
    for number, (row, col) in enumerate([(28, 28), (66, 64)], start=1):
        instances[np.hypot(rows - row, cols - col) < radius] = number
    pixels = np.where(instances[..., None] > 0, (90, 50, 130), (232, 205, 222)) + rng.normal(
        0, 4, (96, 96, 3)
    )
    kind = Kind("nucleus", 1.0, 5.0, separate=True)
    return InstanceImage(f"{case}-{radius}", kind, pixels.clip(0, 255).astype(np.uint8), instances, 20, case)


def test_every_object_counts_once_and_the_interval_is_over_cases(model) -> None:
    images = [discs("a"), discs("a", 10), discs("b", 18)]
    found = {(s.prompt, s.method): s for s in jobs.run(evaluate_prompts(model, images, 1, (1.2,)))}
    box = found["box", "sampath-tiny"]
    assert (box.objects, box.images, box.cases) == (6, 3, 2)
    assert all(score.low <= score.mean <= score.high for score in found.values())
    assert box.high > box.low, "the cases differ"
    assert found["box", "box itself"].mean == pytest.approx(np.pi / 4, abs=0.05)
    assert box.mean > found["box", "box itself"].mean
    points = found["points to IoU 0.80", "sampath-tiny"]
    assert points.objects == 3, "one of each image"
    assert 1 <= points.mean <= MOST_POINTS
    assert found["box, colours x 1.2", "sampath-tiny"].mean != box.mean
    assert not any(method == "box itself" for prompt, method in found if "colours" in prompt)


def test_one_case_has_an_interval_of_no_width(model) -> None:
    (box,) = (s for s in jobs.run(evaluate_prompts(model, [discs("a")])) if s.method == "box itself")
    assert box.low == box.mean == box.high


def test_what_one_point_answers_needs_one_and_what_nothing_answers_the_most(model) -> None:
    image = discs("a", 18)
    features = model.encode(image.pixels)
    chess = np.indices((96, 96)).sum(axis=0) % 2 == 0
    assert points_needed(model, features, chess) == MOST_POINTS
    first = points_needed(model, features, image.instances == 1)
    assert first < MOST_POINTS


@given(answer=arrays.arrays(bool, (12, 9)), target=arrays.arrays(bool, (12, 9)))
@settings(max_examples=60, deadline=None)
def test_the_next_point_is_on_a_mistake_and_says_which(answer: np.ndarray, target: np.ndarray) -> None:
    if np.array_equal(answer, target):
        return
    (x, y), label = worst_mistake(answer, target)
    assert answer[int(y), int(x)] != target[int(y), int(x)]
    assert bool(label) == target[int(y), int(x)]


def test_the_next_point_is_in_the_middle_of_the_thickest_mistake() -> None:
    target, answer = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    target[5:16, 5:16], answer[20:38, 20:27] = True, True
    assert worst_mistake(answer, target) == ((10.5, 10.5), 1)
    answer[20:38, 20:38] = True
    (x, y), label = worst_mistake(answer, target)
    assert (label, 28 <= x <= 30, 28 <= y <= 30) == (0, True, True)


@given(factor=st.sampled_from([0.8, 0.9, 1.0, 1.1, 1.2]))
def test_colours_are_changed_by_their_factor(factor: float) -> None:
    pixels = np.full((2, 2, 3), (150, 100, 160), np.uint8)
    changed = shift_colours(pixels, factor)
    assert changed.max() == pytest.approx(160 * factor, abs=1)
    if factor == 1.0:
        assert np.array_equal(changed, pixels)
    else:
        assert not np.array_equal(changed, pixels)
