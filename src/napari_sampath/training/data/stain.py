"""Changes of stain and colour."""

from __future__ import annotations

import numpy as np
from skimage.color import hed_from_rgb, hsv2rgb, rgb2hsv

from ...arrays import FloatArray, UInt8Array


def jitter_stain(pixels: UInt8Array, rng: np.random.Generator, strength: float = 1.0) -> UInt8Array:
    """Change haematoxylin, eosin and brightness in optical-density space (Tellez et al. 2018).

    Args:
        pixels: (H, W, 3) uint8 RGB.
        rng: Source of randomness.
        strength: 0 changes nothing, 1 is the range used for training.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    gain = 1 + strength * rng.uniform(-0.3, 0.3, 3)
    shift = strength * rng.uniform(-0.03, 0.03, 3)
    density = -np.log10((pixels.astype(np.float32) + 1) / 256)
    mixing = _stain_mixing(gain, shift)
    density = density @ mixing[0] + mixing[1]
    changed = 256 * np.power(10.0, -density) - 1
    exposure = 1 + strength * rng.uniform(-0.12, 0.12)
    white = 1 + strength * rng.uniform(-0.06, 0.06, 3)
    result = changed * exposure * white
    if rng.random() < 0.5 * strength:
        result += rng.normal(0, rng.uniform(0, 4), result.shape[:2])[..., None]
    return np.clip(result, 0, 255).astype(np.uint8)


def shift_colours(pixels: UInt8Array, factor: float) -> UInt8Array:
    """Move hue, saturation and brightness.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        factor: 1 changes nothing. Saturation and brightness are multiplied by it; what it is above 1 is added to the
            hue, in sixths of the circle (from red to yellow).

    Returns:
        (H, W, 3) uint8 RGB.
    """
    hue, saturation, brightness = np.moveaxis(rgb2hsv(pixels), -1, 0)
    changed = [
        (hue + (factor - 1) / 6) % 1.0,
        np.minimum(saturation * factor, 1),
        np.minimum(brightness * factor, 1),
    ]
    result: UInt8Array = np.rint(hsv2rgb(np.stack(changed, axis=-1)) * 255).astype(np.uint8)
    return result


def _stain_mixing(gain: FloatArray, shift: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the matrix (3, 3) and offset (3,) that scale and shift each stain in optical density."""
    to_stains = hed_from_rgb.astype(np.float64)
    to_density = np.linalg.inv(to_stains)
    matrix = (to_stains * gain) @ to_density
    return matrix.astype(np.float32), (shift @ to_density).astype(np.float32)
