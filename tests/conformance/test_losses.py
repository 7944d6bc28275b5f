"""Losses and metrics of heads against the numbers of the reference implementation."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.golden import check
from napari_sampath.training.losses import ce_dice
from napari_sampath.training.metrics import confusion, dice


@pytest.mark.parametrize("name", ["autosam.loss.all", "autosam.loss.class3_absent"])
def test_ce_dice(golden, name):
    case = golden.case(name)
    logits = golden.build(case["inputs"]["logits"]).requires_grad_(True)
    labels = golden.build(case["inputs"]["labels"])[:, 0]
    parts = ce_dice(logits, labels)
    atol = case["tolerance"]["atol"]
    for key, value in (("dice", parts.dice), ("ce", parts.cross_entropy), ("total", parts.total)):
        assert float(value.detach()) == pytest.approx(case["outputs"][key]["value"], abs=atol)
    parts.total.backward()
    check(golden, name, "grad_logits", logits.grad)


def test_dice(golden):
    case = golden.case("autosam.metric.dice")
    predicted, labels = (golden.build(case["inputs"][key]).numpy() for key in ("prediction", "labels"))
    matrix = confusion(predicted, labels, classes=4)
    found = dice(matrix)[1:]
    np.testing.assert_allclose(found, golden.expected("autosam.metric.dice/dice_training"), atol=1e-6)
    # The reference gives 1 where prediction and label are both empty; here that is no figure at all.
    expected = golden.expected("autosam.metric.dice/dice_evaluation")
    np.testing.assert_allclose([*found, 1.0], expected, atol=1e-6)
    empty = dice(confusion(np.zeros(9), np.zeros(9), classes=2))
    assert empty[0] == 1
    assert np.isnan(empty[1])
