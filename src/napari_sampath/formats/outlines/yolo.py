"""YOLO segmentation: one text file for each image, and the class names in `data.yaml`.

https://docs.ultralytics.com/datasets/segment/. A line is one object: the class, then corners x y from 0 to 1, relative
to the width and height of the image. Classes are numbered from 0, so that YOLO's class is the class number minus 1;
numbers that no class has are kept free under the name "unused N", because the numbers of YOLO have no gaps. An object
with holes or several parts is one ring that passes each connecting line twice, which is exact when it is filled by the
even-odd rule; `ultralytics` draws the connecting lines one pixel wide.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import LocalMask
from ...errors import ImageError, refuse
from .. import rings
from ..class_numbers import FileClass, merge_names
from ..format import Export, Format, Output, ReadOptions, Shape, Shapes
from ..objects import Objects
from ..source import Source
from .corners import Corners, reading_shape, to_corners, to_number

_FOLDER = "yolo"
_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
_LEVELS = 3
"""Number of parent folders of the text file that are searched for the class names."""
_MAX_NAMES_BYTES = 2**20
_NESTED = re.compile(r"(?:[\[{?:]\s*|- +){200}")
_POSE_VALUES = 10, 304
"""Numbers of values in a line that may be a pose; lines of 8 values are rotated boxes."""
_CHECKED_LINES = 100
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
        ImageError: If the size of the image is not known, or the list of class names is malformed or lacks a class.
    """
    path = source.path
    if options.hw is None:
        refuse(path, "has corners relative to the size of the image", "give the image as well")
    names, key_points = _read_names(path)
    used: set[int] = set()
    scale = np.array([options.hw[1], options.hw[0]], dtype=np.float64)
    shapes = Shapes(options.hw)
    lines = [
        (index, words)
        for index, line in enumerate(source.text.splitlines(), start=1)
        if (words := line.split())
    ]
    are_poses = _are_poses([words for _, words in lines], key_points)
    for index, words in lines:
        with reading_shape(shapes.malformed, "line", index):
            class_index, ring, score = _parse(words[:5] if are_poses else words)
            if names and class_index not in names:
                refuse(
                    path,
                    f"has the class {class_index} in line {index}, and the classes are 0 to {max(names)}",
                    "correct the list of classes",
                )
            if ring is None:
                shapes.skipped["poses (boxes with key points)" if are_poses else "boxes"] += 1
                continue
            details = {} if score is None else {"score": score}
            name = names.get(class_index, f"class {class_index}")
            used.add(class_index)
            shapes.items.append(Shape(name, polygons=[[ring * scale]], details=details))
    shapes.notes = (
        []
        if names
        else ["There is no data.yaml or classes.txt beside the file, so classes are named by their numbers."]
    )
    shapes.classes = [
        FileClass(names.get(index, f"class {index}"), index + 1)
        for index in sorted(used | set(names))
        if index in used or names[index] != f"unused {index + 1}"
    ]
    return shapes


def write(export: Export) -> list[Output]:
    """Encode the objects of an image as `yolo/labels/<image>.txt`, and add its classes to `yolo/data.yaml`."""
    text = label_text(export.objects)
    names = _merged_names(export)
    numbered = [names.get(number, f"unused {number}") for number in range(1, max(names, default=0) + 1)]
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


def _are_poses(lines: Sequence[Sequence[str]], key_points: int | None) -> bool:
    """Return whether the lines are boxes with key points (`class x y width height`, then points) and not outlines.

    https://docs.ultralytics.com/datasets/pose/. If `data.yaml` does not state the number of values, lines are poses if
    all points lie in the box of their line, and either have marks of visibility (0, 1, 2) or would be outlines that
    cross themselves.

    Args:
        lines: The words of each line, which may be malformed.
        key_points: Number of values of all key points, see `_parse_names`.
    """
    counts = Counter(len(words) - 1 for words in lines)
    count, number = counts.most_common(1)[0] if counts else (0, 0)
    if key_points is not None:
        return count in (4 + key_points, 5 + key_points)
    if not _POSE_VALUES[0] <= count <= _POSE_VALUES[1] or 2 * number < len(lines):
        return False
    try:
        values = np.array([list(map(float, words[1:])) for words in lines if len(words) == count + 1])
    except ValueError:
        return False
    return any(_fit_poses(values[:, : count - extra], size) for extra in (0, 1) for size in (2, 3))


def _fit_poses(values: Any, size: int) -> bool:
    """Return whether lines (N, M) without their classes are poses with `size` values for each point."""
    if (values.shape[1] - 4) % size:
        return False
    centre, half = values[:, None, :2], values[:, None, 2:4] / 2
    points = values[:, 4:].reshape(len(values), -1, size)
    visible = points.any(axis=2) if size == 2 else points[..., 2] > 0
    inside = (np.abs(points[..., :2] - centre) <= 1.1 * half + 0.001).all(axis=2)
    if not visible.any() or not inside[visible].all():
        return False
    if size == 3 and np.isin(points[..., 2], (0, 1, 2)).all():
        return True
    rings = values[:_CHECKED_LINES, : values.shape[1] // 2 * 2].reshape(-1, values.shape[1] // 2, 2)
    return 2 * sum(map(_crosses_itself, rings)) >= len(rings)


def _crosses_itself(ring: Any) -> bool:
    """Return whether two edges of a ring (N, 2) cross in their interior."""
    start, end = ring, np.roll(ring, -1, axis=0)

    def side(points: Any) -> Any:
        """Return on which side of each edge (rows) each point (columns) lies."""
        edge, to_point = (end - start)[:, None], points[None] - start[:, None]
        return np.sign(edge[..., 0] * to_point[..., 1] - edge[..., 1] * to_point[..., 0])

    separates = side(start) * side(end) < 0
    return bool((separates & separates.T).any())


def _read_names(path: Path) -> tuple[dict[int, str], int | None]:
    """Read the class names from a file beside the labels or in a folder above; see `_parse_names`."""
    for folder in list(path.resolve().parents)[:_LEVELS]:
        for name in _NAMES:
            file = folder / name
            if file.is_file() and file != path:
                names, key_points = _parse_names(file)
                if names:
                    return names, key_points
    return {}, None


def _parse_names(file: Path) -> tuple[dict[int, str], int | None]:
    """Return the class names, and the number of values of all key points (`kpt_shape`) of a file; {}, None if none."""
    import yaml

    from ...files.json_reader import read_regular

    try:
        content = read_regular(file, _MAX_NAMES_BYTES).decode("utf-8-sig")
        if _NESTED.search(content):  # The time of PyYAML grows with the square of the depth.
            raise ValueError("it is nested too deeply")
        if file.suffix in (".txt", ".names"):
            return dict(enumerate(line.strip() for line in content.rstrip().splitlines())), None
        dataset = yaml.safe_load(content)
        names = dataset.get("names", [])
        if not isinstance(names, dict | list):
            raise ValueError("its names are not a list")
        pairs = list(names.items() if isinstance(names, dict) else enumerate(names))
        # Aliases can nest a list so often that its text does not fit in memory.
        if not all(isinstance(name, str | int | float) for _, name in pairs):
            raise ValueError("a name is not a text")
        shape = dataset.get("kpt_shape")  # the number of points, and of values for each
        key_points = int(shape[0]) * int(shape[1]) if shape else None
        return {int(index): str(name) for index, name in pairs}, key_points
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise ImageError(
            f"'{file}' is not a list of class names ({_short(error)}); correct or move it."
        ) from error


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def _merged_names(export: Export) -> dict[int, str]:
    """Return class number -> name of the image and of the earlier exports to the same folder.

    Raises:
        ImageError: See `merge_names`.
    """
    folder = export.folder / _FOLDER
    file = folder / "data.yaml"
    stored = {index + 1: name for index, name in _parse_names(file)[0].items()} if file.is_file() else {}
    stored = {number: name for number, name in stored.items() if name != f"unused {number}"}
    stems = {label.stem for label in (folder / "labels").glob("*.txt")} - {export.stem}
    return merge_names(file, stored, export.classes, export.others, stems)


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
        lost="Colours, object numbers and details are not written; boxes and poses (key points) are counted, not read.",
    ),
)
