"""Import of files as people report them publicly, in which a label was wrong or missing without a word."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
import tifffile
import zarr
from PIL import Image

from napari_sampath.errors import ImageError, UnknownNameError
from napari_sampath.formats import (
    ImportChoiceError,
    Objects,
    ReadOptions,
    Snapshot,
    export_labels,
    import_labels,
    import_objects,
)
from support.label_maps import CLASS_MAP, CLASSES, INSTANCE_MAP, check_sentence, export

HW = (30, 40)
COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], dtype=np.uint8)


def two_areas() -> Any:
    values = np.zeros(HW, dtype=np.uint8)
    values[2:8, 3:9] = 1
    values[12:20, 20:30] = 2
    return values


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def read(path: Path, content: Any, name: str = "tissue", **options: Any) -> Objects:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return import_objects(path, name, HW, ReadOptions(**options))


def names(objects: Objects) -> list[str]:
    table = {info.id: info.name for info in objects.classes}
    return [table[obj.class_id] for obj in objects.items]


def corners(objects: Objects) -> list[tuple[int, int]]:
    return [(obj.mask.row, obj.mask.col) for obj in objects.items]


def coco(**members: Any) -> dict[str, Any]:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 6, 1, 6, 6, 1, 6]]}
    return {
        "images": [{"id": 1, "file_name": "tissue.png", "height": 30, "width": 40}],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "tumour"}],
        **members,
    }


def feature(x: float, plane: dict[str, int] | None = None, **properties: Any) -> dict[str, Any]:
    geometry: dict[str, Any] = {"type": "Polygon", "coordinates": [square(x, 1, 5)]}
    if plane is not None:
        geometry["plane"] = plane
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def collection(*features: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


@pytest.mark.parametrize(
    "members",
    [
        {
            "images": [
                {"id": 1, "file_name": name, "height": 30, "width": 40} for name in ("tissue.png", "b.png")
            ]
        },
        {"categories": [{"id": 1, "name": "tumour"}, {"id": "1", "name": "stroma"}]},
    ],
)
def test_coco_refuses_one_id_for_two_things(tmp_path: Path, members: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match="the id 1; give each") as caught:
        read(tmp_path / "a.json", coco(**members))
    check_sentence(str(caught.value))


def test_coco_size_as_text_is_compared_with_the_image(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "tissue.png", "height": "60", "width": "80"}]
    with pytest.raises(ImportChoiceError, match="80 x 60 px, but the image is 40 x 30"):
        read(tmp_path / "a.json", coco(images=images))


def test_a_file_for_another_image_is_said(tmp_path: Path) -> None:
    objects = read(tmp_path / "a.json", coco(), name="slide 7")
    assert "for the image 'tissue.png', and this image is 'slide 7'" in objects.notes[0]
    shape = {"label": "T", "points": square(1, 1, 5), "shape_type": "polygon"}
    shapes = {"shapes": [shape], "imagePath": "..\\x\\other.jpg", "imageHeight": 30, "imageWidth": 40}
    assert "'other.jpg'" in read(tmp_path / "b.json", shapes).notes[0]
    for name in ("tissue", "tissue.tif", "folder/Tissue.PNG"):
        assert not read(tmp_path / "a.json", coco(), name=name).notes


def test_a_number_after_a_dot_belongs_to_the_name(tmp_path: Path) -> None:
    images = [
        {"id": number, "file_name": name, "height": 30, "width": 40}
        for number, name in ((1, "slide.1"), (2, "b"))
    ]
    with pytest.raises(UnknownNameError):
        read(tmp_path / "a.json", coco(images=images), name="slide.3")
    assert len(read(tmp_path / "a.json", coco(images=images), name="slide.1").items) == 1


def test_classes_that_are_numbers_keep_them(tmp_path: Path) -> None:
    objects = read(tmp_path / "a.geojson", collection(*(feature(x, label=x // 10) for x in (20, 1, 10))))
    assert names(objects) == ["2", "0", "1"]
    assert [obj.class_id for obj in objects.items] == [2, 3, 1]


def test_geojson_reads_one_plane(tmp_path: Path) -> None:
    second = feature(3, {"c": -1, "z": 3, "t": 0})
    objects = read(tmp_path / "a.geojson", collection(feature(1), second))
    assert corners(objects) == [(1, 1)]
    assert "1 object of other slices" in objects.notes[0]
    assert corners(read(tmp_path / "a.geojson", collection(second))) == [(1, 3)]


def test_copies_with_one_number_remain_two_objects(tmp_path: Path) -> None:
    metadata = {"sampath.number": "7"}
    content = collection(feature(1, metadata=metadata), feature(6, metadata=metadata))
    read(tmp_path / "a.geojson", content)
    assert len(np.unique(import_labels(tmp_path / "a.geojson", "tissue", HW).instance_map)) == 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (({"tumour": True, "stroma": False}, {"stroma": True}), ["tumour", "stroma"]),
        ((3, 1), ["3", "1"]),
        (("tumour", "stroma"), ["tumour", "stroma"]),
    ],
)
def test_via_attributes_of_every_kind_are_classes(tmp_path: Path, values: Any, expected: list[str]) -> None:
    regions = [
        {
            "shape_attributes": {"name": "rect", "x": x, "y": 1, "width": 5, "height": 5},
            "region_attributes": {"type": value},
        }
        for x, value in zip((1, 10), values, strict=True)
    ]
    content = {"tissue.png1": {"filename": "tissue.png", "size": 1, "regions": regions}}
    assert names(read(tmp_path / "a.json", content)) == expected


def masks(files: dict[str, Any], label_map: str = "T:255,0,0::\nS:0,255,0::\n") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("labelmap.txt", f"background:0,0,0::\n{label_map}")
        for name, values in files.items():
            image = io.BytesIO()
            Image.fromarray(values).save(image, "PNG")
            archive.writestr(name, image.getvalue())
    return stream.getvalue()


@pytest.mark.parametrize("name", ["T", "tumour:grade 2", "ratio 1:2,3,4", "tumour: a, b"])
def test_names_of_cvat_classes_may_contain_colons(tmp_path: Path, name: str) -> None:
    label_map = f"{name}:255,0,0::\nS:0,255,0:part,b:walks:1\n"
    content = masks({"SegmentationClass/tissue.png": COLOURS[two_areas()]}, label_map)
    assert set(names(read(tmp_path / "a.zip", content))) == {name, "S"}


def test_cvat_masks_in_folders(tmp_path: Path) -> None:
    colours = COLOURS[two_areas()]
    files = {"SegmentationClass/x/tissue.png": colours, "SegmentationClass/x/b.png": colours[::-1]}
    assert corners(read(tmp_path / "a.zip", masks(files))) == [(2, 3), (12, 20)]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "folder")
    assert corners(import_objects(tmp_path / "folder", "tissue", HW)) == [(2, 3), (12, 20)]


def test_cvat_masks_with_one_colour_for_two_classes_are_refused(tmp_path: Path) -> None:
    content = masks(
        {"SegmentationClass/tissue.png": COLOURS[two_areas()]}, "T:255,0,0::\nS:255,0,0::\nU:0,255,0::\n"
    )
    with pytest.raises(ImageError, match="255,0,0 for the classes 'T' and 'S'") as caught:
        read(tmp_path / "a.zip", content)
    check_sentence(str(caught.value))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_nnunet_labels_of_one_bit(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "labelsTr"
    folder.mkdir()
    dataset = {"labels": {"background": 0, "T": 1}, "file_ending": ending}
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    values = two_areas() == 1
    file = folder / f"tissue{ending}"
    tifffile.imwrite(file, values) if ending == ".tif" else Image.fromarray(values).save(file)
    objects = import_objects(tmp_path, "tissue", HW)
    assert corners(objects) == [(2, 3)]
    assert names(objects) == ["T"]
    assert "'tissue.tif'" in " ".join(import_objects(tmp_path, "b", HW).notes).replace(".png", ".tif")


def test_rois_of_other_slices_of_a_hyperstack_are_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, x in enumerate((1, 10, 20), start=1):
            roi = roifile.ImagejRoi.frompoints(np.array(square(x, 1, 5)[:-1]))
            roi.c_position, roi.z_position, roi.t_position = number, 1 + number // 3, 1
            archive.writestr(f"{number}.roi", roi.tobytes())
    objects = import_objects(tmp_path / "a.zip", "tissue", HW)
    assert corners(objects) == [(1, 1), (1, 10)]
    assert "1 ROIs of other slices" in objects.notes[0]


def test_yolo_names_of_nested_lists_are_refused(tmp_path: Path) -> None:
    lines = [f"k{index}: &k{index} [*k{index - 1}, *k{index - 1}, *k{index - 1}]" for index in range(1, 30)]
    (tmp_path / "data.yaml").write_text("\n".join(["k0: &k0 [x]", *lines, "names: *k29"]))
    with pytest.raises(ImageError, match="a name is not a text") as caught:
        read(tmp_path / "labels/tissue.txt", b"0 .1 .1 .5 .1 .5 .5\n")
    check_sentence(str(caught.value))


def test_yolo_files_with_a_byte_order_mark_or_without_objects(tmp_path: Path) -> None:
    assert len(read(tmp_path / "a.txt", b"\xef\xbb\xbf0 .1 .1 .5 .1 .5 .5\n").items) == 1
    assert not read(tmp_path / "b.txt", b"").items
    with pytest.raises(ImageError, match=r"is empty \(0 bytes\); export"):
        read(tmp_path / "c.json", b"")


def test_two_channels_of_an_array_are_not_opacity(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([two_areas(), two_areas() > 0], axis=-1).astype(np.int32))
    with pytest.raises(ImageError, match="2 channels"):
        import_objects(tmp_path / "a.npy", "tissue", HW)


def test_objects_of_a_label_map_that_are_cut_off_are_counted(tmp_path: Path) -> None:
    Image.fromarray(two_areas()).save(tmp_path / "a.png")
    options = ReadOptions(offset_xy=(-5.0, -4.0))
    notes = import_objects(tmp_path / "a.png", "tissue", (20, 25), options).notes
    assert "1 object cut off at the edge of the image." in notes
    whole = import_objects(tmp_path / "a.png", "tissue", (20, 30), ReadOptions(offset_xy=(0.0, 0.0))).notes
    assert "cut off" not in " ".join(whole)


def test_outlines_on_an_image_with_an_orientation_tag_are_said(tmp_path: Path) -> None:
    square = [[1, 1], [9, 1], [9, 9], [1, 9], [1, 1]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [square]}, "properties": {}}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(feature))
    for tag in (1, 2, 3, 4):
        notes = import_objects(path, "tissue", HW, ReadOptions(orientation=tag)).notes
        assert any("the outlines were taken as drawn on the turned image" in note for note in notes) == (
            tag > 1
        )


def test_a_label_map_without_the_orientation_of_its_image_is_said(tmp_path: Path) -> None:
    Image.fromarray(two_areas()).save(tmp_path / "a.png")
    notes = import_objects(tmp_path / "a.png", "tissue", HW, ReadOptions(orientation=3)).notes
    assert "was not turned" in notes[0]


@pytest.mark.parametrize("other", ["._a.json", "images/tissue.png", "README.txt"])
def test_a_zip_of_one_annotation_file_and_images(tmp_path: Path, other: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("annotations/instances_default.json", json.dumps(coco()))
        archive.writestr(other, b"\0")
    assert corners(import_objects(tmp_path / "a.zip", "tissue", HW)) == [(1, 1)]


def test_an_export_of_another_image_with_a_dot_in_its_name_is_not_read(tmp_path: Path) -> None:
    export(tmp_path / "labels", "slide")
    assert import_labels(tmp_path / "labels", "slide.tif").instance_map.any()
    with pytest.raises(UnknownNameError):
        import_labels(tmp_path / "labels", "slide.3")


def test_an_export_of_other_pixels_under_the_same_name_is_said(tmp_path: Path) -> None:
    export(tmp_path, "tile", ("png",), digest="1" * 64)
    assert (
        "has other pixels" in import_objects(tmp_path, "tile", options=ReadOptions(digest="2" * 64)).notes[0]
    )
    assert not import_objects(tmp_path, "tile", options=ReadOptions(digest="1" * 64)).notes
    assert not import_objects(tmp_path, "tile").notes


def test_a_class_list_with_two_names_for_one_number_names_no_value(tmp_path: Path) -> None:
    Image.fromarray(two_areas()).save(tmp_path / "a.png")
    listed = [{"id": 1, "name": name, "color": [1, 2, 3]} for name in ("tumour", "stroma")]
    (tmp_path / "classes.json").write_text(json.dumps(listed))
    with pytest.raises(ImageError, match=r"classes\.json"):
        import_objects(tmp_path / "a.png", "a", HW)


@pytest.mark.parametrize("format_name", ["yolo", "nnunet"])
def test_capitals_do_not_make_another_class(tmp_path: Path, format_name: str) -> None:
    image = np.zeros((*CLASS_MAP.shape, 3), dtype=np.uint8)
    for name, change in (("a", str.lower), ("b", str.upper)):
        classes = [replace(info, name=change(info.name)) for info in CLASSES]
        snapshot = Snapshot(name, image, class_map=CLASS_MAP, instance_map=INSTANCE_MAP, classes=classes)
        export_labels(tmp_path, snapshot, (format_name,))


@pytest.mark.parametrize(
    ("names", "key", "expected"),
    [
        (["tumour", "stroma"], "class", [(1, "tumour"), (2, "stroma")]),
        (["tumour", "tumour"], "class", [(1, "tumour"), (1, "tumour")]),
        (["tumour", "tumour"], "name", [(1, "tumour"), (1, "tumour")]),
    ],
)
def test_properties_of_zarr_labels_name_classes(
    tmp_path: Path, names: list[str], key: str, expected: list[tuple[int, str]]
) -> None:
    properties: Any = [{"label-value": value, key: name} for value, name in enumerate(names, start=1)]
    colors: Any = [{"label-value": -300, "rgba": [1, 2, 3, 255]}]
    both: Any = ({"properties": properties, "colors": colors}, {"colors": colors})
    for image_label in both:
        root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
        group = root.create_group("labels").create_group("cells")
        root["labels"].attrs["labels"] = ["cells"]
        group.create_array("0", data=two_areas(), chunks=HW)
        group.attrs.update({"multiscales": [{"datasets": [{"path": "0"}]}], "image-label": image_label})
        objects = import_objects(tmp_path / "a.zarr", "tissue", HW)
        table = {info.id: info.name for info in objects.classes}
        found = [(obj.class_id, table[obj.class_id]) for obj in objects.items]
        assert found == (expected if "properties" in image_label else [(1, "class 1"), (2, "class 2")])


def test_sentences_name_the_remedy_once(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="UTF-16; save it as UTF-8"):
        read(tmp_path / "a.json", json.dumps(coco()).encode("utf-16"))
    annotation = {**coco()["annotations"][0], "segmentation": {"size": list(HW), "counts": [10, 5]}}
    with pytest.raises(ImageError, match="again") as caught:
        read(tmp_path / "b.json", coco(annotations=[annotation]))
    assert str(caught.value).count(";") == 1
