"""Encoders with modified preprocessing under a prefixed name, for imported weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TypeVar

from torch import Tensor

from ...arrays import FeatureSpec
from ...errors import UnknownNameError
from ...geometry import Frame
from ..base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, registry


class WrappedEncoder(Encoder):
    """An encoder with modified preprocessing; its name is a prefix followed by the name of the inner encoder.

    Args:
        inner: An encoder with SAM's interface.
    """

    prefix: ClassVar[str]
    """Prefix before the name of the inner encoder."""
    pixels: ClassVar[str]
    """Description of the preprocessing for menus, such as "normalised twice"."""

    def __init__(self, inner: Encoder) -> None:
        info = self.describe(inner.info)
        maps = tuple(replace(feature, encoder=info.name) for feature in inner.spec.maps)
        mean, std = (tuple(values.flatten().tolist()) for values in (inner.pixel_mean, inner.pixel_std))
        super().__init__(info, FeatureSpec(maps), inner.weights_digest, mean, std, inner.input_px)
        self.inner = inner
        self.preprocessing_version = inner.preprocessing_version

    @classmethod
    def describe(cls, inner: EncoderInfo) -> EncoderInfo:
        """Describe the encoder that wraps `inner`."""
        summary = f"{inner.name} on pixels {cls.pixels}, for imported weights."
        return replace(inner, name=f"{cls.prefix}{inner.name}", summary=summary)

    def adapt_frame(self, frame: Frame) -> Frame:
        """Return the frame as the inner encoder adapts it."""
        return self.inner.adapt_frame(frame)

    def name_in_file(self, name: str) -> str:
        """See `Encoder`; the names are those in a file of the inner encoder."""
        return self.inner.name_in_file(name.replace("image_encoder.inner.", "image_encoder.", 1))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S) to the inner encoder's maps."""
        maps: dict[str, Tensor] = self.inner(pixels)
        return maps


_Wrapped = TypeVar("_Wrapped", bound=type[WrappedEncoder])


def register(wrapper: _Wrapped) -> _Wrapped:
    """Register a wrapper for every encoder, under the encoder's name with the wrapper's prefix."""

    @registry.register_family(wrapper.prefix)
    def entry(name: str) -> EncoderEntry:
        if "+" in name:
            raise UnknownNameError(
                f"There is no encoder '{name}': a pair preprocesses the pixels once for both; choose one encoder, or "
                "'aliased:vit_b+hipt-s16' for SAM-Path's weights."
            )
        inner = registry[name.removeprefix(wrapper.prefix)]

        def build(path: Path | None) -> EncoderParts:
            parts = inner.build(path)
            return replace(parts, encoder=wrapper(parts.encoder).requires_grad_(False).eval())

        return replace(inner, info=wrapper.describe(inner.info), build=build)

    return wrapper
