"""Damaged and hostile files of other programs give an error for the user, or are read; nothing else happens."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile

from napari_sampath.errors import SampathError
from napari_sampath.formats import import_labels
from support.annotation_files import (
    HW,
    TRIANGLE,
    asap,
    cvat,
    cvat_image,
    imagescope,
    isat,
    labelme,
    png64,
)

VALUES = (
    "1e308", "-1e308", "NaN", "Infinity", "1e999", "-1", "0", "null", "true", '""', '"x"', "[]", "{}", "[[]]",
    "99999999999999999999", "2147483648", "0.5", '"' + "y" * 2000 + '"', "[" * 70 + "]" * 70,
)  # fmt: skip


def samples() -> dict[str, bytes]:
    """A small valid file of each format, by file name."""
    ring = ";".join(f"{x},{y}" for x, y in TRIANGLE)
    shapes = f"""<polygon label="a" points="{ring}" z_order="1" group_id="2"/>
    <box label="a" xtl="1" ytl="1" xbr="9" ybr="5" rotation="30"/><ellipse label="b" cx="9" cy="9" rx="3" ry="4"/>
    <mask label="a" rle="3, 9, 8" left="2" top="30" width="5" height="4" z_order="0"/>"""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        # Without these names and `ZipInfo`, the file and its mutations would differ between runs.
        for name, corners in (("a-1", np.array(TRIANGLE)), ("b", np.array(TRIANGLE).astype(int))):
            roi = roifile.ImagejRoi.frompoints(corners, name=name)
            archive.writestr(zipfile.ZipInfo(f"{name}.roi"), roi.tobytes())
    yolo = " ".join(f"{x / HW[1]:.6f} {y / HW[0]:.6f}" for x, y in TRIANGLE)
    area = {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 7]}
    regions = [{"shape_attributes": area, "region_attributes": {"type": "a"}}]
    return {
        "labelme.json": labelme(
            [
                {"label": "a", "shape_type": "polygon", "points": TRIANGLE, "group_id": 1},
                {"label": "a", "shape_type": "circle", "points": [[9, 9], [9, 12]]},
                {"label": "b", "shape_type": "rectangle", "points": [[1, 1], [5, 6]]},
                {
                    "label": "b",
                    "shape_type": "mask",
                    "points": [[3, 3], [6, 7]],
                    "mask": png64(np.ones((5, 4), bool)),
                },
            ]
        ),
        "isat.json": isat(
            [
                {"category": "a", "group": 1, "layer": 1.0, "segmentation": TRIANGLE},
                {"category": "__background__", "group": 2, "layer": 2.0, "segmentation": [[12, 8], [20, 9], [14, 15]]},
                {"category": "a", "group": 1, "layer": 3.0, "segmentation": [[40, 8], [50, 9], [44, 15]]},
            ]
        ),
        "via.json": json.dumps({"t.png1": {"filename": "t.png", "size": 1, "regions": regions}}).encode(),
        "cvat.xml": cvat(cvat_image(shapes), "<label><name>a</name><color>#010203</color></label>"),
        "asap.xml": asap([("Polygon", "a", TRIANGLE), ("Dot", "b", [(1, 1)])], '<Group Name="a" Color="#010203"/>'),
        "imagescope.xml": imagescope(
            [
                (
                    'Id="1" Name="a" LineColor="255"',
                    [
                        ('Id="1" Type="0" NegativeROA="0"', TRIANGLE),
                        ('Id="2" Type="2" NegativeROA="1"', [(12, 8), (20, 14)]),
                    ],
                )
            ]
        ),
        "rois.zip": stream.getvalue(),
        "one.roi": roifile.ImagejRoi.frompoints(np.array(TRIANGLE)).tobytes(),
        "yolo.txt": f"0 {yolo}\n1 {yolo}\n".encode(),
    }  # fmt: skip


def flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 8))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(1, len(content))]


def replace_value(content: bytes, chance: random.Random) -> bytes:
    """Replace a number or a text by another value."""
    spans = [found.span() for found in re.finditer(rb'"[^"]*"|-?\d+\.?\d*', content)]
    start, stop = chance.choice(spans)
    value = chance.choice(VALUES).encode()
    if content[start : start + 1] == b'"' and b"<" in content:
        value = b'"' + value.replace(b'"', b"") + b'"'
    return content[:start] + value + content[stop:]


def repeat(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    stop = min(len(content), start + chance.randrange(1, 200))
    return content[:stop] + content[start:stop] * chance.choice((1, 3)) + content[stop:]


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, truncate, replace_value, repeat)


@pytest.mark.parametrize("name", list(samples()))
def test_mutated_files_are_read_or_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    good = samples()[name]
    path = tmp_path / name
    path.write_bytes(good)
    assert import_labels(path, hw=HW).class_map.any()
    chance = random.Random(name)
    outcomes: dict[bool, int] = {True: 0, False: 0}
    for number in range(300):
        path.write_bytes(MUTATIONS[number % len(MUTATIONS)](good, chance))
        try:
            labels = import_labels(path, hw=HW)
        except SampathError as error:
            text = str(error)
            assert "\n" not in text
            assert text.endswith(".")
            outcomes[False] += 1
        else:
            assert labels.class_map.shape == HW
            outcomes[True] += 1
    assert min(outcomes.values()) > 5, "the mutations test both outcomes"


def nested_zip(limit: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.roi", b"\0" * limit)
    return stream.getvalue()


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(nested_zip(2**27))
    assert path.stat().st_size < 2**18
    with pytest.raises(SampathError, match="more than 67,108,864 bytes"):
        import_labels(path, hw=HW)


def test_a_path_of_random_operations_is_refused(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for number in range(200):
        values = chance.choice([0, 1, 2, 3, 4, 5, -1, 1e30, np.nan, 10], int(chance.integers(1, 30)))
        made = roifile.ImagejRoi(
            roitype=roifile.ROI_TYPE.RECT,
            multi_coordinates=values.astype(np.float32),
            shape_roi_size=len(values),
        )
        path = tmp_path / f"{number}.roi"
        path.write_bytes(made.tobytes())
        with contextlib.suppress(SampathError):
            import_labels(path, hw=HW)


@pytest.mark.timeout(60)
def test_the_work_is_bounded_by_the_image(tmp_path: Path) -> None:
    """Many corners, holes and parts that each span the whole image."""
    size = 2000
    zigzag = [[float(index % 2) * size, index * size / 50_000] for index in range(50_000)]
    square = [[0, 0], [size, 0], [size, size], [0, size]]
    shapes: list[dict[str, Any]] = [{"label": "a", "points": zigzag}]
    parts = [{"label": "b", "group_id": 1, "points": square} for _ in range(2000)]
    path = tmp_path / "a.json"
    for content in (labelme(shapes, (size, size)), labelme(parts, (size, size))):
        path.write_bytes(content)
        with contextlib.suppress(SampathError):
            import_labels(path, hw=(size, size))
    holes = [(f'Id="{index}" Type="0" NegativeROA="1"', square) for index in range(2000)]
    path = tmp_path / "a.xml"
    path.write_bytes(imagescope([('Id="1" Name="a"', [('Id="0" Type="0"', square), *holes])]))
    with pytest.raises(SampathError):
        import_labels(path, hw=(size, size))
