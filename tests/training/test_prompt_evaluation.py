"""Scores of a promptable model: prompts, intervals over cases, simulated corrections, shifted colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from skimage.color import rgb2hsv

from napari_sampath import jobs
from napari_sampath.annotations import innermost
from napari_sampath.arrays import LocalMask, Prompts
from napari_sampath.predict import load_model
from napari_sampath.predict.decoder.mask_upscaling import keep_prompted, local_mask, prompted_cells
from napari_sampath.training.data.instances import UNKNOWN, InstanceImage, Kind
from napari_sampath.training.data.simulated_clicks import worst_mistake
from napari_sampath.training.data.stain import shift_colours
from napari_sampath.training.evaluation.failures import PREDICTED_COLOUR, TRUE_COLOUR, WorstPredictions
from napari_sampath.training.evaluation.prompt_evaluation import (
    MAX_POINTS,
    evaluate_prompts,
    iou,
    mean_and_interval,
    points_needed,
)
from napari_sampath.training.evaluation.report import interval


@pytest.fixture(scope="module")
def model():
    return load_model("sampath-tiny", device="cpu")


def discs(case: str, radius: int = 14) -> InstanceImage:
    """Two dark discs on a light background."""
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


def test_every_object_counts_once_with_intervals_over_cases(model) -> None:
    unseen = discs("b", 18)
    images = [discs("a"), discs("a", 10), replace(unseen, pixels=np.full_like(unseen.pixels, 60))]
    found = {(s.prompt, s.method): s for s in jobs.run(evaluate_prompts(model, images, 1, (1.2,)))}
    box = found["box", "sampath-tiny"]
    assert (box.objects, box.images, box.cases) == (6, 3, 2)
    assert all(score.low <= score.mean <= score.high for score in found.values())
    assert box.high > box.mean + 0.001, "the cases differ"
    assert found["box", "box itself"].mean == pytest.approx(np.pi / 4, abs=0.05)
    assert box.mean > found["box", "box itself"].mean
    points = found["points to IoU 0.80", "sampath-tiny"]
    assert points.objects == 3, "one of each image"
    assert 1 <= points.mean <= MAX_POINTS
    assert found["box, colours x 1.2", "sampath-tiny"].mean != box.mean
    assert not any(method == "box itself" for prompt, method in found if "colours" in prompt)


def test_high_resolution_tiles_are_scored_separately(model) -> None:
    small = discs("a", 6)
    field = replace(
        small,
        pixels=np.tile(small.pixels, (3, 3, 1)),
        instances=np.kron(np.arange(9).reshape(3, 3) * 2, np.ones((96, 96), np.int32)).astype(np.int32)
        + np.tile(small.instances, (3, 3)),
    )
    field.instances[np.tile(small.instances, (3, 3)) == 0] = 0
    field.instances[field.instances > 6] = 0
    scores = jobs.run(evaluate_prompts(model, [field], clicked=2, high_resolution=True))
    found = {s.prompt: s for s in scores if s.method == "sampath-tiny"}
    for prompt, count in (("box", 6), ("point", 6), ("points to IoU 0.80", 2)):
        usual, closer = found[prompt], found[f"{prompt}, high resolution"]
        assert usual.objects == closer.objects == count
    assert found["point, high resolution"].mean > found["point"].mean, (
        "discs of 12 px are small for a tile of 288 px"
    )
    assert not any(
        "high resolution" in s.prompt
        for s in jobs.run(evaluate_prompts(model, [small], high_resolution=True))
    )


def test_worst_predictions_are_sorted_from_the_left() -> None:
    target = np.zeros((50, 60), bool)
    target[10:30, 20:50] = True
    worst = WorstPredictions()
    for score in (0.9, 0.2, 0.8, 0.4, 0.7, 0.5, 0.3, 0.6):
        pixels = np.full((50, 60, 3), round(score * 100), np.uint8)
        worst.add("gland, box", score, pixels, target, np.roll(target, 2, axis=0))
    worst.add("gland, point", 0.5, pixels, target, np.zeros_like(target))
    sheet = worst.image()
    assert worst.rows() == ["gland, box", "gland, point"]
    assert sheet.shape == (320, 960, 3)
    middles = [int(sheet[80, 80 + 160 * col, 0]) for col in range(6)]
    assert middles == [20, 30, 40, 50, 60, 70]
    for colour, expected in ((TRUE_COLOUR, (True, True)), (PREDICTED_COLOUR, (True, False))):
        shown = (sheet == colour).all(axis=-1)
        assert (shown[:160].any(), shown[160:].any()) == expected
    assert (sheet[160:, 160:] == 255).all(), "missing columns are white"


def test_one_case_has_no_interval(model) -> None:
    """Unverified pixels are not scored."""
    image = discs("")
    image.instances[:, 90:] = UNKNOWN
    (box,) = (s for s in jobs.run(evaluate_prompts(model, [image])) if s.method == "box itself")
    assert (box.low, box.high, box.cases) == (None, None, 1)
    assert interval(box) == "one case"


def test_interval_coverage_is_close_to_nominal() -> None:
    """Cases differ in size and mean, like those of nuclei."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        cases = [list(rng.normal(0.7 + rng.normal(0, 0.05), 0.1, size)) for size in (120, 60, 60, 60, 57)]
        _, low, high = mean_and_interval(cases)
        held += low <= 0.7 <= high
    assert 0.90 <= held / 400 <= 0.99


def test_points_are_counted_until_the_goal_is_reached(model) -> None:
    """An object that one point segments needs one; an object that is never segmented needs the maximum."""
    image = discs("a", 18)
    features, known = model.encode(image.pixels), np.ones((96, 96), bool)
    chess = np.indices((96, 96)).sum(axis=0) % 2 == 0
    assert points_needed(model, features, chess, known) == MAX_POINTS
    prompts = Prompts.make(points=[innermost(LocalMask(0, 0, image.instances == 1))])
    logits, scores = model.decode(features, prompts, multimask=True)
    best = keep_prompted(logits[int(np.argmax(scores))], prompted_cells(features.frame, prompts))
    answered = local_mask(features.frame, best).to_dense((96, 96))
    needed = points_needed(model, features, image.instances == 1, known)
    assert needed == 1 if iou(answered, image.instances == 1) >= 0.8 else needed > 1


@given(answer=arrays.arrays(bool, (12, 9)), target=arrays.arrays(bool, (12, 9)))
@settings(max_examples=60, deadline=None)
def test_the_next_point_is_in_a_wrong_area_with_its_label(answer: np.ndarray, target: np.ndarray) -> None:
    if np.array_equal(answer, target):
        return
    (x, y), label = worst_mistake(answer, target)
    assert answer[int(y), int(x)] != target[int(y), int(x)]
    assert bool(label) == target[int(y), int(x)]


def test_the_next_point_is_the_innermost_wrong_pixel() -> None:
    target, answer = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    target[5:16, 5:16], answer[20:38, 20:27] = True, True
    assert worst_mistake(answer, target) == ((10.5, 10.5), 1)
    answer[20:38, 20:38] = True
    (x, y), label = worst_mistake(answer, target)
    assert (label, 28 <= x <= 30, 28 <= y <= 30) == (0, True, True)


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.2])
def test_colours_are_shifted_by_the_factor(factor: float) -> None:
    pixels = np.full((2, 2, 3), (150, 100, 160), np.uint8)
    changed = shift_colours(pixels, factor)
    assert changed.shape == pixels.shape
    before, after = rgb2hsv(pixels)[0, 0], rgb2hsv(changed)[0, 0]
    assert after[0] == pytest.approx(before[0] + (factor - 1) / 6, abs=0.01)
    assert after[1:] == pytest.approx(before[1:] * factor, abs=0.02)
    assert (factor == 1.0) == np.array_equal(changed, pixels)
