"""What a tile may be turned into: the eight views, and changes of pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ...arrays import UInt8Array
from ..data.dataset import IGNORED
from ..data.stain import jitter_stain
from .config import TrainingConfig

VIEWS = {"none": (0,), "dihedral": tuple(range(8)), "pixels": (0,)}
"""Augmentation -> views of a tile that are encoded once: quarter turns 0..3, and the same mirrored 4..7."""


def turn(image: UInt8Array, view: int) -> UInt8Array:
    """Turn (H, W, ...) by `view % 4` quarters counter-clockwise, then mirror left to right if `view` >= 4."""
    turned = np.rot90(image, view % 4)
    return np.ascontiguousarray(turned[:, ::-1] if view >= 4 else turned)


def vary(
    pixels: UInt8Array, targets: UInt8Array, config: TrainingConfig, rng: np.random.Generator
) -> tuple[UInt8Array, UInt8Array]:
    """Crop, turn, mirror, shrink and re-stain a window.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        targets: (H, W) uint8.
        config: How much.
        rng: Source of randomness.

    Returns:
        Pixels (h, w, 3) and targets (h, w), smaller by the crop and larger by mirror images around them (the encoder
        shrinks all to its square); `IGNORED` where a turn brings in no pixels.
    """
    if config.smallest_scale < 1:
        pixels, targets = _surround(pixels, targets, config.smallest_scale, rng)
    angle = float(rng.uniform(-config.rotation_degrees, config.rotation_degrees))
    if angle:
        pixels = _rotate(pixels, angle, Image.Resampling.BILINEAR, (255, 255, 255))
        targets = _rotate(targets, angle, Image.Resampling.NEAREST, IGNORED)
    share = float(np.sqrt(rng.uniform(config.crop_share, 1)))
    height, width = (max(1, round(side * share)) for side in targets.shape)
    top = int(rng.integers(targets.shape[0] - height + 1))
    left = int(rng.integers(targets.shape[1] - width + 1))
    window = slice(top, top + height), slice(left, left + width)
    view = int(rng.integers(8))
    pixels, targets = turn(pixels[window], view), turn(targets[window], view)
    if config.stain_jitter:
        pixels = jitter_stain(pixels, rng, config.stain_jitter)
    return pixels, targets


def _surround(
    pixels: UInt8Array, targets: UInt8Array, smallest_scale: float, rng: np.random.Generator
) -> tuple[UInt8Array, UInt8Array]:
    """Put a window somewhere among its mirror images, so that it takes up less of what is seen."""
    times = float(np.exp(rng.uniform(0, -np.log(smallest_scale))))
    added = [round(side * (times - 1)) for side in targets.shape]
    before = [int(rng.integers(more + 1)) for more in added]
    around = [(first, more - first) for first, more in zip(before, added, strict=True)]
    return np.pad(pixels, [*around, (0, 0)], mode="symmetric"), np.pad(targets, around, mode="symmetric")


def _rotate(
    image: UInt8Array, degrees: float, resample: Image.Resampling, fill: int | tuple[int, ...]
) -> UInt8Array:
    return np.asarray(Image.fromarray(image).rotate(degrees, resample, fillcolor=fill))
