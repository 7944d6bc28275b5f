"""Models that decode a point in a large object twice, the second time with the bounding box of the first mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmarks.models import tissue
from benchmarks.tiny_sam import tiny_model

from napari_sampath.arrays import Features, Prompts
from napari_sampath.encoders import registry
from napari_sampath.geometry import whole
from napari_sampath.predict import EverythingSettings, Model
from napari_sampath.predict.decoder.candidates import best_first
from napari_sampath.predict.decoder.large_objects import refine_if_large

POINT = [(210.0, 150.0)]


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def features(model: Model) -> Features:
    return model.encode(tissue(300)[:240])


def decode_with(
    model: Model, features: Features, share: float | None, multimask: bool | None = True, **prompt: Any
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return logits and scores of a prompt, and the number of times the decoder ran."""
    assert model.decoder is not None
    passes: list[None] = []
    hook = model.decoder.register_forward_hook(lambda *_: passes.append(None))
    original = model.encoder.info
    model.encoder.info = replace(original, redecode_share=share)
    try:
        return *model.decode(features, Prompts.make(**prompt), multimask), len(passes)
    finally:
        model.encoder.info = original
        hook.remove()


def test_only_the_best_mask_changes_and_stays_the_best(model: Model, features: Features) -> None:
    before, scores, passes = decode_with(model, features, None, points=POINT)
    after, new_scores, new_passes = decode_with(model, features, 0.0, points=POINT)
    assert (passes, new_passes) == (1, 2)
    best = int(np.flatnonzero((before != after).any(axis=(1, 2)))[0])
    others = np.arange(3) != best
    assert (before[others] == after[others]).all()
    assert (scores[others] == new_scores[others]).all()
    assert new_scores[best] >= scores[best]
    first, _ = best_first(model, features, Prompts.make(POINT))
    assert (first[0] == before[best]).all(), "the mask that a session shows is decoded again"


def test_the_answer_is_that_to_the_point_with_the_box_of_the_first_mask() -> None:
    """The mask covers columns 40 to 99 and rows 20 to 59 of 256; a component without the point does not count."""
    frame = whole((256, 256))
    logits = np.full((3, 256, 256), -5.0, np.float32)
    logits[1, 20:60, 40:100] = 5.0
    logits[1, 200:210, 200:210] = 5.0
    scores = np.array([0.1, 0.7, 0.2], np.float32)
    asked: list[Prompts] = []

    def decode(prompts: Prompts) -> tuple[np.ndarray, np.ndarray]:
        asked.append(prompts)
        return logits - 1, scores - 0.5

    prompts = Prompts.make([(50.5, 30.5)])
    same, _ = refine_if_large((logits, scores), prompts, frame, 60 * 40 / 256**2, decode)
    assert same is logits
    assert not asked
    changed, new_scores = refine_if_large((logits, scores), prompts, frame, 2399 / 256**2, decode)
    assert asked[0].box_xyxy is not None
    assert asked[0].box_xyxy.tolist() == [40, 20, 100, 60]
    assert asked[0].points_xy.tolist() == [[50.5, 30.5]]
    assert (changed[1] == logits[1] - 1).all()
    assert new_scores.tolist() == scores.tolist()


@pytest.mark.parametrize(
    ("multimask", "prompt"),
    [
        (False, {"points": POINT}),
        (None, {"points": POINT}),
        (True, {"points": POINT, "labels": [0]}),
        (True, {"points": [*POINT, (20.0, 30.0)], "labels": [1, 0]}),
        (True, {"points": POINT, "box": (100, 100, 280, 200)}),
        (True, {"points": POINT, "mask": np.ones((256, 256), np.float32)}),
        (True, {"box": (100, 100, 280, 200)}),
    ],
)
def test_other_prompts_are_decoded_once(
    model: Model, features: Features, multimask: bool | None, prompt: dict[str, Any]
) -> None:
    before, _, _ = decode_with(model, features, None, multimask, **prompt)
    after, _, passes = decode_with(model, features, 0.0, multimask, **prompt)
    assert passes == 1
    assert (before == after).all()


def test_small_masks_are_decoded_once(model: Model, features: Features) -> None:
    _, _, passes = decode_with(model, features, 1.0, points=POINT)
    assert passes == 1


def test_only_sampath_tiny_decodes_twice() -> None:
    """All other models answer as `segment_anything` does."""
    assert [name for name in registry if registry[name].info.redecode_share is not None] == ["sampath-tiny"]
    pair = registry["sampath-tiny+sampath-tiny-path"].info
    assert pair.redecode_share == registry["sampath-tiny"].info.redecode_share, "the same decoder answers"
    assert EverythingSettings.of_model(pair) == EverythingSettings.of_model(registry["sampath-tiny"].info)
