"""Products by oneDNN: the numbers of PyTorch's own, with it and without."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from napari_sampath.predict.decoder import onednn_linear as products
from napari_sampath.predict.decoder.onednn_linear import add_linear, linear

SIZES = st.integers(1, 70)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["oneDNN", "PyTorch"], scope="module")
def _each_way(request: pytest.FixtureRequest) -> object:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "PyTorch":
            patch.setattr(products, "_OPERATOR", None)
        elif products._OPERATOR is None:
            pytest.skip("This PyTorch has no oneDNN.")
        yield


@pytest.mark.usefixtures("_each_way")
@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, SIZES, st.booleans(), st.booleans(), st.booleans())
def test_a_product_is_that_of_pytorch(
    count: int, width: int, out: int, biased: bool, gelu: bool, turned: bool
) -> None:
    rows, weight = random(count, width, seed=1), random(out, width, seed=2)
    if turned:
        rows, weight = rows.T.contiguous().T, weight.T.contiguous().T
    bias = random(out, seed=3) if biased else None
    expected = functional.linear(rows.double(), weight.double(), None if bias is None else bias.double())
    expected = functional.gelu(expected) if gelu else expected
    torch.testing.assert_close(linear(rows, weight, bias, gelu).double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("_each_way")
@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, SIZES, st.booleans())
def test_a_sum_is_new_and_that_of_pytorch(count: int, width: int, out: int, turned: bool) -> None:
    rows, weight, added = random(count, width, seed=1), random(out, width, seed=2), random(count, out, seed=3)
    if turned:
        rows, weight = rows.T.contiguous().T, weight.T.contiguous().T
    before = added.clone()
    expected = added.double() + rows.double() @ weight.double().T
    torch.testing.assert_close(add_linear(added, rows, weight).double(), expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(added, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_stay_with_pytorch(dtype: torch.dtype) -> None:
    rows, weight = random(5, 6, seed=1).to(dtype), random(7, 6, seed=2).to(dtype)
    assert torch.equal(linear(rows, weight), functional.linear(rows, weight))
