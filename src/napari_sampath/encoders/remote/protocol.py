"""Protocol of client and server: addresses, headers, and the content of bodies.

    GET  /v1/info              what the server computes, as JSON
    GET  /v1/features/DIGEST   features that are there already; 404 if they are not
    POST /v1/features/DIGEST   the same, computed from the pixels in the body

DIGEST is that of the `FeatureKey` of a tile, so a request can be repeated, and the server notices pixels that do not
belong to it. Pixels are compressed without loss (zstd). Features are safetensors with float16 maps, as on disk. A
request contains neither names nor labels nor metadata of images.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import imagecodecs
import numpy as np
import safetensors.torch
import torch
import xxhash
from safetensors import SafetensorError

from ...arrays import GRID, FeatureSpec, UInt8Array
from ...files import JsonError, from_json, parse_json

PROTOCOL = 1
INFO = "/v1/info"
FEATURES = "/v1/features/"
SHAPE = "X-Sampath-Shape"
"""Header of a request: height and width of the tile and `Frame.input_px`, such as "1024,1024,1024"."""
CHECKSUM = "X-Sampath-Checksum"
"""Header of an answer: xxh3_128 of the body, because a proxy may damage it."""
MAX_BODY_BYTES = 16_000_000
MAX_SIDE_PX = 4096
_LEVEL = 1
"""Level of zstd: pixels of tissue shrink by a quarter, and higher levels gain little."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Encoder of a server; a client with another encoder sends no tile."""

    protocol: int
    version: str
    """Version of this package."""
    encoder: str
    weights: str
    """Digest of the weights."""
    precision: str
    preprocessing: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)

    @classmethod
    def parse(cls, content: bytes) -> ServerInfo | None:
        """Parse an answer; None if it is not one of `sampath serve`."""
        try:
            return from_json(cls, parse_json(content))
        except (JsonError, ValueError, TypeError, LookupError):
            return None


def pack_pixels(pixels: UInt8Array) -> bytes:
    """Compress pixels (h, w, 3) without loss."""
    return bytes(imagecodecs.zstd_encode(np.ascontiguousarray(pixels).tobytes(), level=_LEVEL))


def unpack_pixels(body: bytes, hw: tuple[int, int]) -> UInt8Array | None:
    """Decompress pixels (h, w, 3); None if the body is something else or has another size."""
    size = hw[0] * hw[1] * 3
    target = bytearray(size)
    try:
        decoded = imagecodecs.zstd_decode(body, out=target)
    except (RuntimeError, ValueError, MemoryError):
        return None
    if len(decoded) != size:
        return None
    return np.frombuffer(target, np.uint8).reshape(*hw, 3)


def pack_maps(maps: dict[str, torch.Tensor]) -> bytes | None:
    """Convert maps to safetensors with float16; None if values are outside of its range."""
    halves = {name: values.detach().to("cpu", torch.float16).contiguous() for name, values in maps.items()}
    if not all(torch.isfinite(values).all() for values in halves.values()):
        return None
    content: bytes = safetensors.torch.save(halves)
    return content


def unpack_maps(body: bytes, spec: FeatureSpec) -> dict[str, torch.Tensor] | None:
    """Parse the maps of an encoder, float16; None if the body is something else."""
    try:
        maps: dict[str, torch.Tensor] = safetensors.torch.load(body)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError):
        return None
    shapes = {name: (values.dtype, *values.shape) for name, values in maps.items()}
    if shapes != {one.name: (torch.float16, one.channels, GRID, GRID) for one in spec.maps}:
        return None
    return maps if all(values.isfinite().all() for values in maps.values()) else None


def checksum(body: bytes) -> str:
    """Return the checksum of a body."""
    return xxhash.xxh3_128_hexdigest(body)
