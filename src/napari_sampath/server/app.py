"""The application: authentication, limits, and features of tiles. The protocol is in `encoders.remote.protocol`."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .. import __version__
from ..encoders.remote.protocol import (
    CHECKSUM,
    FEATURES,
    INFO,
    MAX_BODY_BYTES,
    MAX_SIDE_PX,
    PROTOCOL,
    SHAPE,
    ServerInfo,
    checksum,
    pack_maps,
    unpack_pixels,
)
from ..errors import SampathError
from ..geometry import INPUT_PX, Frame
from ..store import FeatureKey

if TYPE_CHECKING:
    from ..predict import Model

logger = logging.getLogger(__name__)

MAX_FAILURES, FAILURES_S = 5, 60.0
"""Number of wrong tokens of one address in this time, in seconds, after which others are answered by status 429."""
MAX_ADDRESSES = 10_000
MAX_REQUESTS = 16
"""Number of tiles that are received or computed at the same time; more are asked to wait."""
UPLOAD_S = 60.0
"""Longest time for receiving a tile, in seconds."""
KEPT_BYTES = 2**29
"""Size of the answers that are kept in memory: those of 250 tiles of a base model."""
_SHAPE = re.compile(r"(\d{1,5}),(\d{1,5}),(\d{1,5})")

Endpoint = Callable[[Request], Awaitable[Response]]


class Busy(Exception):
    """Too many tiles are being received or computed."""


class FeatureServer:
    """Answers requests for the features of tiles with one model.

    Args:
        model: The model; its store keeps features.
        token: The token that clients send.
    """

    def __init__(self, model: Model, token: str) -> None:
        self._model = model
        self._token = token.encode()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._answers: OrderedDict[str, bytes] = OrderedDict()
        self._answers_bytes = 0
        self._running = 0
        self._one = threading.Lock()
        """Held while the device computes."""
        self._keeping = threading.Lock()
        """Held while the answers in memory are used."""

    def app(self) -> Starlette:
        """Return the application."""
        routes = [
            Route(INFO, self._guarded(self._info), methods=["GET"]),
            Route(FEATURES + "{digest}", self._guarded(self._features), methods=["GET", "POST"]),
        ]
        return Starlette(routes=routes)

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        """Check the token before an endpoint runs."""

        async def guarded(request: Request) -> Response:
            host = "" if request.client is None else request.client.host
            given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
            # The right token is always accepted, because all clients of an SSH tunnel have the same address.
            if not hmac.compare_digest(given, self._token):
                if self._is_refused(host):
                    return _text(429, "Too many wrong tokens; wait a minute.", {"Retry-After": "60"})
                self._failures.setdefault(host, deque(maxlen=MAX_FAILURES)).append(time.monotonic())
                self._failures.move_to_end(host)
                while len(self._failures) > MAX_ADDRESSES:
                    self._failures.popitem(last=False)
                return _text(401, "The token is wrong.", {"WWW-Authenticate": "Bearer"})
            try:
                return await endpoint(request)
            except Busy:
                return _text(429, "The server is busy; try again.", {"Retry-After": "0.5"})
            except ClientDisconnect:
                return _text(400, "The request was not complete.")
            except TimeoutError:
                return _text(408, "The request took too long.")

        return guarded

    def _is_refused(self, host: str) -> bool:
        times = self._failures.get(host, deque[float]())
        return len(times) == MAX_FAILURES and time.monotonic() - times[0] < FAILURES_S

    async def _info(self, request: Request) -> Response:
        encoder = self._model.encoder
        info = ServerInfo(
            PROTOCOL,
            __version__,
            self._model.name,
            encoder.weights_digest,
            self._model.precision,
            encoder.preprocessing_version,
        )
        return JSONResponse(info.to_json())

    async def _features(self, request: Request) -> Response:
        digest = request.path_params["digest"]
        if re.fullmatch("[0-9a-f]{64}", digest) is None:
            return _text(400, "The digest must have 64 hexadecimal digits.")
        if request.method == "GET":
            kept = await run_in_threadpool(self._kept, digest)
            return _text(404, "Send the pixels.") if kept is None else _answer(kept)
        shape = _SHAPE.fullmatch(request.headers.get(SHAPE, ""))
        height, width, input_px = map(int, shape.groups()) if shape else (0, 0, 0)
        inputs = sorted({INPUT_PX, self._model.input_px})  # Others could need any amount of memory.
        if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX and input_px in inputs):
            sides = " or ".join(map(str, inputs))
            return _text(
                400, f"{SHAPE} must be height, width (1 to {MAX_SIDE_PX} px) and input side ({sides} px)."
            )
        if self._running >= MAX_REQUESTS:
            raise Busy
        self._running += 1
        try:
            body = await _read_body(request)
            if body is None:
                return _text(413, f"A tile has at most {MAX_BODY_BYTES:,} bytes.")
            status, content = await run_in_threadpool(
                self._compute, digest, body, Frame(0, 0, height, width, input_px)
            )
        finally:
            self._running -= 1
        return _answer(content) if status == 200 else _text(status, content.decode())

    def _kept(self, digest: str) -> bytes | None:
        with self._keeping:
            content = self._answers.get(digest)
            if content is not None:
                self._answers.move_to_end(digest)
                return content
        store = self._model.store
        maps = None if store is None or store.disk is None else store.disk.find(digest)
        return None if maps is None else pack_maps(maps)

    def _compute(self, digest: str, body: bytes, frame: Frame) -> tuple[int, bytes]:
        """Compute the features of a tile; returns the status, and the answer or a message."""
        pixels = unpack_pixels(body, frame.hw)
        encoder = self._model.encoder
        frame = encoder.adapt_frame(frame)
        if pixels is None:
            return 400, f"The body is not {frame.height} x {frame.width} pixels (RGB, zstd).".encode()
        key = FeatureKey.of(
            pixels,
            frame,
            self._model.name,
            encoder.weights_digest,
            self._model.precision,
            encoder.preprocessing_version,
        )
        if key.digest != digest:
            return 400, b"The pixels do not belong to the digest."
        try:
            with self._one:
                features = self._model.encode(pixels, frame)
            content = pack_maps(dict(features.maps))
        except SampathError as error:
            return 503, str(error).encode()
        if content is None:
            return 422, b"The features are outside of the range of float16."
        self._keep(digest, content)
        return 200, content

    def _keep(self, digest: str, content: bytes) -> None:
        with self._keeping:
            if digest not in self._answers:
                self._answers[digest] = content
                self._answers_bytes += len(content)
            while self._answers_bytes > KEPT_BYTES:
                self._answers_bytes -= len(self._answers.popitem(last=False)[1])


async def _read_body(request: Request) -> bytes | None:
    """Receive a body; None if it is too large.

    Raises:
        TimeoutError: If it takes too long.
    """
    declared = request.headers.get("Content-Length", "0")
    if not declared.isdecimal() or int(declared) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    async with asyncio.timeout(UPLOAD_S):
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                return None
    return bytes(body)


def _answer(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream", headers={CHECKSUM: checksum(content)})


def _text(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(message, status, headers)
