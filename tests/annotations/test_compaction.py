"""Compaction of a journal on opening, also when it is interrupted."""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from napari_sampath.annotations.storage import compaction
from napari_sampath.session import Session
from support.programs.journal_victim import digest, open_session, script

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compact the journal regardless of its length."""
    monkeypatch.setattr(compaction, "MIN_BYTES", 0)
    monkeypatch.setattr(compaction, "GAIN", 0)


def long_journal(path: Path, seed: int, steps: int = 420) -> str:
    """Do more steps than can be undone, and undo the last few."""
    session = open_session(path)
    for _ in script(session, seed, steps):
        pass
    for _ in range(seed % 4):
        session.undo()
    session.close()
    return digest(session)


def states(session: Session) -> list[str]:
    """Return all states that undo and redo reach."""
    found = [digest(session)]
    while session.redo():
        found.append(digest(session))
    while session.undo():
        found.append(digest(session))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_compaction_keeps_state_undo_redo_and_later_steps(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, copy = tmp_path / "a.jsonl", tmp_path / "copy.jsonl"
    final = long_journal(path, seed)
    copy.write_bytes(path.read_bytes())
    plain = open_session(copy)
    ids = plain.document.next_id
    with monkeypatch.context() as patched:
        patched.setattr(compaction, "MIN_BYTES", 0)
        patched.setattr(compaction, "GAIN", 0)
        first = open_session(path)
    assert path.read_bytes() != copy.read_bytes()
    assert b'"op":"snapshot"' in path.read_bytes().split(b"\n")[1]
    assert digest(first) == digest(plain) == final
    first.paint([1, 2], [3, 4], 1)
    first.undo()
    first.close()
    again = open_session(path)
    assert again.document.next_id >= ids
    again.close()
    plain.paint([1, 2], [3, 4], 1)
    plain.undo()
    shorter = open_session(path)
    assert states(shorter) == states(plain)
    assert shorter.document.objects == plain.document.objects, "including their times"


def test_only_long_journals_are_compacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    long_journal(path, 0, 300)
    content = path.read_bytes()
    open_session(path).close()
    assert path.read_bytes() == content, "too short to compact"
    monkeypatch.setattr(compaction, "MIN_BYTES", 0)
    session = open_session(path)
    for _ in range(800):
        session.paint([1, 2], [3, 4], 1)
        session.paint([1, 2], [3, 4], 0)
    session.close()
    before, final = path.stat().st_size, digest(session)
    again = open_session(path)
    assert path.stat().st_size < before / 3
    assert digest(again) == final
    again.close()
    content = path.read_bytes()
    open_session(path).close()
    assert path.read_bytes() == content, "compacted only once"


@pytest.mark.usefixtures("eager")
def test_full_disk_keeps_the_long_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    final = long_journal(path, 1)
    content = path.read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("napari_sampath.annotations.storage.journal.create", refuse)
    session = open_session(path)
    assert path.read_bytes() == content
    assert digest(session) == final
    assert session.paint([1], [1], 1) is not None


@LINUX
@pytest.mark.usefixtures("eager")
def test_kill_9_during_compaction_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    final = long_journal(path, 2)
    whole = path.read_bytes()
    start = time.perf_counter()
    open_session(path).close()
    duration = time.perf_counter() - start
    rng = random.Random(0)
    shortened = 0
    for _ in range(25):
        path.write_bytes(whole)
        child = os.fork()
        if child == 0:
            open_session(path)
            os._exit(0)
        time.sleep(rng.uniform(0.2, 1.1) * duration)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        shortened += path.read_bytes() != whole
        survivor = open_session(path)
        assert digest(survivor) == final
        survivor.close()
    assert shortened < 25, "some were killed before compaction"
