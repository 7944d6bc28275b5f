"""Augmentation of stain and colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.color import hed_from_rgb, hsv2rgb, rgb2hsv

from ...arrays import FloatArray, UInt8Array


@dataclass(frozen=True, slots=True)
class StainChange:
    """A random change of stains and brightness in optical density (Tellez et al. 2018, IEEE TMI 37(9))."""

    matrix: FloatArray
    """(3, 3) float32: the density (..., 3) of a pixel is multiplied by it."""
    offset: FloatArray
    """(3,) float32, added to the density."""
    brightness: FloatArray
    """(3,) factor of each channel: exposure and white balance."""
    noise: float
    """Standard deviation of grey noise, in 0..255."""

    @classmethod
    def sample(cls, rng: np.random.Generator, strength: float = 1.0) -> StainChange:
        """Sample a change; a `strength` of 0 changes nothing, 1 is the range used for training."""
        # Sample a gain and a shift for each stain.
        gain = 1 + strength * rng.uniform(-0.3, 0.3, 3)
        shift = strength * rng.uniform(-0.03, 0.03, 3)
        # Combine the conversion to stains, their gain and shift, and the conversion back into one affine transform.
        to_stains = hed_from_rgb.astype(np.float64)
        to_density = np.linalg.inv(to_stains)
        matrix = ((to_stains * gain) @ to_density).astype(np.float32)
        offset = (shift @ to_density).astype(np.float32)
        # Vary exposure and white balance, and add grey noise to some images.
        exposure = 1 + strength * rng.uniform(-0.12, 0.12)
        white = 1 + strength * rng.uniform(-0.06, 0.06, 3)
        noise = float(rng.uniform(0, 4)) if rng.random() < 0.5 * strength else 0.0
        return cls(matrix, offset, exposure * white, noise)


def jitter_stain(pixels: UInt8Array, rng: np.random.Generator, strength: float = 1.0) -> UInt8Array:
    """Vary the stains and brightness of (H, W, 3) uint8 RGB; see `StainChange`.

    A `strength` of 0 changes nothing; 1 is the range used for training.
    """
    change = StainChange.sample(rng, strength)
    density = -np.log10((pixels.astype(np.float32) + 1) / 256)
    density = density @ change.matrix + change.offset
    result = (256 * np.power(10.0, -density) - 1) * change.brightness
    if change.noise:
        result += rng.normal(0, change.noise, result.shape[:2])[..., None]
    jittered: UInt8Array = np.clip(result, 0, 255).astype(np.uint8)
    return jittered


def shift_colours(pixels: UInt8Array, factor: float) -> UInt8Array:
    """Change hue, saturation and brightness of (H, W, 3) uint8 RGB; a `factor` of 1 changes nothing.

    Saturation and brightness are multiplied by `factor`; the hue is rotated by (factor - 1) / 6 of the colour circle,
    from red towards yellow.
    """
    hue, saturation, brightness = np.moveaxis(rgb2hsv(pixels), -1, 0)
    changed = [
        (hue + (factor - 1) / 6) % 1.0,
        np.minimum(saturation * factor, 1),
        np.minimum(brightness * factor, 1),
    ]
    result: UInt8Array = np.rint(hsv2rgb(np.stack(changed, axis=-1)) * 255).astype(np.uint8)
    return result
