"""`python -m napari_sampath.diagnosis.torch_probe`: print what PyTorch can use, as JSON."""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Print versions, threads and devices of PyTorch; return the exit code."""
    import torch

    reason = ""
    if torch.cuda.is_available():
        device = f"CUDA, {torch.cuda.get_device_name(0)}"
    elif torch.backends.mps.is_available():
        device = "Apple GPU (MPS)"
    else:
        device = "CPU"
        reason = _why_no_cuda()
    values = {
        "version": torch.__version__,
        "device": device,
        "reason": reason,
        "threads": torch.get_num_threads(),
    }
    sys.stdout.write(json.dumps(values) + "\n")
    return 0


def _why_no_cuda() -> str:
    """Return why PyTorch does not use an NVIDIA GPU."""
    import torch

    if not torch.backends.cuda.is_built():
        return "this build of PyTorch has no CUDA"
    try:
        torch.cuda.init()
    except Exception as error:  # noqa: BLE001  (drivers raise anything; the text is what is wanted)
        return str(error).strip().splitlines()[0] or type(error).__name__
    return "no NVIDIA GPU was found"


if __name__ == "__main__":
    sys.exit(main())
