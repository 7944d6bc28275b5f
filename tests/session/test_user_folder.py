"""Journals of earlier versions move to the user's data folder; several processes and users do not harm each other."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from napari_sampath.cli import main
from napari_sampath.config import load_config, sessions_folder
from napari_sampath.errors import JournalError, StorageError
from napari_sampath.session import FolderQueue, Session, journal_path
from support.label_maps import check_sentence
from support.programs.journal_victim import digest, image, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT_ONLY = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to become two other users"
)


@pytest.fixture
def earlier() -> Path:
    """Folder in which earlier versions kept journals, with one of them."""
    folder = load_config().earlier_sessions_dir
    folder.mkdir(parents=True)
    session = open_session(journal_path(image(), folder))
    session.paint([1, 2], [3, 4], 1)
    session.close()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_journals_are_not_in_the_cache() -> None:
    config = load_config()
    assert config.sessions_dir == config.data_dir / "sessions"
    assert config.cache_dir not in config.sessions_dir.parents


def test_journals_and_states_of_earlier_versions_move(earlier: Path) -> None:
    (earlier / "folder-abc.json").write_text("{}")
    (journal,) = earlier.glob("*.jsonl")
    content = journal.read_bytes()
    folder = sessions_folder()
    assert names(folder) == sorted([journal.name, "folder-abc.json"])
    assert (folder / journal.name).read_bytes() == content
    assert names(earlier) == []
    session = Session(image(), "slide", journal=journal_path(image(), sessions_folder()))
    assert len(session.document.objects) == 1
    session.close()


def test_nothing_is_replaced_by_a_moved_journal(earlier: Path) -> None:
    (journal,) = earlier.glob("*.jsonl")
    moved = journal.read_bytes()
    target = load_config().sessions_dir / journal.name
    newer = open_session(target)
    newer.paint([5, 6], [7, 8], 2)
    state = digest(newer)
    newer.close()
    content = target.read_bytes()
    folder = sessions_folder()
    assert target.read_bytes() == content
    (other,) = [path for path in folder.glob("*.jsonl") if path != target]
    assert other.read_bytes() == moved
    session = open_session(journal_path(image(), folder))
    assert digest(session) == state
    assert [note for note in session.notes if str(other) in note and "sampath export" in note]
    session.close()


def test_an_interrupted_move_is_completed(earlier: Path) -> None:
    (journal,) = earlier.glob("*.jsonl")
    target = load_config().sessions_dir / journal.name
    target.parent.mkdir(parents=True)
    os.link(journal, target)
    assert names(sessions_folder()) == [journal.name]
    assert names(earlier) == []


def test_a_journal_that_an_earlier_version_has_open_stays(earlier: Path) -> None:
    from filelock import FileLock

    (journal,) = earlier.glob("*.jsonl")
    with FileLock(f"{journal}.lock"):
        path = journal_path(image(), sessions_folder())
        assert path == journal
        with pytest.raises(JournalError, match="is open in another window or program"):
            open_session(path)
    assert journal_path(image(), sessions_folder()) == load_config().sessions_dir / journal.name


def test_processes_that_move_at_once_lose_nothing(earlier: Path) -> None:
    contents = set()
    for number in range(60):
        path = earlier / f"{number:032x}.jsonl"
        path.write_bytes(f"journal {number}\n".encode())
        contents.add(path.read_bytes())
    program = "from napari_sampath.config import sessions_folder; sessions_folder()"
    processes = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    for process in processes:
        process.communicate()
    folder = sessions_folder()
    assert names(earlier) == []
    assert contents < {path.read_bytes() for path in folder.glob("*.jsonl")}
    assert len(names(folder)) == 61


def test_a_read_only_folder_of_an_earlier_version_is_no_error(earlier: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    earlier.chmod(0o555)
    try:
        assert sessions_folder() == load_config().sessions_dir
    finally:
        earlier.chmod(0o755)


def images_in(folder: Path) -> Path:
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return folder


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"schema": 1, "images": {"a.png": {"state": "done", "uncertainty": ["a"]}}}',
        "{}",
        "\0",
    ],
)
def test_unreadable_states_are_kept_and_said(tmp_path: Path, content: str) -> None:
    folder = images_in(tmp_path / "images")
    queue = FolderQueue(folder, tmp_path / "states")
    queue.file.parent.mkdir()
    for number in range(2):
        queue.file.write_text(content)
        again = FolderQueue(folder, tmp_path / "states")
        assert again.note is not None
        assert "are unreadable" in again.note
        kept = [path for path in queue.file.parent.iterdir() if path.suffix == ".unreadable"]
        assert len(kept) == number + 1, "an earlier one is not replaced"
        assert {path.read_text() for path in kept} == {content}


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Temporary folder that other users may enter; those of pytest are private."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@ROOT_ONLY
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_another_users_files_are_never_renamed_or_replaced(open_to_all: Path, umask: int) -> None:
    """Two users share a folder in which both may create and rename files."""
    top = open_to_all
    shared = top / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    images = images_in(top / "images")
    program = textwrap.dedent(
        """
        import os, shutil, sys, tempfile
        from pathlib import Path
        from napari_sampath.errors import SampathError
        from napari_sampath.files import write_atomically, write_together
        from napari_sampath.formats import DatasetFolder, export_labels
        from napari_sampath.arrays import ClassInfo
        from napari_sampath.session import FolderQueue, Project
        from support.programs.journal_victim import open_session
        from support.programs.saves import CLASSES, snapshot

        user, umask, target, images = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
        shared = Path(tempfile.mkdtemp())  # first a rehearsal that imports everything, as root

        def queue():
            FolderQueue(images, shared).mark("a.png", "done")

        def sample():
            folder = shared / "dataset"
            if not DatasetFolder.exists(folder):
                DatasetFolder.create(folder, CLASSES)
            DatasetFolder.open(folder).save_image(snapshot(1 if user == 1001 else 2))

        def project():
            classes = [ClassInfo(1, f"user {user}", (1, 2, 3))]
            if Project.exists(shared / "project"):
                Project(shared / "project").rename(f"of {user}")
            else:
                Project.create(shared / "project", "mine", classes)

        actions = {
            "file": lambda: write_atomically(shared / "a.txt", lambda s: s.write(str(user).encode())),
            "files": lambda: write_together({shared / n: lambda s: s.write(str(user).encode()) for n in "bc"}),
            "queue": queue,
            "export": lambda: export_labels(shared, snapshot(1 if user == 1001 else 2), ("png", "geojson")),
            "sample": sample,
            "project": project,
            "journal": lambda: open_session(shared / "j.jsonl").paint([1], [1], 1),
        }
        def attempt_all():
            for name, act in actions.items():
                try:
                    act()
                    print(name, "written")
                except SampathError as error:
                    print(name, "refused", error)

        def contents():
            return {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()}

        for act in actions.values():
            act()
        shutil.rmtree(shared)
        shared = target
        os.umask(umask)
        os.setegid(user)
        os.seteuid(user)
        attempt_all()
        if user == 1001:  # Protect everything, as archives do, and try again.
            before = contents()
            paths = [shared, *shared.rglob("*")]
            modes = {path: path.stat().st_mode for path in paths}
            os.seteuid(0)
            for path in paths:
                path.chmod(0o555 if path.is_dir() else 0o444)
            os.seteuid(user)
            print("--- protected")
            user = 1003
            attempt_all()
            assert contents() == before
            os.seteuid(0)
            for path, mode in modes.items():
                path.chmod(mode & 0o7777)
        """
    )

    def outcomes(text: str) -> dict[str, str]:
        return dict(line.split(" ", 1) for line in text.strip().splitlines())

    def run(user: int) -> tuple[dict[str, str], ...]:
        command = [sys.executable, "-c", program, str(user), str(umask), str(shared), str(images)]
        environment = os.environ | {"HOME": str(top / str(user))}
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert result.returncode == 0, result.stderr
        return tuple(map(outcomes, result.stdout.split("--- protected")))

    first, protected = run(1001)
    assert set(first.values()) == {"written"}
    files = {path: path.stat() for path in shared.rglob("*") if path.is_file()}
    contents = {path: path.read_bytes() for path in files}
    for path, status in files.items():
        if path.suffix != ".lock" and path.name != ".lock":
            assert stat.S_IMODE(status.st_mode) == 0o666 & ~umask, path
    (second,) = run(1002)
    assert first.keys() == protected.keys() == second.keys()
    for action, outcome in (*protected.items(), *second.items()):
        assert outcome.startswith("refused"), action
        assert "ermission" in outcome or "cannot be opened" in outcome, outcome
        check_sentence(outcome.removeprefix("refused "))
    assert {path: path.read_bytes() for path in files} == contents
    assert {path.stat().st_uid for path in files} == {1001}
    assert not [path for path in shared.rglob("*") if path.suffix in (".unreadable", ".part", ".staged")]


def test_cli_says_what_the_journal_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    session = open_session(path)
    session.paint([1, 2], [3, 4], 1)
    session.paint([11, 12], [3, 4], 1)
    session.close()
    path.write_bytes(path.read_bytes().replace(b'"op":"add"', b'"op":"bad"', 1))
    assert main(["export", str(path), "-o", str(tmp_path / "out"), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["annotations"] == 1
    assert "1 line of the journal" in captured.err


def test_states_that_may_not_be_read_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = images_in(tmp_path / "images")
    queue = FolderQueue(folder, tmp_path / "states")
    queue.mark("a.png", "done")
    content = queue.file.read_bytes()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("napari_sampath.session.folder.queue.read_regular", refuse)
    with pytest.raises(StorageError, match="cannot be opened"):
        FolderQueue(folder, tmp_path / "states")
    assert queue.file.read_bytes() == content
