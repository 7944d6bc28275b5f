"""Nuclei that the shipped head finds on a tile, as candidates of *Find similar*."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...arrays import LocalMask
from ...errors import WeightsError
from ...heads import load_head
from ..decoder.mask_upscaling import local_mask
from ..instances.settings import InstanceSettings
from ..instances.split_touching import split_mask
from ..segmentation import check_match

if TYPE_CHECKING:
    from ...arrays import Features
    from ...geometry import Frame
    from ...heads import Head
    from ..model import Model

HEAD = "nucleus-instance"
"""Name of the shipped head."""
_SPLIT = InstanceSettings(min_area_px=10)
"""Settings of the separation of touching nuclei; the area is in pixels of the logits."""
_MAX_TILES = 256
"""Number of tiles whose nuclei are kept for further searches."""
_FOUND_IOU = 0.25
"""Minimum IoU of an exemplar with a nucleus of the head that counts as the same object."""


@dataclass(frozen=True, slots=True, eq=False)
class Nucleus:
    """A nucleus of the head."""

    mask: LocalMask
    """The pixels, in image coordinates."""
    grid: LocalMask
    """The pixels of the tile's 256 x 256 logits."""
    probability: float
    """Mean probability of its pixels, 0.5..1."""


class NucleusFinder:
    """Finds the nuclei of an image tile by tile, and keeps them for further searches.

    Args:
        model: The model; nothing is found unless the shipped head was trained on its features.
        pixels: (H, W, 3) uint8 RGB, the whole image, or a slide.
    """

    def __init__(self, model: Model, pixels: Any) -> None:
        self._model, self._pixels = model, pixels
        self._found: OrderedDict[Frame, list[Nucleus]] = OrderedDict()

    def on_tile(self, features: Features) -> list[Nucleus]:
        """Return the nuclei of a tile."""
        if features.frame not in self._found:
            self._found[features.frame] = self._find(features)
            while len(self._found) > _MAX_TILES:
                self._found.popitem(last=False)
        return self._found[features.frame]

    def finds(self, mask: LocalMask, features: Features) -> bool:
        """Return whether a mask is a nucleus of the head on a tile."""
        return any(_iou(mask, nucleus.mask) > _FOUND_IOU for nucleus in self.on_tile(features))

    @cached_property
    def _head(self) -> Head | None:
        loaded = load_head(HEAD)
        try:
            check_match(loaded, self._model)
        except WeightsError:
            return None
        return loaded.head.to(self._model.device).eval()

    def _find(self, features: Features) -> list[Nucleus]:
        if self._head is None:
            return []
        maps = self._model.with_image(features, self._pixels).maps
        with torch.inference_mode():
            logits, depth = self._head.forward_with_depth({name: maps[name][None] for name in maps})
        margin = (logits[0, 1] - logits[0, 0]).float().cpu().numpy()
        height = None if depth is None else depth[0, 0].float().cpu().numpy()
        nuclei = []
        for grid in split_mask(margin > 0, _SPLIT, height):
            inside = grid.to_dense(margin.shape)
            strength = np.maximum(np.abs(margin), 1e-3)
            mask = local_mask(features.frame, np.where(inside, strength, -strength))
            if mask.bitmap.size:
                nuclei.append(Nucleus(mask, grid, float((1 / (1 + np.exp(-margin[inside]))).mean())))
        return nuclei


def _iou(a: LocalMask, b: LocalMask) -> float:
    """Return the IoU of two masks of the image."""
    rows, cols = a.slices
    step = max(a.step, b.step)
    shared = (
        a.window(box := (rows.start, cols.start, rows.stop, cols.stop), step) & b.window(box, step)
    ).sum()
    pixels = int(shared) * step**2
    return pixels / max(1, a.area_px + b.area_px - pixels)
