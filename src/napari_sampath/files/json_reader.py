"""Reading of JSON with bounds on its size, nesting and numbers, and conversion to checked Python values.

All functions raise `JsonError`, whose text is a reason such as "'height' is -3, less than 1". The caller adds the name
of the file and what to do.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from .opening import open_regular

T = TypeVar("T")

MAX_BYTES = 64 * 2**20
"""Default limit for settings and metadata, in bytes."""
MAX_DEPTH = 64
"""Maximum nesting depth of lists and objects; files of known programs have less than 20."""
_MAX_INT = 2**63 - 1
_SCAN_BYTES = 2**22
_LARGE_NUMBER = re.compile(rb"[eE]\+?\d{3}|(?<![.\d])\d{19}")
"""Pattern found in every number outside the range of 64-bit integers or float64, and in some others."""
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


class JsonError(ValueError):
    """JSON that is damaged, out of bounds or of another layout than expected; the text is the reason."""


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Limits of a number, for `Annotated[int, Range(1, 255)]` in a type given to `convert`."""

    low: float
    high: float


def read_json(path: str | Path, limit_bytes: int = MAX_BYTES) -> Any:
    """Read a JSON file; see `parse_json`.

    Raises:
        JsonError: If its content is refused.
        OSError: If it cannot be opened, or is not a regular file; `FileNotFoundError` if it is missing.
    """
    return parse_json(read_regular(path, limit_bytes), limit_bytes)


def read_regular(path: str | Path, limit_bytes: int) -> bytes:
    """Read a regular file of at most `limit_bytes`.

    Raises:
        JsonError: If it is larger.
        OSError: If it cannot be opened, or is a folder, a pipe or a device.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit_bytes:
            raise JsonError(f"it has {size:,} bytes, more than {limit_bytes:,}")
        # Python allocates the memory for the whole size that is asked for.
        return stream.read(size + 1)


def parse_json(content: bytes | str, limit_bytes: int = MAX_BYTES) -> Any:
    """Parse JSON in UTF-8, with or without a byte order mark.

    Unpaired surrogates are replaced by U+FFFD, because text with them cannot be written in UTF-8.

    Args:
        content: The text or its bytes.
        limit_bytes: Largest size.

    Returns:
        Nested lists, dicts, strings, bools, None, finite floats, and ints of 64 bits.

    Raises:
        JsonError: If it is not JSON, too large or too deeply nested, holds a number that is not finite or outside 64
            bits, or an object with two different values for one key.
    """
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(raw) > limit_bytes:
        raise JsonError(f"it has {len(raw):,} bytes, more than {limit_bytes:,}")
    if _depth(raw) > MAX_DEPTH:
        raise JsonError(f"its lists and objects are nested more than {MAX_DEPTH} deep")
    hooks: dict[str, Any] = {"parse_constant": _refuse_constant, "object_pairs_hook": _unique}
    if _LARGE_NUMBER.search(raw):  # Checking every number is several times slower.
        hooks |= {"parse_int": _parse_int, "parse_float": _parse_float}
    try:
        parsed = json.loads(raw.decode("utf-8-sig", "surrogatepass"), **hooks)
    except JsonError:
        raise
    except UnicodeDecodeError as error:
        raise JsonError(f"byte {error.start:,} is not UTF-8") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise JsonError(str(error) or type(error).__name__) from error
    return _replace_surrogates(parsed) if _SURROGATE_ESCAPE.search(raw) else parsed


def from_json(cls: type[T], value: Any) -> T:
    """Create a dataclass from a JSON object whose keys are its fields; other keys are ignored.

    Raises:
        JsonError: If a field without a default is missing, or a value does not have the field's type.
    """
    converted: T = convert(value, cls)
    return converted


def convert(value: Any, annotation: Any, where: str = "") -> Any:
    """Check a parsed value against a type and convert it.

    Lists become tuples where the type is a tuple. Whole floats are accepted as int, ints as float, but bools only as
    bool.

    Args:
        value: Nested lists, dicts and scalars, as from `parse_json`.
        annotation: `Any`, a scalar type, a dataclass, `Literal`, a union, `Annotated` with a `Range`, or a list, tuple,
            dict, `Sequence` or `Mapping` of these.
        where: Name of the value in error messages.

    Raises:
        JsonError: If the value does not have the type.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if origin is typing.Annotated:
        return _in_range(convert(value, arguments[0], where), arguments[1:], where)
    if origin is typing.Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        _refuse(value, where, f"one of {', '.join(map(str, arguments))}")
    if origin in (typing.Union, types.UnionType):
        return _union(value, arguments, where)
    if dataclasses.is_dataclass(annotation):
        return _dataclass(value, annotation, where)
    if (origin or annotation) in (list, tuple, Sequence):
        return _sequence(value, origin or annotation, arguments, where)
    if (origin or annotation) in (dict, Mapping):
        return _mapping(value, arguments, where)
    return _scalar(value, annotation, where)


def _scalar(value: Any, kind: Any, where: str) -> Any:
    if kind is None or kind is type(None):
        return None if value is None else _refuse(value, where, "null")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and is_number and abs(value) <= _MAX_INT:
        return float(value)
    if kind is int and is_number and abs(value) <= _MAX_INT and value == int(value):
        return int(value)
    if kind in (str, bool) and isinstance(value, kind):
        return value
    names = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false"}
    return _refuse(value, where, names.get(kind, getattr(kind, "__name__", str(kind))))


def _in_range(value: Any, limits: Sequence[Any], where: str) -> Any:
    for limit in limits:
        if isinstance(limit, Range) and not limit.low <= value <= limit.high:
            _refuse(value, where, f"from {limit.low} to {limit.high}")
    return value


def _union(value: Any, choices: Sequence[Any], where: str) -> Any:
    reason: JsonError | None = None
    for choice in choices:
        try:
            return convert(value, choice, where)
        except JsonError as error:
            reason = reason or error
    raise reason or JsonError(f"'{where}' has no type")


def _sequence(value: Any, kind: Any, arguments: Sequence[Any], where: str) -> Any:
    if not isinstance(value, list | tuple):
        _refuse(value, where, "a list")
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            _refuse(value, where, f"a list of {len(arguments)}")
        return tuple(convert(part, choice, where) for part, choice in zip(value, arguments, strict=True))
    parts = [convert(part, arguments[0] if arguments else Any, where) for part in value]
    return parts if kind is list else tuple(parts)


def _mapping(value: Any, arguments: Sequence[Any], where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        _refuse(value, where, "an object")
    key_kind, kind = arguments or (Any, Any)
    return {convert(key, key_kind, where): convert(part, kind, str(key)) for key, part in value.items()}


@functools.lru_cache(maxsize=128)
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _dataclass(value: Any, cls: Any, where: str) -> Any:
    if not isinstance(value, dict):
        _refuse(value, where, "an object")
    hints, fields = _hints(cls), {}
    for field in dataclasses.fields(cls):
        if field.name in value:
            fields[field.name] = convert(value[field.name], hints[field.name], field.name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise JsonError(f"'{field.name}' is missing")
    return cls(**fields)


def _refuse(value: Any, where: str, expected: str) -> NoReturn:
    text = json.dumps(value, default=str)
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    raise JsonError(f"'{where}' is {shown}, not {expected}" if where else f"it is {shown}, not {expected}")


def _depth(raw: bytes) -> int:
    """Return the deepest nesting of brackets outside strings, in time linear in the size."""
    if b"\\" in raw:
        raw = re.sub(rb"\\.", b"__", raw, flags=re.DOTALL)
    level = deepest = quotes = 0
    for start in range(0, len(raw), _SCAN_BYTES):
        part = np.frombuffer(raw, np.uint8, min(_SCAN_BYTES, len(raw) - start), start)
        is_quote = part == ord('"')
        outside = (np.cumsum(is_quote, dtype=np.int64) + quotes) % 2 == 0
        quotes += int(is_quote.sum())
        folded = part & 0xDF  # Maps "{" and "}" to "[" and "]".
        steps = ((folded == ord("[")).astype(np.int8) - (folded == ord("]"))) * outside
        levels = level + np.cumsum(steps, dtype=np.int64)
        deepest, level = max(deepest, int(levels.max(initial=0))), int(levels[-1])
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        for key, value in pairs:
            if fields[key] != value:
                raise JsonError(f"an object has two values of '{key}'")
    return fields


def _refuse_constant(text: str) -> NoReturn:
    raise JsonError(f"it holds the number {text}, which is not finite")


def _parse_int(text: str) -> int:
    if len(text) > 20 or abs(number := int(text)) > _MAX_INT:
        raise JsonError(f"it holds the number {text[:20]}..., which has more than 64 bits")
    return number


def _parse_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonError(f"it holds the number {text[:20]}, which is not finite")
    return number


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("�", value)
    if isinstance(value, list):
        return [_replace_surrogates(part) for part in value]
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(part) for key, part in value.items()}
    return value
