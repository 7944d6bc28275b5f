"""Training tiles: features that are computed once, and targets on the grid of the logits."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...arrays import GRID, IMAGE, LOGITS_PX, UInt8Array
from ...geometry import Frame, tiles, whole
from ...jobs import Job, Progress
from ...store import FeatureKey, Store
from ..data.dataset import IGNORED, Dataset, Sample
from .config import TrainingConfig
from .dihedral import VIEWS, turn, vary

if TYPE_CHECKING:
    from torch import Tensor

    from ...predict import Model

CELL = 4
"""Target cells per feature cell along a side."""

IMAGE_CELL = 16
"""Pixels of the encoder's square per feature cell along a side."""


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One view of one tile of an image, encoded."""

    sample: Sample
    window: Frame
    """Where it was cut from the image."""
    view: int
    frame: Frame
    """How the cut and turned window maps to the encoder's square."""
    key: FeatureKey
    """Under which its features are kept."""
    targets: UInt8Array
    """(256, 256) uint8, class index or `IGNORED`, over the encoder's square; its padding is ignored."""


def used_cells(frame: Frame) -> tuple[int, int]:
    """Count the rows and columns of the 64 x 64 grid that hold image and not padding alone."""
    height, width = frame.input_hw
    cell_px = frame.input_px * CELL // LOGITS_PX
    return -(-height // cell_px), -(-width // cell_px)


class TileSet:
    """Tiles of some samples of a dataset, with their features in a store.

    Args:
        dataset: Where the samples are read from.
        model: Whose encoder computes the features.
        store: Where they are kept.
        encodes: False if only the pixels will be wanted, so that no encoder needs to run.
    """

    def __init__(self, dataset: Dataset, model: Model, store: Store, encodes: bool = True) -> None:
        self.dataset = dataset
        self.model = model
        self.store = store
        self.encodes = encodes
        self.tiles: list[Tile] = []
        self.seconds_each: float | None = None
        """Of the encoder, for one tile; None if it did not have to run."""

    def add_job(self, samples: Sequence[Sample], augmentation: str, message: str) -> Job[None]:
        """Read samples and encode what is not in the store, with progress in images.

        With augmentation "pixels" these features will not be used; one tile is encoded, whether it is in the
        store or not, for `seconds_each`.
        """
        for number, sample in enumerate(samples):
            yield Progress(number, len(samples), message, "images")
            example = self.dataset.read(sample)
            pixels, targets = example.pixels, example.targets
            for window in tiles((pixels.shape[0], pixels.shape[1])):
                if (targets[window.slices] == IGNORED).all():
                    continue
                for view in VIEWS[augmentation]:
                    measure = augmentation == "pixels"
                    encode = self.encodes and (not measure or self.seconds_each is None)
                    self._add(sample, window, view, pixels, targets, encode, measure)
        yield Progress(len(samples), len(samples), message, "images")

    def _add(
        self,
        sample: Sample,
        window: Frame,
        view: int,
        pixels: UInt8Array,
        targets: UInt8Array,
        encode: bool,
        measure: bool,
    ) -> None:
        seen = turn(pixels[window.slices], view)
        encoder = self.model.encoder
        frame = encoder.fit(whole((seen.shape[0], seen.shape[1])))
        key = FeatureKey.of(
            seen,
            frame,
            self.model.name,
            encoder.weights_digest,
            self.model.precision,
            encoder.preprocessing_version,
        )
        if encode and (measure or self.store.get(key, self.model.device) is None):
            began = time.perf_counter()
            maps = self._encode(seen, frame)
            self.seconds_each = time.perf_counter() - began
            self.store.put(key, maps)
        grid = targets_on_grid(turn(targets[window.slices], view), frame)
        self.tiles.append(Tile(sample, window, view, frame, key, grid))

    def _encode(self, seen: UInt8Array, frame: Frame) -> dict[str, Tensor]:
        """Run the encoder, whatever is in the store, and keep nothing."""
        model = copy.copy(self.model)
        model.store = None
        return dict(model.encode(seen, frame).maps)

    def features(self, tile: Tile) -> Mapping[str, Tensor]:
        """Return the features of a tile, {map name: (C, 64, 64)}; encoded again if the store had to drop them."""
        maps = self.store.get(tile.key, self.model.device)
        if maps is None:
            maps = self._encode(self._pixels(tile), tile.frame)
            self.store.put(tile.key, maps)
        return maps

    def batch(
        self,
        chosen: Sequence[Tile],
        names: Sequence[str],
        rng: np.random.Generator | None = None,
        window_cells: int = 64,
        config: TrainingConfig | None = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Put tiles together, whole or a random window of each.

        Args:
            chosen: B tiles.
            names: The maps wanted; `IMAGE` is the pixels as the encoder gets them.
            rng: Places the windows; whole tiles if left out.
            window_cells: Side of the windows on the 64 x 64 grid.
            config: With augmentation "pixels", every tile is varied as it says and encoded anew.

        Returns:
            {map name: (B, C, n, n)}, the image 16 times as large, and targets (B, 4n, 4n) uint8, on the model's
            device; n = window_cells or 64.
        """
        maps: list[dict[str, Tensor]] = []
        targets: list[Tensor] = []
        for tile in chosen:
            if rng is not None and config is not None and config.augmentation == "pixels":
                features, grid, frame = self._vary(tile, names, config, rng)
            else:
                features, grid, frame = self._features(tile), tile.targets, tile.frame
                if IMAGE in names:
                    features[IMAGE] = self._image(self._pixels(tile), frame)
            rows = cols = slice(0, GRID)
            if rng is not None:
                rows, cols = (_place(used, window_cells, rng) for used in used_cells(frame))
            maps.append({name: _window(name, features[name], rows, cols) for name in names})
            targets.append(torch.from_numpy(grid[_enlarge(rows, CELL), _enlarge(cols, CELL)]))
        stacked = {name: torch.stack([one[name] for one in maps]) for name in names}
        return stacked, torch.stack(targets).to(self.model.device)

    def _features(self, tile: Tile) -> dict[str, Tensor]:
        return dict(self.features(tile)) if self.encodes else {}

    def _pixels(self, tile: Tile) -> UInt8Array:
        return turn(self.dataset.read(tile.sample).pixels[tile.window.slices], tile.view)

    def _image(self, seen: UInt8Array, frame: Frame) -> Tensor:
        return self.model.encoder.preprocess(seen, dataclasses.replace(frame, top=0, left=0))

    def _vary(
        self, tile: Tile, names: Sequence[str], config: TrainingConfig, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], UInt8Array, Frame]:
        """Change the pixels of a tile and encode them; they will not come again, so nothing is kept."""
        example = self.dataset.read(tile.sample)
        seen, targets = vary(
            example.pixels[tile.window.slices], example.targets[tile.window.slices], config, rng
        )
        frame = self.model.encoder.fit(whole((seen.shape[0], seen.shape[1])))
        features = self._encode(seen, frame) if self.encodes else {}
        if IMAGE in names:
            features[IMAGE] = self._image(seen, frame)
        return features, targets_on_grid(targets, frame), frame

    def weights(self, classes: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the probability with which each tile is drawn, sum 1.

        Kinds of tissue come evenly where samples name them; and else every class evenly, by the tiles in which
        it occurs.
        """
        strata = [tile.sample.stratum for tile in self.tiles]
        if any(strata):
            sizes = {stratum: strata.count(stratum) for stratum in set(strata)}
            weights = np.array([1 / sizes[stratum] for stratum in strata])
        else:
            occurs = np.array([[bool((t.targets == k).any()) for k in range(classes)] for t in self.tiles])
            weights = (occurs / np.maximum(occurs.sum(axis=0), 1)).sum(axis=1)
        normalised: np.ndarray[tuple[int], np.dtype[np.float64]] = weights / weights.sum()
        return normalised


def targets_on_grid(targets: UInt8Array, frame: Frame) -> UInt8Array:
    """Sample targets (H, W) of a window at the centres of the logits' cells.

    Args:
        targets: Class index or `IGNORED`.
        frame: How the window maps to the square.

    Returns:
        (256, 256) uint8; `IGNORED` in the padding.
    """
    grid = np.full((LOGITS_PX, LOGITS_PX), IGNORED, dtype=np.uint8)
    centres = (np.arange(LOGITS_PX) + 0.5) * frame.input_px / LOGITS_PX
    axes = []
    for size, input_px in zip(targets.shape, frame.input_hw, strict=True):
        inside = centres[centres < input_px]
        axes.append(np.minimum((inside * size / input_px).astype(np.int64), size - 1))
    grid[: len(axes[0]), : len(axes[1])] = targets[np.ix_(*axes)]
    return grid


def _place(used: int, side: int, rng: np.random.Generator) -> slice:
    """Place a window of `side` cells at random in the `used` first cells, or at their start if it is larger."""
    start = int(rng.integers(max(0, used - side) + 1))
    return slice(start, start + side)


def _rounded(values: Tensor) -> Tensor:
    """Round to float16 as the disk tier does, so that a head does not depend on which tier answered."""
    halves = values.half()
    return halves.float() if bool(torch.isfinite(halves).all()) else values


def _window(name: str, values: Tensor, rows: slice, cols: slice) -> Tensor:
    if name == IMAGE:
        return values[:, _enlarge(rows, IMAGE_CELL), _enlarge(cols, IMAGE_CELL)]
    return _rounded(values[:, rows, cols])


def _enlarge(cells: slice, factor: int) -> slice:
    return slice(cells.start * factor, cells.stop * factor)
