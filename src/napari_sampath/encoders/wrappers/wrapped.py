"""Encoders under another name that get their pixels otherwise than they were published with, for imported weights."""

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
    """Another encoder, named after it with a prefix.

    Args:
        inner: With SAM's interface.
    """

    prefix: ClassVar[str]
    """In front of the other encoder's name."""
    pixels: ClassVar[str]
    """What is done to pixels, for menus."""

    def __init__(self, inner: Encoder) -> None:
        info = self.describe(inner.info)
        maps = tuple(replace(one, encoder=info.name) for one in inner.spec.maps)
        mean, std = (tuple(values.flatten().tolist()) for values in (inner.pixel_mean, inner.pixel_std))
        super().__init__(info, FeatureSpec(maps), inner.weights_digest, mean, std, inner.input_px)
        self.inner = inner
        self.preprocessing_version = inner.preprocessing_version

    @classmethod
    def describe(cls, inner: EncoderInfo) -> EncoderInfo:
        """Describe the encoder that wraps another one."""
        summary = f"{inner.name} on pixels {cls.pixels}, for imported weights."
        return replace(inner, name=f"{cls.prefix}{inner.name}", summary=summary)

    def fit(self, frame: Frame) -> Frame:
        """Return the frame as the inner encoder maps it."""
        return self.inner.fit(frame)

    def name_in_file(self, name: str) -> str:
        """Return the name in a file of the inner encoder, which is the one that is loaded."""
        return self.inner.name_in_file(name.replace("image_encoder.inner.", "image_encoder.", 1))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S) to the inner encoder's maps."""
        maps: dict[str, Tensor] = self.inner(pixels)
        return maps


_Wrapped = TypeVar("_Wrapped", bound=type[WrappedEncoder])


def register(wrapper: _Wrapped) -> _Wrapped:
    """Make every encoder available under its name with the prefix."""

    @registry.register_family(wrapper.prefix)
    def entry(name: str) -> EncoderEntry:
        if "+" in name:
            raise UnknownNameError(
                f"There is no encoder '{name}': a pair prepares its pixels once for both; choose one encoder, or "
                "'aliased:vit_b+hipt-s16' for SAM-Path's weights."
            )
        inner = registry[name.removeprefix(wrapper.prefix)]

        def build(path: Path | None) -> EncoderParts:
            parts = inner.build(path)
            return replace(parts, encoder=wrapper(parts.encoder).requires_grad_(False).eval())

        return replace(inner, info=wrapper.describe(inner.info), build=build)

    return wrapper
