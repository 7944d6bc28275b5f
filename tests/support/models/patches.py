"""A fast encoder of patch colours, and small tissue-like images with known labels, for tests of heads."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_sampath.arrays import FeatureMap, FeatureSpec
from napari_sampath.encoders import Encoder, EncoderInfo, EncoderParts
from napari_sampath.predict import Model
from napari_sampath.store import MemoryTier, Store

INFO = EncoderInfo("patches", "Mean colour of each patch, mixed.", "none", "", False, 0.0)
CHANNELS = 8


class PatchEncoder(Encoder):
    """Encodes each 16 px patch as random mixtures of its mean colour and contrast: (8, 64, 64)."""

    def __init__(self, seed: int = 0) -> None:
        spec = FeatureSpec((FeatureMap("embedding", CHANNELS, INFO.name),))
        super().__init__(INFO, spec, weights_digest=f"patches-{seed}")
        generator = torch.Generator().manual_seed(seed)
        self.mixing = torch.nn.Parameter(torch.randn(CHANNELS, 6, generator=generator))
        self.passes = 0
        """Number of encoded tiles."""

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        self.passes += len(pixels)
        mean = functional.avg_pool2d(pixels, 16)
        spread = functional.avg_pool2d(pixels**2, 16) - mean**2
        return {"embedding": torch.einsum("ck,bkhw->bchw", self.mixing, torch.cat([mean, spread], dim=1))}


def patch_model(store: bool = True, seed: int = 0) -> Model:
    kept = Store(MemoryTier(2**28)) if store else None
    return Model(EncoderParts(PatchEncoder(seed)), torch.device("cpu"), kept)


def disc_image(seed: int, hw: tuple[int, int] = (96, 96)) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (H, W, 3) and labels (H, W): a purple disc (1) on pink (0), with noise."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices(hw)
    radius = rng.uniform(0.2, 0.4) * min(hw)
    row, col = (rng.uniform(radius, side - radius) for side in hw)
    labels = ((rows - row) ** 2 + (cols - col) ** 2 < radius**2).astype(np.uint8)
    colours = np.array([[230, 170, 200], [120, 60, 150]])
    pixels = colours[labels] + rng.normal(0, 25, (*hw, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


DISC_RADIUS = 12


def four_discs(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels (96, 96, 3), labels and object numbers (96, 96) of four discs of two classes in two colours."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices((96, 96))
    labels, instances = np.zeros((96, 96), np.uint8), np.zeros((96, 96), np.int32)
    for number, (row, col) in enumerate(((24, 24), (24, 72), (72, 24), (72, 72)), start=1):
        inside = (rows - row) ** 2 + (cols - col) ** 2 < DISC_RADIUS**2
        labels[inside], instances[inside] = 1 + number % 2, number
    colours = np.array([[230, 170, 200], [120, 60, 150], [190, 60, 40]])
    pixels = colours[labels] + rng.normal(0, 20, (96, 96, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels, instances
