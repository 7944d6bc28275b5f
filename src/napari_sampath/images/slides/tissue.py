"""Find the tissue of a slide at low magnification."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from scipy import ndimage

from ...arrays import BoolArray
from ...files import write_atomically
from .slide import Slide

TISSUE_MPP = 8.0
"""Micrometres per pixel of a tissue mask."""
_MAX_PX = 2**24
"""Largest number of pixels of a tissue mask; larger slides, or those whose scale is wrong, get a coarser one."""
_ASSUMED_MPP = 0.25
"""Scale assumed if it is unknown: that of a 40x objective. If it is wrong, the mask is coarser than intended."""
_SMOOTHING_PX = 2.0
_MIN_AREA_UM2 = 50_000.0
"""Pieces of tissue and holes smaller than 0.05 mm² are dropped."""
_MARGIN_UM = 64.0
_SATURATION = (8.0, 20.0)
"""Limits of the threshold of the saturation, 0 to 255: below, the noise of an empty slide would count as tissue; above,
pale tissue beside strongly stained tissue would be lost."""


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """Mask of the tissue of a slide."""

    mask: BoolArray
    """(h, w), True for tissue."""
    step: float
    """Level-0 pixels per side of a pixel of the mask."""
    note: str | None = None
    """Clause for the user if the mask covers everything."""

    def touches(self, box: tuple[float, float, float, float]) -> bool:
        """Return True if there is tissue in a box (r0, c0, r1, c1) of level-0 pixels."""
        r0, c0 = (int(value / self.step) for value in box[:2])
        r1, c1 = (int(np.ceil(value / self.step)) for value in box[2:])
        return bool(self.mask[max(r0, 0) : r1, max(c0, 0) : c1].any())


def find_tissue(slide: Slide) -> Tissue:
    """Find tissue by its saturation (Otsu's threshold), which is low on glass for every stain.

    The mask is smoothed, pieces and holes under 0.05 mm² are dropped, and the remaining areas are dilated by 64 µm. If
    the mask is then empty or covers everything, the whole slide counts as tissue.
    """
    from skimage.filters import threshold_otsu  # Slow to import.

    mpp = slide.mpp or _ASSUMED_MPP
    step = max(1.0, TISSUE_MPP / mpp, math.sqrt(slide.hw[0] * slide.hw[1] / _MAX_PX))
    pixels = slide.read((0, 0, *slide.hw), step).astype(np.int16)
    # Saturation as the range of the three colours, which needs no division
    saturation = ndimage.gaussian_filter(
        (pixels.max(axis=2) - pixels.min(axis=2)).astype(np.float32), _SMOOTHING_PX
    )
    threshold = float(threshold_otsu(saturation)) if np.ptp(saturation) > 1 else 0.0
    mask: BoolArray = saturation > np.clip(threshold, *_SATURATION)
    # Drop what is too small to be tissue, and fill small holes
    min_area_px = int(_MIN_AREA_UM2 / (step * mpp) ** 2)
    mask = _without_small(mask, min_area_px)
    mask = ~_without_small(~mask, min_area_px)
    # Keep a margin, so that objects at the border are whole
    margin_px = max(1, round(_MARGIN_UM / (step * mpp)))
    mask = ndimage.distance_transform_edt(~mask) <= margin_px if mask.any() else mask
    if not mask.any() or mask.all():
        found = "no background" if mask.any() else "no tissue"
        return Tissue(np.ones_like(mask), step, f"{found} was found, so the whole slide is used")
    return Tissue(mask, step)


def save_tissue(path: Path, tissue: Tissue) -> None:
    """Write a mask to a file.

    Raises:
        StorageError: If it cannot be written.
    """
    mask = np.packbits(tissue.mask)
    shape = np.array(tissue.mask.shape)
    write_atomically(path, lambda file: np.savez(file, mask=mask, shape=shape, step=tissue.step))


def load_tissue(path: Path) -> Tissue | None:
    """Read a mask from a file; None if there is none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            height, width = map(int, file["shape"])
            bits = np.unpackbits(file["mask"])[: height * width]
            tissue = Tissue(bits.reshape(height, width).astype(bool), file["step"].item())
            is_valid = tissue.mask.size > 0 and 0 < tissue.step < math.inf
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, BadZipFile):
        return None
    return tissue if is_valid else None


def _without_small(mask: BoolArray, min_area_px: int) -> BoolArray:
    """Remove the 4-connected components of fewer than `min_area_px` pixels."""
    numbers, _ = ndimage.label(mask)
    keep = np.bincount(numbers.ravel()) >= min_area_px
    keep[0] = False
    kept: BoolArray = keep[numbers]
    return kept
