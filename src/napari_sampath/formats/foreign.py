"""Parsing of values in files of other programs: JSON, rings, colours, and classes without ids."""

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
        ImageError: If it is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig", "surrogatepass"))
    except FileNotFoundError:
        raise ImageError(f"There is no file '{path}'; check the path.") from None
    except OSError as error:
        raise ImageError(f"'{path}' cannot be opened ({error.strerror}); check the file.") from error
    except (ValueError, RecursionError) as error:
        raise ImageError(f"'{path}' is not JSON or is damaged ({error}); export it again.") from error


def dump_json(content: Any) -> bytes:
    """Encode a value as compact JSON in UTF-8, with a final newline."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (text + "\n").encode("utf-8", "surrogatepass")


def refuse(path: Path, problem: str, advice: str) -> NoReturn:
    """Raise an `ImageError` about the content of a file."""
    raise ImageError(f"'{path}' {problem}; {advice}.")


def parse_ring(values: Any) -> Any:
    """Convert a ring, [[x, y], ...] or [x, y, x, y, ...], to (N, 2) float64.

    Raises:
        ValueError: If it is malformed, or a coordinate is not finite.
    """
    if len(values) and isinstance(values[0], list):
        values = [corner[:2] for corner in values]  # Drop the z coordinate.
    ring = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(ring).all():
        raise ValueError("a coordinate is not a finite number")
    return ring


def parse_color(value: Any) -> Color | None:
    """Convert [red, green, blue], 0..255, or QuPath's packed number to a colour; return None for other values."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value >> 16 & 255, value >> 8 & 255, value & 255]
    if isinstance(value, list) and len(value) in (3, 4) and all(isinstance(part, int) for part in value):
        red, green, blue = (min(255, max(0, part)) for part in value[:3])
        return red, green, blue
    return None


class ClassTable:
    """Assigns ids to class names in order of appearance."""

    def __init__(self) -> None:
        self._classes: dict[str, ClassInfo] = {}

    def id_of(self, name: str, color: Color | None = None, preferred_id: int = 0) -> int:
        """Return the id of a class, adding it if it is new; it gets the preferred id if that is free and in 1..255.

        Raises:
            ClassListError: If there are more than 255 classes.
        """
        info = self._classes.get(name)
        if info is None:
            used = {cls.id for cls in self._classes.values()}
            if len(used) >= MAX_CLASSES:
                raise ClassListError(
                    f"There are more than {MAX_CLASSES} classes; merge or delete some before exporting."
                )
            free = [class_id for class_id in range(1, MAX_CLASSES + 1) if class_id not in used]
            class_id = preferred_id if preferred_id in free else free[0]
            info = ClassInfo(class_id, name, color or default_color(class_id))
            self._classes[name] = info
        return info.id

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """All classes, in order of appearance."""
        return tuple(self._classes.values())
