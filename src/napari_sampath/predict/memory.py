"""Recognition of errors that mean that the memory of a device ran out."""

from __future__ import annotations

import torch


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return True if an error means that memory ran out; PyTorch has an exception type for it only on CUDA."""
    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or "out of memory" in text
    )
