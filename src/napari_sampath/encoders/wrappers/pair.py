"""Two encoders on one tile, as SAM-Path reads SAM's and a pathology encoder's tokens together: "vit_b+hipt-s16"."""

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
"""Encoders that may come first: they normalise the pixels by mean and deviation alone, which can be undone."""


class PairEncoder(Encoder):
    """Runs both; yields the first one's maps, and the second one's as "<its name>.<map>".

    The tile is prepared once, as the first wants it; for the second its normalisation is undone and the
    second one's put in its place, as SAM-Path's program does. Padding is the first one's mean colour.

    Args:
        first: With SAM's interface.
        second: Any other.
    """

    def __init__(self, first: Encoder, second: Encoder) -> None:
        info = pair_info(first.info, second.info)
        theirs = tuple(replace(one, name=f"{second.info.name}.{one.name}") for one in second.spec.maps)
        digests = hashlib.sha256(f"{first.weights_digest}+{second.weights_digest}".encode())
        super().__init__(info, FeatureSpec((*first.spec.maps, *theirs)), digests.hexdigest()[:32])
        self.first, self.second = first, second
        self.preprocessing_version = 100 * first.preprocessing_version + second.preprocessing_version

    def fit(self, frame: Frame) -> Frame:
        """Return the frame as the first encoder maps it."""
        return self.first.fit(frame)

    def preprocess(self, image: UInt8Array, frame: Frame) -> Tensor:
        """Prepare a window as the first encoder does."""
        return self.first.preprocess(image, frame)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S) to the maps of both, all on the same grid."""
        maps = dict(self.first(pixels))
        raw = pixels * self.first.pixel_std + self.first.pixel_mean
        side = self.second.input_px or pixels.shape[-1]
        if side != pixels.shape[-1]:
            raw = functional.interpolate(raw, size=(side, side), mode="bilinear", antialias=True)
        theirs = self.second((raw - self.second.pixel_mean) / self.second.pixel_std)
        return maps | {f"{self.second.info.name}.{name}": values for name, values in theirs.items()}


def pair_info(first: EncoderInfo, second: EncoderInfo) -> EncoderInfo:
    """Describe a pair: the terms of both hold."""
    return EncoderInfo(
        name=f"{first.name}+{second.name}",
        summary=f"{first.name} and {second.name} together, for SAM-Path.",
        licence=f"{first.licence}; {second.licence}",
        source_url=second.source_url,
        promptable=first.promptable,
        size_mb=first.size_mb + second.size_mb,
        gated=first.gated or second.gated,
    )


class _Loader:
    """Finds and builds the two encoders of one name."""

    def __init__(self, name: str) -> None:
        self.names = name.split("+", 1)
        self.entries = [registry[one] for one in self.names]
        self._found: list[Path | None] = [None, None]

    def fetch(self, folder: Path | None) -> Job[Path]:
        """Find both weights files, in a folder that the user named or where they are downloaded to."""
        for index, entry in enumerate(self.entries):
            own = None if folder is None else folder / f"{self.names[index]}.safetensors"
            if entry.fetch is not None:
                self._found[index] = yield from entry.fetch(folder)
            elif own is not None and own.is_file():
                self._found[index] = own
        if folder is not None and not any(self._found):
            raise WeightsMissingError(
                f"'{folder}' holds no weights of {' or '.join(self.names)}; name a folder with "
                f"{' or '.join(f'{name}.safetensors' for name in self.names)}, or none to use those in the package."
            )
        return folder or Path()

    def build(self, folder: Path | None) -> EncoderParts:
        """Build both from what `fetch` found, else from a folder that holds both files."""
        places = [
            found or (folder if entry.fetch is not None else None)
            for found, entry in zip(self._found, self.entries, strict=True)
        ]
        first, second = (entry.build(place) for entry, place in zip(self.entries, places, strict=True))
        pair = PairEncoder(first.encoder, second.encoder)
        return EncoderParts(pair.requires_grad_(False).eval(), first.prompt_encoder, first.mask_decoder)


def _entry(name: str) -> EncoderEntry:
    loader = _Loader(name)
    first, second = loader.entries
    return EncoderEntry(pair_info(first.info, second.info), loader.build, loader.fetch)


for _name in _FIRST:
    registry.register_family(f"{_name}+")(_entry)
