"""Losses of heads against the reference implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from napari_sampath.training.data.dataset import IGNORED
from napari_sampath.training.evaluation.metrics import confusion, dice
from napari_sampath.training.heads.losses import bce_dice, bce_dice_of, ce_dice, focal_dice, true_iou
from support.golden import assert_matches


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
    assert_matches(golden, name, "grad_logits", logits.grad)


def sampath_inputs(golden, case):
    logits = golden.build(case["inputs"]["logits"]).requires_grad_(True)
    labels = golden.build(case["inputs"]["labels"])
    iou = golden.build(case["inputs"]["predicted_iou"])[..., 0].requires_grad_(True)
    return logits, torch.where(labels > 0, labels - 1, IGNORED), iou


@pytest.mark.parametrize("name", ["bcss", "crag", "allterms"])
def test_sampath(golden, name):
    """In the reference, the label 0 is ignored and channel 0 stands for it."""
    case = golden.case(f"sampath.loss.{name}")
    logits, targets, iou = sampath_inputs(golden, case)
    factors = case["model"]["coefficients"]
    parts = focal_dice(
        logits,
        targets,
        iou=iou,
        focal_weight=factors["focal"],
        dice_weight=factors["dice"],
        ce_weight=factors["ce"],
        iou_weight=factors["iou"],
        compat_ignore=True,
        unlabelled=True,
    )
    terms = {"focal": parts.focal, "dice": parts.dice, "ce": parts.cross_entropy, "iou": parts.iou}
    for key, value in (*terms.items(), ("total", parts.total)):
        wanted = case["outputs"][key]["value"]
        assert float(value.detach()) == pytest.approx(wanted, abs=case["tolerance"]["atol"])
    parts.total.backward()
    assert_matches(golden, f"sampath.loss.{name}", "grad_logits", logits.grad)
    grad = torch.zeros_like(iou) if iou.grad is None else iou.grad
    assert_matches(golden, f"sampath.loss.{name}", "grad_predicted_iou", grad.unsqueeze(-1))


@pytest.mark.parametrize("name", ["bcss", "crag", "allterms"])
def test_true_iou(golden, name):
    case = golden.case(f"sampath.loss.{name}")
    logits, targets, _ = sampath_inputs(golden, case)
    known = (targets != IGNORED).unsqueeze(1)
    truth = torch.nn.functional.one_hot(torch.where(known[:, 0], targets + 1, 0), logits.shape[1])
    found = true_iou((logits * known).softmax(dim=1), truth.movedim(-1, 1).float())
    assert_matches(golden, f"sampath.loss.{name}", "true_iou", found.unsqueeze(-1))


def test_sampath_without_a_labelled_pixel(golden):
    """Equal to the reference except for its NaN, which is 0 times the cross-entropy of no pixels."""
    outputs = golden.case("sampath.loss.all_ignored")["outputs"]
    logits = torch.zeros(1, 6, 8, 8, requires_grad=True)
    nothing = torch.full((1, 8, 8), IGNORED)
    parts = focal_dice(logits, nothing, iou=torch.zeros(1, 6), compat_ignore=True, unlabelled=True)
    for key, value in (("focal", parts.focal), ("dice", parts.dice), ("iou", parts.iou)):
        assert float(value.detach()) == pytest.approx(outputs[key]["value"], abs=1e-5)
    assert np.isnan(outputs["ce"]["value"] or np.nan)
    assert torch.isfinite(parts.total)


@pytest.mark.parametrize("loss", [ce_dice, focal_dice, bce_dice])
class TestIgnoredPixels:
    def random(self):
        generator = torch.Generator().manual_seed(3)
        logits = torch.randn(2, 3, 8, 8, generator=generator)
        return (
            logits,
            torch.randint(0, 3, (2, 8, 8), generator=generator),
            torch.rand(2, 3, generator=generator),
        )

    def test_do_not_count(self, loss):
        """Ignoring half of each image gives the loss of the other half."""
        logits, targets, iou = self.random()
        cut = targets.clone()
        cut[:, :, 4:] = IGNORED
        whole = loss(logits.clone(), cut, True, iou)
        half = loss(logits[..., :4], targets[..., :4], True, iou)
        assert float(whole.total) == pytest.approx(float(half.total), abs=1e-6)

    def test_get_no_gradient(self, loss):
        logits, targets, iou = self.random()
        targets[:, 2:5] = IGNORED
        logits.requires_grad_(True)
        loss(logits, targets, True, iou).total.backward()
        assert not logits.grad[:, :, 2:5].any()
        assert logits.grad[:, :, :2].any()

    def test_nothing_labelled_is_nothing(self, loss):
        logits, targets, iou = self.random()
        logits.requires_grad_(True)
        found = loss(logits, torch.full_like(targets, IGNORED), True, iou).total
        assert float(found.detach()) == 0
        found.backward()
        assert torch.isfinite(logits.grad).all()
        assert not logits.grad.any()

    def test_an_image_without_labels_does_not_count(self, loss):
        logits, targets, iou = self.random()
        targets[1] = IGNORED
        both = loss(logits, targets, True, iou).total
        assert float(both) == pytest.approx(
            float(loss(logits[:1], targets[:1], True, iou[:1]).total), abs=1e-6
        )

    def test_is_low_where_all_is_right(self, loss):
        logits, targets, _ = self.random()
        right = 20 * (2 * torch.nn.functional.one_hot(targets, 3).movedim(-1, 1).float() - 1)
        assert float(loss(right, targets).total) < 0.01 < float(loss(logits, targets).total)


def test_prompt_generator(golden):
    case = golden.case("promptgen.loss")
    probabilities = golden.build(case["inputs"]["probabilities"]).requires_grad_(True)
    truth = interpolate(golden.build(case["inputs"]["labels"])[:, None], (256, 256), mode="nearest")
    parts = bce_dice_of(probabilities, truth, torch.ones_like(truth, dtype=torch.bool))
    atol = case["tolerance"]["atol"]
    assert float(parts.dice.detach()) == pytest.approx(case["outputs"]["dice"]["value"], abs=atol)
    assert float(parts.total.detach()) == pytest.approx(case["outputs"]["total"]["value"], abs=atol)
    parts.total.backward()
    assert_matches(golden, "promptgen.loss", "grad_probabilities", probabilities.grad)
    # The same with logits of two classes, as in training.
    with torch.no_grad():
        logits = torch.cat([torch.zeros_like(probabilities), torch.logit(probabilities)], dim=1)
        again = bce_dice(logits, truth[:, 0].long())
    assert float(again.total) == pytest.approx(float(parts.total.detach()), abs=1e-4)


def test_dice(golden):
    case = golden.case("autosam.metric.dice")
    predicted, labels = (golden.build(case["inputs"][key]).numpy() for key in ("prediction", "labels"))
    matrix = confusion(predicted, labels, classes=4)
    found = dice(matrix)[1:]
    np.testing.assert_allclose(found, golden.expected("autosam.metric.dice/dice_training"), atol=1e-6)
    # The reference gives 1 if prediction and label are both empty; here the value is undefined.
    expected = golden.expected("autosam.metric.dice/dice_evaluation")
    np.testing.assert_allclose([*found, 1.0], expected, atol=1e-6)
    empty = dice(confusion(np.zeros(9), np.zeros(9), classes=2))
    assert empty[0] == 1
    assert np.isnan(empty[1])
