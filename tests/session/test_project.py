"""Projects: images are put in by the user only; samples follow the journals; older datasets open as projects."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import DatasetError, DuplicateNameError, UnknownNameError
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.images import read
from napari_sampath.jobs import run
from napari_sampath.session import Project, Session, journal_path
from napari_sampath.session.project.checking import check_job, listing_job
from napari_sampath.session.project.membership import (
    follow_classes,
    join_project,
    read_sample,
    restore_sample,
)
from napari_sampath.session.project.samples import ProjectSamples
from support.models.project_images import image_file, noise, square

GLAND = ClassInfo(1, "gland", (0, 158, 115))
STROMA = ClassInfo(2, "stroma", (86, 180, 233))


def open_session(path: Path, journals: Path, project: Project | None = None) -> Session:
    image = read(path).pixels
    classes = () if project is None else project.classes
    return Session(image, path.stem, classes=classes, journal=journal_path(image, journals))


def put_in(project: Project, session: Session, path: Path | None, **values: object) -> None:
    project.add(session.digest, session.hw, session.name, path, pixels=session.image, **values)
    join_project(session, project)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    return tmp_path / "journals"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "glands", "Glands", (GLAND, STROMA))


def save(samples: ProjectSamples, *sessions: Session) -> int:
    for session in sessions:
        samples.mark_changed(session)
    job = samples.save_job()
    return 0 if job is None else run(job)


def test_an_image_that_nobody_put_in_is_never_copied(
    project: Project, tmp_path: Path, journals: Path
) -> None:
    samples = ProjectSamples(project)
    before = files_in(project.path)
    session = open_session(image_file(tmp_path, "a.png", 1), journals, project)
    square(session, 3)
    session.area.mark((0, 0, 40, 50))
    assert save(samples, session) == 0
    assert not samples.pending
    assert files_in(project.path) == before
    assert not project.images
    assert not project.dataset.images


def test_an_image_in_the_training_set_gets_a_sample_with_the_numbers_of_the_project(
    project: Project, tmp_path: Path, journals: Path
) -> None:
    path = image_file(tmp_path, "a.png", 1)
    session = open_session(path, journals)
    session.classes.add("Stroma")  # number 2 in this image, after the initial class
    session.classes.rename(1, "tumour")
    square(session, 3, 2)
    square(session, 20, 1)
    put_in(project, session, path)
    assert [(info.id, info.name) for info in session.classes] == [(1, "gland"), (2, "stroma"), (3, "tumour")]
    assert save(ProjectSamples(project), session) == 1
    item = DatasetFolder.open(project.path).read("a")
    assert (item.labels[3, 3], item.labels[20, 20]) == (2, 3)
    written = [(c.id, c.name) for c in DatasetFolder.open(project.path).classes]
    assert written == [(2, "stroma"), (3, "tumour")], "a class without objects cannot be learned"
    (entry,) = project.images.values()
    assert (entry.name, entry.sample, entry.training) == ("a", "a", True)
    assert project.file_of(entry) == path


def test_a_sample_that_is_saved_before_the_session_has_the_class_list_adds_its_classes(
    project: Project, tmp_path: Path, journals: Path
) -> None:
    path = image_file(tmp_path, "a.png", 1)
    session = open_session(path, journals)
    session.classes.rename(1, "necrosis")
    square(session, 3)
    project.add(session.digest, session.hw, "a", path)
    assert save(ProjectSamples(project), session) == 1
    assert [(c.id, c.name) for c in project.classes] == [(1, "gland"), (2, "stroma"), (3, "necrosis")]
    assert (DatasetFolder.open(project.path).read("a").labels == 3).sum() == 25
    assert join_project(session, project) is None
    assert {obj.class_id for obj in session.document.objects.values()} == {3}


def test_taking_an_image_out_of_the_training_set_removes_its_sample_and_keeps_its_journal(
    project: Project, tmp_path: Path, journals: Path
) -> None:
    path = image_file(tmp_path, "a.png", 1)
    session = open_session(path, journals, project)
    square(session, 3)
    put_in(project, session, path)
    samples = ProjectSamples(project)
    save(samples, session)
    project.set_training(session.digest, False)
    assert "a" not in DatasetFolder.open(project.path).images
    assert not (project.path / "images" / "a.png").exists()
    assert (project.path / "history" / "a" / "1" / "labels.png").is_file()
    square(session, 20)
    assert save(samples, session) == 0
    project.set_training(session.digest, True)
    assert save(samples, session) == 1
    assert (DatasetFolder.open(project.path).read("a").labels == 1).sum() == 50
    project.remove(session.digest)
    assert dict(Project(project.path).images) == {}
    session.close()
    again = open_session(path, journals)
    assert len(again.document.objects) == 2


def test_pixels_without_a_file_are_kept_when_their_sample_goes(project: Project, journals: Path) -> None:
    session = Session(noise(7), "layer", classes=project.classes)
    square(session, 3)
    project.add(session.digest, session.hw, "layer", pixels=session.image)
    join_project(session, project)
    save(ProjectSamples(project), session)
    project.set_training(session.digest, False)
    path = project.file_of(project.image("layer"))
    assert path is not None
    np.testing.assert_array_equal(read(path).pixels, session.image)
    project.remove(session.digest)
    assert not path.exists()
    assert list((project.path / "removed").iterdir())


def test_training_can_be_restricted_to_a_region(project: Project, tmp_path: Path, journals: Path) -> None:
    path = image_file(tmp_path, "a.png", 1)
    session = open_session(path, journals, project)
    session.area.mark((0, 0, 40, 50))
    put_in(project, session, path)
    project.set_regions(session.digest, [(0, 0, 10, 20)])
    save(ProjectSamples(project), session)
    assert DatasetFolder.open(project.path).read("a").annotated.sum() == 200
    with pytest.raises(DatasetError, match="no pixels"):
        project.set_regions(session.digest, [(50, 60, 70, 80)])


def test_the_same_pixels_get_in_once(project: Project, tmp_path: Path, journals: Path) -> None:
    first = image_file(tmp_path, "a.png", 1)
    session = open_session(first, journals, project)
    put_in(project, session, first)
    copy = image_file(tmp_path / "other", "b.png", 1)
    session.close()
    other = open_session(copy, journals, project)
    with pytest.raises(DuplicateNameError, match=r"same pixels as 'a'"):
        put_in(project, other, copy)
    assert len(project.images) == 1


def test_images_with_one_name_get_distinct_names(project: Project, tmp_path: Path, journals: Path) -> None:
    for seed, folder in enumerate(("x", "y", "Z")):
        path = image_file(tmp_path / folder, "tile.png", seed)
        session = open_session(path, journals, project)
        square(session, 3)
        put_in(project, session, path)
        save(ProjectSamples(project), session)
        session.close()
    assert [image.name for image in project.images.values()] == ["tile", "tile (2)", "tile (3)"]
    assert set(DatasetFolder.open(project.path).images) == {"tile", "tile (2)", "tile (3)"}


def test_a_renamed_image_leaves_no_earlier_name(project: Project, tmp_path: Path, journals: Path) -> None:
    path = image_file(tmp_path, "Miller 1956.png", 1)
    session = open_session(path, journals, project)
    square(session, 3)
    put_in(project, session, path, copy=False)
    samples = ProjectSamples(project)
    save(samples, session)
    square(session, 20)
    save(samples, session)  # a second revision, so that there is a history
    project.rename_image(session.digest, "case 1")
    save(samples, session)
    assert set(DatasetFolder.open(project.path).images) == {"case 1"}
    names = {path.relative_to(project.path).as_posix() for path in project.path.rglob("*")}
    assert not [name for name in names if "Miller" in name]
    assert "Miller" not in (project.path / "dataset.json").read_text(encoding="utf-8")
    item = DatasetFolder.open(project.path).read("case 1")
    assert (item.labels == 1).sum() == 50
    with pytest.raises(UnknownNameError, match="case 1"):
        project.image("Miller 1956")


def test_a_dataset_of_an_earlier_version_opens_without_loss(tmp_path: Path, journals: Path) -> None:
    data = DatasetFolder.create(tmp_path / "old", (ClassInfo(0, "background", (0, 0, 0)), GLAND))
    for seed in (1, 2):
        labels = np.zeros((40, 50), np.uint8)
        labels[:10, : 10 * seed] = 1
        instances = labels.astype(np.uint16) * 3
        verified = np.ones((40, 50), bool)
        verified[30:] = False
        data.save_image(Snapshot(f"case {seed}", noise(seed), labels, instances, verified, mpp=0.5))
    copy = labels.copy()
    data.save_image(Snapshot("twice", noise(2), copy))
    before = (data.path / "dataset.json").read_bytes()
    project = Project(data.path)
    assert run(listing_job(project)) == 2
    assert (data.path / "dataset.json").read_bytes() == before
    assert [image.name for image in project.images.values()] == ["case 1", "case 2"]
    assert all(image.training and image.mpp == 0.5 for image in project.images.values())
    assert run(check_job(project)).duplicates == (("twice", "case 2"),)
    assert [info.name for info in project.classes] == ["gland"]
    # On this machine there is no journal: opening the image restores what the sample holds, and saves the same again.
    path = project.file_of(project.image("case 2"))
    session = open_session(path, journals, project)
    assert restore_sample(session, read_sample(project, session.digest))
    join_project(session, project)
    assert len(session.document.objects) == 1
    assert session.area.mask().sum() == 30 * 50
    item = data.read("case 2")
    save(ProjectSamples(project), session)
    again = DatasetFolder.open(project.path).read("case 2")
    np.testing.assert_array_equal(again.labels, item.labels)
    np.testing.assert_array_equal(again.annotated, item.annotated)
    # A journal, even an emptied one, is the truth.
    for number in list(session.document.objects):
        session.objects.delete([number])
    assert not restore_sample(session, read_sample(project, session.digest))
    session.close()
    session = open_session(path, journals, project)
    assert not session.untouched
    assert not restore_sample(session, read_sample(project, session.digest))
    assert not session.document.objects


def test_missing_and_changed_files_are_found(project: Project, tmp_path: Path, journals: Path) -> None:
    for name, seed in (("a.png", 1), ("b.png", 2)):
        path = image_file(tmp_path / "scans", name, seed)
        session = open_session(path, journals, project)
        put_in(project, session, path)
        session.close()
    moved = tmp_path / "archive" / "2024" / "renamed.png"
    moved.parent.mkdir(parents=True)
    (tmp_path / "scans" / "a.png").rename(moved)
    image_file(tmp_path / "scans", "b.png", 3)
    check = run(check_job(project))
    assert (check.missing, check.changed, dict(check.found)) == (("a",), ("b",), {})
    check = run(check_job(project, [tmp_path / "archive"]))
    assert (check.missing, dict(check.found)) == ((), {"a": moved})
    assert Project(project.path).file_of(Project(project.path).image("a")) == moved


def test_a_project_moves_with_its_images(project: Project, tmp_path: Path, journals: Path) -> None:
    path = image_file(tmp_path / "glands" / "scans", "a.png", 1)
    beside = image_file(tmp_path / "near", "b.png", 2)
    for file in (path, beside):
        session = open_session(file, journals, project)
        put_in(project, session, file)
        session.close()
    (tmp_path / "disk").mkdir()
    for name in ("glands", "near"):
        (tmp_path / name).rename(tmp_path / "disk" / name)
    moved = Project(tmp_path / "disk" / "glands")
    found = {image.name: moved.file_of(image) for image in moved.images.values()}
    assert found["a"] == tmp_path / "disk" / "glands" / "scans" / "a.png"
    assert found["b"] == tmp_path / "disk" / "near" / "b.png"


def test_renaming_a_class_reaches_images_that_are_opened_later(
    project: Project, tmp_path: Path, journals: Path
) -> None:
    path = image_file(tmp_path, "a.png", 1)
    session = open_session(path, journals, project)
    square(session, 3)
    put_in(project, session, path)
    session.close()
    project.set_classes((ClassInfo(1, "acinus", (1, 2, 3)), STROMA))
    project.set_classes((ClassInfo(1, "crypt", (1, 2, 3)), STROMA))
    again = open_session(path, journals, project)
    assert join_project(again, project) is None
    assert [info.name for info in again.classes] == ["crypt", "stroma"]
    assert {obj.class_id for obj in again.document.objects.values()} == {1}
    save(ProjectSamples(project), again)
    assert [info.name for info in DatasetFolder.open(project.path).classes] == ["crypt"]


def test_class_edits_in_an_image_reach_the_project(project: Project, tmp_path: Path, journals: Path) -> None:
    path = image_file(tmp_path, "a.png", 1)
    session = open_session(path, journals, project)
    square(session, 3)
    put_in(project, session, path)

    def edit(change: object) -> str | None:
        before = session.classes.snapshot
        change()
        return follow_classes(project, before, session.classes.snapshot)

    assert edit(lambda: session.classes.rename(1, "crypt")) is None
    edit(lambda: session.classes.recolor(1, (9, 9, 9)))
    edit(lambda: session.classes.add("necrosis"))
    edit(lambda: session.classes.move(3, 0))
    assert [(c.id, c.name) for c in project.classes] == [(3, "necrosis"), (1, "crypt"), (2, "stroma")]
    assert project.classes[1].color == (9, 9, 9)
    assert "stays in the project" in edit(lambda: session.classes.remove(2))
    assert {c.name for c in project.classes} == {"necrosis", "crypt", "stroma"}
    edit(session.undo)
    assert [c.name for c in session.classes] == ["necrosis", "crypt", "stroma"]


def test_undoing_the_exchange_of_numbers_changes_nothing_in_the_project(
    project: Project, tmp_path: Path, journals: Path
) -> None:
    path = image_file(tmp_path, "a.png", 1)
    session = open_session(path, journals)
    session.classes.rename(1, "stroma")
    session.classes.add("gland")
    square(session, 3, 1)
    square(session, 20, 2)
    put_in(project, session, path)
    before = session.classes.snapshot
    session.undo()
    assert follow_classes(project, before, session.classes.snapshot) is None
    assert project.classes == (GLAND, STROMA)
    save(ProjectSamples(project), session)
    item = DatasetFolder.open(project.path).read("a")
    assert (item.labels[3, 3], item.labels[20, 20]) == (2, 1), "numbers of the project"


def test_damaged_project_files_are_refused_in_one_sentence(project: Project) -> None:
    file = project.path / "project.json"
    good = json.loads(file.read_text())
    for content in (
        "{",
        "[]",
        '{"schema": 99}',
        json.dumps(good | {"classes": [{"id": 0, "name": "x", "color": [0, 0, 0]}]}),
        json.dumps(good | {"classes": 7}),
        json.dumps(good | {"images": {"../x": {"name": "a", "height": 1, "width": 1}}}),
        json.dumps(good | {"images": {"ab": {"name": "a", "height": -1, "width": 1}}}),
        json.dumps(
            good | {"images": {"ab": {"name": "a", "height": 1, "width": 1, "regions": [[0, 0, 0, 0]]}}}
        ),
    ):
        file.write_text(content)
        with pytest.raises(DatasetError, match=r"project\.json"):
            Project(project.path)
    file.write_text("\ufeff" + json.dumps(good), encoding="utf-8")
    assert Project(project.path).name == "Glands"
