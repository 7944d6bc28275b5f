"""What reading files of other programs takes: JSON with one-sentence errors, and classes without our numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..arrays import ClassInfo
from ..errors import ClassListError, ImageError
from .labels import default_color

MAX_CLASSES = 255
Color = tuple[int, int, int]


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ImageError: If it is missing or no JSON.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig", "surrogatepass"))
    except FileNotFoundError:
        raise ImageError(f"There is no file '{path}'; check the path.") from None
    except OSError as error:
        raise ImageError(f"'{path}' cannot be opened ({error.strerror}); check the file.") from error
    except (ValueError, RecursionError) as error:
        raise ImageError(f"'{path}' is no JSON file, or is damaged ({error}); export it again.") from error


def dump_json(content: Any) -> bytes:
    """Write JSON as a file's content."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (text + "\n").encode("utf-8", "surrogatepass")


def refuse(path: Path, what: str, advice: str) -> NoReturn:
    """Raise an `ImageError` about the content of a file."""
    raise ImageError(f"'{path}' {what}; {advice}.")


def corners(values: Any) -> Any:
    """Read a ring: [[x, y], ...] or [x, y, x, y, ...], as (N, 2) float64.

    Raises:
        ValueError: If it is none, or has a corner that is not a number.
    """
    if len(values) and isinstance(values[0], list):
        values = [corner[:2] for corner in values]  # a third coordinate is the plane
    ring = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(ring).all():
        raise ValueError("a corner is not a number")
    return ring


def color_of(value: Any) -> Color | None:
    """Read a colour: [red, green, blue] 0..255, or QuPath's packed number; None if it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value >> 16 & 255, value >> 8 & 255, value & 255]
    if isinstance(value, list) and len(value) in (3, 4) and all(isinstance(part, int) for part in value):
        red, green, blue = (min(255, max(0, part)) for part in value[:3])
        return red, green, blue
    return None


class ClassTable:
    """Gives classes their ids as they turn up; one name is one class."""

    def __init__(self) -> None:
        self._classes: dict[str, ClassInfo] = {}

    def take(self, name: str, color: Color | None = None, wish: int = 0) -> int:
        """Return the id of a class, which is `wish` if that is free and within 1..255.

        Raises:
            ClassListError: If there are more than 255.
        """
        known = self._classes.get(name)
        if known is None:
            used = {info.id for info in self._classes.values()}
            if len(used) >= MAX_CLASSES:
                raise ClassListError(
                    f"There are more than {MAX_CLASSES} classes; leave some out of the export."
                )
            free = 1 <= wish <= MAX_CLASSES and wish not in used
            new_id = wish if free else next(k for k in range(1, MAX_CLASSES + 1) if k not in used)
            known = ClassInfo(new_id, name, color or default_color(new_id))
            self._classes[name] = known
        return known.id

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """All of them, in the order in which they came."""
        return tuple(self._classes.values())
