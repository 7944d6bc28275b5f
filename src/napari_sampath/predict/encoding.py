"""Tiles through the encoder: what the store has is not computed, the rest goes in batches as large as memory allows."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..arrays import Features
from ..errors import ConfigError
from ..geometry import Frame
from ..store import FeatureKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from ..arrays import UInt8Array
    from ..encoders import Encoder
    from ..store import Store

logger = logging.getLogger(__name__)

_MAX_BATCH = 32
"""Tiles at once; more keep no device busier."""
_SHARE = 0.6
"""Of the free memory of a device that a batch may take."""


@dataclass(slots=True)
class _Tile:
    frame: Frame
    window: UInt8Array
    key: FeatureKey | None
    features: Features | None = None


@dataclass(slots=True)
class _Batch:
    tiles: list[_Tile]
    maps: dict[str, Tensor]
    """(B, C, 64, 64) each; on a CUDA device perhaps still being computed."""


class TileEncoder:
    """Runs a frozen encoder on tiles.

    On a CUDA device the next batch is cut, resized and sent while the last one is computed, and batches are
    sized by what the first tile takes of the memory that is free. Elsewhere tiles go one at a time, which
    on a CPU is as fast. A batch that does not fit is halved, and so are those after it.

    Args:
        encoder: On `device`.
        device: Where it runs.
        precision: One of `config.PRECISIONS`.
        compiled: Compile the encoder with `torch.compile` when it first runs: minutes once, then quicker.
    """

    def __init__(
        self, encoder: Encoder, device: torch.device, precision: str = "float32", compiled: bool = False
    ) -> None:
        self.encoder = encoder
        self.device = device
        self.precision = precision
        self._network: Any = torch.compile(encoder) if compiled else encoder
        self._limit = _MAX_BATCH
        self._fits = 1
        self._is_cuda = device.type == "cuda"
        self._measured = not self._is_cuda
        self._uploads = torch.cuda.Stream(device) if self._is_cuda else None

    def encode(
        self, pixels: Any, frames: Iterable[Frame], store: Store | None = None, batch: int | None = None
    ) -> Iterator[Features]:
        """Yield the features of tiles in the order given, each as soon as those before it are there.

        Args:
            pixels: (H, W, 3) uint8 RGB, the whole image, sliced tile by tile.
            frames: The tiles.
            store: Where features are looked up before the encoder runs, and kept after.
            batch: Tiles at once, if they fit into memory; chosen for the device if left out.

        Raises:
            ConfigError: If the device has too little memory for one tile.
        """
        waiting: deque[_Tile] = deque()
        missing: list[_Tile] = []
        running: list[_Batch] = []
        for frame in frames:
            tile = self._look_up(pixels, frame, store)
            waiting.append(tile)
            if tile.features is None:
                missing.append(tile)
            at_once = min(batch or self._fits, self._limit)
            # What is there already does not pile up behind a tile that waits for its batch to fill.
            if len(missing) >= at_once or ((missing or running) and len(waiting) > 2 * at_once):
                launched = self._launch(missing)
                self._collect(running, store)
                running, missing = launched, []
                if not self._is_cuda:
                    self._collect(running, store)
            yield from _ready(waiting)
        running += self._launch(missing)
        self._collect(running, store)
        yield from _ready(waiting)

    def _look_up(self, pixels: Any, frame: Frame, store: Store | None) -> _Tile:
        frame = self.encoder.adapt_frame(frame)
        tile = _Tile(frame, np.ascontiguousarray(np.asarray(pixels[frame.slices])), None)
        if store is None:
            return tile
        encoder = self.encoder
        tile.key = FeatureKey.of(
            tile.window,
            frame,
            encoder.info.name,
            encoder.weights_digest,
            self.precision,
            encoder.preprocessing_version,
        )
        found = store.get(tile.key, self.device)
        if found is not None:
            tile.features = Features(found, frame, encoder.info.name)
        return tile

    def _launch(self, tiles: list[_Tile]) -> list[_Batch]:
        """Start the encoder on tiles, at once or in halves of halves."""
        if not tiles:
            return []
        try:
            return [_Batch(tiles, self._run(self._prepare(tiles)))]
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if len(tiles) == 1:
                raise ConfigError(
                    f"The device '{self.device}' has too little free memory for {self.encoder.info.name}; close "
                    "what else uses it, or choose a smaller encoder or the device 'cpu'."
                ) from error
        # Here, and not above, the error no longer holds on to what was computed.
        half = len(tiles) // 2
        self._limit = min(self._limit, half)
        logger.info("%d tiles at once do not fit into the memory of '%s'; halved.", len(tiles), self.device)
        if self._is_cuda:
            torch.cuda.empty_cache()
        return self._launch(tiles[:half]) + self._launch(tiles[half:])

    def _prepare(self, tiles: list[_Tile]) -> Tensor:
        """Cut, resize and normalise tiles: (B, 3, S, S) on the device."""
        if self._uploads is None:
            return torch.stack([self._input(tile) for tile in tiles])
        with torch.cuda.stream(self._uploads):
            inputs = torch.stack([self._input(tile) for tile in tiles])
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._uploads)
        inputs.record_stream(current)
        return inputs

    def _input(self, tile: _Tile) -> Tensor:
        frame = tile.frame
        return self.encoder.preprocess(tile.window, Frame(0, 0, frame.height, frame.width, frame.input_px))

    def _run(self, inputs: Tensor) -> dict[str, Tensor]:
        dtype = getattr(torch, self.precision)
        reduced = (
            contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype)
        )
        before = 0
        if not self._measured:
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
        with torch.inference_mode(), reduced:
            maps: dict[str, Tensor] = self._network(inputs)
        if not self._measured:
            self._fits = self._room((torch.cuda.max_memory_allocated(self.device) - before) // len(inputs))
            self._measured = True
        return maps

    def _room(self, tile_bytes: int) -> int:
        """Count the tiles that fit into the memory free on a CUDA device."""
        cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        free = torch.cuda.mem_get_info(self.device)[0] + cached
        return max(1, min(_MAX_BATCH, int(_SHARE * free / max(1, tile_bytes))))

    def _collect(self, batches: list[_Batch], store: Store | None) -> None:
        """Give tiles their features, and the store too."""
        while batches:
            batch = batches.pop(0)
            for index, tile in enumerate(batch.tiles):
                # A clone made outside of inference mode is an ordinary tensor: heads can be trained on it.
                maps = {name: values[index].float().clone() for name, values in batch.maps.items()}
                if store is not None and tile.key is not None:
                    maps = store.put(tile.key, maps)
                tile.features = Features(maps, tile.frame, self.encoder.info.name)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Say whether memory ran out: PyTorch has an exception for it on CUDA, and a text on a CPU and on MPS."""
    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or "out of memory" in text
    )


def _ready(waiting: deque[_Tile]) -> Iterator[Features]:
    while waiting and waiting[0].features is not None:
        yield waiting[0].features
        waiting.popleft()
