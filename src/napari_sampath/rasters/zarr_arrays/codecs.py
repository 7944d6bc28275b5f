"""Decoding of chunks: a fixed list of compressors, each bounded by the size that the chunk must have."""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import google_crc32c
import imagecodecs
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_CRC_BYTES = 4
_LZMA_MEMORY = 2**28

DECODE_ERRORS = (ValueError, RuntimeError, OSError, EOFError, MemoryError, zlib.error, lzma.LZMAError)
"""What the decoders raise on damaged data; those of imagecodecs are subclasses of RuntimeError."""


def _deflated(data: bytes, limit: int) -> bytes:
    """Decompress gzip or zlib data, also in several members."""
    result = b""
    while data:
        decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        result += decoder.decompress(data, limit + 1 - len(result))
        if len(result) > limit or not decoder.eof:
            raise ValueError("the data is too long or ends early")
        data = decoder.unused_data
    return result


def _lz4(data: bytes, limit: int) -> Any:
    size = int.from_bytes(data[:4], "little")  # written by numcodecs
    if size > limit:
        raise ValueError("the data is too long")
    return imagecodecs.lz4_decode(data[4:], out=bytearray(size))


def _crc32c(data: bytes, _limit: int) -> bytes:
    body, expected = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if google_crc32c.value(body).to_bytes(_CRC_BYTES, "little") != expected:
        raise ValueError("the checksum is wrong")
    return body


COMPRESSORS: dict[str, Callable[[bytes, int], Any]] = {
    "blosc": lambda data, limit: imagecodecs.blosc_decode(data, out=bytearray(limit)),
    "bz2": lambda data, limit: bz2.BZ2Decompressor().decompress(data, limit + 1),
    "crc32c": _crc32c,
    "gzip": _deflated,
    "lz4": _lz4,
    "lzma": lambda data, limit: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(data, limit + 1),
    "zlib": _deflated,
    "zstd": lambda data, limit: imagecodecs.zstd_decode(data, out=bytearray(limit)),
}
"""Name in the metadata -> function (data, maximum number of bytes) -> bytes."""


@dataclass(frozen=True, slots=True)
class Codecs:
    """Encoding of the values of a chunk as bytes."""

    axes: tuple[int, ...]
    """Axes of the array in the order in which they are stored."""
    dtype: np.dtype[Any]
    """Type of the values, in the stored byte order."""
    compressors: tuple[str, ...]
    """Names of compressors and checksums, in the order of encoding."""

    def encoded_limit(self, shape: tuple[int, ...]) -> int:
        """Return the largest plausible number of bytes of an encoded chunk."""
        size = math.prod(shape) * self.dtype.itemsize
        return size + size // 8 + 65_536

    def encoded_size(self, shape: tuple[int, ...]) -> int | None:
        """Return the number of bytes of an encoded chunk; None if it depends on the values."""
        if any(name != "crc32c" for name in self.compressors):
            return None
        return math.prod(shape) * self.dtype.itemsize + _CRC_BYTES * len(self.compressors)

    def decode(self, data: bytes, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Decode a chunk to an array of this shape, in the byte order of this machine.

        Raises:
            Exception: One of `DECODE_ERRORS` if the data is damaged or of another size.
        """
        size = math.prod(shape) * self.dtype.itemsize
        for number in reversed(range(len(self.compressors))):
            # Only checksums may precede a compressor without changing the size by an unknown amount.
            before = self.compressors[:number]
            exact = all(name == "crc32c" for name in before)
            limit = size + _CRC_BYTES * len(before) if exact else self.encoded_limit(shape)
            data = COMPRESSORS[self.compressors[number]](data, limit)
        if len(data) != size:
            raise ValueError(f"it has {len(data)} bytes instead of {size}")
        stored = tuple(shape[axis] for axis in self.axes)
        values = np.frombuffer(data, self.dtype).reshape(stored)
        return values.transpose(np.argsort(self.axes)).astype(self.dtype.newbyteorder("="), copy=False)
