"""An encoder on tiles that are shrunk without smoothing, for weights of SAM-Path: "aliased:vit_b+hipt-s16"."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn import functional

from ...arrays import UInt8Array
from ...geometry import Frame
from ..base import upload
from .wrapped import WrappedEncoder, register


@register
class AliasedEncoder(WrappedEncoder):
    """Another encoder whose input is interpolated between the four nearest pixels only, after it was normalised.

    The published program trains on tiles of CRAG of 1,536 px and lets the network shrink them so; SAM's own way, which
    every other encoder takes, smooths first. On tiles of 1,024 px there is no difference.

    Args:
        inner: With SAM's interface.
    """

    prefix = "aliased:"
    pixels = "shrunk without smoothing"

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Cut a window, normalise, resize and pad it; see `Encoder.preprocess`."""
        if self.input_px is not None:
            frame = replace(frame, input_px=self.input_px)
        window = image[frame.slices]
        pixels = upload(window.copy(), self.pixel_mean.device).permute(2, 0, 1).float()
        pixels = self.inner.normalise(pixels, window)
        height, width = frame.input_hw
        small = functional.interpolate(pixels[None], (height, width), mode="bilinear", align_corners=False)[0]
        return functional.pad(small, (0, frame.input_px - width, 0, frame.input_px - height))
