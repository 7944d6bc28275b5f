"""A project is exported as a training dataset that other programs read; see `support.models.project_exports`."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from napari_sampath.errors import ConfigError, DatasetError, UnknownNameError
from napari_sampath.formats.layouts import LAYOUTS, ExportSettings
from napari_sampath.jobs import run
from napari_sampath.session.exports import export_dataset_job, saved_settings
from napari_sampath.training import open_dataset
from napari_sampath.training.data.dataset_report import check_folder_job
from support.models.project_exports import CLASSES, Study

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pycocotools


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Three slides: two touching discs and a ring of two classes in each."""
    study = Study(tmp_path / "study")
    for number, name in enumerate(("a", "b", "c")):
        study.add(name, seed=number)
    return study


def coco_of(path: Path) -> Any:
    from pycocotools.coco import COCO

    return COCO(str(path))


@pytest.mark.parametrize("layout", ["coco", "coco-rle"])
def test_coco_is_read_by_pycocotools_and_supervision(study: Study, tmp_path: Path, layout: str) -> None:
    import supervision

    result = study.export(tmp_path / "out", layout)
    assert result.objects == {"gland": 6, "tumour": 3}
    seen = 0
    for split in result.files:
        coco = coco_of(tmp_path / "out" / "annotations" / f"instances_{split}.json")
        assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == {1: "gland", 3: "tumour"}
        for image in coco.loadImgs(coco.getImgIds()):
            class_map, instance_map = study.maps(Path(image["file_name"]).stem)
            annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
            for annotation in annotations:
                mask = coco.annToMask(annotation).astype(bool)
                (number,) = np.unique(instance_map[mask])
                assert np.array_equal(mask, instance_map == number)
                assert set(np.unique(class_map[mask])) == {annotation["category_id"]}
            seen += len(annotations)
        read = supervision.DetectionDataset.from_coco(
            str(tmp_path / "out" / split),
            str(tmp_path / "out" / "annotations" / f"instances_{split}.json"),
            force_masks=True,
        )
        assert read.classes == ["gland", "tumour"]
        assert sum(len(detections) for _, _, detections in read) == 3 * result.files[split]
    assert seen == 9


def test_yolo_is_read_by_supervision(study: Study, tmp_path: Path) -> None:
    import supervision

    result = study.export(tmp_path / "out", "yolo")
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert data["names"] == {0: "gland", 1: "tumour"}
    assert "path" not in data
    for split in result.files:
        folder = tmp_path / "out" / data[split]
        read = supervision.DetectionDataset.from_yolo(
            str(folder),
            str(folder).replace("images", "labels"),
            str(tmp_path / "out" / "data.yaml"),
            force_masks=True,
        )
        for path, _, detections in read:
            class_map, instance_map = study.maps(Path(path).stem)
            assert len(detections) == 3
            for mask, index in zip(detections.mask, detections.class_id, strict=True):
                number = np.bincount(instance_map[mask]).argmax()
                union = (mask | (instance_map == number)).sum()
                assert (mask & (instance_map == number)).sum() > 0.8 * union  # supervision draws the edges
                assert class_map[instance_map == number][0] == (1, 3)[index]


def test_nnunet_has_consecutive_labels_and_splits_by_slide(study: Study, tmp_path: Path) -> None:
    study.export(tmp_path / "out", "nnunet", unverified="ignore")
    (root,) = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    dataset = json.loads((root / "dataset.json").read_text())
    assert dataset["labels"] == {"background": 0, "gland": 1, "unused 2": 2, "tumour": 3, "ignore": 4}
    names = sorted(path.stem for path in (root / "labelsTr").iterdir())
    assert [path.name for path in sorted((root / "imagesTr").iterdir())] == [f"{n}_0000.png" for n in names]
    assert dataset["numTraining"] == len(names) == 3
    (fold,) = json.loads((root / "splits_final.json").read_text())
    assert sorted(fold["train"] + fold["val"]) == names
    for name in names:
        class_map, _ = study.maps(name)
        labels = np.asarray(Image.open(root / "labelsTr" / f"{name}.png"))
        assert np.array_equal(np.where(labels == 4, 0, labels), class_map)
        assert (labels == 4).sum() > 0  # Nobody verified the background.


def test_hovernet_reads_the_arrays(study: Study, tmp_path: Path) -> None:
    result = study.export(tmp_path / "out", "hovernet")
    files = sorted((tmp_path / "out").rglob("*.npy"))
    assert len(files) == 3
    assert {path.parent.name for path in files} == {"valid" if s == "val" else s for s in result.files}
    for path in files:
        # As dataloader/train_loader.py of HoVer-Net does.
        data = np.load(path)
        image, annotation = data[..., :3].astype("uint8"), data[..., 3:].astype("int32")
        class_map, instance_map = study.maps(path.stem)
        assert np.array_equal(image, study.pixels(path.stem))
        assert sorted(np.unique(annotation[..., 0])) == [0, 1, 2, 3]
        assert np.array_equal(annotation[..., 0] > 0, instance_map > 0)
        assert np.array_equal(annotation[..., 1], np.select([class_map == 1, class_map == 3], [1, 2]))
    types = json.loads((tmp_path / "out" / "type_info.json").read_text())
    assert {number: name for number, (name, _) in types.items()} == {
        "0": "background",
        "1": "gland",
        "2": "tumour",
    }


def test_cellvit_reads_the_folds(study: Study, tmp_path: Path) -> None:
    result = study.export(tmp_path / "out", "cellvit")
    folds = {"train": "fold0", "val": "fold1"}
    for split in result.files:
        fold = tmp_path / "out" / folds[split]
        types = dict(line.split(",") for line in (fold / "types.csv").read_text().splitlines()[1:])
        counts = (fold / "cell_count.csv").read_text().splitlines()
        assert counts[0] == "Image,gland,tumour"
        for path in sorted((fold / "images").iterdir()):
            # As datasets/pannuke.py of CellViT does.
            mask = np.load(fold / "labels" / f"{path.stem}.npy", allow_pickle=True)
            inst_map, type_map = mask[()]["inst_map"], mask[()]["type_map"]
            class_map, instance_map = study.maps(path.stem)
            assert np.array_equal(inst_map > 0, instance_map > 0)
            assert np.array_equal(type_map, np.select([class_map == 1, class_map == 3], [1, 2]))
            assert types[path.name] == "unknown"
            assert f"{path.name},2,1" in counts
    config = yaml.safe_load((tmp_path / "out" / "dataset_config.yaml").read_text())
    assert config["nuclei_types"] == {"Background": 0, "gland": 1, "tumour": 2}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_check_reads_every_layout(study: Study, tmp_path: Path, layout: str) -> None:
    result = study.export(tmp_path / "out", layout, check=check_folder_job)
    text = (tmp_path / "out" / "dataset-check.txt").read_text()
    assert not any(word in text for word in ("PROBLEM", "LEAK", "check that it belongs")), text
    assert "gland" in text
    root = tmp_path / "out" / ("Dataset001_Study" if layout == "nnunet" else "")
    dataset = open_dataset(root)
    assert {s.split: 0 for s in dataset.samples}.keys() == result.files.keys()
    assert sorted(s.group for s in dataset.samples) == ["a", "b", "c"]
    names = {info.id: info.name for info in dataset.classes}
    for sample in dataset.samples:
        class_map, _ = study.maps(sample.image.stem.removesuffix("_0000"))
        targets = dataset.read(sample).targets
        read = {names[dataset.classes[k].id]: int((targets == k).sum()) for k in range(len(dataset.classes))}
        for info in CLASSES:
            assert abs(read[info.name] - int((class_map == info.id).sum())) <= (8 if layout == "yolo" else 0)


@pytest.mark.parametrize("layout", ["masks", "nnunet", "hovernet"])
def test_the_check_compares_the_scales_with_that_of_the_export(tmp_path: Path, layout: str) -> None:
    study, out = Study(tmp_path / "study"), tmp_path / "out"
    for number, name in enumerate("abc"):
        study.add(name, seed=number, mpp=0.25)
    text = study.export(out, layout, mpp=0.5, check=check_folder_job).check
    assert "micrometres per pixel: 0.5 (3)" in text
    assert "PROBLEM" not in text
    (index,) = out.rglob("index.csv")
    rows = index.read_text().splitlines()
    index.write_text("\n".join([*rows[:-1], rows[-1].replace(",0.5,", ",0.25,")]) + "\n")
    text = run(check_folder_job(index.parent))
    assert "1 of 3 images do not have the 0.5 um per pixel of the export" in text
    assert ": 0.25)" in text


def test_a_label_file_cannot_run_a_program(study: Study, tmp_path: Path) -> None:
    study.export(tmp_path / "out", "cellvit")
    labels = next((tmp_path / "out").rglob("*.npy"))
    content: Any = np.empty((), dtype=object)
    content[()] = {"inst_map": Trap(tmp_path / "ran"), "type_map": None}
    np.save(labels, content, allow_pickle=True)
    assert "PROBLEM" in run(check_folder_job(tmp_path / "out"))
    assert not (tmp_path / "ran").exists()


class Call:
    """An object that calls a function if it is unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda maps: {"type_map": Call(np.ndarray, maps["type_map"].shape, "i4")}, "cannot be read"),
        (lambda maps: {"more": Call(codecs.encode, "00", "utf-16")}, "encoding 'utf-16'"),
        (lambda maps: {"inst_map": maps["inst_map"].tolist()}, "are not arrays"),
        (lambda maps: {"type_map": maps["type_map"][1:]}, "have the shapes"),
    ],
    ids=["an array without values", "text that grows", "lists", "another size"],
)
def test_a_label_file_is_as_large_as_its_maps(study: Study, tmp_path: Path, change: Any, reason: str) -> None:
    study.export(tmp_path / "out", "cellvit")
    labels = next((tmp_path / "out").rglob("*.npy"))
    content = np.load(labels, allow_pickle=True)
    content[()] |= change(content[()])
    np.save(labels, content, allow_pickle=True)
    assert reason in run(check_folder_job(tmp_path / "out"))


def test_damaged_label_files_are_reported(study: Study, tmp_path: Path) -> None:
    study.export(tmp_path / "a", "cellvit")
    labels = next((tmp_path / "a").rglob("*.npy"))
    start = labels.read_bytes()[:128]
    labels.write_bytes(start + b"\x80\x04\x8d" + b"\xff" * 8)
    assert "PROBLEM" in run(check_folder_job(tmp_path / "a"))
    study.export(tmp_path / "b", "hovernet")
    files = sorted((tmp_path / "b").rglob("*.npy"))
    np.save(files[1], np.load(files[1])[..., :4])
    assert "the others have 5 channels" in run(check_folder_job(tmp_path / "b"))
    types = tmp_path / "b" / "type_info.json"
    types.unlink()
    with pytest.raises(DatasetError, match="the others have 5 channels"):
        open_dataset(tmp_path / "b")
    types.write_text("{}")
    for file in files:
        with file.open("wb") as stream:
            np.savez(stream, np.zeros(3))
    with pytest.raises(DatasetError, match="is not an array of numbers"):
        open_dataset(tmp_path / "b")


class Trap:
    """An object that creates a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(("side", "overlap"), [(32, 0), (32, 16), (64, 8), (200, 0)])
def test_patches_cover_the_image_and_state_cut_objects(
    study: Study, tmp_path: Path, side: int, overlap: int
) -> None:
    result = study.export(tmp_path / "out", "masks", patch_px=side, overlap_px=overlap, min_visible=0.0)
    rows = [line.split(",") for line in (tmp_path / "out" / "index.csv").read_text().splitlines()[1:]]
    assert len(rows) == sum(result.files.values())
    painted = {name: np.zeros_like(study.maps(name)[0]) for name in "abc"}
    parts = 0
    for name, _, split, source, x, y, *_ in rows:
        labels = np.asarray(Image.open(tmp_path / "out" / split / "labels" / f"{name}.png"))
        instances = np.asarray(Image.open(tmp_path / "out" / split / "instances" / f"{name}.png"))
        assert labels.shape == instances.shape == (side, side)
        assert np.array_equal(labels > 0, instances > 0)
        target = painted[source][int(y) :, int(x) :][:side, :side]
        target[...] = labels[: target.shape[0], : target.shape[1]]
        _, instance_map = study.maps(source)
        whole = np.bincount(instance_map.ravel())
        inside = np.bincount(instance_map[int(y) :, int(x) :][:side, :side].ravel(), minlength=len(whole))
        parts += int(((inside[1:] > 0) & (inside[1:] < whole[1:])).sum())
    for name, class_map in painted.items():
        assert np.array_equal(class_map, study.maps(name)[0])
    assert result.cut.cut == parts
    assert f"{parts} parts of objects are exported" in (tmp_path / "out" / "README.txt").read_text()


def test_small_parts_of_objects_are_left_out(study: Study, tmp_path: Path) -> None:
    all_parts = study.export(tmp_path / "all", "coco-rle", patch_px=32, min_visible=0.0)
    whole = study.export(tmp_path / "whole", "coco-rle", patch_px=32, min_visible=1.0)
    assert whole.cut.cut == 0
    assert whole.cut.slivers == all_parts.cut.cut > 0
    assert study.export(tmp_path / "half", "coco-rle", patch_px=32, min_visible=0.5).cut.slivers > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scale_is_that_of_the_settings(tmp_path: Path, layout: str) -> None:
    study = Study(tmp_path / "study")
    study.add("a", seed=1, mpp=0.25)
    study.add("unknown", seed=2, mpp=None)
    result = study.export(tmp_path / "out", layout, mpp=0.5)
    assert list(result.images) == ["a"]
    assert "0.5 um/px" in result.skipped["unknown"]
    assert result.objects == {"gland": 2, "tumour": 1}
    both = study.export(tmp_path / "both", layout, mpp=0.5, assumed_mpp=1.0)
    assert list(both.images) == ["a", "unknown"]
    images = list((tmp_path / "both").rglob("*a*.png" if layout != "hovernet" else "a.npy"))
    assert images
    if layout == "masks":
        (labels,) = (tmp_path / "out").rglob("labels/a.png")
        class_map, _ = study.maps("a")
        values = np.asarray(Image.open(labels))
        assert values.shape == (class_map.shape[0] // 2, class_map.shape[1] // 2)
        assert np.isclose((values == 1).sum() * 4, (class_map == 1).sum(), rtol=0.1)
        (larger,) = (tmp_path / "both").rglob("labels/unknown.png")
        assert np.asarray(Image.open(larger)).shape == (2 * class_map.shape[0], 2 * class_map.shape[1])


def test_classes_that_only_images_have_get_one_number(study: Study, tmp_path: Path) -> None:
    for name, number in (("a", 1), ("b", 2)):
        study.edit(
            name,
            lambda session, number=number: session.objects.reclassify(
                [number], session.classes.add("vessel").id
            ),
        )
    study.edit("c", lambda session: session.objects.reclassify([1], session.classes.add("nerve").id))
    result = study.export(tmp_path / "out", "masks", split="none")
    assert result.objects == {"gland": 3, "tumour": 3, "vessel": 2, "nerve": 1}
    numbers = {
        entry["name"]: entry["id"] for entry in json.loads((tmp_path / "out/classes.json").read_text())
    }
    for name, number, label in (("a", 1, "vessel"), ("b", 2, "vessel"), ("c", 1, "nerve")):
        values = np.asarray(Image.open(tmp_path / "out/train/labels" / f"{name}.png"))
        assert set(np.unique(values[study.maps(name)[1] == number])) == {numbers[label]}


def test_only_verified_images_and_patches(study: Study, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Nothing can be exported"):
        study.export(tmp_path / "none", "masks", images="verified")
    assert not (tmp_path / "none").exists()
    study.edit("b", lambda session: session.area.complete((0, 0, *session.hw)))
    result = study.export(tmp_path / "out", "masks", images="verified")
    assert list(result.images) == ["b"]
    assert result.unknown_share == 0
    study.edit("a", lambda session: session.area.complete((0, 0, 64, 64)))
    patches = study.export(tmp_path / "patches", "masks", images="verified", patch_px=32)
    assert set(patches.images) == {"a", "b"}


def test_what_was_never_reviewed_is_said(study: Study, tmp_path: Path) -> None:
    study.propose("a")  # An object of a head that nobody reviewed.
    study.edit("b", lambda session: session.objects.flag([1], "unsure", True))
    result = study.export(tmp_path / "out", "coco")
    assert (result.unreviewed, result.unsure, sum(result.objects.values())) == (1, 1, 9)
    readme = (tmp_path / "out" / "README.txt").read_text()
    assert "Never reviewed by a person: 1 of 9 objects" in readme
    assert "marked as unsure: 1 object." in readme
    assert result.unknown_share > 0.5
    reviewed = study.export(tmp_path / "reviewed", "coco", reviewed_only=True)
    assert (reviewed.unreviewed, sum(reviewed.objects.values())) == (0, 8)


def test_an_update_changes_only_what_changed(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = study.export(out, "yolo", split="new", val_share=0.3)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.is_file()}
    (out / "runs").mkdir()
    (out / "runs" / "weights.pt").write_bytes(b"mine")
    (label,) = out.rglob("labels/*/a.txt")
    label.write_text("0 0 0 1 0 1 1\n")  # Changed by hand.
    with pytest.raises(DatasetError, match="earlier export"):
        study.export(out, "yolo")
    layout, settings = saved_settings(out) or ("", ExportSettings())
    assert (layout, settings.split, settings.val_share) == ("yolo", "new", 0.3)
    study.remove("b")
    study.add("d", seed=7)
    second = study.export(out, layout, settings=settings, update=True)
    assert {slide: second.splits[slide] for slide in "ac"} == {slide: first.splits[slide] for slide in "ac"}
    assert not list(out.rglob("b.png"))
    assert list(out.rglob("images/*/d.png"))
    assert (out / "runs" / "weights.pt").read_bytes() == b"mine"
    assert (second.changes.removed, second.changes.kept_edits) == (2, 1)
    assert list((out / "changed-by-hand").rglob("a.txt"))
    for name in "ac":
        (image,) = out.rglob(f"images/*/{name}.png")
        assert image.stat().st_mtime_ns == before[image]
    third = study.export(out, layout, settings=settings, update=True)
    assert (third.changes.new, third.changes.changed, third.changes.removed) == (0, 0, 0)


def test_a_cancelled_or_failed_export_changes_nothing(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = export_dataset_job(study.project, out, "masks", study.journals)
    next(job)
    next(job)
    job.close()
    assert not out.exists()
    study.export(out, "masks")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    study.remove("b")
    job = export_dataset_job(study.project, out, "coco", study.journals, update=True)
    next(job)
    next(job)
    job.close()
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {p: c for p, c in after.items() if not p.name.endswith(".lock")} == {
        p: c for p, c in before.items() if not p.name.endswith(".lock")
    }


def test_images_of_a_slide_stay_in_one_split(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    for number in range(10):
        study.add(f"image {number}", seed=number, slide=f"case {number // 2}")
    result = study.export(tmp_path / "out", "masks", split="new", val_share=0.2, test_share=0.2)
    assert result.files == {"train": 6, "val": 2, "test": 2}
    for slide in range(5):
        assert len({result.images[f"image {2 * slide}"], result.images[f"image {2 * slide + 1}"]}) == 1
    assert study.export(tmp_path / "none", "masks", split="none").files == {"train": 10}


def test_names_that_files_cannot_have(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    study.add("a", seed=0)
    study.add("b", seed=1)
    study.rename("a", "Fall 7/3: Rand?")
    result = study.export(tmp_path / "out", "coco")
    for split in result.files:
        content = json.loads((tmp_path / "out" / "annotations" / f"instances_{split}.json").read_text())
        for image in content["images"]:
            assert (tmp_path / "out" / split / image["file_name"]).is_file()


def test_slides_are_read_window_by_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_sampath.images.slides import open_slide
    from napari_sampath.session import Session, journal_path

    path = tmp_path / "slide.ome.tif"
    pixels = np.random.default_rng(3).integers(0, 255, (1024, 2048, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb")
    monkeypatch.setattr("napari_sampath.images.slides.opening.SLIDE_PIXELS", 1)
    study = Study(tmp_path / "study")
    with open_slide(path) as slide:
        session = Session(slide, "slide", classes=CLASSES, journal=journal_path(slide, study.journals))
        session.paint(*np.indices((40, 40)).reshape(2, -1) + 600, 1)
        study.project.add(session.digest, session.hw, "slide", path, mpp=0.25)
        session.close()
    with pytest.raises(DatasetError, match="set patch_px"):
        study.export(tmp_path / "whole", "masks")
    result = study.export(tmp_path / "out", "masks", patch_px=128, mpp=0.5)
    assert result.files == {"train": 1}
    (labels,) = (tmp_path / "out").rglob("labels/*.png")
    assert (np.asarray(Image.open(labels)) == 1).sum() == 400
    (image,) = (tmp_path / "out").rglob("images/*.png")
    left, top = (int(text[1:]) for text in image.stem.split("_")[-2:])
    expected = pixels[top : top + 256, left : left + 256].reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
    assert np.abs(np.asarray(Image.open(image)) - expected).max() <= 1


def test_wrong_input_is_one_sentence(study: Study, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(DatasetError, match="not empty"):
        study.export(tmp_path / "full", "masks", update=True)
    with pytest.raises(UnknownNameError, match="masks"):
        study.export(tmp_path / "out", "mask")
    with pytest.raises(DatasetError, match="cannot mark ignored"):
        study.export(tmp_path / "out", "coco", unverified="ignore")
    with pytest.raises(ConfigError, match="smaller overlap"):
        ExportSettings(patch_px=64, overlap_px=64)
    with pytest.raises(ConfigError, match="no patches"):
        ExportSettings(overlap_px=64)
    os.remove(study.file("a"))
    result = study.export(tmp_path / "out", "masks")
    assert "missing" in result.skipped["a"]
    assert "a: its file is missing" in (tmp_path / "out" / "README.txt").read_text()
    assert run(check_folder_job(tmp_path / "nothing")).startswith("PROBLEM: ")
