"""Two encoders on one tile, for SAM-Path, which reads tokens of SAM and of a pathology encoder: "vit_b+hipt-s16"."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from torch.nn import functional

from ...arrays import FeatureSpec, UInt8Array
from ...errors import WeightsMissingError
from ...geometry import Frame
from ...jobs import Job
from ..base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, registry

_FIRST = ("vit_b", "vit_l", "vit_h", "vit_t", "sampath-tiny", "aliased:vit_b")
"""Encoders that may come first: their normalisation by mean and standard deviation can be inverted."""


class PairEncoder(Encoder):
    """Pair of encoders on one tile; the maps of the second are named "<encoder>.<map>".

    The tile is preprocessed for the first encoder; for the second, that normalisation is inverted and its own is
    applied, as in SAM-Path's code. Padding has the mean colour of the first encoder.

    Args:
        first: An encoder with SAM's interface.
        second: Any other encoder.
    """

    def __init__(self, first: Encoder, second: Encoder) -> None:
        info = pair_info(first.info, second.info)
        renamed = tuple(
            replace(feature, name=f"{second.info.name}.{feature.name}") for feature in second.spec.maps
        )
        digests = hashlib.sha256(f"{first.weights_digest}+{second.weights_digest}".encode())
        super().__init__(info, FeatureSpec((*first.spec.maps, *renamed)), digests.hexdigest()[:32])
        self.first, self.second = first, second
        self.preprocessing_version = 100 * first.preprocessing_version + second.preprocessing_version

    def adapt_frame(self, frame: Frame) -> Frame:
        """Return the frame as the first encoder adapts it."""
        return self.first.adapt_frame(frame)

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Preprocess a window as the first encoder does."""
        return self.first.preprocess(image, frame)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S) to the maps of both, all on the same grid."""
        maps = dict(self.first(pixels))
        # Invert the normalisation of the first encoder
        raw = pixels * self.first.pixel_std + self.first.pixel_mean
        # Resize to the input of the second encoder, and apply its normalisation
        side = self.second.input_px or pixels.shape[-1]
        if side != pixels.shape[-1]:
            raw = functional.interpolate(raw, size=(side, side), mode="bilinear", antialias=True)
        second_maps = self.second((raw - self.second.pixel_mean) / self.second.pixel_std)
        return maps | {f"{self.second.info.name}.{name}": values for name, values in second_maps.items()}


def pair_info(first: EncoderInfo, second: EncoderInfo) -> EncoderInfo:
    """Describe a pair; both licences apply."""
    return EncoderInfo(
        name=f"{first.name}+{second.name}",
        summary=f"{first.name} and {second.name} together, for SAM-Path.",
        licence=f"{first.licence}; {second.licence}",
        source_url=second.source_url,
        promptable=first.promptable,
        size_mb=first.size_mb + second.size_mb,
        gated=first.gated or second.gated,
        everything=first.everything,
        redecode_share=first.redecode_share,
    )


class _Loader:
    """Loader of the two encoders of a name "first+second"."""

    def __init__(self, name: str) -> None:
        self.names = name.split("+", 1)
        self.entries = [registry[part] for part in self.names]
        self._paths: list[Path | None] = [None, None]

    def fetch(self, folder: Path | None) -> Job[Path]:
        """Find both weights files in a given folder or in the cache, or download them."""
        for index, entry in enumerate(self.entries):
            shipped = None if folder is None else folder / f"{self.names[index]}.safetensors"
            if entry.fetch is not None:
                self._paths[index] = yield from entry.fetch(folder)
            elif shipped is not None and shipped.is_file():
                self._paths[index] = shipped
        if folder is not None and not any(self._paths):
            raise WeightsMissingError(
                f"'{folder}' has no weights of {' or '.join(self.names)}; give a folder with "
                f"{' or '.join(f'{name}.safetensors' for name in self.names)}, or omit the folder to use the "
                "shipped weights."
            )
        return folder or Path()

    def build(self, folder: Path | None) -> EncoderParts:
        """Build both from the files found by `fetch`, or else from a folder with both files."""
        first, second = (
            entry.build(path or (folder if entry.fetch is not None else None))
            for entry, path in zip(self.entries, self._paths, strict=True)
        )
        pair = PairEncoder(first.encoder, second.encoder)
        return EncoderParts(pair.requires_grad_(False).eval(), first.prompt_encoder, first.mask_decoder)


def _entry(name: str) -> EncoderEntry:
    loader = _Loader(name)
    first, second = loader.entries
    return EncoderEntry(pair_info(first.info, second.info), loader.build, loader.fetch)


for _name in _FIRST:
    registry.register_family(f"{_name}+")(_entry)
