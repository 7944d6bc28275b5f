"""Encoder for pixels scaled to 0..1, as the weights of AutoSAM (Hu et al.) need it: "minmax01:vit_b"."""

from __future__ import annotations

from torch import Tensor

from ...arrays import UInt8Array
from .wrapped import WrappedEncoder, register


@register
class MinMaxEncoder(WrappedEncoder):
    """Encoder whose input is scaled from the minimum and maximum of a tile to 0..1; padding is 0.

    AutoSAM's published code does this for each slice of a volume, instead of using SAM's mean and standard deviation.
    Here, each slice is one tile.
    """

    prefix = "minmax01:"
    pixels = "scaled to 0..1"

    def normalise(self, pixels: Tensor, window: UInt8Array) -> Tensor:
        """Scale resized pixels (3, h, w) by the minimum and maximum of their window (H, W, 3)."""
        low, high = float(window.min()), float(window.max())
        return (pixels - low) / max(high - low, 1.0)
