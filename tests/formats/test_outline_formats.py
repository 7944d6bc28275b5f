"""COCO, GeoJSON and OME-Zarr: round trips, and reading by other programs."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools.coco import COCO
from shapely.geometry import shape

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import SampathError
from napari_sampath.formats import Snapshot, export_labels, import_labels, import_objects
from napari_sampath.formats.class_numbers import FileClass, add_to_table
from support.label_maps import CLASS_MAP, CLASSES, INSTANCE_MAP, check_sentence, export

# pycocotools 2.0.11 converts arrays in numpy 1's way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
OUTLINES = ("coco", "coco-polygons", "geojson", "ome-zarr")
SUFFIX = {
    "coco": "coco.json",
    "coco-polygons": "polygons.coco.json",
    "geojson": "geojson",
    "ome-zarr": "ome.zarr",
}
DETAILS = {
    3: {
        "score": 0.75,
        "source": "box",
        "reviewed": True,
        "prompts": {"points": [[3.5, 2, True], [9, 4, False]], "box": [1.5, 2, 30, 40], "mask": True},
        "created": "2026-01-02T03:04:05.678+00:00",
    }
}


@st.composite
def annotated(draw: st.DrawFn) -> tuple[Any, Any, tuple[ClassInfo, ...]]:
    hw = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    ids = draw(st.lists(st.integers(1, 255), min_size=1, max_size=4, unique=True))
    classes = tuple(ClassInfo(number, f"Class {number}: ü", (number, 0, 255)) for number in ids)
    class_map = draw(hnp.arrays(np.uint8, hw, elements=st.sampled_from([0, *ids])))
    numbers = draw(hnp.arrays(np.int32, hw, elements=st.sampled_from([0, 1, 2, 3, 70_000, 2**31 - 1])))
    return class_map, np.where(class_map > 0, numbers, 0).astype(np.int32), classes


@settings(max_examples=60, deadline=None)
@given(maps=annotated(), format_name=st.sampled_from(OUTLINES))
def test_exported_labels_are_imported_unchanged(
    tmp_path_factory: pytest.TempPathFactory, maps: Any, format_name: str
) -> None:
    folder = tmp_path_factory.mktemp("export")
    class_map, instance_map, classes = maps
    snapshot = Snapshot("a/b", None, class_map, instance_map, classes=classes, details=DETAILS)
    files = export_labels(folder, snapshot, (format_name,))
    assert [file.name for file in files] == [f"a%2Fb_objects.{SUFFIX[format_name]}", "classes.json"]
    for path in (folder, files[0]):
        labels = import_labels(path)
        if format_name == "geojson" and not class_map.any():
            continue
        np.testing.assert_array_equal(labels.class_map, class_map)
        np.testing.assert_array_equal(labels.instance_map, instance_map)
        assert (labels.class_map.dtype, labels.instance_map.dtype) == (np.uint8, np.int32)
        assert labels.classes == classes
        if (instance_map == 3).any():
            assert labels.details[3] == DETAILS[3]


def test_pycocotools_reads_run_lengths_and_polygons(tmp_path: Path) -> None:
    export(tmp_path, formats=("coco", "coco-polygons"))
    for format_name in ("coco", "coco-polygons"):
        coco = COCO(str(tmp_path / f"slide 7_objects.{SUFFIX[format_name]}"))
        assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == [
            info.name for info in CLASSES
        ]
        instances, classes = np.zeros_like(INSTANCE_MAP), np.zeros_like(CLASS_MAP)
        for entry in coco.loadAnns(coco.getAnnIds()):
            bits = coco.annToMask(entry).astype(bool)
            rows, cols = np.nonzero(bits)
            assert entry["area"] == bits.sum()
            x, y, width, height = entry["bbox"]
            assert (x, y, x + width - 1, y + height - 1) == (cols.min(), rows.min(), cols.max(), rows.max())
            instances[bits], classes[bits] = entry["sampath"]["number"], entry["category_id"]
        np.testing.assert_array_equal(instances, INSTANCE_MAP)
        np.testing.assert_array_equal(classes, CLASS_MAP)


def test_shapely_reads_the_geojson_with_classes_and_colours(tmp_path: Path) -> None:
    class_map = np.zeros((30, 30), np.uint8)
    class_map[2:20, 2:20], class_map[5:8, 5:8], class_map[22:25, 1:4] = 1, 0, 2
    instance_map = np.where(class_map == 1, 4, 0).astype(np.int32)
    instance_map[27:29, 27:29], class_map[27:29, 27:29] = 4, 1
    export(tmp_path, class_map=class_map, instance_map=instance_map, formats=("geojson",))
    content = json.loads((tmp_path / "slide 7_objects.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    instance, region = content["features"]
    geometry = shape(instance["geometry"])
    assert geometry.is_valid
    assert (geometry.geom_type, geometry.area, len(geometry.geoms)) == ("MultiPolygon", 18 * 18 - 9 + 4, 2)
    assert [len(part.interiors) for part in geometry.geoms] == [1, 0]
    assert shape(region["geometry"]).equals(shapely.box(1, 22, 4, 25))
    assert instance["properties"]["classification"] == {"name": "tumour", "color": [230, 60, 60]}
    assert {feature["properties"]["objectType"] for feature in content["features"]} == {"annotation"}
    assert instance["properties"]["name"] == "tumour 4"
    assert region["properties"]["metadata"]["sampath.number"] == "0"


def test_ome_zarr_and_zarr_read_the_labels(tmp_path: Path) -> None:
    from ome_zarr_models.v05.image_label import ImageLabel
    from ome_zarr_models.v05.labels import Labels as LabelsGroup

    class_map = np.kron(CLASS_MAP, np.ones((25, 25), np.uint8))
    instance_map = np.kron(INSTANCE_MAP, np.ones((25, 25), np.int32))
    export(tmp_path, class_map=class_map, instance_map=instance_map, formats=("ome-zarr",), details=DETAILS)
    root = zarr.open_group(tmp_path / "slide 7_objects.ome.zarr", mode="r")
    assert root.metadata.zarr_format == 3
    LabelsGroup.from_zarr(root["labels"])
    for kind, expected in (("classes", class_map), ("instances", instance_map)):
        image = ImageLabel.from_zarr(root[f"labels/{kind}"])
        (pyramid,) = image.ome_attributes.multiscales
        assert [dataset.path for dataset in pyramid.datasets] == ["0", "1", "2"]
        for level in range(3):
            np.testing.assert_array_equal(
                root[f"labels/{kind}/{level}"][:], expected[:: 2**level, :: 2**level]
            )
    label = root["labels/classes"].attrs["ome"]["image-label"]
    assert label["colors"][0] == {"label-value": 1, "rgba": [230, 60, 60, 255]}
    assert label["properties"][0] == {"label-value": 1, "name": "tumour"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_the_reader_of_ome_zarr_reads_the_labels(tmp_path: Path) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    export(tmp_path, formats=("ome-zarr",))
    location = parse_url(str(tmp_path / "slide 7_objects.ome.zarr" / "labels" / "instances"))
    assert location is not None
    (node,) = Reader(location)()
    np.testing.assert_array_equal(np.asarray(node.data[0]), INSTANCE_MAP)


def test_a_second_export_replaces_the_zarr_folder(tmp_path: Path) -> None:
    export(tmp_path, formats=("ome-zarr", "geojson"))
    export(tmp_path, class_map=CLASS_MAP[::-1], instance_map=INSTANCE_MAP[::-1], formats=("ome-zarr",))
    assert len(list(tmp_path.glob("[!.]*"))) == 3
    assert not list(tmp_path.glob("*.part"))
    np.testing.assert_array_equal(import_labels(tmp_path).class_map, CLASS_MAP[::-1])


# Files of other programs

SQUARE = [[10.0, 4.0], [14.0, 4.0], [14.0, 9.0], [10.0, 9.0], [10.0, 4.0]]


def feature(right_px: float = 0, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[[x + right_px, y] for x, y in SQUARE]]},
        "properties": properties,
    }


def test_geojson_of_other_versions_of_qupath(tmp_path: Path) -> None:
    old = feature(object_type="annotation", classification={"name": "Tumor", "colorRGB": -3670016})
    derived = feature(
        20, objectType="detection", classification={"names": ["Tumor", "Positive"], "color": [9, 8, 7]}
    )
    bare = {**feature(40), "properties": None}
    line = {**feature(), "geometry": {"type": "LineString", "coordinates": SQUARE}}
    path = tmp_path / "foreign.geojson"
    path.write_text(json.dumps([old, derived, bare, line]))
    objects = import_objects(path, hw=(50, 60))
    assert objects.hw == (50, 60)
    assert [(info.name, info.color) for info in objects.classes[:2]] == [
        ("Tumor", (200, 0, 0)),
        ("Tumor: Positive", (9, 8, 7)),
    ]
    assert objects.classes[2].name == "Unclassified"
    assert [obj.class_id for obj in objects.items] == [1, 2, 3]
    assert [obj.mask.area_px for obj in objects.items] == [20, 20, 20]
    assert objects.notes == ("Left out: 1 line without an area.",)
    assert import_objects(path).hw == (9, 54), "the extent of the objects if the size is not given"


def test_coco_with_several_images_and_unusual_category_ids(tmp_path: Path) -> None:
    content = {
        "images": [
            {"id": 7, "file_name": "train/a.png", "height": 20, "width": 30},
            {"id": 9, "file_name": "b.png", "height": 20, "width": 30},
        ],
        "categories": [{"id": 0, "name": "cell"}, {"id": 900, "name": "gland"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 9,
                "category_id": 900,
                "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]],
                "iscrowd": 0,
            },
            {
                "id": 2,
                "image_id": 7,
                "category_id": 0,
                "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]],
                "score": 0.5,
            },
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    (obj,) = import_objects(path, "b").items
    assert (obj.class_id, obj.mask.area_px) == (2, 25)
    (obj,) = import_objects(path, "a").items
    assert (obj.class_id, obj.mask.area_px, obj.details["score"]) == (1, 4, 0.5)
    with pytest.raises(SampathError, match=r"no image 'c' in '.*'\..*Available: train/a\.png, b\.png"):
        import_objects(path, "c")
    with pytest.raises(
        SampathError, match=r"annotations of 2 images \(train/a\.png, b\.png\); name one"
    ) as caught:
        import_objects(path)
    check_sentence(str(caught.value))


@pytest.mark.parametrize("segmentation", [[], None, [[]], {}])
def test_boxes_without_masks_are_skipped_and_counted(tmp_path: Path, segmentation: Any) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(coco(segmentation=segmentation, bbox=[1, 1, 5, 5]))
    with pytest.raises(SampathError, match=r"has 1 annotation, but none .*1 area without an outline"):
        import_objects(path)
    content = json.loads(coco())
    path.write_text(
        json.dumps(
            {**content, "annotations": content["annotations"] + json.loads(path.read_text())["annotations"]}
        )
    )
    objects = import_objects(path)
    assert len(objects.items) == 1
    assert objects.notes == ("Left out: 1 area without an outline or marked to be ignored.",)
    assert [mask.area_px for mask in objects.ignored] == [25]


def test_geojson_class_given_as_a_string(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({**feature(), "properties": {"classification": "Tumour"}}))
    assert [info.name for info in import_objects(path).classes] == ["Tumour"]


def test_ome_zarr_of_another_program(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "foreign.zarr", mode="w", zarr_format=2)
    group = root.create_group("labels")
    group.attrs["labels"] = ["cells"]
    label = group.create_group("cells")
    label.create_array("0", shape=INSTANCE_MAP.shape, dtype="uint16", chunks=(16, 16))[:] = INSTANCE_MAP
    label.attrs["multiscales"] = [{"version": "0.4", "datasets": [{"path": "0"}]}]
    label.attrs["image-label"] = {"version": "0.4"}
    for path in ("foreign.zarr", "foreign.zarr/labels", "foreign.zarr/labels/cells"):
        labels = import_labels(tmp_path / path)
        np.testing.assert_array_equal(labels.instance_map, INSTANCE_MAP)
        np.testing.assert_array_equal(labels.class_map, INSTANCE_MAP > 0)
        assert labels.classes[0].name == "cells"


def coco(**changes: Any) -> str:
    entry = {"id": 5, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 5]]} | changes
    images = [{"id": 1, "file_name": "a", "height": 9, "width": 9}]
    return json.dumps({"images": images, "categories": [{"id": 1, "name": "x"}], "annotations": [entry]})


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.json", "{", "is not JSON or is damaged"),
        (
            "a.json",
            '{"a": 1}',
            "none of the formats that can be imported .tried: .*COCO .*, GeoJSON.*labelme",
        ),
        ("a.json", "[1]", "none of the formats"),
        ("a.json", '{"annotations": [], "categories": []}', "has no list 'images'"),
        ("a.json", coco(segmentation=None), "1 annotation without an outline"),
        ("a.json", coco(segmentation=7), "1 that cannot be read, such as annotation 5"),
        ("a.json", coco(category_id=8), "annotation 5 whose category 8 is not listed"),
        ("a.json", coco(segmentation={"counts": [3], "size": [9, 9]}), "annotation 5: The runs cover 3 px"),
        ("a.json", coco(segmentation={"counts": "é", "size": [9, 9]}), "annotation 5: .*not allowed"),
        (
            "a.json",
            coco(segmentation={"counts": [81], "size": [3, 27]}),
            "27 x 3 px, but its image is 9 x 9 px",
        ),
        ("a.json", coco(segmentation=[[1, 2, 3]]), "1 that cannot be read, such as annotation 5"),
        (
            "a.geojson",
            '{"type": "FeatureCollection", "features": [{"geometry": 5}]}',
            "1 that cannot be read, such as feature 1",
        ),
        (
            "a.geojson",
            json.dumps({**feature(), "geometry": {"type": "Point", "coordinates": [3, 4]}}),
            "but none can be imported .1 point without an area.; .* add '--points prompts'",
        ),
        (
            "a.geojson",
            json.dumps({**feature(), "geometry": {"type": "Point", "coordinates": [3, None]}}),
            "1 that cannot be read, such as feature 1",
        ),
        ("a.geojson", json.dumps(feature()).replace("10.0", "NaN"), "the number NaN, which is not finite"),
        (
            "a.geojson",
            json.dumps(feature()).replace("10.0", "1e300"),
            "1 that cannot be read, such as feature 1",
        ),
    ],
)
def test_damaged_foreign_files_give_a_one_sentence_error(
    tmp_path: Path, name: str, text: str, match: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SampathError, match=match) as caught:
        import_labels(tmp_path / name)
    check_sentence(str(caught.value))


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({}, "has no label images"),
        ({"labels": ["x"]}, "has no label images"),
        ({"labels": 5}, "has no label images"),
    ],
)
def test_zarr_without_labels(tmp_path: Path, attributes: dict[str, Any], match: str) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w", attributes=attributes)
    with pytest.raises(SampathError, match=match) as caught:
        import_labels(tmp_path / "a.zarr")
    check_sentence(str(caught.value))


def test_too_many_classes() -> None:
    classes = [FileClass(f"c{number}", 300 - number) for number in range(255)]
    assert sorted(info.id for info in add_to_table((), classes).classes) == list(range(1, 256))
    with pytest.raises(SampathError, match="256 classes, but at most 255"):
        add_to_table((), [*classes, FileClass("one more")])


# Concurrent exports


def _export(folder: Path, name: str) -> None:
    small = np.ones((4, 4), np.uint8)
    for _ in range(5):
        export_labels(folder, Snapshot(name, None, small, small, classes=CLASSES), ("png",))


def test_concurrent_exports_keep_all_entries(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_export, args=(tmp_path, f"image {k}")) for k in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert set(json.loads((tmp_path / "classes.json").read_text())["images"]) == {
        f"image {k}" for k in range(4)
    }
