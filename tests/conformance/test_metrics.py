"""Metrics of evaluation against the reference implementations and the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_sampath.training.data.dataset import IGNORED
from napari_sampath.training.evaluation.metrics import confusion, dice
from napari_sampath.training.evaluation.reference_metrics import (
    autosam_dice,
    prompt_generator_dice,
    prompt_generator_labels,
    sampath_gland,
    sampath_tissue,
)
from support.golden import assert_matches


def pooled(golden, name):
    """Return the confusion matrices of both batches, classes counted from 0."""
    case = golden.case(name)
    count = case["model"]["num_classes"]
    total = np.zeros((count - 1, count - 1), dtype=np.int64)
    for batch in ("batch0", "batch1"):
        labels = golden.build(case["inputs"][f"{batch}_labels"])
        logits = golden.build(case["inputs"][f"{batch}_logits"]).float()
        logits = logits + 1.5 * torch.nn.functional.one_hot(labels, count).movedim(-1, 1)
        predicted = logits[:, 1:].argmax(dim=1).numpy()
        targets = np.where(labels == 0, IGNORED, labels.numpy() - 1)
        total += confusion(predicted, targets, count - 1)
    return case, total


def test_sampath_bcss(golden):
    case, matrix = pooled(golden, "sampath.metrics.bcss")
    expected = [
        case["outputs"][key]["value"] for key in ("Dice", "IOU_Jaccard", "Dice_Bal", "IOU_Jaccard_Bal")
    ]
    np.testing.assert_allclose(list(sampath_tissue(matrix).values()), expected, atol=1e-6)


def test_sampath_crag(golden):
    case, matrix = pooled(golden, "sampath.metrics.crag")
    found = list(sampath_gland(matrix).values())
    expected = [case["outputs"][key]["value"] for key in ("Dice", "IOU_Jaccard", "IOU_Jaccard_Bal")]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert dice(matrix)[1] == pytest.approx(found[0], abs=1e-9)
    assert found[1] == pytest.approx(matrix[1, 1] / matrix[1].sum())


def test_autosam(golden):
    case = golden.case("autosam.metric.dice")
    predicted, labels = (golden.build(case["inputs"][key]).numpy() for key in ("prediction", "labels"))
    nothing = confusion(np.zeros(9), np.zeros(9), 2)
    found = autosam_dice(confusion(predicted, labels, 4)) + autosam_dice(nothing)
    np.testing.assert_allclose(found, golden.expected("autosam.metric.dice/dice_evaluation"), atol=1e-6)


def test_prompt_generator(golden):
    case = golden.case("promptgen.metric")
    labels = golden.build(case["inputs"]["labels"]).numpy().astype(np.uint8)
    predicted = golden.expected("promptgen.metric/prediction")
    used = prompt_generator_labels(labels, 512)
    assert_matches(golden, "promptgen.metric", "labels_used", used)
    found = prompt_generator_dice(predicted, used)
    for value, key in zip(found, ("dice", "iou"), strict=True):
        assert value == pytest.approx(case["outputs"][key]["value"], abs=1e-5)
    standard = dice(confusion(predicted, used > 0.5, 2))[1]
    assert standard == pytest.approx(case["outputs"]["dice_standard"]["value"], abs=1e-5)
