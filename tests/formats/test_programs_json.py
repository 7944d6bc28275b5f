"""Import of labelme, X-AnyLabeling, ISAT and VIA files."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_sampath.errors import SampathError, UnknownNameError
from napari_sampath.formats import Objects, import_objects
from napari_sampath.formats.format import ReadOptions
from support.annotation_files import HW, TRIANGLE, box, disc, inside, isat, labelme, png64, write
from support.label_maps import check_sentence


def read(tmp_path: Path, content: bytes, **options: Any) -> Objects:
    return import_objects(write(tmp_path / "a.json", content), **{"hw": HW, **options})


def png64_of_size(side: int) -> str:
    """Return a PNG whose header states a size, without its pixels."""
    content = bytearray(base64.b64decode(png64(np.ones((2, 2), bool))))
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return base64.b64encode(content).decode()


def dense(objects: Objects) -> list[Any]:
    return [obj.mask.to_dense(objects.hw) for obj in objects.items]


def names(objects: Objects) -> list[str]:
    table = {info.id: info.name for info in objects.classes}
    return [table[obj.class_id] for obj in objects.items]


def test_labelme_shapes_have_the_pixels_inside_them(tmp_path: Path) -> None:
    bitmap = np.random.default_rng(0).random((6, 9)) > 0.4
    objects = read(
        tmp_path,
        labelme(
            [
                {"label": "tumour", "shape_type": "polygon", "points": TRIANGLE},
                {"label": "stroma", "shape_type": "rectangle", "points": [[50.5, 30.2], [40.1, 20.8]]},
                {"label": "tumour", "shape_type": "circle", "points": [[50, 8], [50, 13.5]]},
                {
                    "label": "necrosis",
                    "shape_type": "mask",
                    "points": [[3, 30], [11, 35]],
                    "mask": png64(bitmap),
                },
                {"label": "x", "shape_type": "point", "points": [[1, 1]]},
                {"label": "x", "shape_type": "linestrip", "points": [[1, 1], [5, 5]]},
            ]
        ),
    )
    assert names(objects) == ["tumour", "stroma", "tumour", "necrosis"]
    polygon, rectangle, circle, mask = dense(objects)
    np.testing.assert_array_equal(polygon, inside(TRIANGLE))
    np.testing.assert_array_equal(rectangle, box(40.1, 20.8, 50.5, 30.2))
    np.testing.assert_array_equal(circle, disc(50, 8, 5.5, 5.5))
    np.testing.assert_array_equal(mask[30:36, 3:12], bitmap)
    assert mask.sum() == bitmap.sum()
    assert [info.name for info in objects.classes] == ["tumour", "stroma", "necrosis"]
    text = " ".join(objects.notes)
    assert "1 point without an area" in text
    assert "1 shape without an area, of the type 'linestrip'" in text


def test_labelme_shapes_of_one_group_are_one_object(tmp_path: Path) -> None:
    parts = [[(2, 2), (8, 2), (8, 8), (2, 8)], [(20, 2), (28, 2), (28, 8), (20, 8)]]
    shapes = [{"label": "gland", "group_id": 7, "points": part, "shape_type": "polygon"} for part in parts]
    other = {"label": "lumen", "group_id": 7, "points": TRIANGLE, "shape_type": "polygon"}
    objects = read(tmp_path, labelme([*shapes, other]), options=ReadOptions(overlap="file-order"))
    assert names(objects) == ["gland", "lumen"]
    assert objects.items[0].mask.area_px == 36 + 48


def test_x_anylabeling_shapes(tmp_path: Path) -> None:
    corners = [[40.0, 5.0], [50.0, 10.0], [47.0, 16.0], [37.0, 11.0]]
    shapes = [
        {"label": "a", "shape_type": "rectangle", "points": [[2, 2], [9, 2], [9, 7], [2, 7]], "score": 0.5},
        {"label": "a", "shape_type": "rotation", "points": corners, "direction": 0.46, "difficult": False},
        {"label": "b", "shape_type": "polygon", "points": TRIANGLE, "attributes": {}, "kie_linking": []},
        {"label": "b", "shape_type": "line", "points": [[1, 1], [5, 5]]},
    ]
    objects = read(tmp_path, labelme(shapes, version="2.4.4"))
    assert [obj.details.get("score") for obj in objects.items] == [0.5, None, None]
    for mask, expected in zip(
        dense(objects), (box(2, 2, 9, 7), inside(corners), inside(TRIANGLE)), strict=True
    ):
        np.testing.assert_array_equal(mask, expected)


def test_isat_layers_groups_and_background(tmp_path: Path) -> None:
    square = [[4, 4], [24, 4], [24, 24], [4, 24]]
    hole = [[10, 10], [30, 10], [30, 18], [10, 18]]
    objects = read(
        tmp_path,
        isat(
            [
                {
                    "category": "lumen",
                    "group": 3,
                    "layer": 3.0,
                    "segmentation": [[12, 12], [16, 12], [16, 16], [12, 16]],
                },
                {"category": "__background__", "group": 2, "layer": 2.0, "segmentation": hole},
                {"category": "gland", "group": 1, "layer": 1.0, "segmentation": square},
                {
                    "category": "gland",
                    "group": 1,
                    "layer": 1.0,
                    "segmentation": [[40, 4], [50, 4], [50, 9], [40, 9]],
                },
            ]
        ),
    )
    assert names(objects) == ["gland", "lumen"]
    gland, lumen = dense(objects)
    np.testing.assert_array_equal(gland, (box(4, 4, 24, 24) & ~box(10, 10, 30, 18)) | box(40, 4, 50, 9))
    np.testing.assert_array_equal(lumen, box(12, 12, 16, 16))


def via(regions: Any, name: str = "tissue.png") -> dict[str, Any]:
    return {f"{name}1234": {"filename": name, "size": 1234, "regions": regions, "file_attributes": {}}}


def region(kind: str, label: str, **area: Any) -> dict[str, Any]:
    return {
        "shape_attributes": {"name": kind, **area},
        "region_attributes": {"quality": "good", "type": label},
    }


def test_via_regions(tmp_path: Path) -> None:
    x, y = zip(*TRIANGLE, strict=True)
    regions = [
        region("polygon", "tumour", all_points_x=x, all_points_y=y),
        region("rect", "stroma", x=40, y=20, width=9, height=7),
        region("ellipse", "stroma", cx=45, cy=10, rx=9.3, ry=4.2, theta=0.5),
        region("circle", "tumour", cx=8, cy=33, r=5.2),
        region("point", "tumour", cx=8, cy=33),
    ]
    for content in (
        {"_via_settings": {}, "_via_img_metadata": via(regions), "_via_attributes": {}},
        via({str(index): entry for index, entry in enumerate(regions)}),
    ):
        objects = read(tmp_path, json.dumps(content).encode())
        assert names(objects) == ["tumour", "stroma", "stroma", "tumour"]
        expected = (
            inside(TRIANGLE),
            box(40, 20, 49, 27),
            disc(45, 10, 9.3, 4.2, np.degrees(0.5)),
            disc(8, 33, 5.2, 5.2),
        )
        for mask, pixels in zip(dense(objects), expected, strict=True):
            np.testing.assert_array_equal(mask, pixels)


def test_one_of_several_images_is_chosen_by_name(tmp_path: Path) -> None:
    regions = [region("rect", "a", x=40, y=20, width=9, height=7)]
    content = json.dumps({**via([], "b.png"), **via(regions, "folder\\tissue.png")}).encode()
    assert len(read(tmp_path, content, name="tissue").items) == 1
    with pytest.raises(SampathError, match=r"2 images .*b.png") as caught:
        read(tmp_path, content)
    check_sentence(str(caught.value))
    with pytest.raises(UnknownNameError, match=r"b.png"):
        read(tmp_path, content, name="other")


@pytest.mark.parametrize(
    "content",
    [
        labelme([{"label": "a", "points": TRIANGLE}], (80, 120)),
        isat([{"category": "a", "segmentation": TRIANGLE}], (80, 120)),
    ],
)
def test_another_size_than_the_image_is_refused_with_both(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SampathError, match=r"120 x 80.*60 x 40|60 x 40.*120 x 80") as caught:
        read(tmp_path, content)
    check_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ({"points": [[1, 2], [3, "4"], [5, 6]]}, "its points are not pairs of numbers"),
        ({"points": [[1, 2], [3]]}, "its points are not pairs of numbers"),
        ({"points": [[1, 2], [1e300, 4], [5, 6]]}, r"its coordinate 1e\+300 is not between"),
        ({"points": [[1, 2], [3, 4]]}, "needs at least 3 points, and it has 2"),
        ({"points": None}, "pairs of numbers"),
        ({}, "a value is missing"),
        ({"shape_type": "mask", "points": [[1, 2], [3, 4]], "mask": "not base64"}, "not a PNG in base64"),
        ({"shape_type": "mask", "points": [[1, 2], [3, 4]], "mask": "aGVsbG8="}, "not a PNG in base64"),
        (
            {"shape_type": "mask", "points": [[0, 0], [99, 99]], "mask": png64(np.ones((100, 100), bool))},
            "its mask has 100 x 100 px, more than the image",
        ),
        *(
            (
                {"shape_type": "mask", "points": [[0, 0], [9, 9]], "mask": png64_of_size(side)},
                f"its mask has {side} x {side} px, more than the image",
            )
            for side in (12_000, 60_000)
        ),
        ({"shape_type": "circle", "points": [[1, 2]]}, "a value is missing or malformed|not enough values"),
    ],
)
def test_malformed_shapes_are_left_out_and_named(tmp_path: Path, shape: dict[str, Any], match: str) -> None:
    good = {"label": "a", "shape_type": "polygon", "points": TRIANGLE}
    objects = read(tmp_path, labelme([good, {"label": "a", "shape_type": "polygon", **shape}]))
    assert len(objects.items) == 1
    assert re.search(rf"The first that cannot be read is shape 2: .*({match})", " ".join(objects.notes))


def test_labelme_areas_without_a_class_are_no_classes(tmp_path: Path) -> None:
    squares = {
        name: [[x, 2], [x + 8, 2], [x + 8, 10], [x, 10]]
        for name, x in (("gland", 2), ("__ignore__", 20), ("_background_", 40))
    }
    shapes = [{"label": name, "shape_type": "polygon", "points": points} for name, points in squares.items()]
    objects = read(tmp_path, labelme(shapes))
    assert names(objects) == ["gland"]
    assert [info.name for info in objects.classes] == ["gland"]
    text = " ".join(objects.notes)
    assert "1 area labelled '_background_'" in text
    marks = [{"label": name, "shape_type": "point", "points": points[:1]} for name, points in squares.items()]
    file = labelme(marks)
    marked = read(tmp_path, file, options=ReadOptions(points="prompts"))
    assert [info.name for info in marked.classes] == ["gland"]
    assert len(marked.points) == 1
    assert "1 point labelled '__ignore__'" in " ".join(marked.notes)
    assert "marked to be ignored" in text


@pytest.mark.parametrize("count", [255, 300])
def test_classes_without_an_object_do_not_exhaust_the_numbers(tmp_path: Path, count: int) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 32, "width": 32}],
        "categories": [{"id": number, "name": f"species {number}"} for number in range(1, count + 1)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]},
            {"id": 2, "image_id": 1, "category_id": count, "segmentation": [[11, 1, 15, 1, 15, 5, 11, 5]]},
        ],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    objects = import_objects(path, hw=(32, 32))
    names = {info.id: info.name for info in objects.classes}
    assert [names[item.class_id] for item in objects.items] == ["species 7", f"species {count}"]
    assert objects.items[0].class_id == 7
    is_said = any("only the 2 that its annotations have" in note for note in objects.notes)
    assert is_said == (count > 255)


@pytest.mark.parametrize("ring", [[1, 1, 5, 1, 5], [[1, 1], [5], [5, 5]], [[1], [5], [3], [2]], "1151"])
def test_corners_that_are_no_pairs_are_said_in_plain_words(tmp_path: Path, ring: list[Any]) -> None:
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [corners]}}
        for corners in (ring, [[1, 1], [5, 1], [5, 5]])
    ]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    objects = import_objects(path, hw=(32, 32))
    assert len(objects.items) == 1
    text = " ".join(objects.notes)
    assert "Left out: 1 annotation that cannot be read." in text
    assert "not pairs of numbers" in text


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_labelme_files_without_a_size_have_that_of_the_image_in_them(tmp_path: Path, form: str) -> None:
    shape = {"label": "gland", "points": TRIANGLE, "shape_type": "polygon"}
    for tag, hw, is_refused in ((1, HW, False), (1, (HW[0] // 2, HW[1] // 2), True), (6, HW[::-1], False)):
        stream = io.BytesIO()
        exif = Image.Exif()
        exif[274] = tag
        Image.new("RGB", hw[::-1]).save(stream, form, exif=exif)
        data = base64.b64encode(stream.getvalue()).decode()
        file = write(tmp_path / "a.json", labelme([shape], imageHeight=None, imageWidth=None, imageData=data))
        if is_refused:
            with pytest.raises(SampathError, match=f"is {hw[1]} x {hw[0]} px, but the image is"):
                import_objects(file, hw=HW)
        else:
            assert len(import_objects(file, hw=HW).items) == 1
    file = write(
        tmp_path / "a.json", labelme([shape], imageHeight=None, imageWidth=None, imageData="no image")
    )
    assert len(import_objects(file, hw=HW).items) == 1
