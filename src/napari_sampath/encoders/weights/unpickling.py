"""Read PyTorch files that contain more than tensors, without running code from them.

A pickle is a small program that names classes and functions and calls them. Here every name becomes an inert stub
class that stores its state; only tensors and containers are built. Nothing is imported, and a call that no
legitimate checkpoint needs raises an error.
"""

from __future__ import annotations

import pickle
import re
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

_HARMLESS = re.compile(
    r"numpy\.(core\.|_core\.)?(multiarray\.(scalar|_reconstruct)|dtype|dtypes\.\w+)|_codecs\.encode"
    r"|torch\.(device|Size)|(pathlib|datetime)(\._local)?\.\w+|functools\.partial|copy_?reg\._reconstructor"
    r"|collections\.\w+|(builtins|__builtin__)\.(set|frozenset|list|dict|tuple|bytearray|complex|object|slice|range)"
)
"""Calls of the standard library, PyTorch and numpy that occur in checkpoints with settings and optimisers."""

_CLASS_NAME = re.compile(r"_*[A-Z]\w*")


class RefusedError(pickle.UnpicklingError):
    """Raised if a file calls a function or class that no checkpoint needs; the message is its name."""


class _StubType(type):
    """Metaclass of stubs: a call, which would normally run code, creates an inert object or raises an error."""

    reference: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if not _may_be_called(cls.reference):
            raise RefusedError(cls.reference)
        return super().__call__()


class Stub(metaclass=_StubType):
    """Stand-in for an object of any class; stores state and items, and does nothing else."""

    reference = ""
    state: Any
    items: dict[Any, Any]

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Stub:
        """Create an empty object and ignore the arguments in the file."""
        made = object.__new__(cls)
        made.state, made.items = None, {}
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, item: Any) -> None:
        """Ignore an item of a list."""

    def extend(self, items: Any) -> None:
        """Ignore items of a list."""

    def add(self, item: Any) -> None:
        """Ignore a member of a set."""


def _may_be_called(reference: str) -> bool:
    """Return True for a class of a third-party package, False for functions and names of Python, PyTorch and numpy."""
    if _HARMLESS.fullmatch(reference):
        return True
    root, last = reference.split(".")[0], reference.split(".")[-1]
    # Python 2 had different names for the modules builtins and os.
    built_in = root in sys.stdlib_module_names or root in ("__builtin__", "torch", "numpy", "commands")
    return not built_in and _CLASS_NAME.fullmatch(last) is not None


@dataclass(slots=True)
class _Storage:
    """Storage of one or more tensors, in memory or mapped from the file."""

    dtype: torch.dtype
    content: torch.UntypedStorage


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: torch.dtype


class _Builder:
    """Function that a file may call but not modify."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function with state")


def _tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    if min((offset, *size, *stride)) < 0 or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor with an invalid shape")
    end = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) + 1
    if 0 not in size and end * storage.dtype.itemsize > storage.content.nbytes():
        raise pickle.UnpicklingError("a tensor larger than its storage")
    return torch.empty(0, dtype=storage.dtype).set_(storage.content, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _of_type(build: Any, _type: Any, args: tuple[Any, ...], _state: Any) -> Any:
    if not isinstance(build, _Builder):
        raise RefusedError(getattr(build, "reference", repr(build)))
    return build(*args)


_STAND_INS: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _Builder(_tensor),
    "torch._utils._rebuild_tensor_v2": _Builder(_tensor),
    "torch._utils._rebuild_parameter": _Builder(_parameter),
    "torch._utils._rebuild_parameter_with_state": _Builder(_parameter),
    "torch._tensor._rebuild_from_type_v2": _Builder(_of_type),
    "collections.OrderedDict": OrderedDict,
    "builtins.set": _Builder(set),
    "__builtin__.set": _Builder(set),
}
_STORAGES = {
    f"{name}Storage": getattr(torch, dtype)
    for name, dtype in {
        "Float": "float32",
        "Double": "float64",
        "Half": "float16",
        "BFloat16": "bfloat16",
        "Byte": "uint8",
        "Char": "int8",
        "Short": "int16",
        "Int": "int32",
        "Long": "int64",
        "Bool": "bool",
        "Untyped": "uint8",
    }.items()
}


class _Unpickler(pickle.Unpickler):
    """Build tensors and containers; everything else becomes a `Stub`."""

    def __init__(self, file: IO[bytes], storage: Callable[[str, torch.dtype, int], _Storage]) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a class or function, without importing it."""
        reference = f"{module}.{name}"
        if reference in _STAND_INS:
            return _STAND_INS[reference]
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        return _StubType(name, (Stub,), {"reference": reference})

    def persistent_load(self, pid: Any) -> Any:
        """Return the storage that a tensor refers to."""
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":  # before PyTorch 1.6
            return pid[1]
        if not (isinstance(pid, tuple) and len(pid) >= 5 and isinstance(pid[1], _StorageType)):
            raise pickle.UnpicklingError("a reference to something other than a storage")
        return self._storage(str(pid[2]), pid[1].dtype, int(pid[4]))


def read_zip(path: Path) -> Any:
    """Read a file of PyTorch 1.6 or later; tensors are mapped into memory.

    Raises:
        RefusedError: If the file calls a function or class that no checkpoint needs.
        pickle.UnpicklingError: If the file is damaged; other exceptions are possible too.
    """
    with zipfile.ZipFile(path) as archive:
        (main,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = main.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise pickle.UnpicklingError("unsupported byte order")
        loaded: dict[str, _Storage] = {}

        def storage(key: str, dtype: torch.dtype, _count: int) -> _Storage:
            if key not in loaded:
                loaded[key] = _Storage(dtype, _map(path, archive.getinfo(f"{folder}data/{key}")))
            return _Storage(dtype, loaded[key].content)

        with archive.open(main) as file:
            return _Unpickler(file, storage).load()


def _map(path: Path, entry: zipfile.ZipInfo) -> torch.UntypedStorage:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise pickle.UnpicklingError("a compressed storage")
    if not entry.file_size:
        return torch.UntypedStorage(0)
    with path.open("rb") as file:
        file.seek(entry.header_offset + 26)
        name_bytes, extra_bytes = struct.unpack("<HH", file.read(4))
    start = entry.header_offset + 30 + name_bytes + extra_bytes
    mapped = np.memmap(path, np.uint8, "c", start, (entry.file_size,))
    return torch.from_numpy(mapped).untyped_storage()


def read_stream(path: Path, legacy: bool) -> Any:
    """Read a file of PyTorch before 1.6 (a sequence of pickles, then storages), or a plain pickle.

    Raises:
        RefusedError: If the file calls a function or class that no checkpoint needs.
        pickle.UnpicklingError: If the file is damaged; other exceptions are possible too.
    """
    loaded: dict[str, _Storage] = {}
    file_bytes = path.stat().st_size

    def storage(key: str, dtype: torch.dtype, count: int) -> _Storage:
        if key not in loaded:
            if not 0 <= count * dtype.itemsize <= file_bytes:
                raise pickle.UnpicklingError("a storage larger than the file")
            loaded[key] = _Storage(dtype, torch.UntypedStorage(count * dtype.itemsize))
        return loaded[key]

    with path.open("rb") as file:
        if not legacy:
            return _Unpickler(file, storage).load()
        for _ in range(3):  # magic number, version, machine
            _Unpickler(file, storage).load()
        content = _Unpickler(file, storage).load()
        for key in _Unpickler(file, storage).load():
            (count,) = struct.unpack("<q", file.read(8))
            target = loaded[str(key)]
            numbers = file.read(target.content.nbytes())
            if count * target.dtype.itemsize != len(numbers):
                raise pickle.UnpicklingError("a storage shorter than its declared length")
            if numbers:
                target.content.copy_(
                    torch.from_numpy(np.frombuffer(numbers, np.uint8).copy()).untyped_storage()
                )
    return content


def module_tensors(stub: Stub, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers of a pickled network under their names in its `state_dict`."""
    state = stub.state if isinstance(stub.state, Mapping) else {}
    temporary = state.get("_non_persistent_buffers_set")
    skipped = temporary if isinstance(temporary, set) else set()
    for part in ("_parameters", "_buffers"):
        entries = state.get(part)
        for name, value in (entries if isinstance(entries, Mapping) else {}).items():
            if isinstance(value, Tensor) and not (part == "_buffers" and name in skipped):
                yield prefix + str(name), value
    children = state.get("_modules")
    for name, child in (children if isinstance(children, Mapping) else {}).items():
        if isinstance(child, Stub):
            yield from module_tensors(child, f"{prefix}{name}.")
