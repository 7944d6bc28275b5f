"""Journals whose files are linked, deleted, moved, replaced, edited by text tools, or of hostile content."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_sampath.annotations import Document, Edits, Header, open_journal, pixel_digest
from napari_sampath.annotations.storage.lines import seal
from napari_sampath.errors import JournalError, StorageError
from napari_sampath.session import Session
from support.programs.journal_victim import CLASSES, commit_at, digest, image, open_session
from support.small_disk import mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows does not delete or rename open files")
OPEN = "is open in another window or program; close the image there"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions" / "a.jsonl"


@pytest.fixture
def session(path: Path) -> Iterator[Session]:
    """Session with one object."""
    opened = open_session(path)
    commit_at(opened, 40, 30)
    yield opened
    opened.close()


def reopened(path: Path) -> str:
    again = open_session(path)
    state = digest(again)
    again.close()
    return state


@POSIX
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_the_lock_holds_for_every_name_of_the_file(
    path: Path, session: Session, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    other = tmp_path / "other" / "b.jsonl"
    other.parent.mkdir()
    link(path, other)
    with pytest.raises(JournalError, match=OPEN):
        open_session(other)
    with pytest.raises(JournalError, match=OPEN):
        open_journal(other)
    before = path.read_bytes()
    program = "import sys; from support.programs.journal_victim import *; open_session(Path(sys.argv[1]))"
    result = subprocess.run(
        [sys.executable, "-c", program, str(other)], capture_output=True, text=True, check=False
    )
    assert OPEN in result.stderr
    assert path.read_bytes() == before
    session.close()
    assert reopened(other) == digest(session)


@POSIX
def test_the_lock_holds_without_its_lock_file(path: Path, session: Session) -> None:
    for lock in path.parent.glob("*.lock"):
        lock.unlink()
    with pytest.raises(JournalError, match=OPEN):
        open_session(path)
    session.paint([1], [1], 1)
    state = digest(session)
    session.close()
    assert reopened(path) == state


@POSIX
def test_compaction_keeps_hard_links(
    path: Path, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sampath.annotations.storage import compaction

    for _ in range(400):
        session.paint([1, 2], [3, 4], 1)
        session.paint([1, 2], [3, 4], 0)
    state = digest(session)
    session.close()
    os.link(path, tmp_path / "b.jsonl")
    monkeypatch.setattr(compaction, "MIN_BYTES", 0)
    assert reopened(path) == state
    assert path.samefile(tmp_path / "b.jsonl")
    (tmp_path / "b.jsonl").unlink()
    size = path.stat().st_size
    assert reopened(path) == state
    assert path.stat().st_size < size / 3


def delete_file(path: Path) -> None:
    path.unlink()


def delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def rename_file(path: Path) -> None:
    path.rename(path.with_name("renamed.jsonl"))


def rename_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("renamed"))


def new_folder_of_the_same_name(path: Path) -> None:
    rename_folder(path)
    path.parent.mkdir()


@POSIX
@pytest.mark.parametrize(
    "change", [delete_file, delete_folder, rename_file, rename_folder, new_folder_of_the_same_name]
)
def test_a_journal_that_disappears_is_written_again(
    path: Path, session: Session, change: Callable[[Path], None]
) -> None:
    said: list[str] = []
    session.message.connect(said.append)
    change(path)
    second = commit_at(session, 80, 60)
    assert any("was deleted or moved; it was written again with all steps" in text for text in said)
    third = commit_at(session, 20, 60)
    assert sum("was deleted or moved" in text for text in said) == 1
    with pytest.raises(JournalError, match=OPEN):
        open_session(path)
    state = digest(session)
    session.close()
    again = open_session(path)
    assert {second, third} < set(again.document.objects)
    assert digest(again) == state
    again.close()


@POSIX
def test_a_journal_that_was_replaced_goes_on_beside_the_other_file(
    path: Path, session: Session, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    open_session(other).close()
    content = other.read_bytes()
    os.replace(other, path)
    said: list[str] = []
    session.message.connect(said.append)
    commit_at(session, 80, 60)
    assert any("all steps were written to" in text and "a (2).jsonl" in text for text in said)
    state = digest(session)
    session.close()
    assert path.read_bytes() == content
    assert reopened(path.with_name("a (2).jsonl")) == state
    notes = open_session(path).notes
    assert [note for note in notes if "There is another journal of this image" in note]


@POSIX
@pytest.mark.parametrize("change", ["grown", "truncated"])
def test_a_journal_that_another_program_changes_is_not_overwritten(
    path: Path, session: Session, change: str
) -> None:
    content = path.read_bytes()
    path.write_bytes(content + b"\n" if change == "grown" else content[:-20])
    changed, before = path.read_bytes(), digest(session)
    with pytest.raises(
        StorageError, match="was changed by another program, so the last step was not applied"
    ):
        session.paint([1], [1], 1)
    assert digest(session) == before
    assert path.read_bytes() == changed


def test_a_disk_that_disappears_is_said(small_disk: Path) -> None:
    session = open_session(small_disk / "deep" / "a.jsonl")
    commit_at(session, 40, 30)
    before = digest(session)
    subprocess.run(["umount", "--lazy", str(small_disk)], check=True)
    with pytest.raises(StorageError, match=r"The disk of the journal '.*a\.jsonl' is missing"):
        session.paint([1], [1], 1)
    assert digest(session) == before
    assert list(small_disk.iterdir()) == [], "nothing is written where the disk was"
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(small_disk)], check=True)


@POSIX
def test_a_journal_that_cannot_be_written_again_refuses_the_step(path: Path, session: Session) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"a file in place of the folder")
    before = digest(session)
    with pytest.raises(StorageError, match="was deleted or moved, and the last step was not applied"):
        session.paint([1], [1], 1)
    assert digest(session) == before
    path.parent.unlink()
    session.paint([1], [1], 1)
    state = digest(session)
    session.close()
    assert reopened(path) == state


@pytest.mark.parametrize("cut", [b"\n", b""])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_text_tools_may_change_line_ends(
    path: Path, session: Session, start: bytes, end: bytes, cut: bytes
) -> None:
    session.paint([1, 2], [3, 4], 2)
    state = digest(session)
    session.close()
    content = start + path.read_bytes().replace(b"\n", end)
    path.write_bytes(content if cut else content.removesuffix(end))
    again = open_session(path)
    assert digest(again) == state
    assert again.notes == ()
    again.paint([5], [6], 1)
    state = digest(again)
    again.close()
    assert reopened(path) == state
    assert path.read_bytes().startswith(content[:200])


def test_blank_and_repeated_lines_are_harmless(path: Path, session: Session) -> None:
    session.paint([1, 2], [3, 4], 2)
    state = digest(session)
    session.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"\n", *lines[1:], b"\n\n"]))
    again = open_session(path)
    assert digest(again) == state
    assert len(again.notes) == 1
    assert "1 line of the journal" in again.notes[0]
    again.close()


def test_damaged_steps_are_said(path: Path, session: Session) -> None:
    session.paint([1, 2], [3, 4], 2)
    session.close()
    path.write_bytes(path.read_bytes().replace(b'"source":"point"', b'"source":"pxint"'))
    again = open_session(path)
    assert len(again.document.objects) == 1
    assert "1 line of the journal" in again.notes[0]
    again.close()


def test_reading_changes_nothing_and_needs_no_permission(path: Path, session: Session) -> None:
    state = {number: obj.source for number, obj in session.document.objects.items()}
    session.close()
    path.write_bytes(path.read_bytes() + b"torn")
    content = path.read_bytes()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    files = sorted(path.parent.iterdir())
    try:
        journal = open_journal(path)
        again = open_journal(path)
        document = Edits(Document(journal.header.hw), journal).document
        with pytest.raises(StorageError, match="was opened for reading only"):
            journal.append({"op": "delete", "ids": [1]})
        journal.close()
        again.close()
    finally:
        path.parent.chmod(0o755)
    assert {number: obj.source for number, obj in document.objects.items()} == state
    assert path.read_bytes() == content
    assert sorted(path.parent.iterdir()) == files


def test_the_header_holds_the_present_name_only(path: Path, session: Session) -> None:
    state = digest(session)
    session.close()
    renamed = Session(image(), "case_001", journal=path)
    assert digest(renamed) == state
    renamed.paint([1], [1], 1)
    state = digest(renamed)
    renamed.close()
    content = path.read_bytes()
    assert b"case_001" in content
    assert b"slide" not in content
    again = Session(image(), "case_001", journal=path)
    assert digest(again) == state
    again.close()


HEADER = {"seq": 0, **Header("slide", (96, 128), pixel_digest(image()), CLASSES).to_json()}


@pytest.mark.parametrize(
    "change",
    [
        {"hw": [96]},
        {"hw": [96, "x"]},
        {"hw": [96, 1e300]},
        {"hw": [-1, 128]},
        {"hw": None},
        {"image": 5},
        {"digest": []},
        {"classes": 7},
        {"classes": [{"id": 1, "name": False, "color": [1, 2, 3]}]},
        {"classes": [{"id": 10**30, "name": "a", "color": [1, 2, 3]}]},
        {"classes": [{"id": 1, "name": "a", "color": [1, 2]}]},
        {"history": 3},
        {"history": {"steps": "", "bytes": []}},
        {"history": {"steps": 0, "bytes": 1}},
        {"created": {}},
        {"schema": "1"},
    ],
)
def test_headers_of_other_types_are_one_sentence(path: Path, change: dict[str, Any]) -> None:
    path.parent.mkdir()
    path.write_bytes(seal({**HEADER, **change}))
    content = path.read_bytes()
    with pytest.raises(JournalError) as caught:
        open_session(path)
    assert str(caught.value).count("\n") == 0
    assert path.read_bytes() == content
    for key in change:
        path.write_bytes(seal({name: value for name, value in HEADER.items() if name != key}))
        with pytest.raises(JournalError):
            open_journal(path)


MASK = {"row": 0, "col": 0, "hw": [2, 2], "counts": [0, 4]}
OBJECT = {
    "id": 1,
    "class_id": 1,
    "source": "box",
    "score": 0.5,
    "model": None,
    "prompts": {},
    "created": "",
    "pixels": MASK,
}


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"op": 5},
        {"op": ["add"]},
        {"op": "add"},
        {"op": "add", "annotations": {}},
        *(
            {"op": "add", "annotations": [{**OBJECT, **change}]}
            for change in (
                {"id": "1"},
                {"id": 2**40},
                {"id": -1},
                {"class_id": 10**6},
                {"source": ["box"]},
                {"source": "other"},
                {"score": "high"},
                {"score": 10**400},
                {"prompts": "con"},
                {"prompts": {"points": [[1]]}},
                {"prompts": {"box": [1, 2, 3]}},
                {"created": 5},
                {"pixels": None},
                {"pixels": {**MASK, "hw": [10**6, 10**6], "counts": [10**12]}},
                {"pixels": {**MASK, "row": 10**30}},
                {"pixels": {**MASK, "row": 0.5}},
                {"pixels": {**MASK, "counts": [0, 10**30]}},
                {"pixels": {**MASK, "counts": ["0", 4]}},
                {"pixels": {**MASK, "counts": [-4, 8]}},
            )
        ),
        {"op": "delete", "ids": 4},
        {"op": "delete", "ids": [[]]},
        {"op": "reclassify", "ids": [1], "class_id": {}},
        {"op": "classes", "classes": [{"id": 1, "name": 3, "color": "red"}]},
        {"op": "flag", "ids": [1], "flag": [], "value": 1},
        {"op": "vouch", "pixels": [], "value": True},
        {"op": "batch", "steps": [5], "name": "x"},
        {"op": "undo", "of": []},
        {"op": "reserve", "next_id": 2**62},
        {
            "op": "snapshot",
            "classes": [],
            "annotations": [{**OBJECT, "box": [0, 0, 10**9, 10**9]}],
            "vouched": [],
        },
    ],
)
def test_steps_of_other_types_are_skipped_and_said(
    path: Path, session: Session, record: dict[str, Any]
) -> None:
    state = digest(session)
    session.close()
    path.write_bytes(path.read_bytes() + seal({"seq": 2, "at": ""}, record))
    again = open_session(path)
    assert digest(again) == state
    assert again.undo(), "the history is intact"
    again.close()


def test_deeply_nested_lines_are_skipped(path: Path, session: Session) -> None:
    from napari_sampath.annotations.storage.lines import _sum

    state = digest(session)
    session.close()
    body = b'{"seq":2,"op":' + b"[" * 100_000 + b"]" * 100_000
    path.write_bytes(path.read_bytes() + body + b',"sum":"' + _sum(body) + b'"}\n')
    assert reopened(path) == state


def test_an_empty_or_cut_journal_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    session = open_session(path)
    assert session.notes == ()
    session.paint([1, 2], [3, 4], 1)
    before = digest(session)
    session.paint([5, 6], [3, 4], 1)
    session.close()
    path.write_bytes(path.read_bytes()[:-20])
    session = open_session(path)
    assert digest(session) == before
    assert "is incomplete and was removed" in " ".join(session.notes)
    session.close()
    path.write_bytes(b"")
    session = open_session(path)
    assert "was empty" in " ".join(session.notes)
    session.close()
