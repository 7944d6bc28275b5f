"""Numbers that describe how a tile looks: its colours, its texture at several scales, and its features."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from ...arrays import GRID, Features, FloatArray, UInt8Array

SIDE_PX = 512
"""Longest side to which a tile is resized to describe its texture, so that scale counts relative to the tile."""
COLOURS = 8
"""Number of values that describe the stain."""
OCTAVES = 6
"""Number of bands of the texture, each twice as coarse as the one before."""
DENSITY = 0.2
"""Minimum optical density, summed over red, green and blue, of a pixel with tissue."""
MIN_TISSUE = 0.05
"""Minimum fraction of tissue in a tile that is described."""


def tissue_share(pixels: UInt8Array) -> float:
    """Return the fraction of the pixels (H, W, 3) that show tissue."""
    return float((_density(pixels).sum(axis=-1) > DENSITY).mean())


def colours(pixels: UInt8Array) -> FloatArray:
    """Describe the stain of the tissue in (H, W, 3) uint8 RGB.

    Returns:
        (8,) logarithm of the mean optical density of each channel, which is the brightness; shares of red and green in
        it, which is the direction of the stain vector; logarithm of the standard deviation of each channel.
    """
    density = _density(pixels).reshape(-1, 3)
    tissue = density[density.sum(axis=1) > DENSITY]
    density = tissue if len(tissue) > 1 else density
    shares = density / np.maximum(density.sum(axis=1, keepdims=True), 1e-3)
    parts = (
        np.log(density.mean(axis=0) + 0.02),
        shares[:, :2].mean(axis=0),
        np.log(density.std(axis=0) + 0.02),
    )
    described: FloatArray = np.concatenate(parts).astype(np.float64)
    return described


def texture(pixels: UInt8Array) -> FloatArray:
    """Describe how coarse the structures in (H, W, 3) uint8 RGB are.

    Returns:
        (6,) logarithm of the share of the variance of the grey values in each band of a Laplacian pyramid (Burt and
        Adelson 1983), the finest first; enlarging the image by 2 moves it by one band.
    """
    grey = Image.fromarray(pixels).convert("L")
    scale = SIDE_PX / max(grey.size)
    size = (max(1, round(grey.width * scale)), max(1, round(grey.height * scale)))
    values = np.asarray(grey.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    finer, energy = values, []
    for octave in range(OCTAVES):
        coarser = ndimage.gaussian_filter(values, 0.7 * 2.0**octave)
        energy.append(float(np.square(finer - coarser).mean()))
        finer = coarser
    shares = np.array(energy) / max(sum(energy), 1e-9)
    described: FloatArray = np.log(shares + 1e-5)
    return described


def mean_octave(described: FloatArray) -> float:
    """Return the mean band of a texture, weighted by its share of the variance; larger for coarser structures."""
    shares = np.exp(described)
    return float((shares * np.arange(len(shares))).sum() / shares.sum())


def mean_features(features: Features, name: str) -> FloatArray:
    """Return the mean (C,) of a feature map over the cells of a tile that are not padding."""
    height, width = features.frame.input_hw
    cell_px = features.frame.input_px / GRID
    rows, cols = int(np.ceil(height / cell_px)), int(np.ceil(width / cell_px))
    values: FloatArray = features.maps[name][:, :rows, :cols].float().mean(dim=(1, 2)).cpu().numpy()
    return values.astype(np.float64)


def _density(pixels: UInt8Array) -> FloatArray:
    """Return the optical density (H, W, 3) of RGB pixels."""
    density: FloatArray = -np.log10((pixels.astype(np.float32) + 1) / 256)
    return density
