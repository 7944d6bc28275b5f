"""The audit finds typical mistakes in labels, and repairs each of them in one undo step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sampath.annotations import Add, AnnotatedObject
from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.cli import main
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.jobs import run
from napari_sampath.session import Session
from napari_sampath.session.objects.audit import PROBLEMS, audit_job, repair

if TYPE_CHECKING:
    from pathlib import Path

HW = (200, 300)


def block(row: int, col: int, height: int, width: int) -> LocalMask:
    return LocalMask(row, col, np.ones((height, width), dtype=bool))


def holed(size: int, hole: int) -> LocalMask:
    bitmap = np.ones((size, size), dtype=bool)
    middle = slice(size // 2, size // 2 + hole)
    bitmap[middle, middle] = False
    return LocalMask(50, 50, bitmap)


def broken() -> LocalMask:
    bitmap = np.zeros((40, 60), dtype=bool)
    bitmap[:, :40] = True
    bitmap[5:8, 50:54] = True
    return LocalMask(50, 50, bitmap)


MASKS: dict[str, list[LocalMask]] = {
    "dot": [block(40, 40, 2, 2)],
    "sliver": [block(40, 40, 2, 50)],
    "fragments": [broken()],
    "hole": [holed(40, 3)],
    "duplicate": [block(40, 40, 40, 40), block(41, 41, 39, 39)],
    "cut": [block(0, 40, 30, 30)],
}


def session_with(masks: list[LocalMask]) -> Session:
    image = np.random.default_rng(0).integers(0, 255, (*HW, 3), dtype=np.uint8)
    session = Session(image, "tile")
    # A sound object, which must never be reported.
    for number, mask in enumerate([block(120, 200, 30, 30), *masks], start=1):
        session._editor.do(Add(((AnnotatedObject(number, 1, "point"), mask),)))
    return session


@pytest.mark.parametrize("problem", MASKS)
def test_each_problem_is_found_and_repaired_in_one_step(problem: str) -> None:
    session = session_with(MASKS[problem])
    before = session.document.instance_map.window((0, 0, *HW)).copy()
    findings = run(audit_job(session.document))
    assert [finding.problem for finding in findings] == [problem]
    assert 1 not in findings[0].ids
    assert PROBLEMS[findings[0].problem][1] in findings[0].sentence(session.document)
    session.objects.repair(findings)
    assert not run(audit_job(session.document)), "nothing is left to repair"
    sound = session.document.pixels(1)
    assert sound.area_px == 900
    session.undo()
    np.testing.assert_array_equal(session.document.instance_map.window((0, 0, *HW)), before)
    assert [finding.problem for finding in run(audit_job(session.document))] == [problem]


def test_an_empty_verified_area_is_reported_but_not_one_with_objects() -> None:
    session = session_with([])
    session.area.mark((0, 0, 100, 100), True)
    session.area.mark((110, 190, 160, 250), True)
    (finding,) = run(audit_job(session.document))
    assert (finding.problem, finding.ids) == ("empty area", ())
    session.objects.repair([finding])
    assert not session.document.verified((0, 0, 100, 100)).any()
    assert session.document.verified((110, 190, 160, 250)).all()
    session.undo()
    assert session.document.verified((0, 0, 100, 100)).all()


def test_sound_labels_have_no_findings() -> None:
    rows, cols = np.mgrid[:60, :60]
    ring = LocalMask(20, 20, np.hypot(rows - 30, cols - 30) <= 28)
    ring.bitmap[15:45, 15:45] = False  # a large lumen, as glands have
    neighbour = block(20, 100, 40, 40)
    session = session_with([ring, neighbour, block(60, 100, 40, 40)])
    assert not run(audit_job(session.document))


def test_a_hole_that_is_another_object_is_no_mistake() -> None:
    session = session_with([holed(40, 3), block(70, 70, 3, 3)])
    assert not [finding for finding in run(audit_job(session.document)) if finding.problem == "hole"]


def test_objects_that_are_gone_are_skipped() -> None:
    session = session_with(MASKS["dot"])
    findings = run(audit_job(session.document))
    session.objects.delete((2,))
    assert not repair(session.document, findings).operations
    session.objects.repair(findings)


def test_the_command_audits_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = DatasetFolder.create(tmp_path / "data", (ClassInfo(1, "gland", (1, 2, 3)),))
    image = np.random.default_rng(0).integers(0, 255, (*HW, 3), dtype=np.uint8)
    labels = np.zeros(HW, dtype=np.uint8)
    labels[40:80, 40:80] = 1
    folder.save_image(Snapshot("sound", image, labels, labels.astype(np.uint16)))
    assert main(["dataset", "audit", str(folder.path), "--quiet"]) == 0
    assert "No label looks wrong" in capsys.readouterr().out
    numbers = labels.astype(np.uint16)
    numbers[100:102, 50:120] = 2
    folder.save_image(Snapshot("slivers", image[::-1].copy(), (numbers > 0).astype(np.uint8), numbers))
    assert main(["dataset", "audit", str(folder.path), "--quiet"]) == 1
    text = capsys.readouterr().out
    assert "slivers, row 100, column 50: gland 2 is less than 3 pixels wide; repair: delete it." in text
    assert "1 label to check" in text
