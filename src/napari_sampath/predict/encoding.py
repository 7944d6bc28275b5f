"""Encoding of tiles: features are read from the store, or computed in batches that fit in memory."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..arrays import Features
from ..config import resolve_precision
from ..encoders.remote.client import CONNECTIONS
from ..errors import ConfigError
from ..geometry import Frame
from ..images.slides import Slide
from ..images.slides.scaled import ScaledSlide
from ..store import FeatureKey
from ..tiling import step_of
from .lookahead import map_ahead
from .memory import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from ..arrays import UInt8Array
    from ..encoders import Encoder
    from ..encoders.remote import RemoteEncoder
    from ..store import Store

logger = logging.getLogger(__name__)

_MAX_BATCH = 32
"""Maximum tiles per batch; larger batches are not faster."""
_READERS, _AHEAD = 4, 8
"""Number of threads that read a slide, and of tiles that are read ahead of the encoder."""
_MEMORY_FRACTION = 0.6
"""Maximum fraction of a device's free memory that a batch uses."""


@dataclass(slots=True)
class _Tile:
    frame: Frame
    window: UInt8Array
    key: FeatureKey | None
    features: Features | None = None
    inputs: Tensor | None = None
    """(3, S, S) preprocessed pixels on the device, if a thread has computed them."""


@dataclass(slots=True)
class _Batch:
    tiles: list[_Tile]
    maps: dict[str, Tensor]
    """(B, C, 64, 64) each; on a CUDA device they may still be computing."""
    computed: torch.cuda.Event | None = None
    """Event on a CUDA device that occurs when the maps are computed."""


class TileEncoder:
    """Runs a frozen encoder on tiles.

    On a CUDA device, the next batch is prepared and uploaded, and the previous one is copied and stored, while a batch
    is computed; the batch size is derived from the memory that the first tile takes. On other devices tiles are encoded
    one by one, which is as fast on a CPU. If a batch does not fit in memory, it and the following batches are halved.

    Args:
        encoder: The encoder, on `device`.
        device: Device of the encoder.
        precision: One of `config.PRECISIONS`.
        compiled: Compile the encoder with `torch.compile` on the first run, which takes minutes once.
    """

    def __init__(
        self, encoder: Encoder, device: torch.device, precision: str = "float32", compiled: bool = False
    ) -> None:
        self.encoder = encoder
        self.device = device
        self.precision = precision
        self._network: Any = torch.compile(encoder) if compiled else encoder
        self._limit = _MAX_BATCH
        self._batch_size = 1
        self._is_cuda = device.type == "cuda"
        self._measured = not self._is_cuda
        self._uploads = torch.cuda.Stream(device) if self._is_cuda else None
        self._copies = torch.cuda.Stream(device) if self._is_cuda else None
        if self._uploads is not None:
            # The encoder itself may still be on its way to the device.
            self._uploads.wait_stream(torch.cuda.current_stream(device))
        self._server: RemoteEncoder | None = None

    def use_server(self, server: RemoteEncoder) -> None:
        """Ask a server for features first; tiles are computed here if it fails.

        Raises:
            ConfigError: If the server has another encoder; no tile has been sent then.
        """
        encoder, info = self.encoder, server.info
        own = encoder.info.name, encoder.weights_digest, encoder.preprocessing_version
        if (info.encoder, info.weights, info.preprocessing) != own:
            what = "other weights of" if info.encoder == encoder.info.name else f"'{info.encoder}' and not"
            raise ConfigError(
                f"The server '{server.address}' has {what} '{encoder.info.name}'; start 'sampath serve' there with the "
                "same model, weights and version."
            )
        self.precision = resolve_precision(info.precision, self.device)
        self._server = server

    def encode(
        self, pixels: Any, frames: Iterable[Frame], store: Store | None = None, batch: int | None = None
    ) -> Iterator[Features]:
        """Yield the features of tiles in the given order, each as soon as it and all previous ones are computed.

        Args:
            pixels: (H, W, 3) uint8 RGB, the whole image, sliced tile by tile.
            frames: The tiles.
            store: Store in which features are looked up and saved.
            batch: Tiles per batch, if they fit in memory; chosen for the device if left out.

        Raises:
            ConfigError: If the device has too little memory for one tile.
        """
        waiting: deque[_Tile] = deque()
        missing: list[_Tile] = []
        running: list[_Batch] = []
        for tile in self._read(pixels, map(self.encoder.adapt_frame, frames), store):
            waiting.append(tile)
            if tile.features is None:
                missing.append(tile)
            batch_size = min(batch or self._batch_size, self._limit)
            if self._server is not None and self._server.works:
                batch_size = max(batch_size, CONNECTIONS)
            # Run a partial batch rather than let stored tiles accumulate behind a missing one.
            if len(missing) >= batch_size or ((missing or running) and len(waiting) > 2 * batch_size):
                launched = self._launch(missing)
                self._collect(running, store)
                running, missing = launched, []
                if not self._is_cuda:
                    self._collect(running, store)
            yield from _ready(waiting)
        running += self._launch(missing)
        self._collect(running, store)
        yield from _ready(waiting)

    def _read(self, pixels: Any, frames: Iterable[Frame], store: Store | None) -> Iterator[_Tile]:
        """Yield tiles with their pixels, and with their features if those are stored.

        Tiles of a slide are read and preprocessed by threads while earlier tiles are computed.
        """
        if not isinstance(pixels, Slide | ScaledSlide):
            for frame in frames:
                yield self._look_up(frame, read_window(pixels, frame), store)
            return

        def read(frame: Frame) -> _Tile:
            tile = self._look_up(frame, read_window(pixels, frame), store)
            if tile.features is None and self._server is None:
                with self._uploading():
                    tile.inputs = self._input(tile)
            return tile

        yield from map_ahead(
            read, frames, _READERS, max(_AHEAD, self._limit if self._is_cuda else 0), "slide-reader"
        )

    def _look_up(self, frame: Frame, window: UInt8Array, store: Store | None) -> _Tile:
        tile = _Tile(frame, window, None)
        if store is None and self._server is None:
            return tile
        encoder = self.encoder
        tile.key = FeatureKey.of(
            tile.window,
            window_frame(tile.window, frame),
            encoder.info.name,
            encoder.weights_digest,
            self.precision,
            encoder.preprocessing_version,
        )
        maps = None if store is None else store.get(tile.key, self.device)
        if maps is not None:
            tile.features = Features(maps, frame, encoder.info.name)
        return tile

    def _launch(self, tiles: list[_Tile]) -> list[_Batch]:
        """Start the encoder on tiles, in smaller batches if memory runs out."""
        answered = self._ask_server(tiles)
        if answered:
            done = {id(tile) for batch in answered for tile in batch.tiles}
            return answered + self._launch([tile for tile in tiles if id(tile) not in done])
        if not tiles:
            return []
        try:
            return [self._computing(tiles, self._run(self._prepare(tiles)))]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(tiles) == 1:
                raise ConfigError(
                    f"The device '{self.device}' has too little free memory for {self.encoder.info.name}; close "
                    "other programs that use it, or choose a smaller encoder or the device 'cpu'."
                ) from error
        # Retry outside of the except block, where the error no longer holds references to tensors.
        half = len(tiles) // 2
        self._limit = min(self._limit, half)
        logger.info(
            "A batch of %d tiles does not fit in the memory of '%s'; the batch size is halved.",
            len(tiles),
            self.device,
        )
        if self._is_cuda:
            torch.cuda.empty_cache()
        return self._launch(tiles[:half]) + self._launch(tiles[half:])

    def _ask_server(self, tiles: list[_Tile]) -> list[_Batch]:
        """Return the tiles that the server has computed, if there is one."""
        if self._server is None or not self._server.works:
            return []
        questions = [
            (tile.window, tile.frame.input_px, tile.key.digest) for tile in tiles if tile.key is not None
        ]
        answers = zip(tiles, self._server.features(questions, self.encoder.spec), strict=True)
        return [
            self._computing(
                [tile], {name: values.unsqueeze(0).to(self.device) for name, values in maps.items()}
            )
            for tile, maps in answers
            if maps is not None
        ]

    def _computing(self, tiles: list[_Tile], maps: dict[str, Tensor]) -> _Batch:
        """Return a batch whose maps the device is computing."""
        if not self._is_cuda:
            return _Batch(tiles, maps)
        return _Batch(tiles, maps, torch.cuda.current_stream(self.device).record_event())

    def _prepare(self, tiles: list[_Tile]) -> Tensor:
        """Resize and normalise tiles to (B, 3, S, S) on the device."""
        with self._uploading():
            inputs = torch.stack(
                [self._input(tile) if tile.inputs is None else tile.inputs for tile in tiles]
            )
        for tile in tiles:
            tile.inputs = None
        if self._uploads is None:
            return inputs
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._uploads)
        inputs.record_stream(current)
        return inputs

    def _uploading(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which tiles are uploaded; on CUDA, beside the computation."""
        return contextlib.nullcontext() if self._uploads is None else torch.cuda.stream(self._uploads)

    def _input(self, tile: _Tile) -> Tensor:
        return self.encoder.preprocess(tile.window, window_frame(tile.window, tile.frame))

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
            self._batch_size = self._tiles_that_fit(
                (torch.cuda.max_memory_allocated(self.device) - before) // len(inputs)
            )
            self._measured = True
        return maps

    def _tiles_that_fit(self, tile_bytes: int) -> int:
        """Return the number of tiles that fit in the free memory of a CUDA device."""
        cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        free = torch.cuda.mem_get_info(self.device)[0] + cached
        return max(1, min(_MAX_BATCH, int(_MEMORY_FRACTION * free / max(1, tile_bytes))))

    def _collect(self, batches: list[_Batch], store: Store | None) -> None:
        """Set the features of tiles and save them in the store."""
        while batches:
            batch = batches.pop(0)
            with self._copying(batch):
                for index, tile in enumerate(batch.tiles):
                    # Clone outside of inference mode, so that heads can be trained on the tensors.
                    maps = {name: values[index].float().clone() for name, values in batch.maps.items()}
                    if store is not None and tile.key is not None:
                        maps = store.put(tile.key, maps)
                    tile.features = Features(maps, tile.frame, self.encoder.info.name)

    @contextlib.contextmanager
    def _copying(self, batch: _Batch) -> Iterator[None]:
        """Copy the maps of a batch in a `with` block; on CUDA, while later batches are computed.

        The store waits for the copies. On the stream of the computation, it would wait for all later batches, too.
        """
        if self._copies is None or batch.computed is None:
            yield
            return
        current = torch.cuda.current_stream(self.device)
        self._copies.wait_event(batch.computed)
        with torch.cuda.stream(self._copies):
            yield
        # The memory of the batch is used again on the current stream, which also reads the copies.
        current.wait_stream(self._copies)
        for tile in batch.tiles:
            for values in tile.features.maps.values() if tile.features is not None else ():
                values.record_stream(current)


def read_window(pixels: Any, frame: Frame) -> UInt8Array:
    """Read the pixels of a tile; those of a slide at the coarsest step that still fills the encoder's input.

    Args:
        pixels: (H, W, 3) uint8 RGB, the whole image, or a slide.
        frame: The tile.

    Returns:
        (h, w, 3) uint8, contiguous; of a slide, h = ceil(frame.height / step).
    """
    if isinstance(pixels, Slide):
        box = frame.top, frame.left, frame.top + frame.height, frame.left + frame.width
        return pixels.read(box, step_of(frame))
    return np.ascontiguousarray(np.asarray(pixels[frame.slices]))


def window_frame(window: UInt8Array, frame: Frame) -> Frame:
    """Return the frame of pixels that `read_window` read, as a separate image."""
    return replace(frame, top=0, left=0, height=window.shape[0], width=window.shape[1])


def _ready(waiting: deque[_Tile]) -> Iterator[Features]:
    """Remove the tiles with features from the front of the queue, and yield their features."""
    while waiting and waiting[0].features is not None:
        yield waiting[0].features
        waiting.popleft()
