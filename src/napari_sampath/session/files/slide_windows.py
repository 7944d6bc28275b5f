"""Windows of a slide that become training samples, because somebody has verified pixels in them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ...annotations import Box, Document
from ...arrays import BoolArray, ClassInfo, IntArray, UInt8Array
from ...formats import Snapshot
from ...formats.labels import renumber
from ...images.slides import Slide
from .saving import details_of

if TYPE_CHECKING:
    from ...formats.dataset.manifest import DatasetImage

WINDOW_PX = 1024
"""Side of a window in pixels of the training sample."""
SMALLEST_PX = 256
"""Windows at the edges of a slide with a shorter side are left out, because too little of a tile would be tissue."""
DEFAULT_MPP = 0.5
"""Scale of the samples in micrometres per pixel if the dataset has no image with a known scale: objective 20x."""
MAX_SAMPLE_STEP = 16


def window_name(name: str, box: Box) -> str:
    """Return the name of the sample of a window of a slide, such as "case 7 @2048,4096"."""
    return f"{name} @{box[0]},{box[1]}"


def windows_of(name: str, samples: Iterable[str]) -> tuple[str, ...]:
    """Return the names of samples that are windows of the slide with a name."""
    start = f"{name} @"
    return tuple(
        sample
        for sample in samples
        if name and sample.startswith(start) and re.fullmatch(r"\d+,\d+", sample[len(start) :])
    )


def samples_of(name: str, samples: Collection[str]) -> tuple[str, ...]:
    """Return the names of the samples of an image of a project: one for an image, any number for a slide."""
    return (name,) if name in samples else windows_of(name, samples)


def corner_of(sample: str) -> tuple[int, int]:
    """Return the first level-0 pixel (row, col) of the window whose sample has a name of `window_name`."""
    row, col = sample.rpartition("@")[2].split(",")
    return int(row), int(col)


def sample_step(mpp: float | None, images: Iterable[DatasetImage], name: str) -> int:
    """Choose the step of the windows of a slide, so that their scale is close to that of the other samples.

    Args:
        mpp: Scale of the slide in micrometres per pixel; with None the windows have step 1.
        images: The samples of the dataset; windows of the slide decide, so that their lattice does not change.
        name: Name of the slide.
    """
    if mpp is None:
        return 1
    scales = {image.name: image.mpp for image in images if image.mpp}
    own = [scales[sample] for sample in windows_of(name, scales)]
    target = own[0] if own else float(np.median(list(scales.values()))) if scales else DEFAULT_MPP
    return int(2 ** min(max(round(math.log2(target / mpp)), 0), math.log2(MAX_SAMPLE_STEP)))


class SlideWindows:
    """The windows of a slide with verified pixels, as the document is now; they can be read in any thread.

    Args:
        slide: The slide.
        document: Its objects and verified area.
        step: Level-0 pixels per pixel of a sample.
        mpp: Micrometres per level-0 pixel, if known.
    """

    def __init__(self, slide: Slide, document: Document, step: int, mpp: float | None) -> None:
        self.step = step
        self._slide = slide
        self._hw = document.hw
        self._mpp = mpp
        self._classes, self._instances = document.snapshot()
        self._verified_map = document.verified_map.snapshot()
        self._verified = document.verified_snapshot()
        self._objects = dict(document.objects)
        self._document_classes: tuple[ClassInfo, ...] = document.classes.snapshot

    def boxes(self) -> Iterator[Box]:
        """Yield the windows of the lattice that contain verified pixels, as boxes in level-0 pixels."""
        side = WINDOW_PX * self.step
        cells: set[tuple[int, int]] = set()
        trusted = [obj.box for obj in self._objects.values() if obj.trust == 1]
        for r0, c0, r1, c1 in (*self._verified_map.filled_boxes(), *self._instances.tiles_in(trusted)):
            rows, cols = range(r0 // side, -(-r1 // side)), range(c0 // side, -(-c1 // side))
            cells.update((row, col) for row in rows for col in cols)
        for row, col in sorted(cells):
            box = self.box_at(row * side, col * side)
            if min(box[2] - box[0], box[3] - box[1]) >= SMALLEST_PX * self.step and self._verified(box).any():
                yield box

    def box_at(self, row: int, col: int) -> Box:
        """Return the window that starts at a level-0 pixel, clipped to the slide."""
        side = WINDOW_PX * self.step
        return row, col, min(row + side, self._hw[0]), min(col + side, self._hw[1])

    def labels(self, name: str, box: Box, regions: tuple[Box, ...] = ()) -> tuple[Snapshot, bytes]:
        """Return the sample of a window without its image, and a digest of its labels.

        Args:
            name: Name of the sample.
            box: The window.
            regions: Boxes in level-0 pixels outside of which nothing counts as verified; none for no restriction.
        """
        # The labels at the centre of each pixel of the sample, at edges of the slide at the last pixel
        at = [
            np.minimum(np.arange(0, high - low, self.step) + self.step // 2, high - low - 1)
            for low, high in zip(box[:2], box[2:], strict=True)
        ]
        centres = np.ix_(*at)
        instances: IntArray = self._instances.window(box)[centres]
        class_map = self._classes.table[instances]
        verified: BoolArray = self._verified(box)[centres]
        if regions:
            rows, cols = at[0] + box[0], at[1] + box[1]
            inside = [
                ((rows >= r0) & (rows < r1))[:, None] & ((cols >= c0) & (cols < c1))
                for r0, c0, r1, c1 in regions
            ]
            verified = verified & np.logical_or.reduce(inside)
        details = {
            number: details_of(self._objects[number]) for number in np.unique(instances).tolist() if number
        }
        present = np.unique(class_map).tolist()
        classes = tuple(info for info in self._document_classes if info.id in present)
        digest = hashlib.sha256(repr((name, box, classes, details)).encode())
        for values in (class_map, instances, verified):
            digest.update(np.ascontiguousarray(values).data)
        if int(instances.max(initial=0)) >= 2**16:
            instances, renumbered = renumber(instances, details)
            details = {number: dict(values) for number, values in renumbered.items()}
        mpp = None if self._mpp is None else self._mpp * self.step
        snapshot = Snapshot(
            name,
            None,
            class_map,
            instances,
            classes=classes,
            details=details,
            verified=verified,
            mpp=mpp,
        )
        return snapshot, digest.digest()

    def pixels(self, box: Box) -> UInt8Array:
        """Return the pixels (h, w, 3) uint8 of a window."""
        return self._slide.read(box, self.step)
