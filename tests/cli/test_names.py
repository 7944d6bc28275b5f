"""Exports of images with the same name, of renamed images, and with names that are allowed but unusual."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_sampath.cli import main
from napari_sampath.config import load_config, sessions_folder
from napari_sampath.files import file_stem
from napari_sampath.formats import DatasetFolder, import_labels
from napari_sampath.formats.registry import writable
from napari_sampath.images import list_images
from napari_sampath.session import FolderQueue, Session, journal_path
from napari_sampath.training import open_dataset

ALL = [entry.name for entry in writable()]
HW = (48, 64)


def annotate(path: Path, seed: int, left: int) -> Path:
    """Write an image, and paint a square whose column tells it apart."""
    pixels = np.random.default_rng(seed).integers(0, 255, (*HW, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    rows, cols = np.mgrid[10:20, left : left + 10]
    session = Session(pixels, path.stem, journal=journal_path(pixels, sessions_folder()))
    session.paint(rows.ravel(), cols.ravel(), 1)
    session.close()
    return path


def export(image: Path, folder: Path, formats: str = "png,tiff,geojson,coco,ome-zarr") -> None:
    assert main(["export", str(image), "-o", str(folder), "--formats", formats]) == 0


def left_of(path: Path, image: Path | None = None) -> int:
    """Return the first labelled column of a label file, or of the labels of an image in an export folder."""
    if image is None:
        values = import_labels(path).class_map
    else:
        pixels = np.asarray(Image.open(image))
        session = Session(pixels, image.stem)
        session.files.import_labels(path)
        values = np.asarray(session.document.class_map)
    return int(np.flatnonzero(np.asarray(values).any(axis=0))[0])


def files_with(text: str, folder: Path) -> list[Path]:
    encoded = text.encode()
    return [
        path
        for path in folder.rglob("*")
        if text in path.name or (path.is_file() and encoded in path.read_bytes())
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [("slideA/tile_001.png", "slideB/tile_001.png"), ("a.png", "a.tif"), ("A/Tile.png", "B/tile.png")],
)
def test_images_of_the_same_name_are_both_kept(tmp_path: Path, first: str, second: str) -> None:
    images = [annotate(tmp_path / first, 1, 10), annotate(tmp_path / second, 2, 30)]
    out = tmp_path / "out"
    for _ in range(2):  # repeated exports replace their own files
        for image in images:
            export(image, out)
        maps = sorted(out.glob("*_classes.png"))
        assert len(maps) == 2
        assert sorted(map(left_of, maps)) == [10, 30]
        assert [left_of(out, image) for image in images] == [10, 30]
    assert len(json.loads((out / "classes.json").read_text())["images"]) == 2
    assert len([path for path in out.iterdir() if not path.name.startswith(".")]) == 1 + 2 * 8


def test_files_that_an_export_did_not_write_are_kept(tmp_path: Path) -> None:
    image = annotate(tmp_path / "a.png", 1, 10)
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_classes.png").write_bytes(b"from another program")
    export(image, out, "png")
    assert (out / "a_classes.png").read_bytes() == b"from another program"
    assert left_of(out / "a (2)_classes.png") == 10
    export(image, out, "png")
    assert len(list(out.glob("*_classes.png"))) == 2


@pytest.mark.parametrize("formats", ["png,tiff,geojson,coco,coco-polygons,ome-zarr", ",".join(ALL)])
def test_no_earlier_name_is_in_any_file(tmp_path: Path, formats: str) -> None:
    name = "PatientName_H24-1234"
    image = annotate(tmp_path / f"{name}.png", 1, 10)
    renamed = image.rename(tmp_path / "case_001.png")
    export(renamed, tmp_path / "out", formats)
    assert (tmp_path / "out" / "case_001_classes.png").is_file()
    assert left_of(tmp_path / "out", renamed) == 10
    assert files_with("PatientName", tmp_path / "out") == []
    assert files_with("PatientName", load_config().data_dir) == [], "the journal has the present name"
    (journal,) = load_config().sessions_dir.glob("*.jsonl")
    export(journal, tmp_path / "from journal", "png,coco,geojson")
    assert files_with("PatientName", tmp_path / "from journal") == []


def test_an_export_before_the_renaming_is_found(tmp_path: Path) -> None:
    image = annotate(tmp_path / "before.png", 1, 10)
    annotate(tmp_path / "other.png", 2, 30)
    for path in (image, tmp_path / "other.png"):
        export(path, tmp_path / "out", "png")
    renamed = image.rename(tmp_path / "after.png")
    assert left_of(tmp_path / "out", renamed) == 10


def test_copies_under_two_names_are_exported_under_their_own(tmp_path: Path) -> None:
    image = annotate(tmp_path / "A" / "one.png", 1, 10)
    copy = tmp_path / "B" / "two.png"
    copy.parent.mkdir()
    shutil.copy(image, copy)
    for path in (image, copy):
        export(path, tmp_path / path.stem, "png,coco")
    assert files_with("one", tmp_path / "two") == []
    assert files_with("two", tmp_path / "one") == []


def test_a_renamed_image_renames_its_training_sample(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (*HW, 3), dtype=np.uint8)
    path = journal_path(pixels, sessions_folder())
    for name, class_id in (("PatientName", 1), ("case_001", 1)):
        session = Session(pixels, name, journal=path)
        session.paint([1, 2, len(name)], [3, 4, 5], class_id)
        session.files.save_to_dataset(tmp_path / "dataset")
        session.close()
    dataset = DatasetFolder.open(tmp_path / "dataset")
    assert list(dataset.images) == ["case_001"]
    assert dataset.images["case_001"].revision == 2
    assert dataset.read("case_001").pixels.shape == pixels.shape
    assert (tmp_path / "dataset" / "history" / "case_001" / "1" / "labels.png").is_file()
    assert files_with("PatientName", tmp_path / "dataset") == []


@pytest.mark.parametrize(
    "name", ["Ki67 50%", "Größe 2×3", "O'Brien & [x]", unicodedata.normalize("NFD", "Übersicht")]
)
def test_allowed_names_stay_and_are_found(tmp_path: Path, name: str) -> None:
    image = annotate(tmp_path / "data" / "images" / f"{name}.png", 1, 10)
    annotate(tmp_path / "data" / "images" / "Ki67 20%.png", 2, 30)
    for path in image.parent.iterdir():
        export(path, tmp_path / "data" / "labels", "png")
    assert (tmp_path / "data" / "labels" / f"{name}_classes.png").is_file()
    samples = {sample.name: sample for sample in open_dataset(tmp_path / "data").samples}
    assert len(samples) == 2
    # The same folder after a copy by macOS, which decomposes accents.
    for path in (tmp_path / "data" / "labels").iterdir():
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    assert left_of(tmp_path / "data" / "labels", image) == 10


def test_exports_and_datasets_of_earlier_versions_are_read_and_replaced(tmp_path: Path) -> None:
    image = annotate(tmp_path / "Ki67 50%.png", 1, 10)
    out = tmp_path / "out"
    export(image, out, "png")
    for path in out.glob("Ki67 50%_*"):
        path.rename(path.with_name(path.name.replace("%", "%25")))
    content = json.loads((out / "classes.json").read_text().replace("50%_", "50%25_"))
    for entry in content["images"].values():
        del entry["digest"]
    (out / "classes.json").write_text(json.dumps(content))
    assert left_of(out, image) == 10
    export(image, out, "png,geojson")
    assert len(list(out.glob("*_classes.png"))) == 1

    dataset = tmp_path / "dataset"
    session = Session(np.asarray(Image.open(image)), "Ki67 50%")
    session.paint([1, 2], [3, 4], 1)
    session.files.save_to_dataset(dataset)
    for path in dataset.rglob("Ki67 50%.*"):
        path.rename(path.with_name(path.name.replace("%", "%25")))
    content = json.loads((dataset / "dataset.json").read_text())
    for entry in content["images"].values():
        del entry["digest"], entry["file"]
    (dataset / "dataset.json").write_text(json.dumps(content))
    assert DatasetFolder.open(dataset).read("Ki67 50%").labels.any()
    session.paint([5, 6], [7, 8], 1)
    assert session.files.save_to_dataset(dataset).revision == 2
    assert len(list((dataset / "labels").iterdir())) == 1
    assert DatasetFolder.open(dataset).read("Ki67 50%").labels[5, 7] == 1


def test_our_own_exports_beside_images_are_no_images(tmp_path: Path) -> None:
    slides = tmp_path / "slides"
    for number in range(3):
        export(annotate(slides / f"case{number}.png", number, 10), slides, "png,tiff")
        export(slides / f"case{number}.png", slides, "geojson")
    assert [path.name for path in list_images(slides).paths] == ["case0.png", "case1.png", "case2.png"]
    assert len(FolderQueue(slides, tmp_path / "states")) == 3


def test_a_training_sample_never_replaces_a_users_file(tmp_path: Path) -> None:
    own = tmp_path / "data" / "images" / "tile.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"the user's image")
    session = Session(np.random.default_rng(1).integers(0, 255, (*HW, 3), dtype=np.uint8), "tile")
    session.paint([1, 2], [3, 4], 1)
    session.files.save_to_dataset(tmp_path / "data")
    assert own.read_bytes() == b"the user's image"
    assert DatasetFolder.open(tmp_path / "data").read("tile").labels.any()
    assert file_stem("tile") == "tile"
