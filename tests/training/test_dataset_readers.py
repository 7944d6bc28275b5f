"""Readers of datasets in their published layouts, on tiny folders with the same layout; and `dataset check`."""

from __future__ import annotations

import csv
import dataclasses
import json

import nibabel
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as pycoco

from napari_sampath.arrays import ClassInfo
from napari_sampath.cli import main
from napari_sampath.errors import DatasetError, SampathError
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.training import IGNORED, join_datasets, open_dataset
from napari_sampath.training.data.readers.published_sets.typed_nuclei import tumour_regions
from support.models.patches import disc_image


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def splits(dataset):
    """Map each split to its groups, and check that no group is in two splits."""
    found = {
        s: {sample.group for sample in dataset.samples if sample.split == s} for s in ("train", "val", "test")
    }
    assert not found["train"] & found["val"]
    assert not found["train"] & found["test"]
    return found


def read(dataset, name):
    return dataset.read(next(sample for sample in dataset.samples if sample.name == name))


def test_bcss(tmp_path):
    for number, (case, site) in enumerate([("A0SK", "A1"), ("A0SL", "A1"), ("A0SM", "A2"), ("A0ZZ", "OL")]):
        name = f"TCGA-{site}-{case}-DX1_xmin{number}_ymin25_MPP-0.2500.png"
        pixels, labels = disc_image(number)
        codes = labels * 20
        codes[:5], codes[5:8], codes[8:10] = 0, 7, 11
        save(tmp_path / "rgbs_colorNormalized" / name, pixels)
        save(tmp_path / "masks" / name, codes)
    dataset = open_dataset(tmp_path)
    assert (dataset.name, dataset.mpp) == ("bcss", 0.25)
    assert splits(dataset)["test"] == {"TCGA-OL-A0ZZ"}
    assert len(splits(dataset)["val"]) == 1
    targets = dataset.read(dataset.samples[0]).targets
    assert (targets[:8] == IGNORED).all()
    assert (targets[8:10] == 2).all()  # plasma cells and the like are inflammatory
    assert set(np.unique(targets[10:])) == {0, IGNORED}  # DCIS is tumour


def test_crag(tmp_path, caplog):
    for part, prefix in (("train", "train"), ("valid", "test")):
        for number in range(3):
            pixels, labels = disc_image(number)
            save(tmp_path / part / "Images" / f"{prefix}_{number}.png", pixels)
            save(tmp_path / part / "Annotation" / f"{prefix}_{number}.png", labels * 7)
    dataset = open_dataset(tmp_path)
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [2, 1, 3]
    example = read(dataset, "test_1")
    np.testing.assert_array_equal(example.targets, disc_image(1)[1])
    assert set(np.unique(example.instances)) == {0, 7}
    assert "does not state the slides of its images" in caplog.text


def test_glas(tmp_path):
    rows = []
    for number, name in enumerate(["train_1", "train_2", "train_3", "testA_1", "testB_1"]):
        pixels, labels = disc_image(number)
        save(tmp_path / f"{name}.bmp", pixels)
        save(tmp_path / f"{name}_anno.bmp", labels * 3)
        rows.append([name, f" {max(0, number - 1)}", " benign" if number else " malignant"])
    with (tmp_path / "Grade.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["name", " patient ID", " grade (GlaS)"], *rows])
    dataset = open_dataset(tmp_path)
    assert splits(dataset)["train"] | splits(dataset)["val"] == {"patient 0", "patient 1"}
    assert {s.stratum for s in dataset.samples} == {"benign", "malignant"}
    np.testing.assert_array_equal(read(dataset, "testB_1").targets, disc_image(4)[1])
    (tmp_path / "Grade.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"Grade\.csv' cannot be read"):
        open_dataset(tmp_path)


def test_ebhi(tmp_path):
    for number, kind in enumerate(["Normal", "Polyp", "Adenocarcinoma", "Low-grade IN"]):
        pixels, labels = disc_image(number)
        name = f"GT201214{number // 2}-1-400-00{number}.png"
        save(tmp_path / kind / "image" / name, pixels)
        mask = labels * 255
        save(tmp_path / kind / "label" / name, mask if number else np.stack([mask] * 3, axis=-1))
    dataset = open_dataset(tmp_path)
    assert {s.group for s in dataset.samples} == {"2012140", "2012141"}
    splits(dataset)
    for number, kind in enumerate(["Normal", "Polyp"]):
        sample = next(s for s in dataset.samples if s.stratum == kind)
        np.testing.assert_array_equal(dataset.read(sample).targets, disc_image(number)[1])
    colours = next((tmp_path / "Polyp" / "label").iterdir())
    save(colours, disc_image(0)[0])
    with pytest.raises(SampathError, match="colours, not labels"):
        dataset.read(next(s for s in dataset.samples if s.stratum == "Polyp"))


def regions(*outlines):
    def vertices(corners):
        return "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in corners)

    inside = "".join(f"<Region><Vertices>{vertices(outline)}</Vertices></Region>" for outline in outlines)
    return f'<?xml version="1.0"?><Annotations><Annotation><Regions>{inside}</Regions></Annotation></Annotations>'


def test_monuseg(tmp_path):
    square, triangle = [(10, 20), (30, 20), (30, 50), (10, 50)], [(60, 60), (90, 60), (60, 90)]
    for number, case in enumerate(["A7-A13E", "A7-A13F", "G9-6336"]):
        name = f"TCGA-{case}-01Z-00-DX1"
        save(tmp_path / "Training Data" / "Tissue Images" / f"{name}.tif", disc_image(number)[0])
        labels = tmp_path / "Training Data" / "Annotations" / f"{name}.xml"
        labels.parent.mkdir(exist_ok=True)
        labels.write_text(regions(square, triangle, []))
    save(tmp_path / "TestData" / "TCGA-2Z-A9J9-01A.tif", disc_image(3)[0])
    (tmp_path / "TestData" / "TCGA-2Z-A9J9-01A.xml").write_text(regions(square))
    dataset = open_dataset(tmp_path)
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [2, 1, 1]
    example = dataset.read(dataset.split("train")[0])
    assert (example.instances == 1).sum() == 20 * 30
    assert (example.targets[20:50, 10:30] == 1).all()
    assert (example.instances == 2).sum() == pytest.approx(450, abs=16)
    broken = dataset.split("test")[0]
    broken.labels.write_text("<Annotations>")
    with pytest.raises(DatasetError, match=r"A9J9-01A\.xml' cannot be read"):
        dataset.read(broken)


def typed(folder, name, types):
    pixels = np.random.default_rng(0).integers(0, 255, (*types.shape, 3), dtype=np.uint8)
    save(folder / "images" / f"{name}.png", pixels)
    save(folder / "masks" / f"{name}_inst.png", np.zeros(types.shape, np.uint8))
    save(folder / "masks" / f"{name}_type.png", types.astype(np.uint8))
    return pixels


def test_typed_nuclei(tmp_path):
    rows, cols = np.indices((700, 1100))
    nuclei = np.hypot(rows % 30 - 15, cols % 30 - 15) < 8
    types = np.select([nuclei & (cols < 500), nuclei & (cols < 900)], [1, 3])
    types[300:330, 240:270][nuclei[300:330, 240:270]] = 2  # one lymphocyte in the tumour
    pixels = typed(tmp_path, "a", types)
    dataset = open_dataset(tmp_path)
    assert [c.name for c in dataset.classes] == ["background", "tumour"]
    assert splits(dataset)["train"] == {"a"}
    assert len(dataset.samples) == 2 * 3
    found = np.full(types.shape, 77, np.uint8)
    whole = tumour_regions(types)
    for sample in dataset.samples:
        example = dataset.read(sample)
        assert example.pixels.shape == (512, 512, 3)
        _, row, col = sample.name.split()
        window = np.s_[int(row) : int(row) + 512, int(col) : int(col) + 512]
        np.testing.assert_array_equal(example.pixels, pixels[window])
        np.testing.assert_array_equal(example.targets, whole[window], "windows see what is around them")
        found[window] = example.targets
    assert (found[:, :485] == 1).all()
    assert (found[:, 515:] == 0).all(), "stroma, and where there are no nuclei"
    assert (found == IGNORED).any(axis=1).all(), "edges are ignored"

    typed(tmp_path, "b", types[:300, :200])
    small = [sample for sample in open_dataset(tmp_path).samples if sample.group == "b"]
    assert [dataset.read(sample).targets.shape for sample in small] == [(300, 200)]
    (tmp_path / "images" / "b.png").unlink()
    with pytest.raises(SampathError, match=r"b\.png"):
        dataset.read(small[0])


class TestJoined:
    @pytest.fixture
    def discs(self, tmp_path):
        for number in range(4):
            pixels, labels = disc_image(number)
            save(tmp_path / "discs" / "images" / f"{number}.png", pixels)
            save(tmp_path / "discs" / "labels" / f"{number}.png", labels * 255)
        (tmp_path / "discs" / "classes.json").write_text(
            json.dumps([{"id": 255, "name": "tumour", "color": [9, 9, 9]}])
        )
        return open_dataset(tmp_path / "discs")

    @pytest.fixture
    def nuclei(self, tmp_path):
        types = np.where(np.arange(300) < 150, 1, 2) * np.ones((200, 1), int)
        typed(tmp_path / "nuclei", "0", types)
        return open_dataset(tmp_path / "nuclei")

    def test_join_adds_training_images_and_matches_classes_by_name(self, discs, nuclei):
        both = join_datasets(discs, [nuclei])
        assert both.classes == discs.classes
        for split in ("train", "val"):
            old, new = discs.split(split), both.split(split)
            added = nuclei.split("train") if split == "train" else ()
            assert len(new) == len(old) + len(added)
            for joined, other in zip(new, (*old, *added), strict=True):
                source = discs if other in old else nuclei
                a, b = both.read(joined), source.read(other)
                np.testing.assert_array_equal(a.pixels, b.pixels)
                np.testing.assert_array_equal(a.targets, b.targets)
        assert not {s.group for s in both.split("train")} & {s.group for s in both.split("val")}
        assert both.name == "discs + nuclei"
        assert join_datasets(discs, []) is discs

    def test_join_refuses_an_unknown_class(self, discs, nuclei):
        other = dataclasses.replace(nuclei, classes=(nuclei.classes[0], ClassInfo(1, "gland", (1, 2, 3))))
        with pytest.raises(
            DatasetError, match="has the class 'gland', but 'discs' has only background, tumour"
        ):
            join_datasets(discs, [other])


def test_acdc(tmp_path):
    rng = np.random.default_rng(0)
    for part, number in (("training", 1), ("training", 2), ("testing", 101)):
        folder = tmp_path / "database" / part / f"patient{number:03d}"
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 12\nGroup: DCM\n")
        for frame in ("frame01", "frame12"):
            labels = rng.integers(0, 4, (40, 30, 3)).astype(np.uint8)
            values = (rng.random((40, 30, 3)) * 500 + labels * 300.0).astype(np.int16)
            affine = np.diag([1.5, 1.5, 10, 1])
            nibabel.save(nibabel.Nifti1Image(values, affine), folder / f"patient{number:03d}_{frame}.nii.gz")
            nibabel.save(
                nibabel.Nifti1Image(labels, affine), folder / f"patient{number:03d}_{frame}_gt.nii.gz"
            )
    dataset = open_dataset(tmp_path)
    assert [c.name for c in dataset.classes] == [
        "background",
        "right ventricle",
        "myocardium",
        "left ventricle",
    ]
    assert len(dataset.samples) == 18
    assert splits(dataset)["test"] == {"patient101"}
    assert dataset.mpp == 1500
    example = read(dataset, "patient101_frame12_slice02")
    assert example.pixels.shape == (30, 40, 3)
    np.testing.assert_array_equal(example.targets, labels[..., 2].T)
    assert (example.pixels.min(), example.pixels.max()) == (0, 255)
    assert {s.stratum for s in dataset.samples} == {"DCM"}


class TestCoco:
    @pytest.fixture
    def folder(self, tmp_path):
        images, objects = [], []
        for number in range(4):
            pixels, labels = disc_image(number, (60, 80))
            save(tmp_path / "images" / f"p{number}.png", pixels)
            images.append(
                {"id": number, "file_name": f"p{number}.png", "height": 60, "width": 80, "case": number // 2}
            )
            packed = pycoco.encode(np.asfortranarray(labels))
            packed["counts"] = packed["counts"].decode()
            objects.append(
                {"id": number, "image_id": number, "category_id": 3, "segmentation": packed, "iscrowd": 0}
            )
        for image in images:
            image["case"] = f"case {image['case']}"
        box = [5, 5, 15, 5, 15, 25, 5, 25]
        objects.append({"id": 9, "image_id": 0, "category_id": 1, "segmentation": [box], "iscrowd": 0})
        crowd = {"size": [60, 80], "counts": [60 * 70, 60 * 10]}
        objects.append({"id": 10, "image_id": 0, "category_id": 1, "segmentation": crowd, "iscrowd": 1})
        categories = [{"id": 3, "name": "disc"}, {"id": 1, "name": "box"}]
        content = {"images": images, "annotations": objects, "categories": categories}
        (tmp_path / "annotations.json").write_text(json.dumps(content))
        return tmp_path

    def test_run_lengths_and_polygons(self, folder):
        for path in (folder, folder / "annotations.json"):
            dataset = open_dataset(path)
            assert [(c.id, c.name) for c in dataset.classes] == [(0, "background"), (1, "box"), (3, "disc")]
            for number in (1, 2, 3):
                np.testing.assert_array_equal(
                    read(dataset, f"p{number}").targets, disc_image(number, (60, 80))[1] * 2
                )
            first = read(dataset, "p0")
            assert (first.targets[5:25, 5:15] == 1).all()
            assert (first.targets[:, 70:] == IGNORED).all()
            assert len(np.unique(first.instances)) == 3
            splits(dataset)

    def test_a_box_without_outline_is_ignored(self, folder):
        path = folder / "annotations.json"
        content = json.loads(path.read_text())
        boxes = [[40.5, 10, 9, 20], [20, 30, 200, 4.5]]
        for number, (box, outline) in enumerate(zip(boxes, ([], None), strict=True), start=20):
            entry = {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": outline}
            content["annotations"].append(entry)
        path.write_text(json.dumps(content))
        found = read(open_dataset(folder), "p1")
        expected = disc_image(1, (60, 80))[1] * 2
        expected[10:30, 40:50] = IGNORED
        expected[30:35, 20:] = IGNORED
        np.testing.assert_array_equal(found.targets, expected)
        del content["annotations"][-2]["bbox"]
        path.write_text(json.dumps(content))
        found = read(open_dataset(folder), "p1")
        expected[10:30, 40:50] = disc_image(1, (60, 80))[1][10:30, 40:50] * 2
        np.testing.assert_array_equal(found.targets, expected)
        assert "Left out: 1 annotation without an outline." in found.notes

    def test_the_same_file_name_in_several_folders(self, folder):
        path = folder / "annotations.json"
        content = json.loads(path.read_text())
        for number, image in enumerate(content["images"]):
            image["file_name"] = f"case{number // 2}/{number % 2 or 7}.png"
            place = folder / "images" / image["file_name"]
            place.parent.mkdir(exist_ok=True)
            (folder / "images" / f"p{number}.png").rename(place)
        place.rename(place.with_name("other.png"))
        content["images"][3]["file_name"] = "case1/other.png"
        path.write_text(json.dumps(content))
        dataset = open_dataset(folder)
        assert [s.name for s in dataset.samples] == ["case0/7", "1", "case1/7", "other"]

    def test_bad_files(self, folder):
        path = folder / "annotations.json"
        content = json.loads(path.read_text())
        for change, words in (
            ({"annotations": [{"image_id": 0, "category_id": 7}]}, "category 7"),
            ({"images": [{"id": 0, "file_name": "gone.png"}]}, r"gone\.png"),
        ):
            path.write_text(json.dumps(content | change))
            with pytest.raises(DatasetError, match=words):
                open_dataset(folder)
        path.write_text("[]")
        with pytest.raises(DatasetError, match="none of the formats"):
            open_dataset(path)
        content["annotations"][0]["segmentation"] = {"size": [9, 9], "counts": [81]}
        path.write_text(json.dumps(content))
        with pytest.raises(
            DatasetError, match="has an annotation 0 of 9 x 9 px, but its image is 80 x 60 px"
        ):
            read(open_dataset(path), "p0")


class TestPatterns:
    @pytest.fixture
    def folder(self, tmp_path):
        for number in range(6):
            pixels, labels = disc_image(number)
            save(tmp_path / f"case{number // 2}" / "he" / f"img_{number}.png", pixels)
            save(tmp_path / f"case{number // 2}" / "mask" / f"m{number}.png", labels * 255)
        return tmp_path

    def test_pairs(self, folder, caplog):
        dataset = open_dataset(folder, "*/he/img_*.png", "*/mask/m*.png", r"(case\d+)")
        assert {s.group for s in dataset.samples} == {"case0", "case1", "case2"}
        splits(dataset)
        np.testing.assert_array_equal(read(dataset, "case1-3").targets, disc_image(3)[1])
        assert not caplog.records
        assert len(open_dataset(folder, "**/he/img_*.png", "**/mask/m*.png").samples) == 6
        assert "slide or case" in caplog.text

    def test_bad_patterns_are_refused(self, folder):
        for words, patterns in (
            ("different wildcards", ("*/he/img_*.png", "*/mask/*/m*.png")),
            ("No file", ("*/xx/img_*.png", "*/mask/m*.png")),
            (r"no label map .*m0\.png", ("*/he/img_*.png", "*/labels/m*.png")),
            ("does not match the path", ("*/he/img_*.png", "*/mask/m*.png", "slide")),
            ("is not a valid regular expression", ("*/he/img_*.png", "*/mask/m*.png", "(")),
        ):
            with pytest.raises(DatasetError, match=words):
                open_dataset(folder, *patterns)


class TestCheck:
    @pytest.fixture
    def folder(self, tmp_path):
        made = DatasetFolder.create(
            tmp_path / "d", [ClassInfo(1, "disc", (9, 9, 9)), ClassInfo(2, "fat", (1, 1, 1))]
        )
        for number in range(4):
            pixels, labels = disc_image(number, (40 + number, 50))
            made.save_image(
                Snapshot(f"p{number}", pixels, labels, mpp=0.25 * (1 + number // 2)), group=f"slide {number}"
            )
        return made

    def check(self, folder, capsys, code):
        assert main(["dataset", "check", str(folder), "--json"]) == code
        report = json.loads(capsys.readouterr().out)
        assert main(["dataset", "check", str(folder)]) == code
        return report, capsys.readouterr().out

    def test_balance_sizes_and_scales(self, folder, capsys):
        pixels, labels = disc_image(9)
        folder.save_image(Snapshot("p4", pixels, labels * 2, mpp=0.25), group="slide 0")
        folder.save_image(Snapshot("p5", pixels[:50], labels[:50] * 2, mpp=0.25), group="slide 1")
        folder.save_image(Snapshot("p6", disc_image(8)[0], np.zeros_like(labels)), group="slide 2")
        report, text = self.check(folder.path, capsys, 0)
        shares = {c["name"]: c["share"] for c in report["classes"]}
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["fat"] > 0
        assert report["empty"] == ["p6"]
        assert len(report["sizes"]) == 6
        assert report["mpp"] == {"0.25": 4, "0.5": 2, "unknown": 1}
        assert "with background only: 1 (p6)" in text

    def test_leaks_and_problems(self, folder, capsys):
        twin = disc_image(0, (40, 50))
        folder.save_image(Snapshot("twin", *twin), group="slide 1")  # slide 1 validates, slide 0 trains
        broken = folder.file("labels", "p2")
        broken.write_bytes(broken.read_bytes()[:50])
        report, text = self.check(folder.path, capsys, 1)
        assert report["leaks"] == [
            "The same pixels are in train ('p0') and val ('twin'); move these images into one split."
        ]
        assert any("p2.png" in sentence for sentence in report["problems"])
        assert any("'train' contains the class 'fat'" in sentence for sentence in report["problems"])
        assert "LEAK: The same pixels" in text

    def test_a_slide_in_two_splits(self, tmp_path, capsys):
        for number in range(4):
            save(tmp_path / "images" / f"{number}.png", disc_image(number)[0])
            save(tmp_path / "labels" / f"{number}.png", disc_image(number)[1])
        rows = [f"{number},slide 1,{'val' if number else 'train'}" for number in range(4)]
        (tmp_path / "index.csv").write_text("\n".join(["name,group,split", *rows]))
        report, _ = self.check(tmp_path, capsys, 1)
        assert report["leaks"][0].startswith("The slide or case 'slide 1' is in train ('0') and val ('1')")
