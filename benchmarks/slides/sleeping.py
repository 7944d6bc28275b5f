"""An encoder that waits instead of computing, as for a GPU, and a head on its features."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from napari_sampath.arrays import ClassInfo, FeatureMap, FeatureSpec
from napari_sampath.encoders import Encoder, EncoderEntry, EncoderInfo, EncoderParts, registry
from napari_sampath.heads import EncoderRef, LoadedHead, Metadata, create
from napari_sampath.predict import Model
from napari_sampath.store import MemoryTier, Store

NAME = "sleep"


class SleepingEncoder(Encoder):
    """Waits for a time per tile, as for a GPU, and returns maps of a base model.

    Args:
        seconds: Time per tile.
    """

    def __init__(self, seconds: float) -> None:
        info = EncoderInfo(NAME, "Waits.", "none", "", False, 0.0)
        super().__init__(
            info, FeatureSpec((FeatureMap("embedding", 256, info.name),)), weights_digest="sleep"
        )
        self.seconds = seconds
        self.passes = 0

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        self.passes += len(pixels)
        time.sleep(self.seconds * len(pixels))
        grid = torch.nn.functional.avg_pool2d(pixels[:, :1], 16)
        return {"embedding": grid.expand(-1, 256, -1, -1).contiguous()}


def sleeping_model(seconds: float, is_stored: bool = True) -> Model:
    """Return a model with this encoder, and with a store in memory or none."""
    store = Store(MemoryTier(2**29)) if is_stored else None
    return Model(EncoderParts(SleepingEncoder(seconds)), torch.device("cpu"), store)


def make_head(classes: int = 2, mpp: float | None = None) -> LoadedHead:
    """Return a head with random weights.

    Args:
        classes: Number of classes.
        mpp: Micrometres per pixel of its images.
    """
    torch.manual_seed(0)
    encoder = SleepingEncoder(0)
    infos = [ClassInfo(number, f"class {number}", (number, 0, 0)) for number in range(classes)]
    infos[0] = ClassInfo(0, "background", (0, 0, 0))
    head = create("linear", encoder.spec, infos).eval()
    refs = (EncoderRef(NAME, encoder.weights_digest, 1),)
    return LoadedHead(head, Metadata("random", refs, mpp), "memory")


def register(seconds: float) -> None:
    """Register the encoder, so that commands and the workers of a cluster load it by name."""

    def build(weights: Path | None) -> EncoderParts:
        return EncoderParts(SleepingEncoder(seconds))

    if NAME not in registry:  # dask runs the modules that it loads first twice
        registry.register(NAME)(EncoderEntry(SleepingEncoder(0).info, build))
