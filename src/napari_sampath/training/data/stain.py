"""Augmentation of stain and colour."""

from __future__ import annotations

import numpy as np
from skimage.color import hed_from_rgb, hsv2rgb, rgb2hsv

from ...arrays import UInt8Array


def jitter_stain(pixels: UInt8Array, rng: np.random.Generator, strength: float = 1.0) -> UInt8Array:
    """Vary the stains and brightness of (H, W, 3) uint8 RGB in optical density (Tellez et al. 2018, IEEE TMI 37(9)).

    A `strength` of 0 changes nothing; 1 is the range used for training.
    """
    # Sample a gain and a shift for each stain.
    gain = 1 + strength * rng.uniform(-0.3, 0.3, 3)
    shift = strength * rng.uniform(-0.03, 0.03, 3)
    # Convert to optical density.
    density = -np.log10((pixels.astype(np.float32) + 1) / 256)
    # Combine the conversion to stains, their gain and shift, and the conversion back into one affine transform.
    to_stains = hed_from_rgb.astype(np.float64)
    to_density = np.linalg.inv(to_stains)
    matrix = ((to_stains * gain) @ to_density).astype(np.float32)
    offset = (shift @ to_density).astype(np.float32)
    density = density @ matrix + offset
    # Convert back to RGB, and vary exposure and white balance.
    changed = 256 * np.power(10.0, -density) - 1
    exposure = 1 + strength * rng.uniform(-0.12, 0.12)
    white = 1 + strength * rng.uniform(-0.06, 0.06, 3)
    result = changed * exposure * white
    # Add grey noise.
    if rng.random() < 0.5 * strength:
        result += rng.normal(0, rng.uniform(0, 4), result.shape[:2])[..., None]
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
