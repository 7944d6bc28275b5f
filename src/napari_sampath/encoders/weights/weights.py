"""Read weights files without running code, and compute digests of weights."""

from __future__ import annotations

import hashlib
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ...errors import UnsafeFileError, WeightsError, WeightsMissingError
from ...files import open_regular
from ...files.tensor_file import DamagedFileError, read_tensors
from .download import locate_job
from .transfer import WeightsFile
from .unpickling import RefusedError, Stub, module_tensors, read_stream, read_zip

__all__ = ["WeightsFile", "digest", "encoder_digest", "load_state_dict", "locate_job"]

_NESTED = ("state_dict", "model_state_dict", "model_state", "model", "net", "teacher")
"""Keys under which training programs store the weights in a checkpoint, the most specific first."""

_PLAIN = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\.(\w+\.)?\w*Storage|torch\.(Tensor|Size|device|serialization\._get_layout)"
    r"|torch\.(b?float|u?int|complex|bool)\w*|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.\w+"
    r"|collections\.(OrderedDict|defaultdict|Counter)|_codecs\.encode|__builtin__\.(set|bytearray)"
)
"""References that a plain file of tensors may contain; PyTorch can read such a file with `weights_only=True`."""

_LEGACY_HEAD = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
"""First bytes of files of PyTorch before version 1.6."""

_MAX_EXPANDED_BYTES = 2**28
"""Size of compressed members that a weights file may have beyond its own size."""

_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
)
"""Errors of PyTorch, pickletools and zipfile on damaged files."""


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors or PyTorch file on the CPU, without running code from it.

    Large files are mapped into memory, so replace a file in use instead of overwriting it.

    Args:
        path: A file with a dictionary of tensors, a training checkpoint that contains one, or a whole pickled
            network. Objects of other classes are ignored, see `unpickling`.

    Returns:
        Tensors under their names in the file.

    Raises:
        WeightsMissingError: If there is no such file.
        UnsafeFileError: If the file calls anything that could run code.
        WeightsError: If the file is empty, truncated, damaged or not a weights file.
    """
    path = Path(path)
    if not path.exists():
        raise WeightsMissingError(f"There is no weights file '{path}'; check the path.")
    if path.is_dir():
        raise WeightsError(f"'{path}' is a folder; give the path of the weights file in it.")
    try:
        with open_regular(path) as file:
            head = file.read(64)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(
            f"'{path}' cannot be read: {reason}; check the file and its permissions."
        ) from error
    if not head:
        raise WeightsError(f"'{path}' is empty; download or copy it again.")
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return _load_safetensors(path)
    if not (head.startswith((b"PK\x03\x04", _LEGACY_HEAD)) or head[:1] == b"\x80"):
        raise WeightsError(
            f"'{path}' is not a weights file (it starts with {head[:16]!r}); "
            "give a .safetensors, .pth or .pt file."
        )
    try:
        return _pick(_load_torch(path), path)
    except RecursionError as error:  # an object in the file contains itself
        raise WeightsError(_damaged(path)) from error


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(path, mapped=True).tensors
    except (DamagedFileError, OSError) as error:
        raise WeightsError(f"{_damaged(path)[:-1]} ({error}).") from error


def _load_torch(path: Path) -> Any:
    try:
        zipped = zipfile.is_zipfile(path)  # raises if the end of the archive is damaged
        if zipped:
            _check_sums(path)
        if all(_PLAIN.fullmatch(name) for name in _references(path, zipped)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about pickle protocols, which the user cannot change
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        return read_zip(path) if zipped else read_stream(path, _is_legacy(path))
    except RefusedError as error:
        raise UnsafeFileError(
            f"'{path}' was not loaded: it calls '{error}', which can run code; "
            "ask for the weights as .safetensors or as a plain state_dict."
        ) from None
    except _UNREADABLE as error:
        raise WeightsError(_damaged(path)) from error


def _check_sums(path: Path) -> None:
    """Check the checksum of every member of a zip file, which PyTorch does not.

    Raises:
        zipfile.BadZipFile: If one is wrong.
    """
    with zipfile.ZipFile(path) as archive:
        total = sum(entry.file_size for entry in archive.infolist())
        if total > 2 * path.stat().st_size + _MAX_EXPANDED_BYTES:
            raise zipfile.BadZipFile("its members are larger than a weights file")
        try:
            damaged = archive.testzip()
        except zlib.error as error:
            raise zipfile.BadZipFile(f"a member cannot be decompressed ({error})") from error
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of '{damaged}' is wrong")


def _is_legacy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_LEGACY_HEAD)) == _LEGACY_HEAD


def _damaged(path: Path) -> str:
    size_mb = path.stat().st_size / 1e6
    return (
        f"'{path}' ({size_mb:.1f} MB) is truncated, damaged or not a weights file; download or copy it again."
    )


def _references(path: Path, zipped: bool) -> Iterator[str]:
    """List the functions and classes that a PyTorch file refers to, without running its pickles."""
    if zipped:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    with archive.open(name) as file:
                        yield from _globals(file)
        return
    # Before PyTorch 1.6, a file was a sequence of pickles (magic number, version, machine, object, keys),
    # followed by raw numbers; any other file is a single pickle.
    pickles = 5 if _is_legacy(path) else 1
    with path.open("rb") as file:
        for _ in range(pickles):
            yield from _globals(file)


def _globals(file: IO[bytes]) -> Iterator[str]:
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:]) or "an unnamed object"
        elif opcode.name.startswith(("EXT", "PERSID")):
            yield f"a pickle instruction {opcode.name}"
        elif isinstance(argument, str):
            strings.append(argument)


def _pick(content: object, path: Path) -> dict[str, Tensor]:
    """Find the dictionary of tensors in the content of a file."""
    if isinstance(content, Stub):
        if named := dict(module_tensors(content)):
            return named
        content = content.items
    if isinstance(content, Mapping):
        for name in _NESTED:
            inner = content.get(name)
            if isinstance(inner, Stub) or (isinstance(inner, Mapping) and inner):
                return _pick(inner, path)
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    raise WeightsError(
        f"'{path}' has no weights (no named tensors); give a file made with torch.save(state_dict)."
    )


def encoder_digest(state: Mapping[str, Tensor]) -> str:
    """Hash only the image encoder, so that cached features stay valid when the mask decoder is trained."""
    return digest({key: value for key, value in state.items() if key.startswith("image_encoder.")})


def digest(state: Mapping[str, Tensor]) -> str:
    """Hash names, types, shapes and values of weights, independent of their order.

    Returns:
        32 hexadecimal digits.
    """
    sha = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        sha.update(f"{key}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()[:32]
