"""Linear layers in float32 with oneDNN, if PyTorch includes it, for inference only.

PyTorch computes float32 products with MKL, which does not use the widest instructions of AMD processors. oneDNN, which
PyTorch uses for convolutions, is twice as fast there and as fast elsewhere. For plain tensors it is only available as
an operator of PyTorch's compiler, which has no gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def _find_operator() -> Any:
    if torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    return None


_OPERATOR: Any = _find_operator()


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """Return `rows @ weight.T + bias`, (N, D), optionally with GELU.

    Args:
        rows: (N, C).
        weight: (D, C).
        bias: (D,).
        gelu: Whether to apply the exact GELU to the result.
    """
    if _is_supported(rows):
        product: Tensor = _OPERATOR(
            rows, weight, bias, "gelu" if gelu else "none", [], "none" if gelu else ""
        )
        return product
    product = functional.linear(rows, weight, bias)
    return functional.gelu(product) if gelu else product


def add_linear(added: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """Return `added + rows @ weight.T`, (N, D), for `added` (N, D), `rows` (N, C) and `weight` (D, C)."""
    if _is_supported(rows):
        product: Tensor = _OPERATOR.binary(rows, added, weight, None, "add")
        return product
    return torch.addmm(added, rows, weight.T)


def _is_supported(rows: Tensor) -> bool:
    return _OPERATOR is not None and rows.device.type == "cpu" and rows.dtype == torch.float32
