"""An encoder on pixels normalised twice, for weights of AutoSAM (Shaharabany et al.): "double-norm:vit_h"."""

from __future__ import annotations

from torch import Tensor

from ...arrays import UInt8Array
from ...geometry import Frame
from .wrapped import WrappedEncoder, register


@register
class DoubleNormEncoder(WrappedEncoder):
    """Normalise the padded and normalised input once more.

    The published program does so in training and prediction, by mistake: SAM gets an image with a hundredth of its
    contrast, and a prompt generator trained on its features works on no others. The image that heads get from
    `preprocess` is normalised once.
    """

    prefix = "double-norm:"
    pixels = "normalised twice"

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Prepare a window as the inner encoder does, normalised once."""
        return self.inner.preprocess(image, frame)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S) normalised once to the inner encoder's maps of it normalised twice."""
        return super().forward((pixels - self.inner.pixel_mean) / self.inner.pixel_std)
