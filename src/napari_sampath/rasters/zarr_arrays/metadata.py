"""The layout of an array: shape, chunks, values and codecs, checked before any chunk is read.

https://zarr-specs.readthedocs.io: version 2 and version 3 with regular chunks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import refuse
from .codecs import COMPRESSORS, Codecs
from .nodes import Node

_MAX_SIDE = 2**24
_MAX_DIMENSIONS = 8
_MAX_CHUNK_BYTES = 2**29
_SMALL_CHUNK_BYTES = 2**26
"""Chunks of up to this size are allowed for arrays of any size, because pyramids have one size for all levels."""
_MAX_SHARD_CHUNKS = 2**22
_MAX_FILLED_PX = 2**30
_V2_TYPE = re.compile(r"[<>|](b1|[ui][1248])")
_V3_TYPES = ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_ADVICE = "export it again with other settings"


@dataclass(frozen=True, slots=True)
class Shards:
    """Shards: files that contain several chunks each, and an index of their positions."""

    chunks: tuple[int, ...]
    """Number of chunks along each axis of a shard."""
    index: Codecs
    at_end: bool
    """Whether the index is at the end of the file."""


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """Layout of an array of whole numbers."""

    folder: Path
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    """Shape of a chunk."""
    dtype: np.dtype[Any]
    """Type of the values, in the byte order of this machine."""
    fill: int
    """Value of chunks that are not stored."""
    prefix: str
    """Prefix of the names of chunks: "c" or empty."""
    separator: str
    """Separator of the numbers in the name of a chunk: "/" or "."."""
    codecs: Codecs
    shards: Shards | None = None


def array_info(node: Node) -> ArrayInfo:
    """Read and check the layout of an array.

    Raises:
        ImageError: If it is damaged, too large, not of whole numbers, or uses a codec that is not supported.
    """
    metadata, folder = node.array, node.folder
    if metadata is None:
        refuse(folder, "is not an array", "export it again")
    info = _version_3(folder, metadata) if metadata.get("zarr_format") == 3 else _version_2(folder, metadata)
    _check_size(info)
    return info


def _version_2(folder: Path, metadata: Mapping[str, Any]) -> ArrayInfo:
    if metadata.get("zarr_format") != 2:
        refuse(folder, "is not Zarr of version 2 or 3", _ADVICE)
    shape = _sides(folder, metadata, "shape")
    stored = metadata.get("dtype")
    if not isinstance(stored, str) or not _V2_TYPE.fullmatch(stored):
        refuse(folder, f"has values of type {str(stored)[:40]!r}", "give whole numbers")
    dtype = np.dtype(stored)
    order, separator = metadata.get("order", "C"), metadata.get("dimension_separator", ".")
    if order not in ("C", "F") or separator not in (".", "/"):
        refuse(folder, "has an unknown order of values or separator", _ADVICE)
    if metadata.get("filters"):
        refuse(folder, "has filters, which are not supported", _ADVICE)
    compressor = metadata.get("compressor")
    names = () if compressor is None else (_codec_name(folder, compressor, "id"),)
    axes = tuple(range(len(shape)))
    codecs = Codecs(axes if order == "C" else axes[::-1], dtype, names)
    fill = _fill(folder, metadata, dtype.newbyteorder("="))
    chunks = _sides(folder, metadata, "chunks", len(shape))
    return ArrayInfo(folder, shape, chunks, dtype.newbyteorder("="), fill, "", separator, codecs)


def _version_3(folder: Path, metadata: Mapping[str, Any]) -> ArrayInfo:
    shape = _sides(folder, metadata, "shape")
    name = metadata.get("data_type")
    if name not in _V3_TYPES:
        refuse(folder, f"has values of type {str(name)[:40]!r}", "give whole numbers")
    dtype = np.dtype(name)
    grid, keys = _named(folder, metadata, "chunk_grid"), _named(folder, metadata, "chunk_key_encoding")
    if grid[0] != "regular" or keys[0] not in ("default", "v2"):
        refuse(folder, "has an unknown kind of chunks", _ADVICE)
    separator = keys[1].get("separator", "/" if keys[0] == "default" else ".")
    if separator not in (".", "/") or metadata.get("storage_transformers"):
        refuse(folder, "has an unknown kind of chunks", _ADVICE)
    chunks = _sides(folder, grid[1], "chunk_shape", len(shape))
    entries = metadata.get("codecs")
    shards = None
    if (
        isinstance(entries, list)
        and len(entries) == 1
        and _entry(folder, entries[0])[0] == "sharding_indexed"
    ):
        inner = _entry(folder, entries[0])[1]
        parts = _sides(folder, inner, "chunk_shape", len(shape))
        if any(whole % part for whole, part in zip(chunks, parts, strict=True)):
            refuse(folder, "has shards that its chunks do not fill", "export it again")
        count = tuple(whole // part for whole, part in zip(chunks, parts, strict=True))
        index = _codecs(folder, inner.get("index_codecs"), np.dtype(np.uint64), len(shape) + 1)
        shards = Shards(count, index, inner.get("index_location", "end") != "start")
        chunks, entries = parts, inner.get("codecs")
    codecs = _codecs(folder, entries, dtype, len(shape))
    prefix = "c" if keys[0] == "default" else ""
    return ArrayInfo(
        folder, shape, chunks, dtype, _fill(folder, metadata, dtype), prefix, separator, codecs, shards
    )


def _codecs(folder: Path, entries: Any, dtype: np.dtype[Any], dimensions: int) -> Codecs:
    """Check a list of codecs of version 3: any transpositions, "bytes", any compressors."""
    axes = tuple(range(dimensions))
    stored, names = None, []
    for entry in entries if isinstance(entries, list) else []:
        name, options = _entry(folder, entry)
        if stored is not None:
            names.append(_codec_name(folder, entry, "name"))
        elif name == "transpose":
            order = options.get("order")
            if not isinstance(order, list) or sorted(order, key=str) != list(range(dimensions)):
                refuse(folder, "has an axis order that is not a permutation", "export it again")
            axes = tuple(axes[axis] for axis in order)
        elif name == "bytes":
            endian = options.get("endian", "little")
            if endian not in ("little", "big"):
                refuse(folder, "has an unknown byte order", "export it again")
            stored = dtype.newbyteorder("<" if endian == "little" else ">")
        else:
            _codec_name(folder, entry, "name")
            break
    if stored is None:
        refuse(folder, "does not say how its values are stored (no codec 'bytes')", _ADVICE)
    return Codecs(axes, stored, tuple(names))


def _codec_name(folder: Path, entry: Any, key: str) -> str:
    """Return the name of a compressor.

    Raises:
        ImageError: If it is not on the list of `COMPRESSORS`.
    """
    name = entry.get(key) if isinstance(entry, dict) else entry
    name = name.removeprefix("numcodecs.") if isinstance(name, str) else name
    if not isinstance(name, str) or name not in COMPRESSORS:
        refuse(
            folder,
            f"is compressed with {str(name)[:40]!r}, which is not read",
            f"export it again with one of {', '.join(sorted(COMPRESSORS))}",
        )
    return name


def _named(folder: Path, metadata: Mapping[str, Any], key: str) -> tuple[str, Mapping[str, Any]]:
    return _entry(folder, metadata.get(key))


def _entry(folder: Path, entry: Any) -> tuple[str, Mapping[str, Any]]:
    """Return name and configuration of an extension point of version 3, which may be a name alone."""
    if isinstance(entry, str):
        return entry, {}
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        refuse(folder, "has metadata that are not those of Zarr 3", "export it again")
    options = entry.get("configuration")
    return entry["name"], options if isinstance(options, dict) else {}


def _sides(folder: Path, metadata: Mapping[str, Any], key: str, count: int = 0) -> tuple[int, ...]:
    values = metadata.get(key)
    if (
        not isinstance(values, list)
        or not 1 <= len(values) <= _MAX_DIMENSIONS
        or (count or len(values)) != len(values)
    ):
        refuse(folder, f"has a {key} that is not a list of one number for each axis", "export it again")
    for value in values:
        if type(value) is not int or not 1 <= value <= _MAX_SIDE:
            refuse(
                folder, f"has the {key} {str(values)[:80]}", f"give numbers of pixels from 1 to {_MAX_SIDE:,}"
            )
    return tuple(values)


def _fill(folder: Path, metadata: Mapping[str, Any], dtype: np.dtype[Any]) -> int:
    value = metadata.get("fill_value")
    if value is None:
        return 0
    limits = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if (
        not isinstance(value, int | float)
        or value != value
        or not limits[0] <= value <= limits[1]
        or value % 1
    ):
        refuse(folder, f"has the fill value {str(value)[:40]!r}", f"give a whole number of type {dtype}")
    return int(value)


def _check_size(info: ArrayInfo) -> None:
    pixels, size = math.prod(info.shape), info.dtype.itemsize
    chunk_bytes = math.prod(info.chunks) * size
    if chunk_bytes > min(_MAX_CHUNK_BYTES, max(4 * pixels * size, _SMALL_CHUNK_BYTES)):
        refuse(
            info.folder,
            f"has chunks of shape {info.chunks} for an array of shape {info.shape}",
            f"export it again with chunks of at most {_MAX_CHUNK_BYTES // 2**20} MiB that are no larger than the array",
        )
    if info.shards and math.prod(info.shards.chunks) > _MAX_SHARD_CHUNKS:
        refuse(info.folder, f"has shards of {math.prod(info.shards.chunks):,} chunks", _ADVICE)
    if info.fill and pixels > _MAX_FILLED_PX:
        refuse(info.folder, f"has {pixels:,} pixels and a background of {info.fill}", "make the background 0")
