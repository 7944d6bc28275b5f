"""Safetensors files with a digest of their tensors and metadata, which is checked when they are read.

A flipped bit in a weight usually gives a valid number, so a file can be damaged without any other sign.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

DIGEST = "sampath_sha256"
"""Key of the digest in the metadata of a file."""
SUMS = "SHA256SUMS"
"""File with the digests of the other files of its folder, as `sha256sum` writes it."""

_unverified: set[str] = set()


class DamagedFileError(ValueError):
    """A file that is truncated, altered or not a safetensors file; the text is the reason."""


@dataclass(frozen=True, slots=True, eq=False)
class TensorFile:
    """Content of a file."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    verified: bool
    """Whether the file has a digest, which was checked."""


def dump_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Encode tensors (CPU, contiguous) and metadata, with a digest of both; the same content gives the same bytes."""
    import safetensors.torch

    content = safetensors.torch.save(dict(tensors), {**metadata, DIGEST: _digest(tensors, metadata)})
    return _with_sorted_metadata(content)


def read_tensors(path: Path, mapped: bool = False) -> TensorFile:
    """Read a file and check its digest.

    A digest is a part of the file, or is listed in `SHA256SUMS` beside it.

    Args:
        path: The file.
        mapped: Map the file into memory instead of copying it; it must then not be overwritten while in use.

    Raises:
        DamagedFileError: If it is damaged, differs from its digest, or is not a regular file.
        OSError: If it cannot be opened.
    """
    import safetensors
    import safetensors.torch

    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for a writer
        raise DamagedFileError("it is not a regular file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if not mapped:
                tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    except FileNotFoundError:
        raise
    except (safetensors.SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise DamagedFileError("it is truncated, damaged or not a safetensors file") from error
    expected = metadata.pop(DIGEST, None)
    if expected is not None and _digest(tensors, metadata) != expected:
        raise DamagedFileError("its content differs from its digest")
    listed = None if expected is not None else _listed(path)
    if listed is not None:
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != listed:
                raise DamagedFileError(f"its content differs from its digest in {SUMS}")
    return TensorFile(tensors, metadata, expected is not None or listed is not None)


def note_unverified(path: Path, advice: str) -> None:
    """Log once for each file that it has no digest."""
    name = os.path.abspath(path)
    if name not in _unverified:
        _unverified.add(name)
        logger.warning("'%s' has no digest, so damage cannot be detected; %s.", path, advice)


def _with_sorted_metadata(content: bytes) -> bytes:
    """Sort the metadata in the header of a file; safetensors writes it in random order."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)  # The tensors are aligned.
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(content)[start:]])


def _listed(path: Path) -> str | None:
    """Return the digest of a file in `SHA256SUMS` of its folder."""
    try:
        lines = (path.parent / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    names = (line.partition(" ") for line in lines)
    return next((digest.lower() for digest, _, name in names if name.strip(" *") == path.name), None)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Hash names, types, shapes and values of tensors, and the metadata, independent of their order."""
    import torch

    digest = hashlib.sha256()
    for key in sorted(metadata):
        for text in (key, metadata[key]):
            content = text.encode("utf-8", "surrogatepass")
            digest.update(len(content).to_bytes(8, "little") + content)
    for key in sorted(tensors):
        tensor = tensors[key]
        digest.update(f"{key}|{tensor.dtype}|{tuple(tensor.shape)}|".encode("utf-8", "surrogatepass"))
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
