"""Datasets whose label files come from other programs and machines: layouts, file names, sizes and class numbers."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.cli import main
from napari_sampath.errors import DatasetError, SampathError
from napari_sampath.formats import Snapshot, export_labels
from napari_sampath.formats.registry import writable
from napari_sampath.training import open_dataset
from napari_sampath.training.data.dataset import IGNORED
from napari_sampath.training.data.instances import dataset_instances
from support.models.patches import disc_image

HW = (96, 96)
SQUARE = [20, 30, 60, 30, 60, 50, 20, 50]  # 800 px


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".tif", ".tiff"):
        tifffile.imwrite(path, values)
    else:
        Image.fromarray(values).save(path)


def save_images(folder: Path, names: list[str], hw: tuple[int, int] = HW) -> None:
    for number, name in enumerate(names):
        save(folder / name, disc_image(number, hw)[0])


def coco(names: list[str], hw: tuple[int, int] = HW, **changes: object) -> dict[str, object]:
    """A COCO file with one square of class "gland" in each image."""
    content = {
        "images": [
            {"id": i, "file_name": name, "height": hw[0], "width": hw[1]} for i, name in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "gland"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "segmentation": [SQUARE], "iscrowd": 0}
            for i in range(len(names))
        ],
    }
    return content | changes


def write(path: Path, content: object, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding=encoding)


def check(folder: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, object]:
    """Return the report of `sampath dataset check`."""
    main(["dataset", "check", str(folder), "--json", *flags])
    captured = capsys.readouterr()
    assert captured.out, captured.err
    report: dict[str, object] = json.loads(captured.out)
    return report


def shares(report: dict[str, object]) -> dict[tuple[int, str], float]:
    return {(row["id"], row["name"]): round(row["share"], 4) for row in report["classes"]}


ONLY_GLAND = {(0, "background"): round(1 - 800 / 96**2, 4), (1, "gland"): round(800 / 96**2, 4)}


class TestCocoLayouts:
    NAMES = ("a.png", "b.png", "c.png")

    def images(self, folder: Path) -> list[str]:
        save_images(folder, list(self.NAMES))
        return list(self.NAMES)

    @pytest.mark.parametrize("layout", ["train2017", "cvat", "fiftyone", "label studio", "upper case"])
    def test_images_are_found(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str) -> None:
        folders = {
            "train2017": ("train2017", "annotations/instances_train2017.json"),
            "cvat": ("images/default", "annotations/instances_default.json"),
            "fiftyone": ("data", "labels.json"),
            "label studio": ("images", "result.json"),
            "upper case": ("Images", "Annotations/all.json"),
        }
        images, file = folders[layout]
        write(tmp_path / file, coco(self.images(tmp_path / images)))
        report = check(tmp_path, capsys)
        assert sum(report["images"].values()) == 3
        assert shares(report) == ONLY_GLAND

    @pytest.mark.parametrize(
        "form",
        [
            "images\\{}",
            "C:\\Users\\me\\slides\\{}",
            "/home/somebody/images/{}",
            "https://host.example/upload/1/{}?token=1",
            "../images/{}",
        ],
    )
    def test_listed_paths_of_other_machines(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
    ) -> None:
        names = self.images(tmp_path / "images")
        write(tmp_path / "annotations.json", coco([form.format(name) for name in names]))
        assert shares(check(tmp_path, capsys)) == ONLY_GLAND

    def test_images_of_two_folders_are_not_mixed_up(self, tmp_path: Path) -> None:
        self.images(tmp_path)
        write(tmp_path / "all.json", coco(["case 1/a.png", "case 2/a.png"]))
        with pytest.raises(DatasetError, match=r"'case 1/a.png' and 'case 2/a.png', but both were found at"):
            open_dataset(tmp_path)

    def test_splits_in_folders(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """As Roboflow writes them: a dummy category 0 that no object has, and one file for each split."""
        for number, split in enumerate(("train", "valid", "test")):
            name = f"{split}.png"
            save(tmp_path / split / name, disc_image(number)[0])
            categories = [{"id": 0, "name": "cells"}, {"id": 1, "name": "gland"}]
            write(tmp_path / split / "_annotations.coco.json", coco([name], categories=categories))
        report = check(tmp_path, capsys)
        assert report["images"] == {"train": 1, "val": 1, "test": 1}
        assert shares(report) == ONLY_GLAND
        assert any("without an object" in note and "cells" in note for note in report["notes"])

    def test_byte_order_mark_and_hidden_files(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write(tmp_path / "all.json", coco(self.images(tmp_path)), "utf-8-sig")
        (tmp_path / "._all.json").write_bytes(b"\0\5\x16\7")
        (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7")
        assert shares(check(tmp_path, capsys)) == ONLY_GLAND

    @pytest.mark.parametrize("ids", [(0, 1), (300, 7), ("g", "t"), ("0", "1")])
    def test_category_ids_are_the_business_of_the_file(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], ids: tuple[object, object]
    ) -> None:
        names = self.images(tmp_path)
        categories = [{"id": ids[0], "name": "gland"}, {"id": ids[1], "name": "tumour"}]
        content = coco(names, categories=categories)
        for number, entry in enumerate(content["annotations"]):
            entry["category_id"] = ids[number % 2]
        write(tmp_path / "all.json", content)
        report = check(tmp_path, capsys)
        assert {name for _, name in shares(report)} == {"background", "gland", "tumour"}
        assert all(0 <= number <= 255 for number, _ in shares(report))
        assert report["problems"] == []

    def test_numbers_agree_between_files(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A class is known by its name: it has one number, although two files give it two."""
        names = self.images(tmp_path)
        write(tmp_path / "train.json", coco(names[:2]))
        other = coco(names[2:], categories=[{"id": 1, "name": "tumour"}, {"id": 2, "name": "Gland"}])
        other["annotations"][0]["category_id"] = 2
        other["annotations"].append({**other["annotations"][0], "id": 9, "category_id": 1})
        write(tmp_path / "val.json", other)
        report = check(tmp_path, capsys)
        assert {(number, name.lower()) for number, name in shares(report)} == {
            *((0, "background"), (1, "gland"), (2, "tumour"))
        }
        assert any("'Gland' (2 -> 1)" in note and "'tumour' (1 -> 2)" in note for note in report["notes"])

    def test_sizes_are_compared(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(tmp_path / "all.json", coco(self.images(tmp_path), (192, 192)))
        report = check(tmp_path, capsys)
        problems = [problem for problem in report["problems"] if "all.json" in problem]
        assert len(problems) == 3
        assert all("192 x 192 px" in problem and "96 x 96 px" in problem for problem in problems)

    def test_what_is_skipped_is_said(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        content = coco(self.images(tmp_path))
        extra = [
            {"id": 20, "image_id": 0, "category_id": 1, "segmentation": None},
            {"id": 21, "image_id": 0, "category_id": 1},
            {"id": 22, "image_id": 0, "category_id": 1, "segmentation": [[200, 200, 220, 200, 220, 220]]},
            {"id": 23, "image_id": 77, "category_id": 1, "segmentation": [SQUARE]},
        ]
        content["annotations"] += extra
        write(tmp_path / "all.json", content)
        report = check(tmp_path, capsys)
        notes = " ".join(report["notes"])
        assert "'a': Left out: 2 annotations without an outline, 1 object outside the image." in notes
        assert "1 annotation of images that 'all.json' does not list" in notes
        assert shares(report) == ONLY_GLAND
        main(["dataset", "check", str(tmp_path)])
        assert "NOTE: 'a': Left out: 2" in capsys.readouterr().out

    def test_slides_and_splits_of_the_index(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(tmp_path / "all.json", coco(self.images(tmp_path)))
        rows = ["name,group,split", "a,slide 1,train", "b.png,slide 1,train", "c,slide 2,val"]
        (tmp_path / "index.csv").write_text("\n".join(rows))
        report = check(tmp_path, capsys)
        assert (report["images"], report["groups"]) == ({"train": 2, "val": 1}, {"train": 1, "val": 1})
        assert report["problems"] == []

    def test_the_same_image_in_two_files(self, tmp_path: Path) -> None:
        names = self.images(tmp_path)
        for name in ("train_a.json", "train_b.json"):
            write(tmp_path / name, coco(names))
        with pytest.raises(DatasetError, match=r"'.*a\.png' is listed in '.*train_a\.json' and in"):
            open_dataset(tmp_path)


class TestMasks:
    @pytest.mark.parametrize("layout", ["labels", "masks", "cellpose", "cellpose images", "splits"])
    def test_layouts(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str) -> None:
        places = {
            "labels": ("images/{}.png", "labels/{}.png"),
            "masks": ("images/{}.png", "masks/{}.png"),
            "cellpose": ("{}.png", "{}_masks.png"),
            "cellpose images": ("images/{}.png", "images/{}_cp_masks.tif"),
            "splits": ("train/images/{}.png", "train/labels/{}.png"),
        }
        image, mask = places[layout]
        for number in range(3):
            pixels, labels = disc_image(number)
            save(tmp_path / image.format(f"t{number}"), pixels)
            save(tmp_path / mask.format(f"t{number}"), labels)
        report = check(tmp_path, capsys)
        assert sum(report["images"].values()) == 3
        name = "object" if layout == "cellpose images" else "class 1"
        assert list(shares(report)) == [(0, "background"), (1, name)]

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
    def test_object_numbers_are_one_class(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], dtype: type
    ) -> None:
        for number in range(3):
            instances = np.zeros(HW, dtype)
            for index in range(5 + number):
                instances[10 * index + 4 : 10 * index + 11, 20:40] = index + 1
            save(tmp_path / f"images/t{number}.png", disc_image(number)[0])
            save(tmp_path / f"labels/t{number}.{'png' if dtype == np.uint8 else 'tif'}", instances)
        report = check(tmp_path, capsys)
        assert list(shares(report)) == [(0, "background"), (1, "object")]
        assert any("were read as objects of the class 'object'" in note for note in report["notes"])
        images = [*dataset_instances(open_dataset(tmp_path), "train")]
        assert all(len(image.objects()) == 5 + int(image.name[1]) for image in images)
        report = check(tmp_path, capsys, "--as", "classes")
        assert len(report["classes"]) == 8

    def test_the_same_classes_in_every_image_are_no_objects(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Each class is one area, as in sketches and in images of whole organs; 255 is ignored."""
        for number in range(3):
            classes = np.repeat(np.arange(6, dtype=np.uint8), 16)[:, None] * np.ones((1, 96), np.uint8)
            classes[:3] = 255
            save(tmp_path / f"images/t{number}.png", disc_image(number)[0])
            save(tmp_path / f"labels/t{number}.png", classes)
        report = check(tmp_path, capsys)
        assert [number for number, _ in shares(report)] == [0, 1, 2, 3, 4, 5]

    @pytest.mark.parametrize("has_list", [False, True])
    def test_black_and_white_masks_beside_class_numbers_are_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], has_list: bool
    ) -> None:
        for number in range(4):
            pixels, labels = disc_image(number)
            save(tmp_path / f"images/t{number}.png", pixels)
            save(tmp_path / f"labels/t{number}.png", labels * (255 if number < 2 else 1))
        if has_list:
            write(tmp_path / "classes.json", [{"id": 1, "name": "disc", "color": [1, 2, 3]}])
        if has_list:
            assert (
                "The value 255 of 2 label maps was read as ignored pixels."
                in check(tmp_path, capsys)["notes"]
            )
        else:
            assert main(["dataset", "check", str(tmp_path)]) == 1
            error = capsys.readouterr().err
            assert "2 label maps (such as 't0.png') of only the value 255 and others of 1 are in" in error
        mask = disc_image(2)[1]
        mask[:5] = 255  # Beside a class, 255 marks ignored pixels.
        save(tmp_path / "labels/t2.png", mask)
        report = check(tmp_path, capsys)
        assert "The value 255 of 3 label maps was read as ignored pixels." in report["notes"]

    def test_masks_without_an_image_are_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number in range(4):
            pixels, labels = disc_image(number)
            save(tmp_path / f"images/t{number}.png", pixels)
            for name in (f"t{number}_mask", f"t{number}_masks"):
                save(tmp_path / f"masks/{name}.png", labels)
        save(tmp_path / "masks/renamed_mask.png", labels)
        assert "Left out: 1 mask without an image (renamed_mask.png)." in check(tmp_path, capsys)["notes"]

    def test_palette_images_are_classes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Each value is one area, and the images have different numbers of values."""
        for number in range(3):
            values = np.minimum(np.arange(96, dtype=np.uint8) // 16, 3 + number)
            indexed = Image.fromarray(np.tile(values[:, None], (1, 96)))
            indexed.putpalette(np.random.default_rng(0).integers(0, 255, 768).tolist())
            save(tmp_path / f"images/t{number}.png", disc_image(number)[0])
            (tmp_path / "labels").mkdir(exist_ok=True)
            indexed.save(tmp_path / f"labels/t{number}.png")
        assert [number for number, _ in shares(check(tmp_path, capsys))] == [0, 1, 2, 3, 4, 5]

    def test_wide_class_maps_are_classes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Two classes in six areas, as napari saves a Labels layer."""
        for number in range(3):
            classes = np.zeros(HW, np.int32)
            for index in range(6):
                classes[10 * index + 4 : 10 * index + 11, 20:40] = 1 + index % 2
            save(tmp_path / f"images/t{number}.png", disc_image(number)[0])
            save(tmp_path / f"labels/t{number}.tif", classes)
        assert list(shares(check(tmp_path, capsys))) == [(0, "background"), (1, "class 1"), (2, "class 2")]

    def test_object_numbers_with_a_named_class(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        instances = np.zeros(HW, np.uint16)
        instances[5:20, 5:20], instances[40:60, 40:60] = 7, 300
        for number in range(3):
            save(tmp_path / f"images/t{number}.png", disc_image(number)[0])
            save(tmp_path / f"labels/t{number}.tif", instances)
        write(tmp_path / "classes.json", [{"id": 5, "name": "nucleus", "color": [1, 2, 3]}])
        assert list(shares(check(tmp_path, capsys))) == [(0, "background"), (5, "nucleus")]

    def test_smoothed_masks_are_refused(self, tmp_path: Path) -> None:
        for number in range(3):
            pixels, labels = disc_image(number)
            save(tmp_path / f"images/t{number}.png", pixels)
            small = Image.fromarray(labels * 255).resize((40, 40), Image.Resampling.BICUBIC)
            smoothed = np.asarray(small.resize((96, 96), Image.Resampling.BICUBIC))
            save(tmp_path / f"labels/t{number}.png", smoothed)
        with pytest.raises(
            DatasetError, match=r"like a mask that was resized with smoothing; export it without"
        ):
            open_dataset(tmp_path)

    def test_black_and_white_tiff_is_not_inverted(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        expected = 0
        for number in range(3):
            pixels, labels = disc_image(number)
            expected += labels.sum()
            save(tmp_path / f"images/t{number}.png", pixels)
            save(tmp_path / f"labels/t{number}.tif", labels.astype(bool))
        report = check(tmp_path, capsys)
        assert shares(report)[1, "class 1"] == round(expected / (3 * 96**2), 4)

    def test_channels_of_grey_masks(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Black and white saved as RGB, with alpha, or as grey with alpha is the same mask."""
        pixels, labels = disc_image(0)
        modes = ["L", "RGB", "RGBA", "LA"]
        for mode in modes:
            save(tmp_path / f"images/{mode}.png", pixels)
            path = tmp_path / f"labels/{mode}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(labels * 255).convert(mode).save(path)
        write(tmp_path / "classes.json", [{"id": 255, "name": "disc", "color": [1, 2, 3]}])
        report = check(tmp_path, capsys)
        assert shares(report)[255, "disc"] == round(labels.sum() / 96**2, 4)

    def test_label_in_the_size_of_a_turned_photograph(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The camera's orientation turns the image and the mask that was drawn on its stored pixels."""
        for number in range(3):
            pixels, labels = disc_image(number, (60, 90))
            exif = Image.Exif()
            exif[274] = 6
            (tmp_path / "images").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / f"images/t{number}.jpg", exif=exif, quality=95)
            save(tmp_path / f"labels/t{number}.png", labels)
        report = check(tmp_path, capsys)
        assert report["sizes"] == {"90 x 60": 3}
        (note,) = [note for note in report["notes"] if "orientation tag" in note]
        assert note.startswith(
            "'t0': The image was turned as its orientation tag states, like 2 other images; "
        )
        dataset = open_dataset(tmp_path)
        sample = next(sample for sample in dataset.samples if sample.name == "t1")
        np.testing.assert_array_equal(dataset.read(sample).targets, np.rot90(disc_image(1, (60, 90))[1], -1))


class TestNames:
    @pytest.mark.parametrize(
        ("image", "label"),
        [
            ("T0.JPG", "T0.PNG"),
            ("t0.png", "T0.png"),
            ("Ki67 50%.png", "Ki67 50%25.png"),
            ("Ki67 50%.png", "Ki67 50%.png"),
            ("a:b.png", "a%3Ab.png"),
            (
                unicodedata.normalize("NFC", "Präparat 2×.png"),
                unicodedata.normalize("NFD", "Präparat 2×.png"),
            ),
            (unicodedata.normalize("NFD", "Präparat.png"), unicodedata.normalize("NFC", "Präparat_mask.png")),
        ],
    )
    def test_labels_are_found(self, tmp_path: Path, image: str, label: str) -> None:
        pixels, labels = disc_image(0)
        save(tmp_path / "images" / image, pixels)
        save(tmp_path / "labels" / label, labels)
        save(tmp_path / "images" / "other.png", disc_image(1)[0])
        save(tmp_path / "labels" / "other.png", disc_image(1)[1])
        for hidden in ("images/._other.png", "labels/._other.png", "images/.DS_Store"):
            (tmp_path / hidden).write_bytes(b"\0\5\x16\7")
        dataset = open_dataset(tmp_path)
        assert len(dataset.samples) == 2
        sample = next(sample for sample in dataset.samples if sample.image.name == image)
        np.testing.assert_array_equal(dataset.read(sample).targets, labels)

    def test_an_exact_name_wins(self, tmp_path: Path) -> None:
        """An earlier version wrote the labels of 'a%20b' as 'a%2520b', and those of 'a b' as 'a b'."""
        for number, (image, label) in enumerate(
            [("a b", "a b"), ("a%20b", "a%2520b"), ("x", "x"), ("X", "X")]
        ):
            save(tmp_path / f"images/{image}.png", disc_image(number)[0])
            save(tmp_path / f"labels/{label}.png", disc_image(number)[1])
        dataset = open_dataset(tmp_path)
        for number, name in enumerate(["a b", "a%20b", "x", "X"]):
            sample = next(sample for sample in dataset.samples if sample.name == name)
            np.testing.assert_array_equal(dataset.read(sample).targets, disc_image(number)[1])

    def test_two_images_with_one_label_file(self, tmp_path: Path) -> None:
        for name in ("t0.png", "t0.tif"):
            save(tmp_path / "images" / name, disc_image(0)[0])
        save(tmp_path / "labels" / "t0.png", disc_image(0)[1])
        with pytest.raises(DatasetError, match=r"t0\.png' and '.*t0\.tif' have the same label file"):
            open_dataset(tmp_path)


class TestExports:
    """A folder of exports passes the check of training, with its class names and numbers."""

    CLASSES = (
        [ClassInfo(2, "tumour", (200, 0, 0))],
        [ClassInfo(1, "stroma", (0, 200, 0)), ClassInfo(2, "tumour", (200, 0, 0))],
        [ClassInfo(2, "tumour", (200, 0, 0)), ClassInfo(3, "fat", (0, 0, 200))],
    )

    def export(
        self, folder: Path, name: str, number: int, classes: list[ClassInfo], **options: object
    ) -> None:
        pixels, labels = disc_image(number)
        class_map = np.zeros(HW, np.uint8)
        bands = np.array_split(np.arange(96), len(classes))
        for info, rows in zip(classes, bands, strict=True):
            class_map[rows] = labels[rows] * info.id
        save(folder / "images" / f"{name}.png", pixels)
        snapshot = Snapshot(name, pixels, class_map, class_map.astype(np.int32), classes=classes)
        export_labels(folder / "labels", snapshot, **options)

    @pytest.mark.parametrize("name", [entry.name for entry in writable()])
    def test_any_format(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
        for number, classes in enumerate(self.CLASSES):
            self.export(tmp_path, f"Ki67 {number} 50%", number, classes, formats=(name,))
        folder = next((path.parent for path in tmp_path.rglob("dataset.json")), tmp_path)  # of nnU-Net
        report = check(folder, capsys)
        if name == "cellpose":
            assert list(shares(report)) == [(0, "background"), (1, "object")]
            return
        assert list(shares(report)) == [(0, "background"), (1, "stroma"), (2, "tumour"), (3, "fat")]
        assert not [problem for problem in report["problems"] if "Ki67" in problem]
        assert "does not state the slide or case" in report["warnings"][-1]

    def test_one_class_with_two_numbers(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """As exports of earlier versions have it: the names count, and it is said."""
        self.export(tmp_path, "a", 0, [ClassInfo(1, "tumour", (200, 0, 0))])
        self.export(tmp_path, "b", 1, [ClassInfo(1, "tumour", (200, 0, 0))])
        self.export(tmp_path, "c", 2, [ClassInfo(1, "tumour", (200, 0, 0))])
        path = tmp_path / "labels" / "classes.json"
        content = json.loads(path.read_text())
        content["images"]["b"]["classes"] = [{"id": 1, "name": "stroma", "color": [0, 200, 0]}]
        path.write_text(json.dumps(content))
        report = check(tmp_path, capsys)
        assert {name for _, name in shares(report)} == {"background", "tumour", "stroma"}
        assert any("'stroma' (1 -> 2)" in note for note in report["notes"])


class TestOtherPrograms:
    def test_a_class_that_appears_after_opening(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            save(tmp_path / f"{name}.png", disc_image(0)[0])
            write(tmp_path / f"{name}.json", coco([f"{name}.png"]))
        dataset = open_dataset(tmp_path)
        write(tmp_path / "a.json", coco(["a.png"], categories=[{"id": 1, "name": "tumour"}]))
        changed = next(sample for sample in dataset.samples if sample.name == "a")
        with pytest.raises(DatasetError, match="has the class 'tumour', which it did not have before"):
            dataset.read(changed)

    def test_labelme_beside_the_images(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        corners = np.reshape(SQUARE, (-1, 2)).tolist()
        for number, name in enumerate(("a", "b", "c")):
            save(tmp_path / f"{name}.png", disc_image(number)[0])
            shape = {"label": "gland", "points": corners, "shape_type": "polygon"}
            content = {
                "version": "5.5.0",
                "flags": {},
                "shapes": [shape],
                "imagePath": f"{name}.png",
                "imageHeight": 96,
                "imageWidth": 96,
                "imageData": None,
            }
            write(tmp_path / f"{name}.json", content)
        save(tmp_path / "unfinished.png", disc_image(4)[0])
        save(tmp_path / "scan_classes.png", disc_image(4)[0])
        report = check(tmp_path, capsys)
        assert shares(report) == ONLY_GLAND
        assert any("named as label maps of no image (scan_classes.png)" in note for note in report["notes"])
        assert any("1 image without a label file (unfinished.png)" in note for note in report["notes"])

    def test_yolo(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        line = " ".join(f"{value / 96:.6f}" for value in SQUARE)
        for number, split in enumerate(("train", "train", "val")):
            save(tmp_path / f"images/{split}/t{number}.png", disc_image(number)[0])
            label = tmp_path / f"labels/{split}/t{number}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f"0 {line}\n")
        (tmp_path / "data.yaml").write_text("names:\n  0: gland\n")
        report = check(tmp_path, capsys)
        assert report["images"] == {"train": 2, "val": 1}
        assert shares(report) == ONLY_GLAND

    def test_geojson_of_another_size(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        corners = np.reshape(SQUARE, (-1, 2)) + 500
        feature = {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*corners.tolist(), corners[0].tolist()]]},
            "properties": {"classification": {"name": "gland"}},
        }
        for number, name in enumerate(("a", "b", "c")):
            save(tmp_path / f"images/{name}.png", disc_image(number)[0])
            write(tmp_path / f"labels/{name}.geojson", {"type": "FeatureCollection", "features": [feature]})
        report = check(tmp_path, capsys)
        assert len([problem for problem in report["problems"] if "outside the image" in problem]) == 3

    def test_unknown_format(self, tmp_path: Path) -> None:
        save(tmp_path / "images/a.png", disc_image(0)[0])
        write(tmp_path / "labels/a.json", {"nothing": "known"})
        with pytest.raises(SampathError, match=r"a\.json' has none of the formats"):
            open_dataset(tmp_path)

    def test_files_of_other_images_are_said_and_numbers_are_kept(self, tmp_path: Path) -> None:
        corners = np.reshape(SQUARE, (-1, 2)).tolist()
        for number in (3, 2, 1):
            save(tmp_path / f"t{number}.png", disc_image(number)[0])
            shape = {"label": str(4 - number), "points": corners, "shape_type": "polygon"}
            size = {"imageHeight": 96, "imageWidth": 96}
            write(tmp_path / f"t{number}.json", {"shapes": [shape], "imagePath": "t1.png", **size})
        dataset = open_dataset(tmp_path)
        assert [(info.id, info.name) for info in dataset.classes[1:]] == [(1, "1"), (2, "2"), (3, "3")]
        assert [note[:9] for note in dataset.remarks if "for the image 't1.png'" in note] == [
            "'t2.json'",
            "'t3.json'",
        ]


def test_pixels_that_nnunet_ignores_are_not_trained_on(tmp_path: Path) -> None:
    labels = np.zeros(HW, np.uint8)
    labels[10:40, 10:40], labels[60:80] = 1, 2
    content = {"channel_names": {"0": "R"}, "labels": {"background": 0, "gland": 1, "ignore": 2}}
    write(tmp_path / "dataset.json", content | {"numTraining": 2, "file_ending": ".png"})
    save_images(tmp_path / "imagesTr", ["a_0000.png", "b_0000.png"])
    for name in ("a", "b"):
        save(tmp_path / "labelsTr" / f"{name}.png", labels)
    dataset = open_dataset(tmp_path)
    assert [info.name for info in dataset.classes] == ["background", "gland"]
    targets = dataset.read(dataset.samples[0]).targets
    np.testing.assert_array_equal(targets == IGNORED, labels == 2)
    np.testing.assert_array_equal(targets == 1, labels == 1)


def test_labelme_areas_to_be_ignored_are_not_trained_on(tmp_path: Path) -> None:
    save_images(tmp_path, ["a.png", "b.png"])
    for name in ("a", "b"):
        shapes = [
            {
                "label": label,
                "shape_type": "polygon",
                "points": [[x, 10], [x + 20, 10], [x + 20, 30], [x, 30]],
            }
            for label, x in (("gland", 10), ("__ignore__", 50))
        ]
        content = {"imagePath": f"{name}.png", "imageHeight": HW[0], "imageWidth": HW[1], "shapes": shapes}
        write(tmp_path / f"{name}.json", content)
    dataset = open_dataset(tmp_path)
    assert [info.name for info in dataset.classes] == ["background", "gland"]
    targets = dataset.read(dataset.samples[0]).targets
    assert (targets == IGNORED).sum() == 400
    assert (targets[10:30, 50:70] == IGNORED).all()
    assert (targets == 1).sum() == 400


def test_labels_in_two_folders_are_refused_and_not_chosen_in_silence(tmp_path: Path) -> None:
    save_images(tmp_path / "images", ["a.png", "b.png"])
    for folder, value in (("labels", 1), ("masks", 2)):
        for name in ("a", "b"):
            save(tmp_path / folder / f"{name}.png", np.full(HW, value, np.uint8))
    with pytest.raises(DatasetError, match=r"has labels in '.*labels.*' and in '.*masks.*'; keep one"):
        open_dataset(tmp_path)
