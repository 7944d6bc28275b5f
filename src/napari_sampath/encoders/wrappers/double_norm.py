"""Encoder for pixels normalised twice, as the weights of AutoSAM (Shaharabany et al.) need it: "double-norm:vit_h"."""

from __future__ import annotations

from torch import Tensor

from ...arrays import UInt8Array
from ...geometry import Frame
from .wrapped import WrappedEncoder, register


@register
class DoubleNormEncoder(WrappedEncoder):
    """Encoder whose padded input is normalised a second time.

    AutoSAM's published code does so by mistake, in training and prediction: SAM receives an image with a hundredth of
    its contrast, and a prompt generator trained on these features does not work on others. `preprocess` returns the
    image normalised once, as heads read it.
    """

    prefix = "double-norm:"
    pixels = "normalised twice"

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Preprocess a window as the inner encoder does, normalising it once."""
        return self.inner.preprocess(image, frame)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Normalise (B, 3, S, S) for the second time, and map it to the inner encoder's maps."""
        return super().forward((pixels - self.inner.pixel_mean) / self.inner.pixel_std)
