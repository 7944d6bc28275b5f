"""An encoder on pixels that are normalised twice, for weights of AutoSAM (Shaharabany et al.): "double-norm:vit_h"."""

from __future__ import annotations

from torch import Tensor

from ...arrays import UInt8Array
from ...geometry import Frame
from .wrapped import WrappedEncoder, register


@register
class DoubleNormEncoder(WrappedEncoder):
    """Another encoder whose padded and normalised input is normalised once more.

    The published program does so while training and predicting, by mistake: SAM sees an image with a hundredth
    of its contrast, and a prompt generator trained that way answers well on nothing else. The image itself, as
    other parts get it from `preprocess`, is normalised once.

    Args:
        inner: With SAM's interface.
    """

    prefix = "double-norm:"
    pixels = "normalised twice"

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Prepare a window as the inner encoder does, normalised once."""
        return self.inner.preprocess(image, frame)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S) normalised once to the inner encoder's maps of it normalised twice."""
        return super().forward((pixels - self.inner.pixel_mean) / self.inner.pixel_std)
