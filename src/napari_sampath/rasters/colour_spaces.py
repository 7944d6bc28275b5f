"""Conversion of printing and video colours to RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageCms

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..arrays import UInt8Array


def cmyk_to_rgb(values: npt.NDArray[Any]) -> UInt8Array:
    """Convert (H, W, 4) uint8 or uint16 inks to (H, W, 3) uint8, without colour management."""
    inks = np.ascontiguousarray(_to_8_bits(values))
    return np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))


def ycbcr_to_rgb(values: npt.NDArray[Any]) -> UInt8Array:
    """Convert (H, W, 3) uint8 full-range YCbCr, as in JPEG, to RGB."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(values), "YCbCr").convert("RGB"))


def lab_to_rgb(values: npt.NDArray[Any], signed: bool) -> UInt8Array:
    """Convert (H, W, 3) CIE L*a*b* of uint8 or uint16 under illuminant D50 to sRGB.

    Args:
        values: L* from 0 to the highest value of the type, and a* and b*.
        signed: Whether a* and b* are two's complements, as in CIELAB of TIFF; otherwise 128 means 0 (ICCLAB).
    """
    lab = np.ascontiguousarray(_to_8_bits(values))
    if not signed:  # Pillow's raw mode LAB is signed.
        lab = lab.copy()
        lab[..., 1:] ^= 0x80
    image = Image.frombytes("LAB", (lab.shape[1], lab.shape[0]), lab.tobytes())
    return np.asarray(pillow_lab_to_rgb(image))


def pillow_lab_to_rgb(image: Image.Image) -> Image.Image:
    """Convert a Pillow image of mode LAB to sRGB."""
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("its LAB colours cannot be converted")
    return converted


def _to_8_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)
