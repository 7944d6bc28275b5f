"""YOLO segmentation: one text file for each image, and the class names in `data.yaml`.

https://docs.ultralytics.com/datasets/segment/. A line is one object: the class, then corners x y from 0 to 1, relative
to the width and height of the image. Classes are numbered from 0, so that YOLO's class is the class number minus 1;
numbers that no class has are kept free under the name "unused N", because the numbers of YOLO have no gaps. An object
with holes or several parts is one ring that passes each connecting line twice, which is exact when it is filled by the
even-odd rule; `ultralytics` draws the connecting lines one pixel wide.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import ClassInfo, LocalMask, class_key
from ...errors import ImageError, refuse
from .. import rings
from ..class_numbers import FileClass
from ..format import Export, Format, Output, ReadOptions, Shape, Shapes
from ..objects import Objects
from ..source import Source
from .corners import Corners, reading_shape, to_corners, to_number

_FOLDER = "yolo"
_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
_LEVELS = 3
"""Number of parent folders of the text file that are searched for the class names."""
_MAX_NAMES_BYTES = 2**20
_TOLERANCE = 0.1
"""How far corners may lie outside 0..1, because not every program clips them."""


def recognises(source: Source) -> bool:
    """Return True for an empty `.txt` file, or text whose first line is a class and at least four numbers."""
    head = source.head.removeprefix(b"\xef\xbb\xbf")
    if not head.strip():  # YOLO writes an empty file for an image without objects.
        return source.path.suffix.lower() == ".txt"
    for line in head[:4096].splitlines()[:-1] or [head]:
        if line.strip():
            words = line.split()
            try:
                return len(words) >= 5 and words[0].isdigit() and all(map(np.isfinite, map(float, words)))
            except ValueError:
                return False
    return False


def read(source: Source, options: ReadOptions) -> Shapes:
    """Decode the outlines of one image.

    Raises:
        ImageError: If the size of the image is not known, or a line or the list of class names is malformed.
    """
    path = source.path
    if options.hw is None:
        refuse(path, "has corners relative to the size of the image", "give the image as well")
    names = _read_names(path)
    used: set[int] = set()
    scale = np.array([options.hw[1], options.hw[0]], dtype=np.float64)
    items, skipped = [], Counter[str]()
    for index, line in enumerate(source.text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        with reading_shape(path, "line", index):
            class_index, ring, score = _parse(words)
            if ring is None:
                skipped["boxes"] += 1
                continue
            if names and class_index not in names:
                raise ValueError(f"its class is {class_index}, and the classes are 0 to {max(names)}")
            details = {} if score is None else {"score": score}
            name = names.get(class_index, f"class {class_index}")
            used.add(class_index)
            items.append(Shape(name, polygons=[[ring * scale]], details=details))
    notes = (
        []
        if names
        else ["There is no data.yaml or classes.txt beside the file, so classes are named by their numbers."]
    )
    classes = [
        FileClass(names.get(index, f"class {index}"), index + 1)
        for index in sorted(used | set(names))
        if index in used or names[index] != f"unused {index + 1}"
    ]
    return Shapes(options.hw, items, classes, skipped=skipped, notes=notes)


def write(export: Export) -> list[Output]:
    """Encode the objects of an image as `yolo/labels/<image>.txt`, and add its classes to `yolo/data.yaml`."""
    text = label_text(export.objects)
    names = _merged_names(export.folder / _FOLDER / "data.yaml", export.classes)
    numbered = [names.get(index, f"unused {index + 1}") for index in range(max(names, default=-1) + 1)]
    yaml = "".join(
        f"  {index}: {json.dumps(name, ensure_ascii=False)}\n" for index, name in enumerate(numbered)
    )
    data = f"path: .\ntrain: images\nval: images\nnames:\n{yaml}".encode("utf-8", "surrogatepass")
    return [
        Output(f"{_FOLDER}/labels/{export.stem}.txt", lambda stream: stream.write(text)),
        Output(f"{_FOLDER}/data.yaml", lambda stream: stream.write(data), kind=""),
    ]


def label_text(objects: Objects) -> bytes:
    """Encode the objects of one image, one line for each; YOLO's class is the class number minus 1."""
    height, width = objects.hw
    lines = []
    for obj in objects.items:
        corners = _one_ring(obj.mask) / (width, height)
        lines.append(f"{obj.class_id - 1} {' '.join(f'{value:.9g}' for value in corners.ravel())}\n")
    return "".join(lines).encode()


def _parse(words: Sequence[str]) -> tuple[int, Corners | None, float | None]:
    """Return the class, the ring relative to the image (None for a box) and the score of a line."""
    if not words[0].isdigit() or len(words[0]) > 6:
        raise ValueError(f"its class is '{words[0][:20]}', not a whole number from 0")
    values = [to_number(word) for word in words[1:]]
    score = values.pop() if len(values) % 2 else None  # `save_conf=True` appends the confidence.
    if len(values) == 4:
        return int(words[0]), None, score
    ring = to_corners(values)
    if len(ring) < 3:
        raise ValueError(f"it has {len(ring)} corners, but an outline needs 3")
    if ring.min() < -_TOLERANCE or ring.max() > 1 + _TOLERANCE:
        raise ValueError("its corners are not from 0 to 1")
    if score is not None and not 0 <= score <= 1:
        raise ValueError("it has an odd number of coordinates")
    return int(words[0]), ring, score


def _read_names(path: Path) -> dict[int, str]:
    """Read the class names from a file beside the labels or in a folder above; empty if there is none."""
    for folder in list(path.resolve().parents)[:_LEVELS]:
        for name in _NAMES:
            file = folder / name
            if file.is_file() and file != path:
                names = _parse_names(file)
                if names:
                    return names
    return {}


def _parse_names(file: Path) -> dict[int, str]:
    import yaml

    from ...files.json_reader import read_regular

    try:
        content = read_regular(file, _MAX_NAMES_BYTES).decode("utf-8-sig")
        if file.suffix in (".txt", ".names"):
            return dict(enumerate(line.strip() for line in content.rstrip().splitlines()))
        names = yaml.safe_load(content).get("names", [])
        if not isinstance(names, dict | list):
            raise ValueError("its names are not a list")
        pairs = list(names.items() if isinstance(names, dict) else enumerate(names))
        # Aliases can nest a list so often that its text does not fit in memory.
        if not all(isinstance(name, str | int | float) for _, name in pairs):
            raise ValueError("a name is not a text")
        return {int(index): str(name) for index, name in pairs}
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise ImageError(
            f"'{file}' is not a list of class names ({_short(error)}); correct or move it."
        ) from error


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def _merged_names(file: Path, classes: Sequence[ClassInfo]) -> dict[int, str]:
    """Add classes to those of an earlier export to the same folder.

    Raises:
        ImageError: If the earlier export has another class of the same number.
    """
    stored = _parse_names(file) if file.is_file() else {}
    names = {index: name for index, name in stored.items() if name != f"unused {index + 1}"}
    for info in classes:
        known = names.setdefault(info.id - 1, info.name)
        if class_key(known) != info.key:
            raise ImageError(
                f"'{file}' has the class '{known}' with the number {info.id - 1}, which is '{info.name}' here; "
                "export to another folder."
            )
    return names


def _one_ring(mask: LocalMask) -> Any:
    """Trace a mask as one ring (N, 2) that passes the lines between its outlines twice."""
    outlines = [ring for polygon in rings.trace(mask) for ring in polygon]
    origin = outlines[0][:1]
    parts = [outlines[0][:-1]]
    for ring in outlines[1:]:
        parts += [origin, ring]
    # The last connecting line leads back to the first corner.
    return np.concatenate([*parts, origin] if len(outlines) > 1 else parts)


FORMATS = (
    Format(
        "yolo",
        "YOLO segmentation",
        (".txt",),
        recognises,
        read,
        write=write,
        keeps=frozenset({"pixels", "objects", "class numbers", "class names"}),
        summary="Text files for training YOLO; classes are numbered from 0.",
        lost="Colours, object numbers and details are not written, boxes not read.",
    ),
)
