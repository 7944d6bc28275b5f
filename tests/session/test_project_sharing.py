"""Projects are packed, unpacked and merged; conflicts are shown, and nothing is overwritten."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import ClassListError, DatasetError, DuplicateNameError
from napari_sampath.formats import DatasetFolder, import_labels
from napari_sampath.images import read
from napari_sampath.jobs import run
from napari_sampath.session import Project, Session, journal_path
from napari_sampath.session.project.class_files import PRESETS, preset, read_classes, write_classes_file
from napari_sampath.session.project.exporting import export_project_job
from napari_sampath.session.project.journals import remove_class_job
from napari_sampath.session.project.membership import join_project
from napari_sampath.session.project.merging import merge_job, take_theirs
from napari_sampath.session.project.samples import ProjectSamples
from napari_sampath.session.project.sharing import pack_job, unpack_job
from support.models.project_images import image_file, square

GLAND, STROMA = ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (86, 180, 233))


class Desk:
    """One person's machine: journals, and sessions that are opened and closed again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journals = folder / "journals"

    def annotate(self, project: Project, path: Path, *rows: int, class_id: int = 1) -> None:
        image = read(path).pixels
        session = Session(
            image, path.stem, classes=project.classes, journal=journal_path(image, self.journals)
        )
        try:
            if project.find(session.digest) is None:
                project.add(session.digest, session.hw, session.name, path)
            join_project(session, project)
            for row in rows:
                square(session, row, class_id)
            samples = ProjectSamples(project)
            samples.mark_changed(session)
            job = samples.save_job()
            if job is not None:
                run(job)
        finally:
            session.close()

    def objects(self, path: Path) -> int:
        image = read(path).pixels
        session = Session(image, path.stem, journal=journal_path(image, self.journals))
        try:
            return len(session.document.objects)
        finally:
            session.close()

    def classes(self, path: Path) -> dict[str, int]:
        """Return class name -> number of its objects."""
        image = read(path).pixels
        session = Session(image, path.stem, journal=journal_path(image, self.journals))
        try:
            counts = {info.name: 0 for info in session.classes}
            for obj in session.document.objects.values():
                counts[session.classes.by_id(obj.class_id).name] += 1
            return counts
        finally:
            session.close()


@pytest.fixture
def mine(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "mine")


@pytest.fixture
def colleague(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "colleague")


@pytest.fixture
def project(mine: Desk) -> Project:
    return Project.create(mine.folder / "glands", "Glands", (GLAND, STROMA))


def test_a_project_travels_with_images_samples_and_annotations(
    project: Project, mine: Desk, colleague: Desk
) -> None:
    path = image_file(mine.folder / "scans", "a.png", 1)
    mine.annotate(project, path, 3, 20)
    project.set_notes("Two glands.")
    for folder in ("heads", "decoders"):
        (project.path / folder).mkdir()
        (project.path / folder / "cnn-1.safetensors").write_bytes(b"weights")
    packed = run(pack_job(project, mine.folder / "glands.zip", mine.journals))
    theirs = run(unpack_job(packed, colleague.folder / "glands", colleague.journals))
    assert (theirs.name, theirs.notes, theirs.classes) == ("Glands", "Two glands.", (GLAND, STROMA))
    for folder in ("heads", "decoders"):
        assert (theirs.path / folder / "cnn-1.safetensors").read_bytes() == b"weights"
    (image,) = theirs.images.values()
    file = theirs.file_of(image)
    assert file is not None
    assert file.is_relative_to(theirs.path)
    np.testing.assert_array_equal(read(file).pixels, read(path).pixels)
    assert colleague.objects(file) == 2
    assert (DatasetFolder.open(theirs.path).read("a").labels == 1).sum() == 50


def test_further_steps_of_a_colleague_are_taken_over(project: Project, mine: Desk, colleague: Desk) -> None:
    first, second = (image_file(mine.folder / "scans", f"{name}.png", n) for n, name in enumerate("ab"))
    mine.annotate(project, first, 3)
    packed = run(pack_job(project, mine.folder / "glands.zip", mine.journals))
    theirs = run(unpack_job(packed, colleague.folder / "glands", colleague.journals))
    theirs.add_classes((ClassInfo(9, "necrosis", (1, 2, 3)),))
    colleague.annotate(theirs, first, 20)
    colleague.annotate(theirs, second, 5, class_id=9)
    back = run(pack_job(theirs, colleague.folder / "back.zip", colleague.journals))
    result = run(merge_job(project, back, mine.journals))
    assert (result.added, result.updated, result.conflicts, result.failed) == (["b"], ["a"], [], {})
    assert result.classes == ["necrosis"]
    assert mine.objects(first) == 2
    assert mine.classes(second) == {"gland": 0, "stroma": 0, "necrosis": 1}
    data = DatasetFolder.open(project.path)
    number = next(info.id for info in data.classes if info.name == "necrosis")
    assert (data.read("b").labels == number).sum() == 25
    again = run(merge_job(project, back, mine.journals))
    assert (again.added, again.updated, sorted(again.unchanged)) == ([], [], ["a", "b"])


def test_a_conflict_is_shown_and_nothing_is_overwritten(
    project: Project, mine: Desk, colleague: Desk
) -> None:
    path = image_file(mine.folder / "scans", "a.png", 1)
    mine.annotate(project, path, 3)
    packed = run(pack_job(project, mine.folder / "glands.zip", mine.journals))
    theirs = run(unpack_job(packed, colleague.folder / "glands", colleague.journals))
    colleague.annotate(theirs, path, 20, 30)
    mine.annotate(project, path, 10)
    back = run(pack_job(theirs, colleague.folder / "back.zip", colleague.journals))
    (conflict,) = run(merge_job(project, back, mine.journals)).conflicts
    assert (conflict.name, conflict.ours[:9], conflict.theirs[:9]) == ("a", "2 objects", "3 objects")
    assert mine.objects(path) == 2
    assert conflict.file.is_file()
    kept = take_theirs(project, conflict.file, conflict.digest, mine.journals)
    assert mine.objects(path) == 3
    assert kept.is_file()


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/outside.txt", "a\\..\\outside.txt", "c:/outside.txt"]
)
def test_a_zip_file_writes_nothing_outside_its_folder(
    project: Project, mine: Desk, colleague: Desk, name: str
) -> None:
    packed = run(pack_job(project, mine.folder / "glands.zip", mine.journals))
    with zipfile.ZipFile(packed, "a") as file:
        file.writestr(name, "x")
    with pytest.raises(DatasetError, match="outside the project"):
        run(unpack_job(packed, colleague.folder / "glands", colleague.journals))
    assert not (colleague.folder / "glands").exists()
    assert not list(colleague.folder.parent.rglob("outside.txt"))


def test_files_that_are_no_project_are_refused(mine: Desk, project: Project) -> None:
    text = mine.folder / "text.zip"
    text.write_text("no zip file")
    bomb = mine.folder / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("dataset.json", "project.json"):
            file.write(project.path / name, name)
        file.writestr("images/bomb.png", bytes(60_000_000))
    other = mine.folder / "other.zip"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("readme.txt", "x")
    for path, words in ((text, "not a zip"), (bomb, "times its size"), (other, "not a project")):
        with pytest.raises(DatasetError, match=words):
            run(unpack_job(path, mine.folder / "new", mine.journals))
        with pytest.raises(DatasetError, match=words):
            run(merge_job(project, path, mine.journals))
    assert not (mine.folder / "new").exists()


def test_a_class_is_taken_out_of_all_images(project: Project, mine: Desk) -> None:
    first, second = (image_file(mine.folder / "scans", f"{name}.png", n) for n, name in enumerate("ab"))
    mine.annotate(project, first, 3, 20)
    mine.annotate(project, first, 30, class_id=2)
    mine.annotate(project, second, 5, class_id=2)
    failed = run(remove_class_job(project, 2, None, mine.journals))
    assert failed == {}
    assert project.classes == (GLAND,)
    assert mine.classes(first) == {"gland": 2}
    assert mine.classes(second) == {"gland": 0}
    data = DatasetFolder.open(project.path)
    assert [info.name for info in data.classes] == ["gland"]
    assert not (data.read("b").labels > 0).any()
    assert not data.read("b").annotated.any(), "removed pixels are not background"
    project.add_classes((STROMA,))
    mine.annotate(project, second, 5, class_id=2)
    assert run(remove_class_job(project, 2, 1, mine.journals)) == {}
    assert mine.classes(second) == {"gland": 1}
    assert (DatasetFolder.open(project.path).read("b").labels == 1).sum() == 25
    with pytest.raises(DatasetError, match="merged with itself"):
        project.drop_class(1, 1)


def test_a_project_is_exported_by_split_with_a_readme(project: Project, mine: Desk, tmp_path: Path) -> None:
    paths = [image_file(mine.folder / "scans", f"{name}.png", number) for number, name in enumerate("abc")]
    for path in paths[:2]:
        mine.annotate(project, path, 3, 20)
    mine.annotate(project, paths[2])
    before = sorted((path, path.read_bytes()) for path in mine.journals.glob("*.jsonl"))
    result = run(export_project_job(project, tmp_path / "out", ("png", "coco"), mine.journals))
    assert result.images == {"a": "train", "b": "val"}
    assert (result.objects, result.skipped) == (4, {"c": "it has no annotations"})
    labels = import_labels(tmp_path / "out" / "val")
    assert (np.asarray(labels.class_map) == 1).sum() == 50
    readme = (tmp_path / "out" / "README.txt").read_text()
    assert "train: 1 image" in readme
    assert "c: it has no annotations" in readme
    assert sorted((path, path.read_bytes()) for path in mine.journals.glob("*.jsonl")) == before
    with pytest.raises(DatasetError, match="not empty"):
        run(export_project_job(project, tmp_path / "out", ("png",), mine.journals))


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_class_lists_survive_a_round_trip(tmp_path: Path, name: str, suffix: str) -> None:
    classes = preset(name)
    path = tmp_path / f"classes.{suffix}"
    write_classes_file(path, classes)
    assert read_classes(path) == classes
    assert len({info.color for info in classes}) == len(classes)


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        (
            "qupath.json",
            '{"pathClasses": [{"name": "Tumor", "colorRGB": -3670016}, {"name": "Stroma", "color": [150, 200, 150]},'
            ' {"color": [1, 1, 1]}]}',
            [(1, "Tumor", (200, 0, 0)), (2, "Stroma", (150, 200, 150))],
        ),
        ("excel.csv", "\ufeffNumber;Name;Colour\r\n3;Drüse;#010203\r\n1;Stroma;4 5 6\r\n", None),
        (
            "plain.csv",
            "nucleus\ncytoplasm\n",
            [(1, "nucleus", (0, 158, 115)), (2, "cytoplasm", (240, 228, 66))],
        ),
    ],
)
def test_class_lists_of_other_programs(
    tmp_path: Path, file: str, content: str, expected: list[tuple[int, str, tuple[int, int, int]]] | None
) -> None:
    (tmp_path / file).write_text(content, encoding="utf-8")
    expected = expected or [(3, "Drüse", (1, 2, 3)), (1, "Stroma", (4, 5, 6))]
    assert [(c.id, c.name, c.color) for c in read_classes(tmp_path / file)] == expected


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.json", "{"),
        ("a.json", '{"pathClasses": 3}'),
        ("a.json", '[{"name": "a", "id": 300}]'),
        ("a.json", "[[]]"),
        ("a.csv", ""),
        ("a.csv", "id,colour\n1,#000000\n"),
        ("a.csv", "name,colour\na,#12\n"),
        ("a.csv", "name,id\na,1e9\n"),
    ],
)
def test_files_without_a_class_list_are_refused(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(ClassListError):
        read_classes(tmp_path / file)


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,id\nGland,1\ngland,2\n")
    with pytest.raises(DuplicateNameError, match="gland"):
        read_classes(tmp_path / "a.csv")
