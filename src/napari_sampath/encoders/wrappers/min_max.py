"""An encoder on pixels stretched to 0..1, for weights of AutoSAM (Hu et al.): "minmax01:vit_b"."""

from __future__ import annotations

from torch import Tensor

from ...arrays import UInt8Array
from .wrapped import WrappedEncoder, register


@register
class MinMaxEncoder(WrappedEncoder):
    """Another encoder whose input goes from 0, the lowest value of a tile, to 1, its highest; padding is 0.

    The published program never takes SAM's mean off nor divides by its deviation. A slice of its volumes is one tile
    here, so that its lowest and highest values are those of the slice.

    Args:
        inner: With SAM's interface.
    """

    prefix = "minmax01:"
    pixels = "stretched from 0 to 1"

    def normalise(self, pixels: Tensor, window: UInt8Array) -> Tensor:
        """Stretch resized pixels (3, h, w) as their window's own values say."""
        low, high = float(window.min()), float(window.max())
        return (pixels - low) / max(high - low, 1.0)
