"""Steps with thousands of objects: one line of the journal, which names a file beside it."""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sampath.annotations import Journal
from napari_sampath.annotations.storage import compaction
from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.config import load_config, sessions_folder
from napari_sampath.errors import StorageError, UnknownNameError
from napari_sampath.files.journal_files import named_files
from napari_sampath.formats.maps.slide_result import SlideResult
from napari_sampath.images.slides import ArraySlide
from napari_sampath.jobs import run
from napari_sampath.predict.instances.settings import InstanceSettings
from napari_sampath.predict.whole_slide import slide_objects_job
from napari_sampath.session import Project, Session
from napari_sampath.session.project.journals import read_document
from napari_sampath.session.project.merging import merge_job, take_theirs
from napari_sampath.session.project.sharing import pack_job, unpack_job
from napari_sampath.session.proposals import plan
from napari_sampath.session.proposals.slide_objects import slide_objects_in_job
from support import small_disk
from support.programs.journal_victim import digest, open_session, script

small = pytest.fixture(small_disk.mounted)
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
CLASSES = (ClassInfo(1, "nucleus", (0, 158, 115)), ClassInfo(2, "lymphocyte", (86, 180, 233)))
OF_HEAD = (ClassInfo(0, "background", (0, 0, 0)), *CLASSES[::-1])
PER_ROW, SPACING_PX = 146, 5
"""Objects of 3 x 3 px; every 100th is a lymphocyte, the others are more than fit into a line."""
SIDE_PX = PER_ROW * SPACING_PX


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> SlideResult:
    """The result of a run with its objects: 213 lymphocytes and 21,103 nuclei."""
    numbers = np.arange(PER_ROW**2).reshape(PER_ROW, PER_ROW)
    labels = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    for row in range(3):
        for col in range(3):
            labels[row::SPACING_PX, col::SPACING_PX] = np.where(numbers % 100, 1, 2)
    path = tmp_path_factory.mktemp("result") / "result.ome.zarr"
    result, _ = SlideResult.open(path, labels.shape, 0.5, 1.0, OF_HEAD, {"head": "nucleus-cnn"})
    for block in result.blocks:
        result.write(block, labels, np.full(labels.shape, 1.0, np.float32))
    assert run(slide_objects_job(result, InstanceSettings(min_area_px=4, neck=0))) == PER_ROW**2
    return result


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write all objects of heads into files."""
    monkeypatch.setattr(plan, "MAX_IN_JOURNAL", 0)


def open_slide_session(journal: Path | None) -> Session:
    pixels = np.broadcast_to(np.array((200, 150, 180), np.uint8), (SIDE_PX, SIDE_PX, 3))
    return Session(ArraySlide([pixels], "slide", 0.5), "slide", None, CLASSES, journal)


def lines(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_bytes().splitlines()[1:]]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.objects.gz"))


def test_a_class_of_a_result_is_one_step_with_a_file(tmp_path: Path, result: SlideResult) -> None:
    journal = tmp_path / "a.jsonl"
    session = open_slide_session(journal)
    own = session.paint_mask(LocalMask(0, 5, np.ones((2, 3), bool)), 2)
    assert own is not None
    before = digest(session)
    added = session.proposals.add_result(result, classes=("nucleus",))
    count = PER_ROW**2 - 214
    assert len(added) == count
    assert {obj.class_id for obj in added} == {1}
    assert {(obj.source, obj.model, obj.score, obj.trust) for obj in added} == {
        ("head", "nucleus-cnn", 1.0, 0)
    }
    assert session.document.record(own.id) == own, "annotations keep their pixels"
    assert min(obj.area_px for obj in added) == 3
    _, line = lines(journal)
    (file,) = files(tmp_path)
    assert len(json.dumps(line)) < 400
    assert (line["op"], line["file"], line["count"]) == ("add", file.name, count)
    assert line["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.stat().st_size < 40 * count
    after, objects = digest(session), dict(session.document.objects)
    assert session.undo()
    assert digest(session) == before
    assert session.redo()
    assert digest(session) == after
    session.close()

    again = open_slide_session(journal)
    assert again.notes == ()
    assert again.document.objects == objects
    assert digest(again) == after
    assert again.undo()
    assert digest(again) == before
    assert again.redo()
    assert digest(again) == after
    again.objects.delete((added[0].id,))
    # The other class is few objects, which the journal itself holds.
    assert len(again.proposals.add_result(result, classes=("lymphocyte",))) == 214
    assert files(tmp_path) == [file]
    assert again.proposals.add_result(result, (0, 0, SIDE_PX, SIDE_PX)) != []
    with pytest.raises(UnknownNameError, match="'nucleus-cnn' has no class 'fat'; choose one of"):
        again.proposals.add_result(result, classes=("fat",))
    again.close()


def test_without_a_journal_nothing_is_written(result: SlideResult, tmp_path: Path) -> None:
    session = open_slide_session(None)
    assert len(session.proposals.add_result(result)) == PER_ROW**2
    assert session.undo()
    assert not session.document.objects
    assert list(tmp_path.iterdir()) == []


def test_edits_while_objects_are_added_are_kept(tmp_path: Path, result: SlideResult) -> None:
    session = open_slide_session(tmp_path / "a.jsonl")
    change = session.proposals.add(run(slide_objects_in_job(result, "head")), keep_existing=True)
    prepared = run(change.prepare())
    assert len(files(tmp_path)) == 1
    own = session.paint_mask(LocalMask(100, 100, np.ones((50, 50), bool)), 2)
    assert own is not None
    assert change.take(prepared) is None
    assert files(tmp_path) == [], "its objects are prepared again"
    assert change.take(run(change.prepare()))
    assert session.document.record(own.id) == own
    assert len(files(tmp_path)) == 1
    session.close()


@LINUX
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("moment", ["before the line", "in the line"])
def test_kill_9_between_file_and_line_loses_nothing_else(
    tmp_path: Path, result: SlideResult, moment: str
) -> None:
    journal = tmp_path / "a.jsonl"
    session = open_slide_session(journal)
    session.paint_mask(LocalMask(1, 1, np.ones((40, 40), bool)), 2)
    before = digest(session)
    session.close()
    child = os.fork()
    if child == 0:
        victim = open_slide_session(journal)

        def die(_: Journal, record: Any) -> int:
            if moment == "in the line":
                with journal.open("ab") as stream:
                    stream.write(b'{"seq":2,' + str(record).encode()[1:40])
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        Journal.append = die  # type: ignore[method-assign]
        victim.proposals.add_result(result, (0, 0, 100, 100))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert len(files(tmp_path)) == 1
    again = open_slide_session(journal)
    assert digest(again) == before
    assert len(again.notes) == (moment == "in the line")
    assert again.proposals.add_result(result, (0, 0, 100, 100))
    after = digest(again)
    again.close()
    last = open_slide_session(journal)
    assert digest(last) == after
    assert last.notes == ()
    last.close()


def damage(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    elif how == "a folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(content[:-9] if how == "cut" else content[:50] + b"?" + content[51:])


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("how", ["missing", "a folder", "cut", "changed"])
def test_a_damaged_file_is_one_sentence_and_no_other_step_is_lost(
    tmp_path: Path, result: SlideResult, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MIN_BYTES", 0)
    monkeypatch.setattr(compaction, "GAIN", 0)
    journal = tmp_path / "a.jsonl"
    session = open_slide_session(journal)
    first = session.paint_mask(LocalMask(200, 200, np.ones((40, 40), bool)), 2)
    added = session.proposals.add_result(result, (0, 0, 100, 100))
    session.undo()
    session.redo()
    second = session.paint_mask(LocalMask(300, 300, np.ones((40, 40), bool)), 1)
    assert first is not None
    assert second is not None
    final = digest(session)
    session.close()
    (file,) = files(tmp_path)
    content, steps = file.read_bytes(), len(lines(journal))
    damage(file, how)

    again = open_slide_session(journal)
    (note,) = again.notes
    assert note.startswith(f"{len(added)} objects of one step are missing, because '{file}' cannot be read")
    assert again.document.objects == {first.id: first, second.id: second}
    third = again.paint_mask(LocalMask(400, 400, np.ones((4, 4), bool)), 1)
    assert third is not None
    assert third.id > second.id
    for _ in range(3):
        assert again.undo()
    assert again.document.objects == {first.id: first}
    for _ in range(3):
        assert again.redo()
    again.undo()
    again.close()
    assert len(lines(journal)) == steps + 8, "a journal whose file is missing is not compacted"

    if how == "a folder":
        file.rmdir()
    file.write_bytes(content)
    restored = open_slide_session(journal)
    assert restored.notes == ()
    assert digest(restored) == final
    restored.close()


@pytest.mark.parametrize("name", ["../a.objects.gz", "/etc/passwd", "a.gz", "", "a\nb.objects.gz"])
def test_only_files_beside_the_journal_are_read(tmp_path: Path, name: str) -> None:
    journal = tmp_path / "a.jsonl"
    session = open_slide_session(journal)
    assert session._editor._edits.journal is not None
    line = {"op": "add", "file": name, "sha256": "0" * 64, "count": 1, "next_id": 2}
    session._editor._edits.journal.append(line)
    session.close()
    again = open_slide_session(journal)
    assert again.notes == (f"1 step of the journal '{journal}' cannot be repeated; check the objects.",)
    again.close()


def test_a_file_that_ends_early_or_is_no_json_is_said(tmp_path: Path) -> None:
    content = {
        "cut": gzip.compress(b"{}" * 100)[:-20],
        "text": gzip.compress(b"x\n"),
        "list": gzip.compress(b"[]\n"),
        "no objects": gzip.compress(b""),
    }
    for number, data in enumerate(content.values()):
        journal = tmp_path / f"{number}.jsonl"
        session = open_slide_session(journal)
        file = tmp_path / f"{number}.objects.gz"
        file.write_bytes(data)
        line = {"op": "add", "file": file.name, "sha256": hashlib.sha256(data).hexdigest()}
        assert session._editor._edits.journal is not None
        session._editor._edits.journal.append({**line, "count": 1, "next_id": 2})
        session.close()
        again = open_slide_session(journal)
        assert "1 objects of one step are missing" in again.notes[0]
        assert again.document.next_id == 2
        again.close()


def test_a_file_with_fewer_objects_than_its_line_says_is_damaged(tmp_path: Path, result: SlideResult) -> None:
    journal = tmp_path / "a.jsonl"
    session = open_slide_session(journal)
    added = session.proposals.add_result(result)
    session.close()
    (line,) = lines(journal)
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:1]))
    again = open_slide_session(journal)
    assert again._editor._edits.journal is not None
    fields = {key: line[key] for key in ("op", "file", "sha256", "next_id", "classes") if key in line}
    again._editor._edits.journal.append({**fields, "count": len(added) + 1})
    again.close()
    last = open_slide_session(journal)
    assert f"cannot be read (it has {len(added):,} objects)" in last.notes[0]
    last.close()


def test_thousands_of_objects_are_one_container_each(tmp_path: Path, result: SlideResult) -> None:
    """Python's garbage collector looks at all containers of the process, while the window waits."""
    session = open_slide_session(tmp_path / "a.jsonl")
    change = session.proposals.add(run(slide_objects_in_job(result, "nucleus-cnn")), keep_existing=True)
    gc.collect()
    before = len(gc.get_objects())
    added = change.take(run(change.prepare()))
    assert added is not None
    gc.collect()
    assert len(gc.get_objects()) - before < 1.1 * len(added)
    session.close()


def test_full_disk_changes_nothing(small: Path, result: SlideResult) -> None:
    session = open_slide_session(small / "a.jsonl")
    session.paint_mask(LocalMask(1, 1, np.ones((40, 40), bool)), 2)
    before, filler = digest(session), small_disk.fill(small)
    with pytest.raises(StorageError, match=r"objects\.gz"):
        session.proposals.add_result(result)
    assert digest(session) == before
    filler.unlink()
    assert session.undo()
    session.close()


def ends(journal: Path) -> tuple[str, str, str]:
    """Return the state of a journal, and those that redo and undo reach."""
    session = open_session(journal)
    assert session.notes == ()
    state = digest(session)
    while session.redo():
        pass
    newest = digest(session)
    while session.undo():
        pass
    session.close()
    return state, newest, digest(session)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("seed", range(2))
def test_journals_with_files_are_replayed_and_compacted_like_others(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most files belong to steps that compaction drops; a copy of the journal keeps its own."""
    journal = tmp_path / "a" / "a.jsonl"
    session = open_session(journal)
    for _ in script(session, seed, 420):
        pass
    final = digest(session)
    session.close()
    count = len(files(journal.parent))
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
        for path in (journal, *files(journal.parent)):
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    (tmp_path / "b" / "copy.jsonl").write_bytes(journal.read_bytes())
    expected = ends(tmp_path / "c" / "a.jsonl")
    monkeypatch.setattr(compaction, "MIN_BYTES", 0)
    monkeypatch.setattr(compaction, "GAIN", 0)
    for folder, left in (("a", None), ("b", count)):
        path = tmp_path / folder / "a.jsonl"
        assert len(files(path.parent)) == count
        assert ends(path) == expected
        named = named_files(path)
        assert 0 < len(named) < count
        assert len(files(path.parent)) == (left or len(named))
    copy = open_session(tmp_path / "b" / "copy.jsonl")
    assert digest(copy) == final
    copy.close()


@pytest.mark.usefixtures("few")
def test_files_go_with_copies_of_the_journal(tmp_path: Path, result: SlideResult) -> None:
    """Packing and unpacking a project, merging it, taking a conflict, reading a copy, and an earlier folder."""
    slide = ArraySlide([np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)], "slide", 0.5)
    source = tmp_path / "slide.tif"
    source.write_bytes(b"the pixels are in memory")

    def open_in(folder: Path) -> Session:
        return Session(slide, "slide", None, CLASSES, folder / f"{slide.digest[:32]}.jsonl")

    def annotate(folder: Path, box: tuple[int, int, int, int]) -> str:
        session = open_in(folder)
        assert session.proposals.add_result(result, box)
        session.close()
        return digest(session)

    def state(folder: Path) -> str:
        session = open_in(folder)
        assert session.notes == ()
        session.close()
        return digest(session)

    theirs, ours, new = (tmp_path / name for name in ("theirs", "ours", "new"))
    project = Project.create(tmp_path / "project", classes=CLASSES)
    project.add(slide.digest, (SIDE_PX, SIDE_PX), "slide", source, mpp=0.5)
    expected = annotate(theirs, (0, 0, 100, 100))
    assert digest_of(read_document(next(theirs.glob("*.jsonl")))) == digest_of(
        open_and_close(open_in(theirs))
    )
    packed = run(pack_job(project, tmp_path / "project.zip", theirs))

    run(unpack_job(packed, tmp_path / "unpacked", new))
    assert state(new) == expected
    run(merge_job(project, packed, ours))
    assert state(ours) == expected

    further = annotate(theirs, (200, 200, 300, 300))
    packed = run(pack_job(project, tmp_path / "project.zip", theirs))
    run(merge_job(project, packed, ours))
    assert state(ours) == further

    annotate(new, (400, 400, 500, 500))
    (conflict,) = run(merge_job(project, packed, new)).conflicts
    take_theirs(project, conflict.file, slide.digest, new)
    assert state(new) == further

    earlier = load_config().earlier_sessions_dir
    moved = annotate(earlier, (0, 0, 50, 50))
    assert state(sessions_folder()) == moved
    assert files(earlier) == []


def open_and_close(session: Session) -> Any:
    session.close()
    return session.document


def digest_of(document: Any) -> str:
    return hashlib.sha256(
        np.asarray(document.instance_map).tobytes() + repr(document.objects).encode()
    ).hexdigest()
