"""Training tiles, with stored features and with targets on the logit grid."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...arrays import DEPTH, GRID, IMAGE, LOGITS_PX, IntArray, UInt8Array
from ...geometry import Frame, whole
from ...jobs import Job, Progress
from ...predict import Model
from ...store import FeatureKey, Store
from ...tiling import tiles
from ..data.dataset import IGNORED, Dataset, Sample
from ..data.depth import object_depth
from ..data.instances import object_ids
from .augmentation import ORIENTATIONS, augment, orient
from .config import TrainingConfig

CELL = 4
"""Side of a feature cell, in cells of the target grid."""

IMAGE_CELL = 16
"""Side of a feature cell, in pixels of the encoder's square input."""

_CELLS = {IMAGE: IMAGE_CELL, DEPTH: CELL}
"""Map with more detail than the features -> elements per side of a feature cell."""

_IDS = 256
"""Factor of object numbers in labels that also contain class indices."""

_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Encoded tile of an image in one orientation."""

    sample: Sample
    window: Frame
    """Position of the tile in the image."""
    orientation: int
    """Orientation, see `augmentation.orient`."""
    frame: Frame
    """Mapping of the oriented window to the encoder's square input."""
    key: FeatureKey
    """Key of the features in the store."""
    targets: UInt8Array
    """Class indices (256, 256) uint8 on the encoder's square input; padding and unlabelled cells are `IGNORED`."""


def used_cells(frame: Frame) -> tuple[int, int]:
    """Return the number of rows and columns of the 64 x 64 grid that are not entirely padding."""
    height, width = frame.input_hw
    cell_px = frame.input_px * CELL // LOGITS_PX
    return -(-height // cell_px), -(-width // cell_px)


class TileSet:
    """Tiles of samples of a dataset, with their features in a store.

    If `encodes` is False, the encoder is not run; use this for heads that read only pixels.
    """

    def __init__(self, dataset: Dataset, model: Model, store: Store, encodes: bool = True) -> None:
        self.dataset = dataset
        self.model = model
        self.store = store
        self.encodes = encodes
        self.tiles: list[Tile] = []
        self.seconds_per_tile: float | None = None
        """Time in seconds to encode the last tile; None if the encoder has not run."""

    def add_job(self, samples: Sequence[Sample], augmentation: str, message: str) -> Job[None]:
        """Read samples and encode the tiles that are not in the store; progress counts images.

        With the augmentation "pixels", stored features are not used; only one tile is encoded, to measure
        `seconds_per_tile`.
        """
        for number, sample in enumerate(samples):
            yield Progress(number, len(samples), message, "images")
            example = self.dataset.read(sample)
            pixels, targets = example.pixels, example.targets
            for window in tiles((pixels.shape[0], pixels.shape[1])):
                if (targets[window.slices] == IGNORED).all():
                    continue
                for orientation in ORIENTATIONS[augmentation]:
                    measure = augmentation == "pixels"
                    encode = self.encodes and (not measure or self.seconds_per_tile is None)
                    self._add(sample, window, orientation, pixels, targets, encode, measure)
        yield Progress(len(samples), len(samples), message, "images")

    def _add(
        self,
        sample: Sample,
        window: Frame,
        orientation: int,
        pixels: UInt8Array,
        targets: UInt8Array,
        encode: bool,
        measure: bool,
    ) -> None:
        oriented = orient(pixels[window.slices], orientation)
        encoder = self.model.encoder
        frame = encoder.adapt_frame(whole((oriented.shape[0], oriented.shape[1])))
        key = FeatureKey.of(
            oriented,
            frame,
            self.model.name,
            encoder.weights_digest,
            self.model.precision,
            encoder.preprocessing_version,
        )
        if encode and (measure or self.store.get(key, self.model.device) is None):
            began = time.perf_counter()
            maps = self._encode(oriented, frame)
            self.seconds_per_tile = time.perf_counter() - began
            self.store.put(key, maps)
        grid = targets_on_grid(orient(targets[window.slices], orientation), frame)
        self.tiles.append(Tile(sample, window, orientation, frame, key, grid))

    def _encode(self, pixels: UInt8Array, frame: Frame) -> dict[str, Tensor]:
        """Run the encoder without the store."""
        model = copy.copy(self.model)
        model.store = None
        return dict(model.encode(pixels, frame).maps)

    def features(self, tile: Tile) -> Mapping[str, Tensor]:
        """Return the features of a tile, {map name: (C, 64, 64)}; encode it again if the store has evicted them."""
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
        """Make a batch of whole tiles, or of one random window per tile.

        Args:
            chosen: B tiles.
            names: Names of the feature maps; `IMAGE` is the name of the preprocessed pixels, `DEPTH` that of the depth
                of each cell in its object.
            rng: Random generator for the windows; if it is None, whole tiles are used.
            window_cells: Side of the windows on the 64 x 64 grid.
            config: The configuration; with `rng` and the augmentation "pixels", each tile is augmented and encoded.

        Returns:
            {map name: (B, C, n, n)} with the image (B, 3, 16n, 16n) and the depth (B, 1, 4n, 4n), and targets
            (B, 4n, 4n) uint8, on the model's device; n is `window_cells`, or 64 for whole tiles.
        """
        maps: list[dict[str, Tensor]] = []
        targets: list[Tensor] = []
        for tile in chosen:
            if rng is not None and config is not None and config.augmentation == "pixels":
                features, grid, frame = self._augment(tile, names, config, rng)
            else:
                features, grid, frame = self._features(tile), tile.targets, tile.frame
                if IMAGE in names:
                    features[IMAGE] = self._image(self._pixels(tile), frame)
                if DEPTH in names:
                    instances = self._instances(tile.sample)[tile.window.slices]
                    features[DEPTH] = self._depth(orient(instances, tile.orientation), frame)
            rows = cols = slice(0, GRID)
            if rng is not None:
                rows, cols = (_random_span(used, window_cells, rng) for used in used_cells(frame))
            maps.append({name: _window(name, features[name], rows, cols) for name in names})
            targets.append(torch.from_numpy(grid[_enlarge(rows, CELL), _enlarge(cols, CELL)]))
        stacked = {name: torch.stack([tile_maps[name] for tile_maps in maps]) for name in names}
        return stacked, torch.stack(targets).to(self.model.device)

    def _features(self, tile: Tile) -> dict[str, Tensor]:
        return dict(self.features(tile)) if self.encodes else {}

    def _pixels(self, tile: Tile) -> UInt8Array:
        return orient(self.dataset.read(tile.sample).pixels[tile.window.slices], tile.orientation)

    def _image(self, pixels: UInt8Array, frame: Frame) -> Tensor:
        return self.model.encoder.preprocess(pixels, dataclasses.replace(frame, top=0, left=0))

    def _instances(self, sample: Sample) -> IntArray:
        return np.maximum(object_ids(self.dataset, self.dataset.read(sample)), 0)

    def _depth(self, instances: IntArray, frame: Frame) -> Tensor:
        """Return the depth (1, 256, 256) of the cells in their objects (H, W)."""
        return torch.from_numpy(targets_on_grid(object_depth(instances), frame, 0))[None].to(
            self.model.device
        )

    def _augment(
        self, tile: Tile, names: Sequence[str], config: TrainingConfig, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], UInt8Array, Frame]:
        """Augment a tile and encode it without the store, because the same pixels never occur again."""
        example = self.dataset.read(tile.sample)
        labels: IntArray = example.targets[tile.window.slices].astype(np.int32)
        if DEPTH in names:  # Augment both label maps as one.
            labels = labels + _IDS * self._instances(tile.sample)[tile.window.slices]
        pixels, labels = augment(example.pixels[tile.window.slices], labels, config, rng)
        targets, instances = (labels % _IDS).astype(np.uint8), labels // _IDS
        frame = self.model.encoder.adapt_frame(whole((pixels.shape[0], pixels.shape[1])))
        features = self._encode(pixels, frame) if self.encodes else {}
        if IMAGE in names:
            features[IMAGE] = self._image(pixels, frame)
        if DEPTH in names:
            features[DEPTH] = self._depth(instances, frame)
        return features, targets_on_grid(targets, frame), frame

    def weights(self, classes: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the sampling probability of each tile; they sum to 1.

        If samples name a kind of tissue, all kinds have the same probability; otherwise all classes have the same
        probability, which is divided among the tiles in which the class occurs.
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


def targets_on_grid(values: npt.NDArray[_T], frame: Frame, padding: int = IGNORED) -> npt.NDArray[_T]:
    """Sample values (H, W) of a window at the centres of the cells of the logit grid.

    Returns (256, 256), `padding` outside of the window; `frame` maps the window to the encoder's square input.
    """
    grid = np.full((LOGITS_PX, LOGITS_PX), padding, dtype=values.dtype)
    centres = (np.arange(LOGITS_PX) + 0.5) * frame.input_px / LOGITS_PX
    axes = []
    for size, input_px in zip(values.shape, frame.input_hw, strict=True):
        inside = centres[centres < input_px]
        axes.append(np.minimum((inside * size / input_px).astype(np.int64), size - 1))
    grid[: len(axes[0]), : len(axes[1])] = values[np.ix_(*axes)]
    return grid


def _random_span(used: int, side: int, rng: np.random.Generator) -> slice:
    """Return a random span of `side` cells within the first `used` cells; it starts at 0 if it does not fit."""
    start = int(rng.integers(max(0, used - side) + 1))
    return slice(start, start + side)


def _rounded(values: Tensor) -> Tensor:
    """Round to float16 as the disk tier does, so that a head does not depend on which tier returns its features."""
    halves = values.half()
    return halves.float() if bool(torch.isfinite(halves).all()) else values


def _window(name: str, values: Tensor, rows: slice, cols: slice) -> Tensor:
    if name in _CELLS:
        return values[:, _enlarge(rows, _CELLS[name]), _enlarge(cols, _CELLS[name])]
    return _rounded(values[:, rows, cols])


def _enlarge(cells: slice, factor: int) -> slice:
    return slice(cells.start * factor, cells.stop * factor)
