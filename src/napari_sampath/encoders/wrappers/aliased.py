"""Encoder for tiles resized without antialiasing, as SAM-Path's weights need it: "aliased:vit_b+hipt-s16"."""

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
    """Encoder whose normalised input is resized bilinearly without antialiasing, as in SAM-Path's published code.

    SAM-Path is trained on CRAG tiles of 1,536 px. SAM and all other encoders here resize with antialiasing before
    they normalise. Tiles of 1,024 px are not resized, so the two agree on them.
    """

    prefix = "aliased:"
    pixels = "resized without antialiasing"

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Crop a window, normalise, resize and pad it; see `Encoder.preprocess`."""
        if self.input_px is not None:
            frame = replace(frame, input_px=self.input_px)
        window = image[frame.slices]
        pixels = upload(window.copy(), self.pixel_mean.device).permute(2, 0, 1).float()
        pixels = self.inner.normalise(pixels, window)
        height, width = frame.input_hw
        resized = functional.interpolate(pixels[None], (height, width), mode="bilinear", align_corners=False)
        return functional.pad(resized[0], (0, frame.input_px - width, 0, frame.input_px - height))
