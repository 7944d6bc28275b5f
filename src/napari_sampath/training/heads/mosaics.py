"""Mosaics of neighbouring images of a dataset, in which structures appear smaller than in a single image."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ...tiling import TILE_PX
from ..data.dataset import Item, Sample
from ..data.stain import jitter_stain
from .augmentation import orient
from .config import TrainingConfig

_T = TypeVar("_T", bound=np.generic)

_BEYOND = 1.25
"""The logarithm of the size of a window is uniform up to this multiple of its limit, so that a fifth has the limit."""


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Function `Sample.load` that reads a square mosaic of images of the same size, or a random window of it."""

    parts: tuple[Sample, ...]
    """n x n images, row by row; all are cropped or mirrored to the size of the first."""
    size: float
    """Side of the window in images, above n - 1 and at most n."""
    seed: tuple[int, int] | None = None
    """Seed of the place, orientation and stain of the window; None for none of these."""
    stain_jitter: float = 0.0
    """See `TrainingConfig.stain_jitter`."""

    def __call__(self, _: Sample) -> Item:
        """Read the images, and shrink a window that is larger than a tile."""
        items = [part.read() for part in self.parts]
        pixels, labels = (self._join([getattr(item, key) for item in items]) for key in ("pixels", "labels"))
        verified = instances = None
        if any(item.verified is not None for item in items):
            known = [np.ones(i.labels.shape, bool) if i.verified is None else i.verified for i in items]
            verified = self._join(known)
        numbered = [item.instances for item in items if item.instances is not None]
        if len(numbered) == len(items):
            first = np.cumsum([0, *(int(part.max(initial=0)) for part in numbered)])
            own = [np.where(part > 0, part + first[k], 0) for k, part in enumerate(numbered)]
            instances = self._join(own)
        if self.seed is not None and self.stain_jitter:
            pixels = jitter_stain(pixels, np.random.default_rng(self.seed), self.stain_jitter)
        notes = tuple(dict.fromkeys(note for item in items for note in item.notes))
        return Item(pixels, labels, instances, verified, notes)

    def _join(self, arrays: Sequence[npt.NDArray[_T]]) -> npt.NDArray[_T]:
        """Join arrays (H, W, ...), and return the window, at most `TILE_PX` wide and high."""
        height, width = arrays[0].shape[:2]
        grid = math.isqrt(len(arrays))
        same = [_fit(array, height, width) for array in arrays]
        joined = np.concatenate(
            [np.concatenate(same[row * grid : (row + 1) * grid], axis=1) for row in range(grid)], axis=0
        )
        sides = [min(round(self.size * side), grid * side) for side in (height, width)]
        starts, orientation = [0, 0], 0
        if self.seed is not None:
            rng = np.random.default_rng([*self.seed, 1])
            starts = [
                int(rng.integers(full - side + 1)) for full, side in zip(joined.shape[:2], sides, strict=True)
            ]
            orientation = int(rng.integers(8))
        step = max(1.0, max(sides) / TILE_PX)
        rows, cols = (
            start + ((np.arange(round(side / step)) + 0.5) * step).astype(np.int64).clip(max=side - 1)
            for start, side in zip(starts, sides, strict=True)
        )
        return orient(joined[np.ix_(rows, cols)], orientation)


def _fit(array: npt.NDArray[_T], height: int, width: int) -> npt.NDArray[_T]:
    """Crop an array (H, W, ...) to a size, or mirror it at its right and lower edge."""
    missing = [(0, max(0, side - own)) for side, own in zip((height, width), array.shape, strict=False)]
    padded = np.pad(array, [*missing, *[(0, 0)] * (array.ndim - 2)], mode="symmetric")
    return padded[:height, :width]


def neighbours(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Return the samples of each kind of tissue, those of a slide or case side by side."""
    strata: dict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: (sample.stratum, sample.group, sample.name)):
        strata[sample.stratum].append(sample)
    return list(strata.values())


def random_mosaics(
    samples: Sequence[Sample], count: int, config: TrainingConfig, stain_jitter: float
) -> list[Sample]:
    """Describe random windows of mosaics of neighbouring samples, the same number for each kind of tissue.

    A window is 1 to 1 / `smallest_scale` images wide; the logarithm of its width is uniform, and a fifth of the windows
    have the largest width.
    """
    limit, strata, made = 1 / config.smallest_scale, neighbours(samples), []
    for number in range(count):
        rng = np.random.default_rng([config.seed, number])
        pool = strata[number % len(strata)]
        size = min(limit, float(np.exp(rng.uniform(0, _BEYOND * np.log(limit)))))
        start = int(rng.integers(len(pool)))
        parts = tuple(pool[(start + k) % len(pool)] for k in range(math.ceil(size) ** 2))
        load = Mosaic(parts, size, (config.seed, number), stain_jitter)
        made.append(dataclasses.replace(parts[0], name=f"mosaic {number} of {parts[0].name}", load=load))
    return made


def whole_mosaics(samples: Sequence[Sample], grid: int, images: int) -> list[Sample]:
    """Describe mosaics of grid x grid neighbouring samples of a kind of tissue, without any changes.

    Each kind of tissue contributes as many multiples of `images` samples as it has, so that mosaics with different
    grids show the same samples if `images` is a multiple of the square of each.
    """
    made = []
    for pool in neighbours(samples):
        for start in range(0, len(pool) // images * images, grid**2):
            parts = tuple(pool[start : start + grid**2])
            made.append(dataclasses.replace(parts[0], load=Mosaic(parts, grid)))
    return made
