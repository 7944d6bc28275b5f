"""`sampath export` and `sampath import`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage.data
from PIL import Image

from napari_sampath.arrays import LocalMask
from napari_sampath.cli import main
from napari_sampath.config import load_config
from napari_sampath.formats import import_labels
from napari_sampath.formats.registry import writable
from napari_sampath.images.slides import open_slide
from napari_sampath.session import Session, journal_path
from support.slide_files import write_large_tiff
from support.small_disk import mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

PIXELS = skimage.data.immunohistochemistry()[:96, :128]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "tissue.png"
    Image.fromarray(PIXELS).save(path)
    return path


@pytest.fixture
def journal(own_cache: Path) -> Path:
    """Journal of the image with two painted objects of two classes, as the docks write it."""
    path = journal_path(PIXELS, load_config().sessions_dir)
    session = Session(PIXELS, "tissue", journal=path)
    gland = session.classes.add("gland", (200, 30, 60))
    rows, cols = np.mgrid[10:30, 20:50]
    session.paint(rows.ravel(), cols.ravel(), 1)
    session.paint((rows + 40).ravel(), cols.ravel(), gland.id)
    session.close()
    return path


def test_export_of_an_image_or_a_journal(
    image: Path, journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = image.rename(tmp_path / "renamed.png")
    assert b"tissue" in journal.read_bytes()
    for number, source in enumerate((renamed, journal)):
        folder = tmp_path / f"labels{number}"
        assert main(["export", str(source), "-o", str(folder), "--json"]) == 0
        output = json.loads(capsys.readouterr().out)
        assert output["annotations"] == 2
        assert {path.rpartition("/")[2] for path in output["files"]} == {
            "renamed_classes.png",
            "renamed_classes.tif",
            "renamed_instances.png",
            "renamed_instances.tif",
            "renamed_details.json",
            "classes.json",
        }
        labels = import_labels(folder)
        assert [details["source"] for details in labels.details.values()] == ["brush", "brush"]
        expected = np.zeros((96, 128), np.uint8)
        expected[10:30, 20:50], expected[50:70, 20:50] = 1, 2
        np.testing.assert_array_equal(labels.class_map, expected)
        np.testing.assert_array_equal(np.unique(labels.instance_map), [0, 1, 2])
        assert [info.name for info in labels.classes] == ["object", "gland"]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".png"]
    assert not [path for path in (journal, *written) if b"tissue" in path.read_bytes()]


def test_a_folder_is_exported_with_its_subfolders(
    own_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    places = {"tile.png": ("stroma",), "a/tile.png": ("gland", "stroma"), "b/deep/tile.png": ("gland",)}
    for number, (place, classes) in enumerate(places.items()):
        pixels = np.roll(PIXELS, 3 * number, 0)
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / place)
        session = Session(pixels, "tile", journal=journal_path(pixels, load_config().sessions_dir))
        for row, name in enumerate(classes):
            rows, cols = np.mgrid[20 * row : 20 * row + 9, 5 : 15 + number]
            session.paint(rows.ravel(), cols.ravel(), session.classes.add(name).id)
        session.close()
    Image.fromarray(PIXELS[::-1]).save(folder / "a" / "other.png")
    (folder / "c").mkdir()
    (folder / "c" / "broken.png").write_bytes(b"no image")
    (folder / "c" / "scan_classes.png").write_bytes(b"no image")

    for _ in range(2):  # The second export replaces the first.
        assert main(["export", str(folder), "-o", str(out), "--formats", "png,geojson"]) == 0
        written = capsys.readouterr()
        assert "Exported 3 images with 4 objects" in written.out
        assert "c/broken.png was not exported: " in written.err
        assert "1 image without annotations left out." in written.err
        assert "Left out of 'c': 1 file named as label maps of no image (scan_classes.png)" in written.err
        assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*_classes.png")) == [
            "a/tile_classes.png",
            "b/deep/tile_classes.png",
            "tile_classes.png",
        ]
    for number, (place, classes) in enumerate(places.items()):
        copy = tmp_path / f"{number}.jsonl"
        capsys.readouterr()
        assert main(["import", str(out), str(folder / place), "--journal", str(copy), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["annotations"] == len(classes)
        labels = import_labels(out / Path(place).parent)
        numbers = {info.name: info.id for info in labels.classes}
        assert {name: numbers[name] for name in classes}.items() <= {"stroma": 2, "gland": 1}.items()
        assert labels.instance_map[5].sum() == (10 + number) * labels.instance_map[5, 5]

    Image.fromarray(PIXELS[:, ::-1]).save(folder / "b" / "tile.png")  # Has other pixels than all of them.
    words = ("import", str(out / "a"), str(folder / "b" / "tile.png"), "--journal", str(tmp_path / "n.jsonl"))
    assert main([*words]) == 0
    assert "has other pixels" in capsys.readouterr().err
    (out / "classes.json").unlink()
    error = fails(capsys, "import", str(out), *words[2:])
    assert str(out / "a" / "tile") in error
    assert str(out / "b" / "deep" / "tile") in error
    (out / "b" / "deep" / "classes.json").write_text("[]")
    assert "is damaged or made by another program" in fails(capsys, "import", str(out), *words[2:])
    assert "--name is the name of one image" in fails(
        capsys, "export", str(folder), "-o", str(out), "--name", "x"
    )
    (folder / "b" / "deep" / "tile.png").unlink()
    assert "was annotated on this machine" in fails(
        capsys, "--quiet", "export", str(folder / "b"), "-o", str(tmp_path / "no")
    )


def test_class_numbers_survive_all_formats_one_after_another(tmp_path: Path) -> None:
    session = Session(PIXELS, "tissue")
    names = ["gland", "stroma", "vessel", "nerve"]
    numbers = {name: session.classes.add(name).id for name in names}
    for row, name in enumerate(["nerve", "stroma"]):
        rows, cols = np.mgrid[20 * row : 20 * row + 9, 5:15]
        session.paint(rows.ravel(), cols.ravel(), numbers[name])
    kept = [entry.name for entry in writable() if "class numbers" in entry.keeps and entry.name != "nnunet"]
    assert len(kept) == 9
    for name in kept:
        session.files.export(tmp_path / name, (name,))
        session = Session(PIXELS, "tissue")
        session.files.import_labels(tmp_path / name)
        painted = {row.class_name: row.class_id for row in session.objects.rows()}
        assert painted == {"nerve": numbers["nerve"], "stroma": numbers["stroma"]}, name


def test_export_of_one_format(journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(journal), "-o", str(tmp_path / "out"), "--formats", "png"]) == 0
    assert "Exported 2 objects:" in capsys.readouterr().out
    assert sorted(path.suffix for path in (tmp_path / "out").glob("[!.]*")) == [
        ".json",
        ".json",
        ".png",
        ".png",
    ]
    assert main(["export", str(journal), "-o", str(tmp_path / "out"), "--formats", "gif"]) == 1
    assert "There is no format 'gif'" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["coco", "coco-polygons", "geojson", "ome-zarr"])
def test_other_formats_keep_maps_sources_and_classes(
    image: Path, journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert main(["export", str(journal), "-o", str(tmp_path / "out"), "--formats", word, "--json"]) == 0
    file = json.loads(capsys.readouterr().out)["files"][0]
    copy = tmp_path / "copy.jsonl"
    assert main(["import", file, str(image), "--journal", str(copy), "--json"]) == 0
    before, after = Session(PIXELS, "tissue", journal=journal), Session(PIXELS, "tissue", journal=copy)
    np.testing.assert_array_equal(after.document.instance_map, before.document.instance_map)
    np.testing.assert_array_equal(after.document.class_map, before.document.class_map)
    assert [row.source for row in after.objects.rows()] == ["brush", "brush"]
    assert [row.class_name for row in after.objects.rows()] == ["object", "gland"]


def test_import_adds_objects_that_export_unchanged(
    image: Path, journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(journal), "-o", str(tmp_path / "labels")]) == 0
    copy = tmp_path / "copy.jsonl"
    capsys.readouterr()
    assert main(["import", str(tmp_path / "labels"), str(image), "--journal", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"annotations": 2, "journal": str(copy), "notes": []}
    assert main(["export", str(copy), "-o", str(tmp_path / "again")]) == 0
    before, after = import_labels(tmp_path / "labels"), import_labels(tmp_path / "again")
    np.testing.assert_array_equal(before.class_map > 0, after.class_map > 0)
    names = [{info.id: info.name for info in labels.classes} for labels in (before, after)]
    assert names[0][before.class_map[60, 30]] == names[1][after.class_map[60, 30]] == "gland"
    np.testing.assert_array_equal(before.instance_map > 0, after.instance_map > 0)


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("sampath: ")
    return captured.err


def test_export_without_a_journal_fails(
    image: Path, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "labels")
    assert "has not been annotated on this machine" in fails(capsys, "export", str(image), "-o", folder)
    assert "There is no journal" in fails(capsys, "export", str(tmp_path / "none.jsonl"), "-o", folder)
    other = tmp_path / "other.jsonl"
    other.write_text('{"format": "something else"}\n')
    assert "is not a journal of napari-sampath" in fails(capsys, "export", str(other), "-o", folder)
    assert other.read_text() == '{"format": "something else"}\n'
    assert not (tmp_path / "labels").exists()


def test_export_of_an_open_journal_fails(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(PIXELS, "tissue", journal=journal)
    try:
        assert "open in another window" in fails(capsys, "export", str(journal), "-o", str(tmp_path / "x"))
    finally:
        session.close()


def test_import_rejects_other_sizes_and_repeated_class_names(
    image: Path, journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = journal.read_bytes()
    Image.fromarray(np.ones((20, 30), np.uint8)).save(tmp_path / "small.png")
    sentence = fails(capsys, "import", str(tmp_path / "small.png"), str(image))
    assert "is 30 x 20 px, but the image is 128 x 96 px" in sentence
    assert main(["export", str(journal), "-o", str(tmp_path / "labels")]) == 0
    capsys.readouterr()
    classes = tmp_path / "labels" / "classes.json"
    classes.write_text(classes.read_text().replace('"object"', '"gland"'))
    assert "'gland'" in fails(capsys, "import", str(tmp_path / "labels"), str(image))
    assert journal.read_bytes() == before


def test_full_disk_keeps_the_previous_export(
    journal: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(journal), "-o", str(small_disk)]) == 0
    before = {path.name: path.read_bytes() for path in small_disk.glob("[!.]*")}
    journal_before = journal.read_bytes()
    state = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(state.f_bavail * state.f_bsize))
    capsys.readouterr()
    assert "No space left" in fails(capsys, "export", str(journal), "-o", str(small_disk))
    after = {path.name: path.read_bytes() for path in small_disk.glob("[!.]*") if path.name != "filler"}
    assert after == before
    assert journal.read_bytes() == journal_before


def test_a_slide_is_exported_and_imported_without_being_read(
    own_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_large_tiff(tmp_path / "biopsy.tif")
    with open_slide(path) as slide:
        assert main(["export", str(path), "-o", str(tmp_path / "none")]) == 1
        assert "has not been annotated on this machine" in capsys.readouterr().err
        session = Session(slide, "biopsy", journal=journal_path(slide, load_config().sessions_dir))
        session.paint_mask(LocalMask(6400, 6400, np.ones((50, 20), bool), 32), 1)
        session.close()
    assert main(["export", str(path), "-o", str(tmp_path / "labels"), "--formats", "geojson,tiff"]) == 0
    capsys.readouterr()
    session = Session(np.zeros((8300, 8200, 3), np.uint8), "biopsy")
    session.files.import_labels(tmp_path / "labels" / "biopsy_objects.geojson")
    assert [(row.area_px, row.id) for row in session.objects.rows()] == [(50 * 20 * 32**2, 1)]
    other = tmp_path / "other.jsonl"
    labels = str(tmp_path / "labels" / "biopsy_objects.geojson")
    assert main(["import", labels, str(path), "--journal", str(other), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["annotations"] == 1
    assert main(["export", str(path), "-o", str(tmp_path / "png"), "--formats", "png"]) == 0
