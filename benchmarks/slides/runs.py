"""Whole-slide runs against the encoder alone, two processes against one, and a tile from a server far away."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from napari_sampath.arrays import ClassInfo, FeatureMap, FeatureSpec
from napari_sampath.encoders import Encoder, EncoderInfo, EncoderParts
from napari_sampath.encoders.remote import RemoteEncoder
from napari_sampath.heads import EncoderRef, LoadedHead, Metadata, create
from napari_sampath.images.slides import ArraySlide, open_slide
from napari_sampath.images.slides.tissue import Tissue
from napari_sampath.jobs import run
from napari_sampath.predict import Model
from napari_sampath.predict.segmentation import tile_probabilities
from napari_sampath.predict.whole_slide import slide_run_job
from napari_sampath.server.serving import make_server
from napari_sampath.store import MemoryTier, Store
from napari_sampath.tiling import tiles

from ..table import Row, limited

CLASSES = (ClassInfo(0, "background", (0, 0, 0)), ClassInfo(1, "gland", (255, 0, 0)))
TOKEN = "t" * 43
_BYTES_S, _DELAY_S = 100e6 / 8, 0.005
"""100 Mbit/s, and 5 ms each way."""


class SleepingEncoder(Encoder):
    """Waits for a time per tile, as for a GPU, and returns maps of a base model."""

    def __init__(self, seconds: float) -> None:
        info = EncoderInfo("sleep", "Waits.", "none", "", False, 0.0)
        super().__init__(
            info, FeatureSpec((FeatureMap("embedding", 256, info.name),)), weights_digest="sleep"
        )
        self.seconds = seconds

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        time.sleep(self.seconds * len(pixels))
        grid = torch.nn.functional.avg_pool2d(pixels[:, :1], 16)
        return {"embedding": grid.expand(-1, 256, -1, -1).contiguous()}


def rows(small: Path, quick: bool) -> Iterator[Row]:
    """Yield the rows of the table."""
    side = 2048 if quick else 7168
    with open_slide(small) as slide:
        tissue = slide.read((0, 0, *slide.hw))
    repeats = -(-side // tissue.shape[0]), -(-side // tissue.shape[1]), 1
    pixels = np.ascontiguousarray(np.tile(tissue, repeats)[:side, :side])
    yield whole_run(pixels)
    yield two_processes(pixels)
    yield remote_tile(tissue[:1024, :1024], 3 if quick else 9)


def whole_run(pixels: np.ndarray) -> Row:
    """Compare a run with its tiles in the encoder and the head alone."""
    model, head = sleeping_model(0.1), make_head()
    frames = tiles(pixels.shape[:2], 1024, 256)
    features = [model.encode(pixels, frame, keep=False) for frame in frames[:5]]
    start = time.perf_counter()
    for one in features:
        tile_probabilities(head.head, one)
    alone = len(frames) * (0.1 + (time.perf_counter() - start) / len(features))
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        run(
            slide_run_job(
                ArraySlide([pixels], "slide"), head, model, Path(folder) / "r.ome.zarr", everywhere(pixels)
            )
        )
        seconds = time.perf_counter() - start
    side = pixels.shape[0]
    note = f"{side:,} x {side:,} px; an encoder that waits 0.1 s a tile, as for a GPU"
    return limited("whole-slide run : encoder and head alone", seconds / alone, 1.25, "x", note)


def two_processes(pixels: np.ndarray) -> Row:
    """Compare two parts of a run at the same time with one."""
    seconds = []
    for count in (1, 2):

        def part(number: int, folder: str, count: int = count) -> None:
            slide, path = ArraySlide([pixels], "slide"), Path(folder) / "r.ome.zarr"
            model, head = sleeping_model(0.4), make_head()
            run(slide_run_job(slide, head, model, path, everywhere(pixels), part=(number, count)))

        with TemporaryDirectory() as folder, ThreadPoolExecutor(count) as pool:
            start = time.perf_counter()
            list(pool.map(part, range(1, count + 1), [folder] * count))
            seconds.append(time.perf_counter() - start)
    note = "4 blocks of unequal size in threads; an encoder that waits 0.4 s a tile"
    times = f"{seconds[1]:.1f} s", f"{seconds[0]:.1f} s"
    return Row(
        "two parts of a run at the same time : one after the other",
        *times,
        seconds[0] / seconds[1],
        1.8,
        note,
    )


def remote_tile(pixels: np.ndarray, count: int) -> Row:
    """Measure the time of a tile over 100 Mbit/s with a round trip of 10 ms, the encoder excluded."""
    server_model = sleeping_model(0.0)
    listening = socket.create_server(("127.0.0.1", 0))
    server = make_server(server_model, TOKEN, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    seconds = []
    address = f"http://127.0.0.1:{throttled(listening.getsockname()[1])}"
    remote = RemoteEncoder(address, TOKEN)
    for number in range(count):
        model = sleeping_model(0.0)
        model.tiles.use_server(remote)
        changed = np.ascontiguousarray(pixels)
        changed[0, 0] = number  # another tile, which the server does not have
        start = time.perf_counter()
        model.encode(changed)
        seconds.append(time.perf_counter() - start)
    server.should_exit = True
    thread.join()
    note = "median; throttling proxy on this machine; tissue of 1,024 px, features of a base model"
    return limited(
        "tile from a server over 100 Mbit/s and 10 ms", statistics.median(seconds), 0.45, "s", note
    )


def throttled(port: int) -> int:
    """Start a proxy to a port of this machine that is as slow as a network, and return its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def forward(source: socket.socket, target: socket.socket) -> None:
        free = time.perf_counter()
        while part := source.recv(2**14):
            # The line is busy for the time of the part; the delay is the same for all
            now = time.perf_counter()
            first = free < now
            free = max(free, now) + len(part) / _BYTES_S
            time.sleep(max(0.0, free - now) + (_DELAY_S if first else 0.0))
            target.sendall(part)

    def accept() -> None:
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for ends in ((client, server), (server, client)):
                threading.Thread(target=forward, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listening.getsockname()[1])


def sleeping_model(seconds: float) -> Model:
    return Model(EncoderParts(SleepingEncoder(seconds)), torch.device("cpu"), Store(MemoryTier(2**29)))


def make_head() -> LoadedHead:
    torch.manual_seed(0)
    encoder = SleepingEncoder(0)
    head = create("linear", encoder.spec, CLASSES).eval()
    return LoadedHead(head, Metadata("random", (EncoderRef("sleep", encoder.weights_digest, 1),)), "memory")


def everywhere(pixels: np.ndarray) -> Tissue:
    return Tissue(np.ones((1, 1), bool), max(pixels.shape[:2]))
