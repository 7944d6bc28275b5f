"""Who made and changed an object, and the agreement of two readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from napari_sampath.arrays import ClassInfo
from napari_sampath.config import overriding
from napari_sampath.errors import DatasetError
from napari_sampath.session import Session
from napari_sampath.session.project.agreement import compare, consensus, report, resolve

if TYPE_CHECKING:
    from pathlib import Path

NUCLEUS, STROMA = ClassInfo(1, "nucleus", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66))
IMAGE = np.random.default_rng(0).integers(0, 255, (300, 320, 3)).astype(np.uint8)


def reading(
    path: Path,
    reader: str,
    objects: list[tuple[int, int, int, int, int]],
    classes: tuple[ClassInfo, ...] = (NUCLEUS, STROMA),
) -> Session:
    """Open a session in which a reader painted rectangles (class, r0, c0, r1, c1)."""
    with overriding(reader=reader):
        session = Session(IMAGE, "tissue", None, classes, path)
    for class_id, r0, c0, r1, c1 in objects:
        rows, cols = np.mgrid[r0:r1, c0:c1]
        session.paint(rows.ravel(), cols.ravel(), class_id)
    return session


def test_who_made_and_changed_an_object_survives_in_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    reading(path, "Anna", [(1, 10, 10, 30, 30), (1, 50, 50, 70, 70), (1, 100, 100, 120, 120)]).close()
    with overriding(reader="Ben"):
        session = Session(IMAGE, "tissue", None, (), path)
    session.objects.reclassify((1,), 2)
    session.objects.flag((2,), "reviewed", True)
    session.paint([200, 201], [200, 200], 1)
    expected = {1: ("Anna", "Ben"), 2: ("Anna", "Ben"), 3: ("Anna", None), 4: ("Ben", None)}
    assert {key: (obj.made_by, obj.changed_by) for key, obj in session.document.objects.items()} == expected
    session.close()
    again = Session(IMAGE, "tissue", None, (), path)
    assert {key: (obj.made_by, obj.changed_by) for key, obj in again.document.objects.items()} == expected
    again.undo()
    again.undo()
    assert again.document.record(2).changed_by is None
    again.close()


def test_a_journal_without_readers_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    reading(path, "", [(1, 10, 10, 30, 30)]).close()
    text = path.read_text()
    assert "made_by" not in text
    assert '"by"' not in text
    session = Session(IMAGE, "tissue", None, (), path)
    assert session.document.record(1).made_by is None
    session.close()


def test_figures_equal_those_of_other_implementations(tmp_path: Path) -> None:
    first = reading(
        tmp_path / "a.jsonl", "Anna", [(1, 10, 10, 30, 30), (1, 50, 50, 70, 70), (2, 260, 200, 290, 300)]
    )
    # The other reader numbers the classes differently, shifts one object, and gives another one another class.
    swapped = (ClassInfo(1, "stroma", (0, 0, 0)), ClassInfo(2, "nucleus", (9, 9, 9)))
    second = reading(
        tmp_path / "b.jsonl",
        "Ben",
        [(2, 10, 12, 30, 32), (1, 50, 50, 70, 70), (2, 150, 150, 160, 160)],
        swapped,
    )
    agreement = compare(first.document, second.document)
    ours = np.asarray(first.document.class_map)
    theirs = np.array([0, 2, 1])[np.asarray(second.document.class_map)]
    assert agreement.kappa == pytest.approx(cohen_kappa_score(ours.ravel(), theirs.ravel()))
    figures = {entry.name: entry for entry in agreement.classes}
    for name, number in (("nucleus", 1), ("stroma", 2)):
        a, b = ours == number, theirs == number
        assert figures[name].dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert figures["nucleus"].f1 == pytest.approx(2 * 1 / (2 + 2))
    assert figures["stroma"].f1 == 0
    assert agreement.matched == 1
    assert [(entry.kind, entry.first_id, entry.second_id) for entry in agreement.disagreements] == [
        ("first only", 3, 0),
        ("class", 2, 2),
        ("second only", 0, 3),
    ]
    assert report(agreement)["disagreements"] == 3
    first.close()
    second.close()


@pytest.mark.parametrize("rule", ["agreed", "all", "chosen"])
def test_the_consensus_is_one_step_that_can_be_undone(tmp_path: Path, rule: str) -> None:
    first = reading(
        tmp_path / "a.jsonl", "Anna", [(1, 10, 10, 30, 30), (1, 50, 50, 70, 70), (1, 260, 200, 290, 300)]
    )
    second = reading(
        tmp_path / "b.jsonl",
        "Ben",
        [(1, 10, 12, 30, 32), (2, 50, 50, 70, 70), (2, 150, 150, 160, 160)],
    )
    agreement = compare(first.document, second.document)
    choices = (
        dict.fromkeys(agreement.disagreements, "second") if rule == "chosen" else resolve(agreement, rule)
    )
    before = np.asarray(first.document.class_map).copy()
    with overriding(reader="Clara"):
        step = consensus(first.document, second.document, agreement, choices)
    assert step is not None
    first.do(step)
    after = compare(first.document, second.document)
    objects = first.document.objects.values()
    if rule == "agreed":
        assert [obj.box for obj in objects] == [(10, 10, 30, 30)]
    elif rule == "all":
        assert len(objects) == 4
        assert [obj.made_by for obj in objects if obj.class_id == 2] == ["Ben"]
    else:
        assert not after.disagreements
        assert {entry.f1 for entry in after.classes} == {1.0}
    first.undo()
    np.testing.assert_array_equal(np.asarray(first.document.class_map), before)
    first.close()
    second.close()


def test_identical_versions_agree_and_other_images_are_refused(tmp_path: Path) -> None:
    first = reading(tmp_path / "a.jsonl", "", [(1, 10, 10, 30, 30)])
    agreement = compare(first.document, first.document)
    assert agreement.kappa == 1.0
    assert not agreement.disagreements
    other = Session(IMAGE[:200].copy(), "other", None, (NUCLEUS,), tmp_path / "c.jsonl")
    with pytest.raises(DatasetError, match="two versions of one image"):
        compare(first.document, other.document)
    empty = Session(IMAGE, "empty", None, (NUCLEUS,), tmp_path / "d.jsonl")
    assert compare(empty.document, empty.document).kappa == 1.0
    for session in (first, other, empty):
        session.close()


def test_the_command_compares_projects_and_writes_the_consensus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    from napari_sampath.cli import main
    from napari_sampath.session import journal_path
    from napari_sampath.session.project.journals import read_document

    file = tmp_path / "tissue.png"
    Image.fromarray(IMAGE).save(file)
    objects = {
        "anna": [(1, 10, 10, 30, 30), (1, 50, 50, 70, 70)],
        "ben": [(1, 10, 12, 30, 32), (2, 150, 150, 160, 160)],
    }
    for reader, painted in objects.items():
        monkeypatch.setenv("SAMPATH_USER_DATA", str(tmp_path / reader))
        assert main(["project", "create", str(tmp_path / f"project {reader}")]) == 0
        assert main(["project", "add", str(tmp_path / f"project {reader}"), str(file)]) == 0
        reading(journal_path(IMAGE, tmp_path / reader / "sessions"), reader.title(), painted).close()
        packed = [
            "project",
            "pack",
            str(tmp_path / f"project {reader}"),
            "-o",
            str(tmp_path / f"{reader}.zip"),
        ]
        assert main(packed) == 0
    monkeypatch.setenv("SAMPATH_USER_DATA", str(tmp_path / "anna"))
    capsys.readouterr()
    ours, other, figures = str(tmp_path / "project anna"), str(tmp_path / "ben.zip"), tmp_path / "figures.csv"
    assert main(["project", "compare", ours]) == 1
    assert "no second version" in capsys.readouterr().err
    assert main(["project", "compare", ours, other, "-o", str(figures), "--consensus", "agreed"]) == 0
    out = capsys.readouterr().out
    assert "tissue: 1 object found by both, 2 disagreements." in out
    rows = figures.read_text().splitlines()
    assert rows[0].startswith("image,other reader,class,Dice,F1")
    assert rows[1].startswith("tissue,Ben,nucleus,")
    written = tmp_path / "project anna" / "conflicts" / "tissue (consensus).jsonl"
    assert [obj.box for obj in read_document(written).objects.values()] == [(10, 10, 30, 30)]
    assert len(read_document(journal_path(IMAGE, tmp_path / "anna" / "sessions")).objects) == 2
    assert main(["project", "compare", ours]) == 0, "the consensus is a second version now"
