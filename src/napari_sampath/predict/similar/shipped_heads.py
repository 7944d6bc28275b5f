"""Objects that shipped heads find on a tile, as candidates of *Find similar*."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from skimage.segmentation import watershed

from ...arrays import LocalMask
from ...heads import load_head
from ..decoder.mask_upscaling import local_mask
from ..instances.settings import InstanceSettings
from ..instances.split_touching import split_mask
from ..segmentation import matches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...arrays import Features, FloatArray
    from ...geometry import Frame
    from ...heads import Head
    from ..model import Model
    from .settings import CandidateHead

_MAX_TILES = 256
"""Number of tiles whose objects are kept for further searches, for each head."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadObject:
    """An object of a head on a tile."""

    mask: LocalMask
    """The pixels, in image coordinates."""
    grid: LocalMask
    """The pixels of the tile's 256 x 256 logits."""
    probability: float
    """Mean probability of its pixels, 0.5..1."""


class ShippedHeads:
    """Finds the objects of shipped heads in an image tile by tile, and keeps them for further searches.

    Args:
        model: The model; a head that was not trained on its features finds nothing.
        pixels: (H, W, 3) uint8 RGB, the whole image, or a slide.
    """

    def __init__(self, model: Model, pixels: Any) -> None:
        self._model, self._pixels = model, pixels
        self._heads: dict[str, Head | None] = {}
        self._found: dict[str, OrderedDict[Frame, list[HeadObject]]] = {}

    def on_tile(self, source: CandidateHead, features: Features) -> list[HeadObject]:
        """Return the objects of a head on a tile."""
        found = self._found.setdefault(source.name, OrderedDict())
        if features.frame not in found:
            found[features.frame] = self._find(source, features)
            while len(found) > _MAX_TILES:
                found.popitem(last=False)
        return found[features.frame]

    def finds(self, source: CandidateHead, mask: LocalMask, features: Features) -> bool:
        """Return whether a mask is an object of a head on a tile, and not rather one of its rival."""
        agreement = self._agreement(source, mask, features)
        rival = 0.0 if source.rival is None else self._agreement(source.rival, mask, features)
        return agreement > source.min_iou and agreement >= rival

    def _agreement(self, source: CandidateHead, mask: LocalMask, features: Features) -> float:
        """Return the largest IoU of a mask with an object of a head on a tile, 0..1."""
        return max((_iou(mask, obj.mask) for obj in self.on_tile(source, features)), default=0.0)

    def _head(self, name: str) -> Head | None:
        """Return a head, or None if it was not trained on the features of the model."""
        if name not in self._heads:
            loaded = load_head(name)
            matching = matches(loaded, self._model)
            self._heads[name] = loaded.head.to(self._model.device).eval() if matching else None
        return self._heads[name]

    def _find(self, source: CandidateHead, features: Features) -> list[HeadObject]:
        head = self._head(source.name)
        if head is None:
            return []
        maps = self._model.with_image(features, self._pixels).maps
        with torch.inference_mode():
            logits, depth = head.forward_with_depth({name: maps[name][None] for name in maps})
        margin = (logits[0, 1] - logits[0, 0]).float().cpu().numpy()
        height = None if depth is None else depth[0, 0].float().cpu().numpy()
        objects = []
        for part in _separate(margin, height, source):
            inside = part.to_dense(margin.shape)
            strength = np.maximum(np.abs(margin), 1e-3)
            mask = local_mask(features.frame, np.where(inside, strength, -strength))
            if mask.bitmap.size:
                probability = float((1 / (1 + np.exp(-margin[inside]))).mean())
                objects.append(HeadObject(mask, part, probability))
        return objects


def _separate(margin: FloatArray, depth: FloatArray | None, source: CandidateHead) -> Iterator[LocalMask]:
    """Yield the objects in the logits of a tile (256, 256), separated by the depth (256, 256) or else by cores."""
    if depth is not None:
        yield from split_mask(margin > 0, InstanceSettings(min_area_px=source.min_area_px), depth)
        return
    cores, _ = ndimage.label(margin > source.core_logit)
    small = np.bincount(cores.ravel()) < source.min_area_px
    cores[small[cores]] = 0
    parts = watershed(-margin, cores, mask=margin > 0)
    for number, window in enumerate(ndimage.find_objects(parts), start=1):
        if window is not None:
            inside = ndimage.binary_fill_holes(parts[window] == number)
            yield LocalMask(window[0].start, window[1].start, inside)


def _iou(a: LocalMask, b: LocalMask) -> float:
    """Return the IoU of two masks of the image."""
    rows, cols = a.slices
    step = max(a.step, b.step)
    shared = (
        a.window(box := (rows.start, cols.start, rows.stop, cols.stop), step) & b.window(box, step)
    ).sum()
    pixels = int(shared) * step**2
    return pixels / max(1, a.area_px + b.area_px - pixels)
