"""Comparing an output with a golden case, by the rules of `cases.json["usage"]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from conftest import Golden


def assert_matches(golden: Golden, case: str, output: str, found: torch.Tensor | np.ndarray) -> None:
    """Assert that a full output equals the stored part of it, at the case's tolerance.

    Args:
        golden: The fixture.
        case: Name of the case, "sam.encoder".
        output: Name of its output, "embedding".
        found: The full output, as large as the reference's.
    """
    described = golden.case(case)
    rule: dict[str, Any] = described["outputs"][output]
    tensor = torch.as_tensor(found).detach().cpu()
    assert list(tensor.shape) == rule["shape"]
    part = golden.subsample(tensor, rule["slice"]).numpy()
    expected = golden.expected(rule["array"])
    assert part.shape == expected.shape
    if "max_fraction_different" in rule:
        assert (part != expected).mean() <= rule["max_fraction_different"]
        return
    atol = rule.get("atol", 0 if rule.get("exact") else described["tolerance"]["atol"])
    rtol = described["tolerance"].get("rtol", 0.0)
    np.testing.assert_allclose(part, expected, atol=atol, rtol=rtol)
    if "l2" in rule:
        assert np.linalg.norm(tensor.double().numpy()) == pytest.approx(rule["l2"], rel=1e-4)
