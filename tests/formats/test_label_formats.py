from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import skimage.io
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from napari_sampath.annotations.masks.tiled_map import TiledMap
from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import DuplicateNameError, ImageError, StorageError, UnknownNameError
from napari_sampath.formats import Objects, Snapshot, export_labels, import_labels, import_objects
from support.label_maps import CLASS_MAP, CLASSES, INSTANCE_MAP, RNG, check_sentence, export
from support.small_disk import mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt


MANY = np.minimum(np.arange(256 * 257), 65536).reshape(256, 257)
"""One object too many for 16 bits."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


# Round trips


@st.composite
def label_maps(draw: st.DrawFn) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], tuple[ClassInfo, ...]]:
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    ids = draw(st.lists(st.integers(1, 255), max_size=6, unique=True))
    color = st.tuples(*[st.integers(0, 255)] * 3)
    titles = draw(st.lists(st.text(max_size=8), min_size=len(ids), max_size=len(ids), unique=True))
    classes = tuple(ClassInfo(number, title, draw(color)) for number, title in zip(ids, titles, strict=True))
    class_map = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, *ids])))
    top = draw(st.sampled_from([1, 255, 256, 65535]))
    instance_map = draw(hnp.arrays(np.int32, shape, elements=st.integers(0, top)))
    return class_map, instance_map, classes


@settings(max_examples=60, deadline=None)
@given(
    maps=label_maps(),
    name=st.text(max_size=12),
    formats=st.sampled_from([("png",), ("tiff",), ("tiff", "png")]),
)
def test_exported_labels_are_imported_unchanged(
    tmp_path_factory: pytest.TempPathFactory, maps: Any, name: str, formats: tuple[str, ...]
) -> None:
    folder = tmp_path_factory.mktemp("export")
    class_map, instance_map, classes = maps
    files = export_labels(folder, Snapshot(name, None, class_map, instance_map, classes=classes), formats)
    assert sorted(file.name for file in files) == names(folder)
    assert len(files) == 1 + 2 * len(formats)
    for path, image in [(folder, None), (folder, name), (folder / "classes.json", None), (files[0], None)]:
        labels = import_labels(path, image)
        np.testing.assert_array_equal(labels.class_map, class_map)
        np.testing.assert_array_equal(labels.instance_map, instance_map)
        assert (labels.class_map.dtype, labels.instance_map.dtype) == (np.uint8, np.int32)
        assert labels.classes == classes


@pytest.mark.parametrize("count", [255, 256, 65535, 65536, 2**31 - 1])
def test_instance_numbers_of_every_width(tmp_path: Path, count: int) -> None:
    instance_map = INSTANCE_MAP.copy()
    instance_map[3, 4] = count
    export(tmp_path, instance_map=instance_map, formats=("tiff",))
    np.testing.assert_array_equal(import_labels(tmp_path).instance_map, instance_map)
    stored = tifffile.imread(tmp_path / "slide 7_instances.tif")
    assert stored.dtype == (np.uint16 if count < 65536 else np.uint32)


def test_objects_with_high_numbers_are_renumbered_for_png(tmp_path: Path) -> None:
    """Numbers are not reused, so long sessions can exceed 16 bits."""
    instance_map = TiledMap((50, 70), np.int32)
    instance_map.write((0, 0, 50, 70), (INSTANCE_MAP > 0) * (INSTANCE_MAP + 70_000))
    details = {70_000 + int(number): {"score": 0.5} for number in np.unique(INSTANCE_MAP) if number}
    lowest, highest = min(details), max(details)
    details[highest] = {"score": 0.75}
    formats = ("png", "tiff", "geojson", "ome-zarr")
    export(tmp_path, instance_map=instance_map, details=details, formats=formats)
    expected = np.unique(INSTANCE_MAP, return_inverse=True)[1].reshape(INSTANCE_MAP.shape)
    for file in ("instances.png", "instances.tif", "objects.ome.zarr"):
        labels = import_labels(tmp_path / f"slide 7_{file}")
        np.testing.assert_array_equal(labels.instance_map, expected)
        assert labels.details[len(details)] == {"score": 0.75}
    for objects in (
        Objects.of(labels),
        import_objects(tmp_path / "slide 7_objects.geojson", "slide 7", (50, 70)),
    ):
        scores = {obj.number: obj.details["score"] for obj in objects.items if obj.number}
        assert set(scores) == set(range(1, len(details) + 1))
        assert (scores[1], scores[len(details)]) == (0.5, 0.75), "details follow the new numbers"
    export(tmp_path, instance_map=instance_map, details=details, formats=("tiff",))
    stored = import_labels(tmp_path).instance_map
    assert (stored[stored > 0].min(), stored.max()) == (lowest, highest), "TIFF can store any number"


def test_details_are_stored_next_to_label_maps(tmp_path: Path) -> None:
    details = {
        1: {"source": "head", "score": 0.5, "reviewed": True, "model": "Gland \u00e4"},
        3: {"unsure": True},
    }
    files = export(tmp_path, details=details, formats=("png",))
    details_file = tmp_path / "slide 7_details.json"
    assert details_file in files
    assert import_labels(tmp_path).details == details
    assert import_labels(tmp_path / "slide 7_instances.png").details == details
    details_file.write_text('{"objects": [1]}')
    with pytest.raises(ImageError, match=r"_details.json' is damaged; delete it"):
        import_labels(tmp_path)
    details_file.unlink()
    assert import_labels(tmp_path).details == {}
    export(tmp_path, details=details, formats=("geojson",))
    assert not details_file.exists()


def test_arrays_of_other_layouts(tmp_path: Path) -> None:
    export(
        tmp_path,
        class_map=np.asfortranarray(CLASS_MAP).astype(np.int64),
        instance_map=INSTANCE_MAP.astype("u2"),
    )
    labels = import_labels(tmp_path)
    np.testing.assert_array_equal(labels.class_map, CLASS_MAP)
    np.testing.assert_array_equal(labels.instance_map, INSTANCE_MAP)


# Reading by other programs


def test_pillow_reads_indices_and_colours(tmp_path: Path) -> None:
    export(tmp_path)
    with Image.open(tmp_path / "slide 7_classes.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), CLASS_MAP)
        colours = np.asarray(image.convert("RGBA"))
    for info in CLASSES:
        assert {tuple(colour) for colour in colours[info.id == CLASS_MAP].tolist()} == {(*info.color, 255)}
    assert {tuple(colour) for colour in colours[CLASS_MAP == 0].tolist()} == {(0, 0, 0, 0)}
    with Image.open(tmp_path / "slide 7_instances.png") as image:
        assert image.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(image), INSTANCE_MAP)
    for kind, expected in (("classes", CLASS_MAP), ("instances", INSTANCE_MAP)):
        with Image.open(tmp_path / f"slide 7_{kind}.tif") as image:
            np.testing.assert_array_equal(np.asarray(image), expected)


def test_tifffile_and_skimage_read_the_numbers(tmp_path: Path) -> None:
    export(tmp_path)
    for kind, expected in (("classes", CLASS_MAP), ("instances", INSTANCE_MAP)):
        with tifffile.TiffFile(tmp_path / f"slide 7_{kind}.tif") as tiff:
            assert len(tiff.pages) == 1
            assert tiff.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
            np.testing.assert_array_equal(tiff.asarray(), expected)
        np.testing.assert_array_equal(skimage.io.imread(tmp_path / f"slide 7_{kind}.tif"), expected)
    np.testing.assert_array_equal(skimage.io.imread(tmp_path / "slide 7_instances.png"), INSTANCE_MAP)
    colours = skimage.io.imread(tmp_path / "slide 7_classes.png")
    for info in CLASSES:
        assert (colours[info.id == CLASS_MAP][:, :3] == info.color).all()


def test_classes_json_lists_classes_and_files(tmp_path: Path) -> None:
    files = export(tmp_path, formats=("png",))
    assert files == [
        tmp_path / name for name in ("slide 7_classes.png", "slide 7_instances.png", "classes.json")
    ]
    assert json.loads((tmp_path / "classes.json").read_text(encoding="utf-8")) == {
        "schema_version": 1,
        "images": {
            "slide 7": {
                "height": 50,
                "width": 70,
                "classes": [
                    {"id": 1, "name": "tumour", "color": [230, 60, 60]},
                    {"id": 2, "name": "stroma", "color": [60, 200, 90]},
                    {"id": 200, "name": "Lymphozyten – dicht", "color": [0, 0, 255]},
                ],
                "files": {"classes": ["slide 7_classes.png"], "instances": ["slide 7_instances.png"]},
            }
        },
    }


# Several images and repeated exports


def test_a_class_has_one_number_in_all_images_of_a_folder(tmp_path: Path) -> None:
    other = (
        ClassInfo(1, "gland", (1, 2, 3)),
        ClassInfo(7, "Stroma ", (4, 5, 6)),
        ClassInfo(9, "fat", (7, 8, 9)),
    )
    small = np.array([[0, 1, 7], [9, 9, 0]], np.uint8)
    export(tmp_path, "a/b")
    notes: list[str] = []
    snapshot = Snapshot("a%2Fb", None, small, small, classes=other)
    files = export_labels(tmp_path, snapshot, ("png", "coco", "geojson", "ome-zarr"), notes)
    assert notes == ["2 classes have another number than in the image: 'gland' (1 -> 3), 'Stroma ' (7 -> 2)."]
    expected = np.array([[0, 3, 2], [9, 9, 0]], np.uint8)
    for path in (tmp_path, *files):
        labels = import_labels(path, "a%2Fb")
        np.testing.assert_array_equal(labels.class_map, expected)
        assert {info.id: info.name.strip() for info in labels.classes} == {3: "gland", 2: "Stroma", 9: "fat"}
    first = import_labels(tmp_path, "a/b")
    np.testing.assert_array_equal(first.class_map, CLASS_MAP)
    assert first.classes == CLASSES
    with pytest.raises(ImageError, match=r"2 images \(a/b, a%2Fb\); name one"):
        import_labels(tmp_path)
    with pytest.raises(UnknownNameError, match=r"'a_b'.*Did you mean 'a/b'"):
        import_labels(tmp_path, "a_b")


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    export(tmp_path)
    export(tmp_path, class_map=CLASS_MAP[::-1], instance_map=INSTANCE_MAP[::-1])
    assert len(names(tmp_path)) == 5
    np.testing.assert_array_equal(import_labels(tmp_path).class_map, CLASS_MAP[::-1])


def test_import_ignores_old_files_of_another_format(tmp_path: Path) -> None:
    export(tmp_path)
    export(tmp_path, class_map=CLASS_MAP[::-1], formats=("tiff",))
    np.testing.assert_array_equal(import_labels(tmp_path).class_map, CLASS_MAP[::-1])


def test_the_given_file_is_read_even_if_edited(tmp_path: Path) -> None:
    export(tmp_path)
    edited = CLASS_MAP.copy()
    edited[:10] = 7
    tifffile.imwrite(tmp_path / "slide 7_classes.tif", edited)
    labels = import_labels(tmp_path / "slide 7_classes.tif")
    np.testing.assert_array_equal(labels.class_map, edited)
    np.testing.assert_array_equal(labels.instance_map, INSTANCE_MAP)
    assert [info.id for info in labels.classes] == [1, 2, 200, 7]
    assert labels.classes[3].name == "class 7"
    np.testing.assert_array_equal(import_labels(tmp_path / "slide 7_classes.png").class_map, CLASS_MAP)


# Full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path)


@pytest.mark.parametrize("formats", [("png",), ("tiff",), ("png", "tiff")])
def test_a_full_disk_keeps_the_earlier_export(small_disk: Path, formats: tuple[str, ...]) -> None:
    export(small_disk)
    before = contents(small_disk)
    noise = RNG.integers(0, 2**31, (700, 700), dtype=np.int32) % 65536
    with pytest.raises(StorageError, match=r"No space left.*untouched: free some space"):
        export(small_disk, class_map=(noise % 3).astype(np.uint8), instance_map=noise, formats=formats)
    assert contents(small_disk) == before
    np.testing.assert_array_equal(import_labels(small_disk).instance_map, INSTANCE_MAP)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: RLIMIT_FSIZE")
def test_a_failed_write_keeps_the_earlier_export(tmp_path: Path) -> None:
    export(tmp_path)
    before = contents(tmp_path)
    program = textwrap.dedent(
        """
        import resource, sys
        import numpy as np
        from napari_sampath.arrays import ClassInfo
        from napari_sampath.errors import StorageError
        from napari_sampath.formats import Snapshot, export_labels
        noise = np.random.default_rng(0).integers(0, 65536, (300, 300), dtype=np.int32)
        classes = [ClassInfo(1, "a", (1, 2, 3))]
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            snapshot = Snapshot("slide 7", None, (noise % 2).astype(np.uint8), noise, classes=classes)
            export_labels(sys.argv[1], snapshot)
        except StorageError as error:
            sys.exit(str(error))
        """
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "File too large" in result.stderr
    assert contents(tmp_path) == before


def test_a_foreign_classes_json_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('{"names": ["a"]}')
    with pytest.raises(ImageError, match="damaged or made by another program; move it away"):
        export(tmp_path)
    assert names(tmp_path) == ["classes.json"]


# Rejected exports


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"class_map": CLASS_MAP[:40]}, r"\(40, 70\) and the instance map \(50, 70\)"),
        ({"class_map": CLASS_MAP[..., None]}, r"class map has shape \(50, 70, 1\)"),
        ({"class_map": CLASS_MAP / 2}, "type float64; give whole numbers"),
        ({"class_map": CLASS_MAP.astype(int) * 2}, "values from 0 to 400, but they must be from 0 to 255"),
        ({"instance_map": INSTANCE_MAP - 1}, "values from -1 to"),
        ({"instance_map": INSTANCE_MAP.astype(np.int64) * 2**31}, "they must be from 0 to 2147483647"),
        (
            {"class_map": MANY * 0, "instance_map": MANY},
            "'slide 7' has 65536 objects, and a PNG holds at most 65535",
        ),
        ({"classes": CLASSES[:2]}, "holds the value 200, which is the id of no class \\(ids: 1, 2\\)"),
        ({"classes": ()}, "ids: none"),
        ({"classes": (*CLASSES, ClassInfo(2, "again", (1, 2, 3)))}, "2 classes with the id '2'; give each"),
        ({"classes": (*CLASSES, ClassInfo(3, "tumour", (1, 2, 3)))}, "2 classes with the name 'tumour'"),
        ({"classes": (*CLASSES, ClassInfo(256, "much", (1, 2, 3)))}, "id 256"),
        ({"classes": (*CLASSES, ClassInfo(3, "red", (256, 2, 3)))}, r"colour \(256, 2, 3\)"),
        ({"class_map": CLASS_MAP[:0], "instance_map": INSTANCE_MAP[:0]}, "give whole numbers"),
    ],
)
def test_invalid_annotations_are_rejected(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises((ImageError, DuplicateNameError), match=match) as caught:
        export(tmp_path / "new", **changes)
    check_sentence(str(caught.value))
    assert not (tmp_path / "new").exists()


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownNameError, match=r"no format 'tif'. Did you mean 'tiff'\? Available: .*png, tiff"
    ):
        export(tmp_path, formats=("tif",))
    with pytest.raises(UnknownNameError, match=r"Available: .*png, tiff"):
        export(tmp_path, formats=())


def test_a_background_class_is_kept(tmp_path: Path) -> None:
    classes = (ClassInfo(0, "background", (9, 9, 9)), *CLASSES)
    export(tmp_path, classes=classes)
    assert import_labels(tmp_path).classes == classes
