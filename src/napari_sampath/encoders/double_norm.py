"""An encoder on pixels that are normalised twice, for weights of AutoSAM (Shaharabany et al.): "double-norm:vit_h"."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..arrays import FeatureSpec, UInt8Array
from ..geometry import Frame
from .base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, registry

PREFIX = "double-norm:"


class DoubleNormEncoder(Encoder):
    """Another encoder whose padded and normalised input is normalised once more.

    The published program does so while training and predicting, by mistake: SAM sees an image with a hundredth
    of its contrast, and a prompt generator trained that way answers well on nothing else. The image itself, as
    other parts get it from `preprocess`, is normalised once.

    Args:
        inner: With SAM's interface.
    """

    def __init__(self, inner: Encoder) -> None:
        info = _info(inner.info)
        maps = tuple(replace(one, encoder=info.name) for one in inner.spec.maps)
        super().__init__(info, FeatureSpec(maps), inner.weights_digest, input_px=inner.input_px)
        self.inner = inner
        self.preprocessing_version = inner.preprocessing_version

    def fit(self, frame: Frame) -> Frame:
        """Return the frame as the inner encoder maps it."""
        return self.inner.fit(frame)

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Prepare a window as the inner encoder does, normalised once."""
        return self.inner.preprocess(image, frame)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S) normalised once to the inner encoder's maps of it normalised twice."""
        maps: dict[str, Tensor] = self.inner((pixels - self.inner.pixel_mean) / self.inner.pixel_std)
        return maps


def _info(inner: EncoderInfo) -> EncoderInfo:
    name = f"{PREFIX}{inner.name}"
    return replace(
        inner, name=name, summary=f"{inner.name} on pixels normalised twice, for imported weights."
    )


@registry.register_family(PREFIX)
def _entry(name: str) -> EncoderEntry:
    entry = registry[name.removeprefix(PREFIX)]

    def build(path: Path | None) -> EncoderParts:
        parts = entry.build(path)
        return replace(parts, encoder=DoubleNormEncoder(parts.encoder).requires_grad_(False).eval())

    return replace(entry, info=_info(entry.info), build=build)
