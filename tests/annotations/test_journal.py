from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_sampath.annotations import Document, Edits, Header, Journal, open_journal, pixel_digest
from napari_sampath.annotations.storage.lines import seal
from napari_sampath.errors import JournalError, StorageError
from napari_sampath.session import Session, journal_path
from support.models.disc_model import disc_model
from support.programs.journal_victim import (
    CLASSES,
    SCRIPTS,
    STEPS,
    commit_at,
    digest,
    image,
    open_session,
    prompt_at,
    script,
)
from support.small_disk import fill, mounted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
HEADER = Header("slide", (8, 9), "ab" * 32, CLASSES)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path)


def test_header_and_lines_are_plain_json(tmp_path: Path) -> None:
    session = open_session(tmp_path / "deep" / "folder" / "a.jsonl")
    commit_at(session, 40, 30)
    session.close()
    header, line = (json.loads(text) for text in (tmp_path / "deep/folder/a.jsonl").read_text().splitlines())
    assert (header["format"], header["schema"], header["image"]) == ("napari-sampath journal", 1, "slide")
    assert header["hw"] == [96, 128]
    assert header["digest"] == pixel_digest(image())
    assert [info["name"] for info in header["classes"]] == ["gland", "stroma"]
    (annotation,) = line["annotations"]
    assert (line["seq"], line["op"], annotation["id"], annotation["source"]) == (1, "add", 1, "point")
    pixels = annotation["pixels"]
    assert sum(pixels["counts"]) == pixels["hw"][0] * pixels["hw"][1]
    assert annotation["prompts"] == {"points": [[40.0, 30.0]], "labels": [1], "box": None, "mask": False}


@pytest.mark.parametrize("seed", range(5))
def test_replay_restores_document_and_history(tmp_path: Path, seed: int) -> None:
    session = open_session(tmp_path / "a.jsonl")
    for _ in script(session, seed):
        pass
    records = dict(session.document.objects)
    session.close()
    again = open_session(tmp_path / "a.jsonl")
    assert digest(again) == digest(session)
    assert again.document.objects == records, "including their times"
    assert again.document.next_id >= session.document.next_id - 1
    while True:
        went_back = again.undo()
        in_memory = session._editor._edits.history.undo()
        assert went_back == (in_memory is not None)
        if in_memory is None:
            break
        session.document.revert(in_memory.patch)
        assert digest(again) == digest(session)
    again.close()
    assert digest(open_session(tmp_path / "a.jsonl")) == digest(session), (
        "undo after the restart is saved, too"
    )


def test_truncated_or_damaged_last_line_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = tmp_path / "whole.jsonl"
    session = open_session(whole)
    commit_at(session, 40, 30)
    before, start = digest(session), whole.stat().st_size
    session.paint([1, 2], [3, 4], 2)
    session.close()
    content = whole.read_bytes()
    damaged = [content[:end] for end in range(start + 1, len(content) - 1)]
    for position in range(start, len(content), 7):
        flipped = bytearray(content)
        flipped[position] ^= 0x20
        damaged.append(bytes(flipped))
    torn = tmp_path / "torn.jsonl"
    for case in damaged:
        torn.write_bytes(case)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            survivor = open_session(torn)
        assert digest(survivor) == before, case[start:]
        assert "unreadable bytes" in caplog.text
        assert torn.read_bytes() == content[:start], "truncated before anything is appended"
        survivor.paint([1, 2], [3, 4], 2)
        survivor.close()
    assert digest(open_session(torn)) == digest(session)


def test_damaged_line_in_the_middle_loses_that_line_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.jsonl"
    session = open_session(path)
    ids = [commit_at(session, x, 48) for x in (15, 45, 75, 105)]
    session.objects.reclassify((ids[1],), 2)
    session.undo()
    session.objects.delete((ids[3],))
    session.undo()
    session.close()
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b'"counts"', b'"cuonts"')  # the second commit
    path.write_bytes(b"\n".join(lines))
    with caplog.at_level(logging.WARNING):
        survivor = open_session(path)
    assert set(survivor.document.objects) == {ids[0], ids[2], ids[3]}
    assert "Line 3 of the journal" in caplog.text
    assert "Step 5 of the journal cannot be replayed: The image has no object 2" in caplog.text
    new = commit_at(survivor, 45, 20)
    survivor.close()
    assert set(open_session(path).document.objects) == {ids[0], ids[2], ids[3], new}


def test_second_session_on_a_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first = open_session(path)
    commit_at(first, 40, 30)
    with pytest.raises(
        JournalError, match=r"a\.jsonl' is open in another window or program; close the image there"
    ):
        open_session(path)
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from napari_sampath.annotations import Header, Journal
        from napari_sampath.errors import SampathError
        try:
            Journal(Path(sys.argv[1]), Header("x", (96, 128), "00", ()))
        except SampathError as error:
            sys.exit(str(error))
        """
    )
    other = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )
    assert other.returncode == 1
    assert "open in another window or program" in other.stderr
    commit_at(first, 80, 30)
    first.close()
    assert len(open_session(path).document.objects) == 2


def test_dropped_session_frees_its_journal(tmp_path: Path) -> None:
    session: Session | None = open_session(tmp_path / "a.jsonl")
    assert session is not None
    commit_at(session, 40, 30)
    session = None
    assert len(open_session(tmp_path / "a.jsonl").document.objects) == 1


def test_journal_of_another_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    open_session(path).close()
    content = path.read_bytes()
    other = image()
    other[3, 4, 1] ^= 1
    with pytest.raises(
        JournalError, match=r"belongs to the image 'slide' \(128 x 96 px\), not to the open image 'other'"
    ):
        Session(other, "other", journal=path)
    assert path.read_bytes() == content
    renamed = Session(image(), "renamed", journal=path)
    assert [info.name for info in renamed.classes] == ["gland", "stroma"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"\x89PNG\r\n\x1a\n", "is not a journal of napari-sampath"),
        (b'{"format": "napari-sampath journal"}\n', "is not a journal of napari-sampath"),
        (seal({"seq": 0, **HEADER.to_json(), "format": "other"}), "is not a journal of napari-sampath"),
        (
            seal({"seq": 0, **HEADER.to_json(), "schema": 3}),
            "has schema 3, but this version reads schemas 1 to 2; update",
        ),
    ],
    # The header holds a time, and every xdist process must generate the same test names.
    ids=["a picture", "not sealed", "another format", "another schema"],
)
def test_other_files_are_refused_and_not_changed(tmp_path: Path, content: bytes, error: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=error):
        Journal(path, HEADER)
    assert path.read_bytes() == content


def test_open_journal_needs_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(JournalError, match=r"There is no journal '.*a\.jsonl'"):
        open_journal(path)
    assert not path.exists()
    path.touch()
    with pytest.raises(JournalError, match="is not a journal of napari-sampath"):
        open_journal(path)
    session = open_session(path)
    commit_at(session, 40, 30)
    session.close()
    journal = open_journal(path)
    document = Edits(Document(journal.header.hw), journal).document
    journal.close()
    assert (journal.header.image, document.objects) == ("slide", session.document.objects)


def test_empty_file_becomes_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.touch()
    journal = Journal(path, HEADER)
    assert journal.append({"op": "x"}) == 1
    journal.close()
    with_records = Journal(path, HEADER)
    assert [(record["seq"], record["op"]) for record in with_records.records] == [(1, "x")]
    assert replace(with_records.header, created="") == HEADER


def test_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"journal '.*a\.jsonl' cannot be opened \(.+\)"):
        Journal(tmp_path / "file" / "a.jsonl", HEADER)


def test_journal_path_follows_the_pixels(tmp_path: Path) -> None:
    other = image()
    other[0, 0, 0] ^= 1
    assert journal_path(image(), tmp_path) == journal_path(image().copy(), tmp_path)
    assert journal_path(image(), tmp_path) != journal_path(other, tmp_path)
    flat = np.zeros((16, 32, 3), dtype=np.uint8)
    assert journal_path(flat, tmp_path) != journal_path(flat.reshape(32, 16, 3), tmp_path)


def until_refused(session: Session, journal: Path, call: Callable[[], object]) -> StorageError:
    """Call until it is refused (the last page of the journal may have room), and check that nothing changed."""
    emitted: list[object] = []
    session.document_changed.connect(emitted.append)
    session.classes_changed.connect(lambda: emitted.append(None))
    for _ in range(100):
        emitted.clear()
        before = digest(session), journal.read_bytes(), session.prompts.candidate, session.prompts.state
        try:
            call()
        except StorageError as error:
            assert (
                digest(session),
                journal.read_bytes(),
                session.prompts.candidate,
                session.prompts.state,
            ) == before
            assert not emitted
            return error
    raise AssertionError("the disk is not full")


def test_full_disk_refuses_changes_and_keeps_the_journal(small_disk: Path) -> None:
    path = small_disk / "a.jsonl"
    session = open_session(path)
    commit_at(session, 40, 30)
    filler = fill(small_disk)

    def commit() -> None:
        session.commit()
        prompt_at(session, 80, 60)

    prompt_at(session, 80, 60)
    error = until_refused(session, path, commit)
    assert "The last step could not be saved and was not applied (No space left on device)" in str(error)
    assert "all earlier steps are saved; free some space" in str(error)
    assert session.prompts.candidate is not None, "the user may try again"
    for call in (
        lambda: session.paint([1], [1], 1),
        lambda: session.classes.add(f"class {len(session.classes)}"),
        lambda: session.objects.delete((max(session.document.objects),)),
    ):
        until_refused(session, path, call)
    filler.unlink()
    assert session.commit().id in session.document.objects
    filler = fill(small_disk)
    until_refused(session, path, lambda: session.redo() or session.undo())
    filler.unlink()
    final = digest(session)
    session.close()
    again = open_session(path)
    assert digest(again) == final


def test_records_are_in_the_file_before_signals_and_synced_in_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    session = open_session(path)
    emitted: list[int] = []
    synced: list[tuple[int, bool]] = []
    real = os.fsync

    def steps() -> int:
        # The number of line breaks is the number of steps that survive the end of the program.
        return path.read_bytes().count(b"seq") - 1

    def fsync(descriptor: int) -> None:
        before = steps()
        real(descriptor)
        synced.append((before, threading.current_thread() is threading.main_thread()))

    monkeypatch.setattr(os, "fsync", fsync)
    session.document_changed.connect(lambda box: emitted.append(steps()))
    session.classes_changed.connect(lambda: emitted.append(steps()))
    commit_at(session, 40, 30)
    session.paint([1], [1], 2)
    session.classes.add("fat")
    session.undo()
    session.redo()
    session.objects.reclassify((1,), 2)
    session.objects.delete((1,))
    assert emitted == list(range(1, 8))
    session.close()
    assert synced[-1][0] == 7, "closing waits for the disk"
    assert not any(in_window for _, in_window in synced), "the GUI thread does not"


def test_truncation_is_forced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    open_session(path).close()
    content = path.read_bytes()
    path.write_bytes(content + b'{"seq":1')
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    open_session(path).close()
    assert synced == [len(content)]
    assert path.read_bytes() == content


def test_failed_sync_is_reported_at_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = open_session(tmp_path / "a.jsonl")
    journal = session._editor._edits.journal
    assert journal is not None

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        session.paint([1], [1], 1)
        assert not journal.sync(10)
        before = digest(session)
        with pytest.raises(StorageError, match="Input/output error"):
            session.paint([5], [5], 1)
        assert digest(session) == before
    session.paint([5], [5], 1)
    assert journal.sync(10)
    final = digest(session)
    session.close()
    assert digest(open_session(tmp_path / "a.jsonl")) == final


@LINUX
def test_file_size_limit_refuses_the_commit(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from support.programs.journal_victim import commit_at, digest, open_session
        from napari_sampath.errors import StorageError
        path = Path(sys.argv[1])
        session = open_session(path)
        commit_at(session, 40, 30)
        size, state = path.stat().st_size, digest(session)
        # In the middle of the next line.
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
        for _ in range(2):
            try:
                commit_at(session, 80, 60)
            except StorageError as error:
                print(str(error))
            assert session.prompts.candidate is not None
            assert (path.stat().st_size, digest(session)) == (size, state)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        session.commit()
        print(digest(session))
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.jsonl")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    first, second, state = result.stdout.splitlines()
    assert first == second
    assert "File too large" in first
    assert digest(open_session(tmp_path / "a.jsonl")) == state


@LINUX
def test_kill_9_at_random_moments_loses_no_commit(tmp_path: Path) -> None:
    count = int(os.environ.get("SAMPATH_KILLS", "200"))
    victims = subprocess.run(
        [sys.executable, "-m", "support.programs.journal_victim", str(tmp_path), str(count), "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert victims.returncode == 0, victims.stderr
    deaths = [json.loads(line) for line in victims.stdout.splitlines()]
    assert len(deaths) == count
    expected = {}
    for seed in range(SCRIPTS):
        session = Session(image(), "victim", disc_model(), CLASSES)
        expected[seed] = [digest(session), *(digest(session) for _ in script(session, seed))]
    middle = 0
    for death in deaths:
        survivor = Session(image(), "victim", None, CLASSES, Path(death["journal"]))
        # The step in progress may be saved already; no reported step may be missing.
        saved = expected[death["seed"]][death["reported"] : death["reported"] + 2]
        assert digest(survivor) in saved, death
        commit_at_end = survivor.paint([0], [0], 1)
        assert commit_at_end is not None
        middle += 0 < death["reported"] < STEPS
        survivor.close()
    assert middle >= count // 2, "most were killed between steps"
