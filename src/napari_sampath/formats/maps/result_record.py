"""What a result on a slide states about its run, in the attributes of its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ...arrays import ClassInfo
from ...errors import StorageError
from ...files import JsonError, from_json, read_json
from ...files.json_reader import Range


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """The run that a result is of."""

    fingerprint: dict[str, Any]
    """Everything that the pixels depend on."""
    hw: tuple[Annotated[int, Range(1, 2**31)], Annotated[int, Range(1, 2**31)]]
    """Size (H, W) in pixels of the result."""
    mpp: Annotated[float, Range(1e-6, 1e6)] | None
    """Micrometres per pixel of the result; None if unknown."""
    factor: Annotated[float, Range(1e-6, 1e6)]
    """Level-0 pixels of the slide per pixel of the result."""
    classes: tuple[ClassInfo, ...]
    """The classes of the head."""


def read_record(path: Path) -> tuple[ResultRecord, Any]:
    """Return the run whose result is in a folder, and the same as it is stored.

    Raises:
        StorageError: If the folder is not a result.
    """
    try:
        stored = read_json(path / "zarr.json")["attributes"]["sampath"]
        record = from_json(ResultRecord, stored)
        if not all(0 <= info.id <= 255 for info in record.classes):
            raise JsonError("the id of a class is not from 0 to 255")
    except (OSError, JsonError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"'{path}' exists and is not the result of a run; give another name.") from error
    return record, stored


def difference(path: Path, stored: Any, content: dict[str, Any]) -> str:
    """Return a sentence on how the run of a stored result differs from this one."""
    first, second = stored["fingerprint"], content["fingerprint"]
    names = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    return (
        f"'{path}' is the result of another run ({', '.join(names) or 'size, scale or classes'} differ); use the same "
        "weights, precision, slide and version on all machines."
    )
