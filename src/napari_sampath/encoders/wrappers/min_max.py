"""An encoder on pixels stretched to 0..1, for weights of AutoSAM (Hu et al.): "minmax01:vit_b"."""

from __future__ import annotations

from torch import Tensor

from ...arrays import UInt8Array
from .wrapped import WrappedEncoder, register


@register
class MinMaxEncoder(WrappedEncoder):
    """Scale the minimum of a tile to 0 and its maximum to 1; padding is 0.

    The published program does not use SAM's mean and standard deviation. A slice of its volumes is one tile here, so
    that minimum and maximum are those of the slice.
    """

    prefix = "minmax01:"
    pixels = "scaled to 0..1"

    def normalise(self, pixels: Tensor, window: UInt8Array) -> Tensor:
        """Scale resized pixels (3, h, w) by minimum and maximum of their window (H, W, 3)."""
        low, high = float(window.min()), float(window.max())
        return (pixels - low) / max(high - low, 1.0)
