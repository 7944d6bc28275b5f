"""Class presets, and class lists in files: CSV, and JSON as written by QuPath."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...annotations.model.classes import PALETTE, checked, next_color
from ...arrays import ClassInfo
from ...errors import ClassListError
from ...files import write_atomically
from ...files.json_reader import parse_json, read_regular

Color = tuple[int, int, int]

PRESETS: dict[str, tuple[str, tuple[tuple[str, Color], ...]]] = {
    "nuclei": (
        "Nuclei, the five types of PanNuke",
        (
            ("neoplastic", (213, 94, 0)),
            ("inflammatory", (0, 158, 115)),
            ("connective", (0, 114, 178)),
            ("dead", (240, 228, 66)),
            ("epithelial", (230, 159, 0)),
        ),
    ),
    "tissue": (
        "Tissue regions of a tumour, as in BCSS",
        (
            ("tumour", (213, 94, 0)),
            ("stroma", (86, 180, 233)),
            ("lymphocytes", (0, 158, 115)),
            ("necrosis", (240, 228, 66)),
            ("blood", (0, 114, 178)),
            ("other", (20, 20, 20)),
        ),
    ),
    "glands": (
        "Glands, benign and malignant, with lumen",
        (("benign gland", (0, 158, 115)), ("malignant gland", (213, 94, 0)), ("lumen", (240, 228, 66))),
    ),
    "tumour": ("Tumour and normal tissue", (("tumour", (213, 94, 0)), ("normal", (0, 158, 115)))),
}
"""Name -> description, and the classes with their colours in the order of their numbers."""


def preset(name: str) -> tuple[ClassInfo, ...]:
    """Return the classes of a preset.

    Raises:
        ClassListError: If there is no such preset.
    """
    if name not in PRESETS:
        raise ClassListError(f"There is no preset '{name}'; choose one of {', '.join(PRESETS)}.")
    return tuple(
        ClassInfo(number, label, color) for number, (label, color) in enumerate(PRESETS[name][1], start=1)
    )


def read_classes(path: str | Path) -> tuple[ClassInfo, ...]:
    """Read a class list.

    Args:
        path: A CSV file with a column "name" and, if known, "id" and "color" (#rrggbb, or "r g b"); a JSON file of
            QuPath (`classifiers/classes.json` of a project) or of this package (`classes.json`).

    Raises:
        ClassListError: If the file has no usable list of classes.
        DuplicateNameError: If a name or number occurs twice.
    """
    path = Path(path)
    try:
        content = read_regular(path, MAX_BYTES)
        is_json = path.suffix.lower() == ".json"
        entries = _from_json(parse_json(content)) if is_json else _from_csv(content.decode("utf-8-sig"))
    except OSError as error:
        raise ClassListError(f"'{path}' cannot be opened ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise ClassListError(f"'{path}' is not a text in UTF-8; save it as CSV in UTF-8.") from error
    except (ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise ClassListError(
            f"'{path}' holds no class list ({error}); give a CSV file with a column 'name', or a JSON file of QuPath."
        ) from error
    if not entries:
        raise ClassListError(f"'{path}' holds no class; give at least one.")
    return _numbered(entries)


MAX_BYTES = 1_000_000
"""Maximum size of a file with a class list."""


def write_classes_file(path: str | Path, classes: Sequence[ClassInfo]) -> None:
    """Write a class list: JSON for QuPath if the name ends in `.json`, otherwise CSV.

    Raises:
        StorageError: If the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        entries = [{"name": info.name, "color": _packed(info.color), "id": info.id} for info in classes]
        text = json.dumps({"pathClasses": entries}, indent=2, ensure_ascii=False) + "\n"
    else:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("id", "name", "color"))
        writer.writerows((info.id, info.name, "#{:02x}{:02x}{:02x}".format(*info.color)) for info in classes)
        text = stream.getvalue()
    content = text.encode("utf-8", "surrogatepass")
    write_atomically(path, lambda file: file.write(content))


Entry = tuple[str, Color | None, int | None]
"""(name, colour, number); the last two are None if the file does not give them."""


def _from_csv(text: str) -> list[Entry]:
    sample = text[:4096]
    delimiter = max(",;\t", key=sample.splitlines()[0].count) if sample.strip() else ","
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(map(str.strip, row))]
    if not rows:
        return []
    headings = [cell.strip().casefold() for cell in rows[0]]
    name_column = next(
        (headings.index(word) for word in ("name", "class", "label") if word in headings), None
    )
    if name_column is None:
        if len(rows[0]) > 1:
            raise ValueError("its first line has no heading 'name'")
        return [(row[0], None, None) for row in rows]
    columns = {
        kind: next((headings.index(word) for word in words if word in headings), None)
        for kind, words in (("color", ("color", "colour")), ("id", ("id", "number", "value")))
    }

    def cell(row: list[str], column: int | None) -> str:
        return row[column].strip() if column is not None and column < len(row) else ""

    return [
        (cell(row, name_column), _color(cell(row, columns["color"])), _number(cell(row, columns["id"])))
        for row in rows[1:]
    ]


def _from_json(content: Any) -> list[Entry]:
    values = content
    if isinstance(content, dict):
        values = content.get("pathClasses", content.get("classes"))
    if not isinstance(values, list):
        raise ValueError("it has neither 'pathClasses' nor 'classes'")
    entries: list[Entry] = []
    for value in values:
        if not value.get("name"):
            continue  # QuPath lists "no class" as an entry without a name.
        color = value.get("color", value.get("colorRGB"))
        number = value.get("id")
        if number == 0:
            continue  # Our own lists may name the background.
        entries.append((str(value["name"]), _json_color(color), None if number is None else int(number)))
    return entries


def _json_color(value: Any) -> Color | None:
    if value is None:
        return None
    if isinstance(value, int):  # A packed Java integer, with or without alpha.
        return (value >> 16) & 255, (value >> 8) & 255, value & 255
    if isinstance(value, str):
        return _color(value)
    red, green, blue = (int(part) for part in value)
    return red, green, blue


def _color(text: str) -> Color | None:
    if not text:
        return None
    if text.startswith("#"):
        packed = int(text[1:], 16)
        if len(text) != 7:
            raise ValueError(f"the colour '{text}' is not #rrggbb")
        return packed >> 16, packed >> 8 & 255, packed & 255
    red, green, blue = (int(part) for part in text.replace(",", " ").split())
    return red, green, blue


def _number(text: str) -> int | None:
    return int(text) if text else None


def _packed(color: Color) -> int:
    """Pack a colour as the signed 32-bit integer that QuPath writes."""
    value = 0xFF000000 | color[0] << 16 | color[1] << 8 | color[2]
    return value - (1 << 32)


def _numbered(entries: Sequence[Entry]) -> tuple[ClassInfo, ...]:
    """Give numbers and colours to the classes that have none."""
    taken = {number for _, _, number in entries if number is not None}
    free = (number for number in range(1, 256) if number not in taken)
    used = [color for _, color, _ in entries if color is not None]
    classes = []
    for name, color, number in entries:
        if number is None:
            number = next(free, 256)
        if color is None:
            color = next_color(used) if used else PALETTE[0]
            used.append(color)
        classes.append(ClassInfo(number, name, color))
    return checked(classes)
