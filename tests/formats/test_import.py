from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import skimage.io
import tifffile
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import DuplicateNameError, ImageError
from napari_sampath.formats import import_labels
from napari_sampath.formats.format import ReadOptions
from support.label_maps import CLASS_MAP, INSTANCE_MAP, check_sentence, export

if TYPE_CHECKING:
    import numpy.typing as npt


COLOURS = np.random.default_rng(0).integers(0, 255, (20, 30, 4), np.uint8)


def two_blobs() -> npt.NDArray[np.uint8]:
    values = np.zeros((30, 40), dtype=np.uint8)
    values[2:8, 3:9] = 3
    values[8:12, 9:12] = 3  # touches the first by a corner
    values[20:25, 5:30] = 3
    values[20:25, 30:35] = 5
    return values


def check_blobs(path: Path) -> tuple[ClassInfo, ...]:
    labels = import_labels(path)
    np.testing.assert_array_equal(labels.class_map, two_blobs())
    assert labels.instance_map.max() == 3
    assert labels.instance_map[3, 4] == labels.instance_map[9, 10] != 0
    assert len({int(labels.instance_map[row, col]) for row, col in ((3, 4), (22, 10), (22, 32))}) == 3
    assert ((labels.instance_map > 0) == (two_blobs() > 0)).all()
    assert [info.id for info in labels.classes] == [3, 5]
    assert [info.name for info in labels.classes] == ["class 3", "class 5"]
    assert labels.classes[0].color != labels.classes[1].color
    return labels.classes


def test_grey_png_and_tiff(tmp_path: Path) -> None:
    Image.fromarray(two_blobs()).save(tmp_path / "a.png")
    check_blobs(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", two_blobs())
    check_blobs(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "a_classes.tif", two_blobs()[None, ..., None])
    check_blobs(tmp_path / "a_classes.tif")
    skimage.io.imsave(tmp_path / "b.png", two_blobs(), check_contrast=False)
    check_blobs(tmp_path / "b.png")


@pytest.mark.parametrize("suffix", ["png", "tif", "gif", "bmp"])
def test_indexed_files_keep_their_colours(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(two_blobs())
    image.putpalette([0, 0, 0, 9, 9, 9, 9, 9, 9, 200, 10, 20, 9, 9, 9, 0, 0, 0])
    image.save(tmp_path / f"a.{suffix}", **({"optimize": False} if suffix == "gif" else {}))
    classes = check_blobs(tmp_path / f"a.{suffix}")
    assert classes[0].color == (200, 10, 20)
    assert any(classes[1].color), "black would be invisible"


def test_bilevel_png_is_read_as_one_class(tmp_path: Path) -> None:
    Image.fromarray(two_blobs() > 0).save(tmp_path / "a.png")
    labels = import_labels(tmp_path / "a.png")
    np.testing.assert_array_equal(labels.class_map, two_blobs() > 0)
    assert [info.id for info in labels.classes] == [1]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_images_of_more_than_8_bits_are_read_as_objects(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(INSTANCE_MAP.astype(np.uint16)).save(path)
    labels = import_labels(path)
    np.testing.assert_array_equal(labels.instance_map, INSTANCE_MAP)
    np.testing.assert_array_equal(labels.class_map, INSTANCE_MAP > 0)
    assert [info.id for info in labels.classes] == [1]


def test_an_empty_label_map(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(tmp_path / "a.png")
    labels = import_labels(tmp_path / "a.png")
    assert labels.classes == ()
    assert not labels.instance_map.any()


@pytest.mark.data
def test_label_maps_of_bbbc038(data_dir: Path) -> None:
    masks = sorted((data_dir / "bbbc038_nuclei" / "masks").glob("*.png"))[:5]
    assert len(masks) == 5
    for path in masks:
        expected = skimage.io.imread(path)
        labels = import_labels(path)
        np.testing.assert_array_equal(labels.instance_map, expected)
        assert labels.instance_map.max() > 1


@pytest.mark.parametrize(
    ("values", "suffix", "match"),
    [
        (
            COLOURS[..., :3],
            "png",
            "3 channels .colours, not labels.; export a PNG",
        ),
        (COLOURS, "png", "4 channels"),
        (COLOURS[..., :3], "tif", "3 channels"),
        (np.full((20, 30), 0.5, np.float32), "tif", "float32"),
        (two_blobs(), "jpg", "is a JPEG file with lossy compression, which alters label values"),
        (two_blobs().astype(np.int16) - 1, "tif", "contains -1, but labels must not be negative"),
        (two_blobs().astype(np.uint32) * 2**30, "tif", "values must be from 0 to 2147483647"),
        (COLOURS.transpose(2, 0, 1), "tif", "stack|channels"),
    ],
)
def test_images_that_are_not_label_maps_are_rejected(
    tmp_path: Path, values: Any, suffix: str, match: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, values, photometric="rgb" if values.shape[-1] == 3 else "minisblack")
    else:
        Image.fromarray(values).save(path)
    with pytest.raises(ImageError, match=match) as caught:
        import_labels(path)
    check_sentence(str(caught.value))


# Damaged exports


def test_each_kind_of_damage_gives_a_one_sentence_error(tmp_path: Path) -> None:
    export(tmp_path, formats=("png",))
    manifest = tmp_path / "classes.json"
    good = json.loads(manifest.read_text(encoding="utf-8"))

    def check(match: str) -> None:
        with pytest.raises(ImageError, match=match) as caught:
            import_labels(tmp_path)
        check_sentence(str(caught.value))

    def change(**values: Any) -> None:
        broken = json.loads(json.dumps(good))
        broken["images"]["slide 7"].update(values)
        manifest.write_text(json.dumps(broken))

    for text in ("", "{", "[]", "7", '{"schema_version": 1}', '{"schema_version": 1, "images": [1]}', "\xff"):
        manifest.write_text(text, encoding="latin-1")
        check("is damaged or made by another program")
    manifest.write_text(json.dumps({**good, "schema_version": 2}))
    check("schema version 2, this version reads up to 1; update")
    change(files={"classes": ["../a.png"], "instances": []})
    check("is damaged or made by another program")
    change(classes=[{"id": 1}])
    check("is damaged or made by another program")
    change(classes=[{"id": number, "name": "tumour", "color": [1, 2, 3]} for number in (1, 2, 200)])
    with pytest.raises(DuplicateNameError, match=r"classes.json' has 3 classes with the name 'tumour'"):
        import_labels(tmp_path)
    change(height=51)
    check(r"has shape \(50, 70\), and classes.json says \(51, 70\)")
    manifest.write_text(json.dumps(good))
    np.testing.assert_array_equal(import_labels(tmp_path).class_map, CLASS_MAP)
    png = tmp_path / "slide 7_instances.png"
    png.write_bytes(png.read_bytes()[:-200])
    check("truncated or damaged")
    png.unlink()
    check(r"lacks the instances file of 'slide 7' \(slide 7_instances.png\)")
    manifest.unlink()
    check(r"The folder .* has none of the formats .* and no classes.json of an export; export it")
    with pytest.raises(ImageError, match="There is no file"):
        import_labels(tmp_path / "gone.png")


def test_files_of_other_programs_in_subfolders_do_not_hide_an_export(tmp_path: Path) -> None:
    export(tmp_path)
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "classes.json").write_text("[]")
    options = ReadOptions("slide 7", digest="0" * 64)
    np.testing.assert_array_equal(import_labels(tmp_path, options=options).class_map, CLASS_MAP)
