"""Linear layers equal those of PyTorch, with and without oneDNN."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from napari_sampath.predict.decoder import onednn_linear
from napari_sampath.predict.decoder.onednn_linear import add_linear, linear

SIZES = st.integers(1, 70)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["oneDNN", "PyTorch"], scope="module")
def _each_implementation(request: pytest.FixtureRequest) -> object:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "PyTorch":
            patch.setattr(onednn_linear, "_OPERATOR", None)
        elif onednn_linear._OPERATOR is None:
            pytest.skip("This PyTorch has no oneDNN.")
        yield


@pytest.mark.usefixtures("_each_implementation")
@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, SIZES, st.booleans(), st.booleans(), st.booleans())
def test_linear_equals_pytorch(
    count: int, width: int, out: int, biased: bool, gelu: bool, transposed: bool
) -> None:
    rows, weight = random(count, width, seed=1), random(out, width, seed=2)
    if transposed:
        rows, weight = rows.T.contiguous().T, weight.T.contiguous().T
    bias = random(out, seed=3) if biased else None
    expected = functional.linear(rows.double(), weight.double(), None if bias is None else bias.double())
    expected = functional.gelu(expected) if gelu else expected
    torch.testing.assert_close(linear(rows, weight, bias, gelu).double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("_each_implementation")
@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, SIZES, st.booleans())
def test_add_linear_equals_pytorch_and_keeps_its_input(
    count: int, width: int, out: int, transposed: bool
) -> None:
    rows, weight, added = random(count, width, seed=1), random(out, width, seed=2), random(count, out, seed=3)
    if transposed:
        rows, weight = rows.T.contiguous().T, weight.T.contiguous().T
    before = added.clone()
    expected = added.double() + rows.double() @ weight.double().T
    torch.testing.assert_close(add_linear(added, rows, weight).double(), expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(added, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_computed_by_pytorch(dtype: torch.dtype) -> None:
    rows, weight = random(5, 6, seed=1).to(dtype), random(7, 6, seed=2).to(dtype)
    assert torch.equal(linear(rows, weight), functional.linear(rows, weight))
