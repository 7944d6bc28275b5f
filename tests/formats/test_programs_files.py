"""Import and export of ImageJ ROIs, YOLO, nnU-Net, labelme and Cellpose files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
import skimage.io
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import SampathError
from napari_sampath.formats import Snapshot, export_labels, import_labels, import_objects
from napari_sampath.formats.format import ImportChoiceError, ReadOptions
from support.annotation_files import HW, TRIANGLE, box, disc, inside, write, write_zip
from support.label_maps import check_sentence

CLASSES = (ClassInfo(1, 'Tumour "A": ü', (230, 60, 60)), ClassInfo(3, "stroma", (60, 200, 90)))
SCORE = {4: {"score": 0.75, "source": "box"}}


def maps() -> tuple[Any, Any]:
    """An object with a hole and a second part, one that touches it, and an area without a number."""
    class_map, instance_map = np.zeros(HW, np.uint8), np.zeros(HW, np.int32)
    for rows, cols, class_id, number in (
        (slice(4, 20), slice(4, 24), 1, 4),
        (slice(8, 12), slice(9, 15), 0, 0),
        (slice(30, 33), slice(4, 9), 1, 4),
        (slice(4, 20), slice(24, 30), 3, 9),
        (slice(25, 38), slice(40, 60), 3, 0),
    ):
        class_map[rows, cols], instance_map[rows, cols] = class_id, number
    return class_map, instance_map


def export(
    folder: Path, *formats: str, name: str = "tissue", classes: Any = CLASSES, **changes: Any
) -> list[Path]:
    class_map, instance_map = maps()
    values = {"image": np.zeros((*HW, 3), np.uint8), "details": SCORE, **changes}
    return export_labels(
        folder,
        Snapshot(name, class_map=class_map, instance_map=instance_map, classes=classes, **values),
        formats,
    )


def only(files: list[Path], end: str) -> Path:
    (file,) = (path for path in files if path.name.endswith(end))
    return file


# ImageJ


def shapely_mask(rois: list[roifile.ImagejRoi]) -> Any:
    mask = np.zeros(HW, bool)
    for roi in rois:
        for ring in roi.coordinates(multi=True):
            mask ^= inside(ring)
    return mask


def test_roifile_reads_the_exported_rois(tmp_path: Path) -> None:
    rois = roifile.roiread(only(export(tmp_path, "imagej"), ".zip"))
    class_map, _ = maps()
    assert len(rois) == 3
    np.testing.assert_array_equal(shapely_mask(rois), class_map > 0)
    assert [roi.group for roi in rois] == [1, 3, 3]
    assert rois[0].properties["qupath.object.classification"] == CLASSES[0].name
    assert rois[0].stroke_color == bytes([255, 230, 60, 60])


def roi(points: Any = (), **members: Any) -> roifile.ImagejRoi:
    made = roifile.ImagejRoi.frompoints(np.array(points)) if len(points) else roifile.ImagejRoi()
    for key, value in members.items():
        setattr(made, key, value)
    return made


def bounds(left: int, top: int, right: int, bottom: int) -> dict[str, int]:
    return {"left": left, "top": top, "right": right, "bottom": bottom}


def test_rois_of_each_kind_have_the_pixels_inside_them(tmp_path: Path) -> None:
    path: list[float] = []
    for x0, y0, x1, y1 in ((30, 25, 45, 38), (33, 28, 40, 34)):
        path += [0, x0, y0, 1, x1, y0, 1, x1, y1, 1, x0, y1, 4]
    composite = roi(
        roitype=roifile.ROI_TYPE.RECT,
        multi_coordinates=np.array(path, np.float32),
        shape_roi_size=len(path),
        **bounds(30, 25, 45, 38),
    )
    curve = 4 / 3 * (np.sqrt(2) - 1) * 5
    circle = (
        [0, 55, 30]
        + [
            value
            for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1))
            for value in (
                3,
                50 + 5 * x - curve * y,
                30 + 5 * y + curve * x,
                50 - 5 * y + curve * x,
                30 + 5 * x + curve * y,
                50 - 5 * y,
                30 + 5 * x,
            )
        ]
        + [4]
    )
    curved = roi(
        roitype=roifile.ROI_TYPE.RECT,
        multi_coordinates=np.array(circle, np.float32),
        shape_roi_size=len(circle),
        **bounds(45, 25, 55, 35),
    )
    members = {
        "tumour-1": roi(TRIANGLE, name="tumour-1"),
        "tumour-2": roi(
            [(2, 30), (9, 30), (9, 38), (2, 38)], name="tumour-2", roitype=roifile.ROI_TYPE.TRACED
        ),
        "0012-0034": roi(roitype=roifile.ROI_TYPE.OVAL, **bounds(40, 2, 56, 12)),
        "box": roi(roitype=roifile.ROI_TYPE.RECT, group=7, **bounds(12, 30, 20, 36)),
        "ring": composite,
        "disc": curved,
        "line": roi(roitype=roifile.ROI_TYPE.LINE),
        "dots": roi([(1, 1), (2, 2)], roitype=roifile.ROI_TYPE.POINT),
    }
    archive = write_zip(
        tmp_path / "RoiSet.zip", {f"{name}.roi": made.tobytes() for name, made in members.items()}
    )
    objects = import_objects(archive, hw=HW, options=ReadOptions(overlap="file-order"))
    table = {info.id: info.name for info in objects.classes}
    class_names = [table[obj.class_id] for obj in objects.items]
    assert [*class_names[:2], class_names[3], *class_names[4:]] == [
        "tumour",
        "tumour",
        "box",
        "ring",
        "disc",
    ]
    assert table[7] == "box"
    expected = (
        inside(TRIANGLE),
        box(2, 30, 9, 38),
        disc(48, 7, 8, 5),
        box(12, 30, 20, 36),
        box(30, 25, 45, 38) & ~box(33, 28, 40, 34),
        disc(50, 30, 5, 5),
    )
    for obj, pixels in zip(objects.items, expected, strict=True):
        np.testing.assert_array_equal(obj.mask.to_dense(HW), pixels)
    text = " ".join(objects.notes)
    assert "'line'" in text
    assert "'point'" in text


def test_a_single_roi_and_rois_of_a_stack(tmp_path: Path) -> None:
    roi(TRIANGLE, name="gland").tofile(tmp_path / "gland.roi")
    objects = import_objects(tmp_path / "gland.roi", hw=HW)
    np.testing.assert_array_equal(objects.items[0].mask.to_dense(HW), inside(TRIANGLE))
    assert objects.classes[0].name == "gland"
    slices = {f"{index}.roi": roi(TRIANGLE, position=index).tobytes() for index in (2, 3, 4)}
    objects = import_objects(write_zip(tmp_path / "stack.zip", slices), hw=HW)
    assert len(objects.items) == 1
    assert any("2 ROIs of other slices than slice 2 were left out" in note for note in objects.notes)


def test_names_of_single_rois_are_not_classes(tmp_path: Path) -> None:
    """Cellpose gives each ROI a random name, other programs a number."""
    rng = np.random.default_rng(0)
    corners = [rng.integers(0, 30, 2) + np.array([(0, 0), (4, 0), (4, 4), (0, 4)]) for _ in range(30)]
    for names in (
        [str(uuid.UUID(int=number)) for number in range(30)],
        [f"n{number}x" for number in range(30)],
    ):
        files = {
            f"{name}.roi": roi(ring, name=name).tobytes() for name, ring in zip(names, corners, strict=True)
        }
        objects = import_objects(
            write_zip(tmp_path / "a.zip", files), hw=HW, options=ReadOptions(overlap="file-order")
        )
        assert len(objects.classes) == 1
    assert any("30 names of ROIs were not read as classes" in note for note in objects.notes)


def test_exported_classes_are_read_even_if_each_has_one_object(tmp_path: Path) -> None:
    classes = tuple(ClassInfo(number, f"class {number}", (number, 0, 0)) for number in range(1, 41))
    class_map = np.zeros(HW, np.uint8)
    class_map[5, 10:50] = range(1, 41)
    export_labels(tmp_path, Snapshot("a", None, class_map, classes=classes), ("imagej",))
    labels = import_labels(tmp_path / "a_objects.RoiSet.zip", hw=HW)
    np.testing.assert_array_equal(labels.class_map, class_map)


def test_damaged_rois_are_left_out_and_named(tmp_path: Path) -> None:
    content = roi(TRIANGLE).tobytes()
    for damaged in (content[:70], content[:30], b"Iout" + b"\0" * 9):
        with pytest.raises(
            SampathError, match="1 that cannot be read, such as ROI x: it is damaged"
        ) as caught:
            import_objects(write_zip(tmp_path / "a.zip", {"x.roi": damaged}), hw=HW)
        check_sentence(str(caught.value))
        objects = import_objects(write_zip(tmp_path / "a.zip", {"x.roi": damaged, "y.roi": content}), hw=HW)
        assert len(objects.items) == 1
        assert "The first that cannot be read is ROI x: it is damaged." in objects.notes


def test_large_coordinates_are_exact(tmp_path: Path) -> None:
    ring = np.array([(100_001, 70_003), (100_009, 70_003), (100_009, 70_010), (100_001, 70_010)])
    write(tmp_path / "a.roi", roi(ring).tobytes())
    mask = import_objects(tmp_path / "a.roi", hw=(80_000, 120_000)).items[0].mask
    assert (mask.row, mask.col, mask.bitmap.shape) == (70_003, 100_001, (7, 8))


# YOLO


def draw_like_pillow(line: str) -> Any:
    """Fill a line of a label file as the conversions of other programs do, for the corners of pixel edges."""
    from PIL import ImageDraw

    values = np.array(line.split()[1:], float).reshape(-1, 2) * (HW[1] * 8, HW[0] * 8)
    image = Image.new("1", (HW[1] * 8, HW[0] * 8))
    ImageDraw.Draw(image).polygon([tuple(point) for point in values], fill=1)
    return np.asarray(image)[4::8, 4::8]


def test_yolo_files_have_normalised_rings_and_class_names(tmp_path: Path) -> None:
    import yaml

    export(tmp_path, "yolo")
    lines = (tmp_path / "yolo/labels/tissue.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "2", "2"]
    class_map, instance_map = maps()
    np.testing.assert_array_equal(draw_like_pillow(lines[0]), instance_map == 4)
    np.testing.assert_array_equal(draw_like_pillow(lines[1]), instance_map == 9)
    names = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text(encoding="utf-8"))["names"]
    assert names == {0: CLASSES[0].name, 1: "unused 2", 2: "stroma"}
    labels = import_labels(tmp_path / "yolo/labels/tissue.txt", hw=HW)
    np.testing.assert_array_equal(labels.class_map, class_map)
    assert [(info.id, info.name) for info in labels.classes] == [(1, CLASSES[0].name), (3, "stroma")]


def test_yolo_classes_of_earlier_exports_are_kept(tmp_path: Path) -> None:
    import yaml

    export(tmp_path, "yolo")
    class_map = np.zeros(HW, np.uint8)
    class_map[2:9, 2:9] = 2
    necrosis = ClassInfo(2, "necrosis", (1, 2, 3))
    export_labels(tmp_path, Snapshot("other", None, class_map, classes=(necrosis,)), ("yolo",))
    names = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text(encoding="utf-8"))["names"]
    assert names == {0: CLASSES[0].name, 1: "necrosis", 2: "stroma"}


def test_yolo_files_of_other_programs(tmp_path: Path) -> None:
    ring = " ".join(f"{x / HW[1]} {y / HW[0]}" for x, y in TRIANGLE)
    path = write(tmp_path / "labels/train/a.txt", f"1 {ring}\n0 {ring} 0.25\n\n1 0.5 0.5 0.1 0.2\n".encode())
    write(tmp_path / "data.yaml", b"train: images\nnc: 2\nnames: ['nucleus', 'gland']\n")
    objects = import_objects(path, hw=HW, options=ReadOptions(overlap="file-order"))
    assert [info.name for info in objects.classes] == ["nucleus", "gland"]
    np.testing.assert_array_equal(objects.items[-1].mask.to_dense(HW), inside(TRIANGLE))
    assert objects.items[-1].details == {"score": 0.25}
    assert any("1 box" in note for note in objects.notes)
    with pytest.raises(SampathError, match="relative to the size of the image"):
        import_objects(path)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("0 0.1 0.1 0.5 0.1 nan 0.5", "nan"),
        ("0 0.1 0.1 0.5 0.1 40 50", "its corners are not from 0 to 1"),
        ("0 0.1 0.1 0.5 x 0.4 0.5", "'x' is not a number"),
        ("-1 0.1 0.1 0.5 0.1 0.4 0.5", "not a whole number from 0"),
        ("0 0.1 0.1 0.5 0.1 0.4 0.5 3", "odd number of coordinates"),
    ],
)
def test_malformed_yolo_lines_are_left_out_and_named(tmp_path: Path, line: str, match: str) -> None:
    good = "0 0.1 0.1 0.5 0.1 0.4 0.5"
    write(tmp_path / "classes.txt", b"nucleus\ngland\n")
    objects = import_objects(write(tmp_path / "a.txt", f"{good}\n{line}\n".encode()), hw=HW)
    assert len(objects.items) == 1
    assert "Left out: 1 annotation that cannot be read." in objects.notes
    assert re.search(rf"line 2: .*{match}", " ".join(objects.notes))


def test_a_yolo_class_without_a_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "classes.txt", b"nucleus\ngland\n")
    path = write(tmp_path / "a.txt", b"0 0.1 0.1 0.5 0.1 0.4 0.5\n7 0.1 0.1 0.5 0.1 0.4 0.5\n")
    with pytest.raises(SampathError, match="has the class 7 in line 2, and the classes are 0 to 1") as caught:
        import_objects(path, hw=HW)
    check_sentence(str(caught.value))


# nnU-Net


def test_nnunet_folders_follow_the_documented_rules(tmp_path: Path) -> None:
    export(tmp_path, "nnunet")
    (root,) = (tmp_path / "nnUNet_raw").iterdir()
    dataset = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    assert dataset["file_ending"] == ".png"
    assert dataset["numTraining"] == 1
    assert sorted(dataset["labels"].values()) == list(range(len(dataset["labels"])))
    assert dataset["labels"]["background"] == 0
    assert set(dataset["channel_names"]) == {"0", "1", "2"}
    image, labels = (
        skimage.io.imread(root / f"{name}.png") for name in ("imagesTr/tissue_0000", "labelsTr/tissue")
    )
    assert image.shape == (*labels.shape, 3)
    class_map, _ = maps()
    np.testing.assert_array_equal(labels, class_map)
    assert set(np.unique(class_map)) <= set(dataset["labels"].values())
    for path in (root, root / "dataset.json", root / "labelsTr/tissue.png"):
        read = import_labels(path, hw=HW)
        np.testing.assert_array_equal(read.class_map, class_map)
        assert [(info.id, info.name) for info in read.classes] == [(1, CLASSES[0].name), (3, "stroma")]


def test_nnunet_datasets_grow_and_refuse_another_meaning_of_a_number(tmp_path: Path) -> None:
    export(tmp_path, "nnunet")
    class_map = np.full(HW, 2, np.uint8)
    image = np.zeros((*HW, 3), np.uint8)
    necrosis = ClassInfo(2, "necrosis", (1, 2, 3))
    export_labels(tmp_path, Snapshot("b", image, class_map, classes=(necrosis,)), ("nnunet",))
    (root,) = (tmp_path / "nnUNet_raw").iterdir()
    dataset = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    assert dataset["numTraining"] == 2
    assert dataset["labels"] == {"background": 0, CLASSES[0].name: 1, "necrosis": 2, "stroma": 3}
    with pytest.raises(SampathError, match="needs the image"):
        export(tmp_path / "other", "nnunet", image=None)


def test_classes_with_names_that_nnunet_reserves_come_back(tmp_path: Path) -> None:
    names = ("background", "ignore", "unused 3", "ignore (class 2)")
    classes = tuple(ClassInfo(number, name, (number, 0, 0)) for number, name in enumerate(names, start=1))
    class_map = np.repeat(np.arange(5, dtype=np.uint8), 4)[:, None].repeat(HW[1], axis=1)
    class_map = np.pad(class_map, ((0, HW[0] - len(class_map)), (0, 0)))
    image = np.zeros((*HW, 3), np.uint8)
    for stem in ("a", "b"):
        export_labels(tmp_path, Snapshot(stem, image, class_map, classes=classes), ("nnunet",))
    (root,) = (tmp_path / "nnUNet_raw").iterdir()
    labels = json.loads((root / "dataset.json").read_text(encoding="utf-8"))["labels"]
    assert labels["background"] == 0
    assert sorted(labels.values()) == [0, 1, 2, 3, 4]
    assert "ignore" not in labels
    read = import_labels(root / "labelsTr/a.png", hw=HW)
    np.testing.assert_array_equal(read.class_map, class_map)
    assert [(info.id, info.name) for info in read.classes] == list(enumerate(names, start=1))
    assert read.ignored is None


@pytest.mark.parametrize("format_name", ["yolo", "nnunet"])
def test_a_renamed_class_is_exported_to_the_same_folder(tmp_path: Path, format_name: str) -> None:
    class_map = np.zeros(HW, np.uint8)
    class_map[2:9, 2:9] = 2
    image = np.zeros((*HW, 3), np.uint8)

    def save(name: str, class_name: str) -> str:
        classes = (ClassInfo(2, class_name, (1, 2, 3)),)
        export_labels(tmp_path, Snapshot(name, image, class_map, classes=classes), (format_name,))
        return list_of_classes.read_text(encoding="utf-8")

    names = {"yolo": "yolo/data.yaml", "nnunet": "nnUNet_raw/Dataset001_sampath/dataset.json"}
    list_of_classes = tmp_path / names[format_name]
    assert "tumor" in save("a", "tumor")
    renamed = save("a", "carcinoma")
    assert "carcinoma" in renamed
    assert "tumor" not in renamed
    # Labels of another program may use the earlier name.
    labels = {"yolo": "yolo/labels/x.txt", "nnunet": "nnUNet_raw/Dataset001_sampath/labelsTr/x.png"}
    (tmp_path / labels[format_name]).touch()
    with pytest.raises(SampathError, match="'x' is not from an export to this folder") as caught:
        save("a", "adenoma")
    check_sentence(str(caught.value))
    assert "carcinoma" in list_of_classes.read_text(encoding="utf-8")


def test_nnunet_labels_of_another_size_can_be_scaled(tmp_path: Path) -> None:
    export(tmp_path, "nnunet")
    (root,) = (tmp_path / "nnUNet_raw").iterdir()
    half = (HW[0] // 2, HW[1] // 2)
    with pytest.raises(ImportChoiceError) as caught:
        import_labels(root / "labelsTr" / "tissue.png", hw=half)
    assert any("scale" in choice.changes for choice in caught.value.choices)
    labels = import_labels(root / "labelsTr" / "tissue.png", hw=half, options=ReadOptions(scale="fit"))
    assert labels.class_map.shape == half
    assert labels.class_map.any()


# labelme and Cellpose


def test_labelme_files_are_found_by_the_image_and_keep_the_objects(tmp_path: Path) -> None:
    export(tmp_path, "labelme")
    content = json.loads((tmp_path / "labelme/tissue.json").read_text(encoding="utf-8"))
    assert (content["imageData"], content["imageHeight"], content["imageWidth"]) == (None, *HW)
    for shape in content["shapes"]:
        assert shape["shape_type"] == "polygon"
        assert len(shape["points"]) >= 3
        assert isinstance(shape["flags"], dict)
    class_map, instance_map = maps()
    labels = import_labels(tmp_path / "labelme/tissue.json", hw=HW)
    np.testing.assert_array_equal(labels.instance_map, instance_map)
    np.testing.assert_array_equal(labels.class_map > 0, class_map > 0)
    assert labels.details[4] == SCORE[4]


def test_cellpose_masks_have_a_number_for_each_object(tmp_path: Path) -> None:
    class_map, instance_map = maps()
    path = only(export(tmp_path, "cellpose"), "_cp_masks.png")
    masks = skimage.io.imread(path)
    assert masks.dtype == np.uint16
    np.testing.assert_array_equal(masks > 0, class_map > 0)
    np.testing.assert_array_equal(np.where(instance_map, masks, 0), instance_map)
    assert len(np.unique(masks)) == 4


# COCO


@pytest.mark.slow
def test_supervision_reads_the_exported_coco(tmp_path: Path) -> None:
    """In a process of its own, because OpenCV changes settings of Qt when it is imported."""
    export(tmp_path, "coco", "coco-polygons", name="tissue.png")
    _, instance_map = maps()
    Image.fromarray(np.zeros((*HW, 3), np.uint8)).save(tmp_path / "tissue.png")
    script = """
import json, sys
import supervision
for path in sys.argv[2:]:
    data = supervision.DetectionDataset.from_coco(sys.argv[1], path, force_masks=True)
    ((_, _, detections),) = data
    print(json.dumps([data.classes, detections.class_id.tolist(), detections.mask.astype(int).tolist()]))
"""
    files = [str(path) for path in sorted(tmp_path.glob("*coco.json"))]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(tmp_path), *files],
        check=True,
        capture_output=True,
        timeout=120,
    )
    runs, polygons = (json.loads(line) for line in result.stdout.splitlines())
    for classes, class_ids, masks in (runs, polygons):
        assert classes == [info.name for info in CLASSES]
        assert class_ids == [0, 1, 1]
        assert len(masks) == 3
    for mask, number in zip(runs[2], (4, 9), strict=False):
        np.testing.assert_array_equal(np.array(mask, bool), instance_map == number)


def test_a_folder_is_read_from_the_file_that_keeps_most(tmp_path: Path) -> None:
    export(tmp_path, "yolo", "imagej", "cellpose")
    _, instance_map = maps()
    labels = import_labels(tmp_path)
    np.testing.assert_array_equal(labels.instance_map, instance_map)
    assert labels.details[4] == SCORE[4]
    export(tmp_path / "masks", "cellpose")
    with pytest.raises(SampathError, match="has no file of 'tissue' with its classes and objects") as caught:
        import_labels(tmp_path / "masks")
    check_sentence(str(caught.value))
