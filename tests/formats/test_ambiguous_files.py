"""Files whose content can be taken for something else: poses, default groups, names and groups of ROIs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
import tifffile
from PIL import Image

from napari_sampath.errors import SampathError
from napari_sampath.formats import import_objects
from napari_sampath.formats.class_numbers import FileClass, add_to_table
from napari_sampath.formats.format import ReadOptions
from support.annotation_files import HW, TRIANGLE, labelme, write, write_zip

PEOPLE = [  # centre, width and height of a box, then five points in it
    (0.5, 0.5, 0.6, 0.8, (0.5, 0.2), (0.3, 0.8), (0.7, 0.4), (0.3, 0.4), (0.7, 0.8)),
    (0.8, 0.7, 0.3, 0.4, (0.8, 0.6), (0.7, 0.8), (0.9, 0.6), (0.7, 0.6), (0.9, 0.85)),
]
OUTLINE = "1 0.1 0.1 0.5 0.1 0.4 0.5"


def pose(person: Any, third: list[Any] | None = None, end: str = "") -> str:
    *box, points = (*person[:4], person[4:])
    words = [*box]
    for index, point in enumerate(points):
        words += [*point] if third is None else [*point, third[index]]
    return f"0 {' '.join(map(str, words))}{end}"


def yolo(tmp_path: Path, lines: list[str], names: str = "") -> Any:
    if names:
        write(tmp_path / "data.yaml", names.encode())
    return import_objects(write(tmp_path / "labels" / "a.txt", "\n".join(lines).encode()), hw=HW)


@pytest.mark.parametrize(
    "lines",
    [
        [pose(person) for person in PEOPLE],
        [pose(PEOPLE[0])],
        [pose(person, [2, 1, 0, 2, 2]) for person in PEOPLE],
        [pose(person, [0.91, 0.4, 0.83, 0.99, 0.7], " 0.8") for person in PEOPLE],
        [pose(PEOPLE[1]), pose(PEOPLE[0]), "0 0.5 0.5 0.1"],
    ],
)
def test_yolo_poses_are_not_read_as_outlines(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(SampathError, match=r"(1 pose|2 poses) \(boxes with key points\)"):
        yolo(tmp_path, lines)


def test_the_number_of_key_points_in_the_dataset_decides(tmp_path: Path) -> None:
    names = "names: [person]\nkpt_shape: [2, 2]\n"
    with pytest.raises(SampathError, match="2 poses"):
        yolo(tmp_path, ["0 0.2 0.2 0.1 0.1 0.2 0.2 0.21 0.22", "0 0.6 0.6 0.1 0.1 0.6 0.6 0.61 0.62"], names)


def test_outlines_are_no_poses(tmp_path: Path) -> None:
    """Outlines near the lower right corner also lie in the box that their first values would mean."""
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    rings = [np.stack([0.8 + 0.1 * np.cos(angles), y + 0.1 * np.sin(angles)], axis=1) for y in (0.55, 0.85)]
    whole = "0 0 0 1 0 1 1 0 1 0 0"
    objects = yolo(tmp_path, [f"0 {' '.join(map(str, ring.ravel()))}" for ring in rings])
    assert len(objects.items) == 2
    assert len(yolo(tmp_path, [whole]).items) == 1
    assert len(yolo(tmp_path, [OUTLINE, OUTLINE.replace("1 0.1", "0 0.6", 1)]).items) == 2


def test_labelme_shapes_that_are_all_in_group_0_stay_separate(tmp_path: Path) -> None:
    squares = [[[x, 2], [x + 8, 2], [x + 8, 10], [x, 10]] for x in (2, 20, 40)]

    def read(groups: list[Any]) -> Any:
        shapes = [
            {"label": "gland", "shape_type": "polygon", "points": points, "group_id": group}
            for points, group in zip(squares, groups, strict=True)
        ]
        return import_objects(write(tmp_path / "a.json", labelme(shapes)), hw=HW)

    separate = read([0, 0, 0])
    assert len(separate.items) == 3
    assert "group 0" in " ".join(separate.notes)
    joined = read([0, 0, 1])
    assert len(joined.items) == 2
    assert "2 shapes were joined to 1 object by their group_id." in joined.notes
    assert len(read([None, None, None]).items) == 3


@pytest.mark.parametrize(
    ("members", "classes", "note"),
    [
        # One name for each group: the class has the name and the number of the group.
        ({"tumour-1": 1, "tumour-2": 1, "stroma-1": 3}, {1: "tumour", 3: "stroma"}, ""),
        # Names of objects: the group is the class.
        ({"a": 1, "b": 1, "c": 2}, {1: "group 1", 2: "c"}, "the names a, b were not"),
        # One name in two groups cannot be the name of both.
        ({"cell-1": 1, "cell-2": 2}, {1: "group 1", 2: "group 2"}, "the names cell were not"),
        ({"0001-0002": 4, "0003-0004": 4}, {4: "group 4"}, ""),
    ],
)
def test_names_and_groups_of_rois(
    tmp_path: Path, members: dict[str, int], classes: dict[int, str], note: str
) -> None:
    rois = {}
    for index, (name, group) in enumerate(members.items()):
        made = roifile.ImagejRoi.frompoints(np.array(TRIANGLE) / 3 + (18 * index, 4))
        made.group, made.name = group, name
        rois[f"{name}.roi"] = made.tobytes()
    objects = import_objects(write_zip(tmp_path / "RoiSet.zip", rois), hw=HW)
    assert {info.id: info.name for info in objects.classes} == classes
    assert note in " ".join(objects.notes)
    assert bool(note) == bool(objects.notes)


@pytest.mark.parametrize("text", ["names: " + "[" * 40_000, "names:\n  " + "- " * 40_000, "{" * 40_000])
def test_nested_lists_of_classes_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SampathError, match="nested too deeply"):
        yolo(tmp_path, [OUTLINE], text)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_with_a_palette_are_classes_with_its_colours(tmp_path: Path, dtype: Any) -> None:
    values = np.zeros(HW, dtype)
    values[2:9, 3:20], values[20:30, 30:50] = 1, 2
    colours = np.zeros((3, 2 ** (8 * values.itemsize)), np.uint16)
    colours[:, 1], colours[:, 2] = (65535, 0, 0), (0, 65535, 0)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="palette", colormap=colours)
    objects = import_objects(tmp_path / "a.tif", hw=HW)
    assert [(info.id, info.color) for info in objects.classes] == [(1, (255, 0, 0)), (2, (0, 255, 0))]


@pytest.mark.parametrize("offset", [(float("nan"), 0.0), (0.0, float("inf")), (1e300, 0.0)])
def test_impossible_offsets_are_refused(tmp_path: Path, offset: tuple[float, float]) -> None:
    path = write(tmp_path / "a.json", labelme([{"label": "a", "shape_type": "polygon", "points": TRIANGLE}]))
    with pytest.raises(SampathError, match=r"The offset is .*; give two numbers of pixels"):
        import_objects(path, hw=HW, options=ReadOptions(offset_xy=offset))


@pytest.mark.parametrize("name", ["t0_cp_masks.png", "t0_instances.tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_files_named_like_maps_of_object_numbers_hold_objects(
    tmp_path: Path, name: str, dtype: type[np.unsignedinteger[Any]], count: int
) -> None:
    numbers = np.zeros(HW, dtype)
    for number in range(1, count + 1):
        numbers[10 * number : 10 * number + 5, 4:9] = number
        numbers[10 * number : 10 * number + 5, 20:24] = number  # Of two parts.
    if name.endswith("png"):
        Image.fromarray(numbers).save(tmp_path / name)
    else:
        tifffile.imwrite(tmp_path / name, numbers)
    objects = import_objects(tmp_path / name, hw=HW)
    assert [obj.mask.area_px for obj in objects.items] == [45] * count
    assert {obj.class_id for obj in objects.items} == {1}
    as_classes = import_objects(tmp_path / name, hw=HW, options=ReadOptions(as_="classes"))
    assert len(as_classes.items) == 2 * count


def test_names_that_differ_in_how_accents_are_stored_are_one_class() -> None:
    composed, decomposed = "Gr\u00f6\u00dfe", "Gro\u0308\u00dfe"
    for first, second in ((composed, decomposed), (decomposed, composed)):
        numbered = add_to_table((), [FileClass(first, 3), FileClass(second, 4)])
        assert numbered.numbers == (3, 3)
        assert [info.name for info in numbered.classes] == [first]
        assert add_to_table(numbered.classes, [FileClass(second, 1)]).numbers == (3,)
