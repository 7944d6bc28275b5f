"""Whole-slide runs compared with the encoder alone, and a tile from a distant server."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

import numpy as np
import torch

from napari_sampath.encoders import EncoderParts
from napari_sampath.encoders.remote import RemoteEncoder
from napari_sampath.images.slides import ArraySlide, open_slide
from napari_sampath.images.slides.tissue import Tissue
from napari_sampath.jobs import run
from napari_sampath.predict import Model
from napari_sampath.predict.segmentation import tile_logits
from napari_sampath.predict.whole_slide import slide_run_job
from napari_sampath.server.serving import make_server
from napari_sampath.tiling import tiles

from ..table import Row, limited
from . import processes
from .sleeping import SleepingEncoder, make_head, sleeping_model

TOKEN = "t" * 43
_BYTES_S, _DELAY_S = 100e6 / 8, 0.005
"""100 Mbit/s, and 5 ms each way."""


def rows(small: Path, quick: bool) -> Iterator[Row]:
    """Yield the rows of the table."""
    side = 2048 if quick else 7168
    with open_slide(small) as slide:
        tissue = slide.read((0, 0, *slide.hw))
    repeats = -(-side // tissue.shape[0]), -(-side // tissue.shape[1]), 1
    pixels = np.ascontiguousarray(np.tile(tissue, repeats)[:side, :side])
    yield from whole_run(pixels)
    yield from processes.rows(small, quick)
    yield remote_tile(tissue[:1024, :1024], 3 if quick else 9)


def whole_run(pixels: np.ndarray) -> Iterator[Row]:
    """Compare a run with the encoder and the head alone, and the tiles that it encodes with those of the slide."""
    encoder, head = SleepingEncoder(0.1), make_head()
    model = Model(EncoderParts(encoder), torch.device("cpu"))
    frames = tiles(pixels.shape[:2], 1024, 256)

    def alone() -> float:
        """Return the time that encoder and head take for all tiles."""
        features = model.encode(pixels, frames[0], keep=False)
        inputs = encoder.preprocess(pixels, frames[0])[None]
        start = time.perf_counter()
        for _ in range(4):
            encoder(inputs)
            tile_logits(head.head, features)
        return (time.perf_counter() - start) / 4 * len(frames)

    before = alone()
    encoder.passes = 0
    with TemporaryDirectory() as folder:
        slide, path = ArraySlide([pixels], "slide"), Path(folder) / "r.ome.zarr"
        start = time.perf_counter()
        run(slide_run_job(slide, head, model, path, everywhere(pixels)))
        seconds = time.perf_counter() - start
    passes = encoder.passes
    ratio = seconds / statistics.mean((before, alone()))
    side = pixels.shape[0]
    note = f"{side:,} x {side:,} px; an encoder that waits 0.1 s a tile, as for a GPU"
    yield limited("whole-slide run : encoder and head alone", ratio, 1.25, "x", note)
    what = "tiles encoded in a run of 4 blocks : tiles of the slide"
    yield limited(what, passes / len(frames), 1.0, "x", "without a feature store")


def remote_tile(pixels: np.ndarray, count: int) -> Row:
    """Measure the time of a tile over 100 Mbit/s with a round trip of 10 ms, the encoder excluded."""
    server_model = sleeping_model(0.0)
    listening = socket.create_server(("127.0.0.1", 0))
    server = make_server(server_model, TOKEN, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    seconds, sent = [], []
    line = Line(listening.getsockname()[1])
    remote = RemoteEncoder(f"http://127.0.0.1:{line.port}", TOKEN)
    for number in range(count):
        model = sleeping_model(0.0)
        model.tiles.use_server(remote)
        changed = np.ascontiguousarray(pixels)
        changed[0, 0] = number  # another tile, which the server does not have
        before = list(line.sent)
        start = time.perf_counter()
        model.encode(changed)
        seconds.append(time.perf_counter() - start)
        sent.append([now - then for now, then in zip(line.sent, before, strict=True)])
    server.should_exit = True
    thread.join()
    up, down = (statistics.median(values) for values in zip(*sent, strict=True))
    floor = (up + down) / _BYTES_S + 4 * _DELAY_S
    note = (
        f"median of {count}; a simulated line; the encoder takes no time; {up / 1e6:.2f} MB up, {down / 1e6:.2f} MB "
        f"down, which take {floor:.2f} s with two round trips"
    )
    return limited(
        "tile from a server over 100 Mbit/s and 10 ms", statistics.median(seconds), 0.45, "s", note
    )


class Line:
    """A network line to a port of this machine, of limited bandwidth and with a delay, in both directions.

    Attributes:
        port: Port of its near end.
        sent: Bytes sent up and down.
    """

    def __init__(self, port: int) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(listening.getsockname()[1])
        self.sent = [0, 0]

        def accept() -> None:
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", port))
                for number, ends in enumerate(((client, server), (server, client))):
                    for end in ends:
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self._receive, args=(*ends, number), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def _receive(self, source: socket.socket, target: socket.socket, number: int) -> None:
        on_the_way: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        threading.Thread(target=self._deliver, args=(target, on_the_way), daemon=True).start()
        free = 0.0
        while part := source.recv(2**14):
            # The line is busy for the time of a part; meanwhile, earlier parts are on the way
            free = max(free, time.perf_counter()) + len(part) / _BYTES_S
            self.sent[number] += len(part)
            on_the_way.put((free + _DELAY_S, part))

    @staticmethod
    def _deliver(target: socket.socket, on_the_way: SimpleQueue[tuple[float, bytes]]) -> None:
        while True:
            due, part = on_the_way.get()
            time.sleep(max(0.0, due - time.perf_counter()))
            target.sendall(part)


def everywhere(pixels: np.ndarray) -> Tissue:
    return Tissue(np.ones((1, 1), bool), max(pixels.shape[:2]))
