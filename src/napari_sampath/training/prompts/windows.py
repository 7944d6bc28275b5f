"""Training windows: mosaics of images with random scale, rotation, aspect and stain.

A window is a square in the encoder's 1,024 px frame. It contains one crop or a grid of crops, from one or several
data sets, so that it shows many objects and kinds of tissue, like a slide. Its pixels are rendered on the device of the
training; what is random, and the ids, are computed on the CPU.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...arrays import GRID, LOGITS_PX, IntArray
from ...geometry import INPUT_PX
from ..data.instances import InstanceImage
from ..data.simulated_clicks import generator_on
from ..data.stain import StainChange
from .rendering import Crop


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Training window with a side of S pixels of the encoder's frame."""

    pixels: Tensor
    """Pixels (S, S, 3) uint8 RGB, on the device of the training."""
    instances: IntArray
    """Object ids (S / 4, S / 4) int32 on the logit grid; 0 is background, negative is not verified."""
    kinds: IntArray
    """Index (S / 4, S / 4) uint8 of the kind of the image that each cell comes from."""
    prompted: tuple[int, ...]
    """Ids of the objects to prompt for."""
    sources: tuple[tuple[int, InstanceImage], ...] = ()
    """Images of the crops in ascending order, each with the number that was added to its ids."""

    def source(self, number: int) -> tuple[InstanceImage, int]:
        """Return the image that contains an object of the window, and the id of the object in this image."""
        added, image = next(source for source in reversed(self.sources) if source[0] < number)
        return image, number - added

    def part(self, row: int, col: int, side: int) -> Window:
        """Crop `side` x `side` tokens at (row, col); objects that the crop truncates are not prompted for."""
        px, cells = (
            (slice(row * each, (row + side) * each), slice(col * each, (col + side) * each))
            for each in (TOKEN_PX, TOKEN_CELLS)
        )
        instances = self.instances[cells]
        areas = np.bincount(np.maximum(self.instances, 0).ravel())
        remaining = np.bincount(np.maximum(instances, 0).ravel(), minlength=len(areas))
        whole = tuple(i for i in self.prompted if remaining[i] == areas[i])
        return Window(self.pixels[px], instances, self.kinds[cells], whole, self.sources)


TOKEN_PX = INPUT_PX // GRID
"""Side of a token of the embedding, in pixels of the frame."""
TOKEN_CELLS = LOGITS_PX // GRID
"""Side of a token of the embedding, in cells of the logit grid."""
MIN_CELLS = 12
"""Minimum area of an object that is prompted for, in cells of the logit grid (4 x 4 px of the frame)."""
ROTATED = 0.6
"""Fraction of the crops that are rotated by any angle; the other crops are rotated only by right angles, which keeps
them sharp."""
BLURRED = 0.25
"""Fraction of the crops that are blurred, like regions of a slide that are out of focus."""
MAX_BLUR_PX = 1.2
"""Maximum standard deviation of the blur, in pixels of the image."""
STRETCH = 0.12
"""Maximum natural logarithm of the factor by which one side of a crop is stretched and the other shrunk."""


class Pools:
    """Training images, sampled in proportion to the share of their kind and, within a kind, to their area.

    Args:
        images: The images.
        device: Device on which windows are rendered; their pixels stay there.
    """

    def __init__(self, images: list[InstanceImage], device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._pixels = {
            id(image): torch.from_numpy(np.require(image.pixels, requirements=("C", "W"))).to(self.device)
            for image in images
        }
        by_name: dict[str, list[InstanceImage]] = {}
        for image in images:
            by_name.setdefault(image.kind.name, []).append(image)
        self._images = list(by_name.values())
        self.kinds = [pool[0].kind for pool in self._images]
        shares = np.array([kind.share for kind in self.kinds])
        self._shares = shares / shares.sum()
        areas = [np.array([image.instances.size for image in pool], dtype=float) for pool in self._images]
        self._areas = [area / area.sum() for area in areas]

    def sample_kind(self, rng: np.random.Generator) -> int:
        """Sample the index of a kind."""
        return int(rng.choice(len(self.kinds), p=self._shares))

    def sample(self, kind: int, rng: np.random.Generator) -> InstanceImage:
        """Sample an image of a kind."""
        return self._images[kind][int(rng.choice(len(self._images[kind]), p=self._areas[kind]))]

    def pixels(self, image: InstanceImage) -> Tensor:
        """Return the pixels (H, W, 3) uint8 RGB of one of the images, on the device."""
        return self._pixels[id(image)]


def compose(pools: Pools, side_px: int, rng: np.random.Generator, attempts: int = 1) -> Window:
    """Compose a window of 1, 4 or 9 random crops, each with its own scale, rotation and stain.

    Args:
        pools: The images.
        side_px: Side S of the window in pixels of the frame, a multiple of 32.
        rng: Random number generator.
        attempts: Maximum number of windows sampled to find one with an object to prompt for; only the last is rendered.
    """
    for _ in range(attempts):
        crops, instances, kinds, sources = _sample_crops(pools, side_px, rng)
        ids, areas = np.unique(instances, return_counts=True)
        prompted = tuple(int(i) for i, area in zip(ids, areas, strict=True) if i > 0 and area >= MIN_CELLS)
        if prompted:
            break
    generator = generator_on(pools.device, rng)
    pixels = torch.zeros((side_px, side_px, 3), dtype=torch.uint8, device=pools.device)
    for (top, left), crop in crops.items():
        height, width = crop.hw
        rendered = crop.render(pools.pixels(crop.source), generator)
        pixels[top : top + height, left : left + width] = rendered
    return Window(pixels, instances, kinds, prompted, tuple(sources))


def _sample_crops(
    pools: Pools, side_px: int, rng: np.random.Generator
) -> tuple[dict[tuple[int, int], Crop], IntArray, IntArray, list[tuple[int, InstanceImage]]]:
    """Sample the crops of a window by their position (top, left), and return ids, kinds and sources, too."""
    grid = int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    edges = np.linspace(0, side_px // 4, grid + 1).astype(int) * 4
    crops: dict[tuple[int, int], Crop] = {}
    instances = np.zeros((side_px // 4, side_px // 4), np.int32)
    kinds = np.zeros((side_px // 4, side_px // 4), np.uint8)
    mixed = rng.random() < 0.5
    kind = pools.sample_kind(rng)
    sources: list[tuple[int, InstanceImage]] = []
    for top, bottom in itertools.pairwise(edges.tolist()):
        for left, right in itertools.pairwise(edges.tolist()):
            if mixed:
                kind = pools.sample_kind(rng)
            crop = random_crop(pools.sample(kind, rng), bottom - top, right - left, rng)
            crops[top, left], ids = crop, crop.ids()
            cells = (slice(top // 4, bottom // 4), slice(left // 4, right // 4))
            sources.append((int(instances.max()), crop.source))
            instances[cells] = np.where(ids > 0, ids + instances.max(), ids)
            kinds[cells] = kind
    return crops, instances, kinds, sources


def random_crop(source: InstanceImage, height_px: int, width_px: int, rng: np.random.Generator) -> Crop:
    """Sample a crop that is blurred, enlarged, stretched, rotated, flipped and re-stained.

    The crop never extends beyond the image; it is rotated by any angle only if the image is large enough. Height and
    width are in pixels of the frame, multiples of 4.
    """
    # Sample the angle, and compute the upright rectangle around the rotated crop.
    full_h, full_w = source.instances.shape
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < ROTATED else 0.0
    around_h, around_w = _around(height_px, width_px, angle)
    if max(around_h / full_h, around_w / full_w) > source.kind.max_scale:
        angle, around_h, around_w = 0.0, height_px, width_px
    # Sample the scale and the aspect ratio, and the position.
    smallest = max(around_h / full_h, around_w / full_w)
    largest = max(source.kind.max_scale, smallest)
    scale = float(np.exp(rng.uniform(np.log(max(smallest, 0.5)), np.log(largest))))
    stretch = float(np.exp(rng.uniform(-STRETCH, STRETCH)))
    crop_h = min(full_h, round(around_h / scale * stretch))
    crop_w = min(full_w, round(around_w / scale / stretch))
    top, left = int(rng.integers(full_h - crop_h + 1)), int(rng.integers(full_w - crop_w + 1))
    # Sample the blur, the flips and the stain.
    blur_px = float(rng.uniform(0, MAX_BLUR_PX)) if rng.random() < BLURRED else 0.0
    transposed = height_px == width_px and rng.random() < 0.5
    return Crop(
        source,
        (slice(top, top + crop_h), slice(left, left + crop_w)),
        (around_h, around_w),
        (height_px, width_px),
        float(angle),
        blur_px,
        transposed,
        (rng.random() < 0.5, rng.random() < 0.5),
        StainChange.sample(rng),
    )


def _around(height_px: int, width_px: int, angle: float) -> tuple[int, int]:
    """Return the height and width of the upright bounding box of a rectangle rotated by an angle in radians."""
    cos, sin = abs(np.cos(angle)), abs(np.sin(angle))
    return round(height_px * cos + width_px * sin), round(height_px * sin + width_px * cos)


def sample_part(window: Window, side: int, rng: np.random.Generator) -> tuple[Window, tuple[int, int]]:
    """Sample a square part of a window that contains an object to prompt for.

    `side` is in tokens; it is doubled until the object fits, up to the whole window. Returns the part, and its
    position (row, col) in the window, in tokens.
    """
    cells = window.instances == rng.choice(window.prompted)
    spans = [np.flatnonzero(cells.any(axis=1 - axis))[[0, -1]] // TOKEN_CELLS for axis in (0, 1)]
    largest = window.instances.shape[0] // TOKEN_CELLS
    while side < largest and max(last - first + 1 for first, last in spans) > side:
        side *= 2
    side = min(side, largest)
    row, col = (
        int(rng.integers(max(0, last + 1 - side), min(first, largest - side) + 1)) for first, last in spans
    )
    return window.part(row, col, side), (row, col)
