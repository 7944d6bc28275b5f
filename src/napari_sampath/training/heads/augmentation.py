"""Augmentation of training tiles."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...arrays import IntArray, UInt8Array
from ..data.dataset import IGNORED
from ..data.stain import jitter_stain
from .config import TrainingConfig

_T = TypeVar("_T", bound=np.generic)

ORIENTATIONS = {"none": (0,), "dihedral": tuple(range(8)), "pixels": (0,)}
"""Orientations in which a tile is encoded, by augmentation: 0..3 are quarter turns, 4..7 the same with a flip."""


def orient(image: npt.NDArray[_T], orientation: int) -> npt.NDArray[_T]:
    """Rotate (H, W, ...) counter-clockwise by `orientation % 4` quarter turns; from 4 on, also flip it horizontally."""
    rotated = np.rot90(image, orientation % 4)
    return np.ascontiguousarray(rotated[:, ::-1] if orientation >= 4 else rotated)


def augment(
    pixels: UInt8Array, targets: IntArray, config: TrainingConfig, rng: np.random.Generator
) -> tuple[UInt8Array, IntArray]:
    """Randomly crop, rotate, flip, shrink and re-stain pixels (H, W, 3) uint8 RGB and targets (H, W) uint8 or int32.

    The results are smaller after a crop, and larger after mirrored margins are added (the encoder then shrinks them).
    Targets are `IGNORED` in corners that a rotation leaves empty.
    """
    if config.smallest_scale < 1:
        pixels, targets = _mirror_margins(pixels, targets, config.smallest_scale, rng)
    angle = float(rng.uniform(-config.rotation_degrees, config.rotation_degrees))
    if angle:
        pixels = _rotate(pixels, angle, Image.Resampling.BILINEAR, (255, 255, 255))
        targets = _rotate(targets, angle, Image.Resampling.NEAREST, IGNORED)
    share = float(np.sqrt(rng.uniform(config.crop_share, 1)))
    height, width = (max(1, round(side * share)) for side in targets.shape)
    top = int(rng.integers(targets.shape[0] - height + 1))
    left = int(rng.integers(targets.shape[1] - width + 1))
    window = slice(top, top + height), slice(left, left + width)
    orientation = int(rng.integers(8))
    pixels, targets = orient(pixels[window], orientation), orient(targets[window], orientation)
    if config.stain_jitter:
        pixels = jitter_stain(pixels, rng, config.stain_jitter)
    return pixels, targets


def _mirror_margins(
    pixels: UInt8Array, targets: IntArray, smallest_scale: float, rng: np.random.Generator
) -> tuple[UInt8Array, IntArray]:
    """Pad a window with mirrored margins of random width, so that its objects appear smaller."""
    growth = float(np.exp(rng.uniform(0, -np.log(smallest_scale))))
    added = [round(side * (growth - 1)) for side in targets.shape]
    before = [int(rng.integers(total + 1)) for total in added]
    margins = [(first, total - first) for first, total in zip(before, added, strict=True)]
    return np.pad(pixels, [*margins, (0, 0)], mode="symmetric"), np.pad(targets, margins, mode="symmetric")


def _rotate(
    image: npt.NDArray[_T], degrees: float, resample: Image.Resampling, fill: int | tuple[int, ...]
) -> npt.NDArray[_T]:
    return np.asarray(Image.fromarray(image).rotate(degrees, resample, fillcolor=fill))
