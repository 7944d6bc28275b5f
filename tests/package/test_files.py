from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sampath.errors import ImageError, StorageError
from napari_sampath.files import remove_leftovers, write_atomically, write_together
from support.small_disk import SIZE_BYTES, mounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(old=st.none() | st.binary(max_size=100), new=st.binary(max_size=100))
def test_content_replaces_the_old_file(tmp_path: Path, old: bytes | None, new: bytes) -> None:
    path = tmp_path / "a.bin"
    path.unlink(missing_ok=True)
    if old is not None:
        path.write_bytes(old)
    write_atomically(path, lambda stream: stream.write(new))
    assert path.read_bytes() == new
    assert names(tmp_path) == ["a.bin"]


def test_missing_folders_are_created_and_long_names_work(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / ("n" * 251 + ".bin")
    write_atomically(str(path), lambda stream: stream.write(b"x"))
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("error", [RuntimeError("own"), ImageError("own"), KeyboardInterrupt("own")])
def test_error_of_the_writer_is_raised_and_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise error

    with pytest.raises(type(error), match="own"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_full_disk_is_one_sentence_and_keeps_the_old_file(small_disk: Path) -> None:
    path = small_disk / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(
        StorageError, match=r"a\.bin.*No space left.*earlier content is untouched.*free some space"
    ) as caught:
        write_atomically(path, lambda stream: stream.write(bytes(2 * SIZE_BYTES)))
    assert str(caught.value).count("\n") == 0
    assert path.read_bytes() == b"old"
    assert names(small_disk) == ["a.bin"]


def test_full_disk_keeps_all_old_files_of_a_group(small_disk: Path) -> None:
    first, second, third = (small_disk / name for name in ("1.bin", "2.bin", "3.bin"))
    write_together({first: lambda s: s.write(b"old 1"), second: lambda s: s.write(b"old 2")})
    with pytest.raises(StorageError, match="No space left"):
        write_together(
            {
                first: lambda s: s.write(b"new 1"),
                third: lambda s: s.write(b"new 3"),
                second: lambda s: s.write(bytes(2 * SIZE_BYTES)),
            }
        )
    assert (first.read_bytes(), second.read_bytes()) == (b"old 1", b"old 2")
    assert names(small_disk) == ["1.bin", "2.bin"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: RLIMIT_FSIZE")
def test_refused_write_in_a_process_with_a_file_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    program = textwrap.dedent(
        """
        import resource, sys
        from napari_sampath.errors import StorageError
        from napari_sampath.files import write_atomically
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_atomically(sys.argv[1], lambda stream: stream.write(bytes(100_000)))
        except StorageError as error:
            sys.exit(str(error))
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "File too large" in result.stderr
    assert "untouched: free some space" in result.stderr
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_failed_rename_reverts_the_others(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("1.bin", "2.bin", "3.bin"))
    first.write_bytes(b"old 1")

    def block_third(stream: BinaryIO) -> None:
        # A folder appears under the third name after it was checked.
        stream.write(b"new 3")
        third.mkdir()

    with pytest.raises(StorageError, match=r"Is a directory|denied"):
        write_together(
            {first: lambda s: s.write(b"new 1"), second: lambda s: s.write(b"new 2"), third: block_third}
        )
    assert first.read_bytes() == b"old 1"
    assert names(tmp_path) == ["1.bin", "3.bin"]


def test_folders_and_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a folder; give the name of a file"):
        write_atomically(tmp_path, lambda stream: stream.write(b"x"))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StorageError, match="a device or a pipe"):
        write_atomically(pipe, lambda stream: stream.write(b"x"))
    assert pipe.is_fifo()


def test_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(StorageError, match="untouched: check the folder"):
        write_atomically(tmp_path / "file" / "a.bin", lambda stream: stream.write(b"x"))
    assert (tmp_path / "file").read_bytes() == b"old"


def test_links_are_followed_and_permissions_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real.bin", tmp_path / "link.bin"
    real.write_bytes(b"old")
    real.chmod(0o660)
    link.symlink_to(real)
    write_atomically(link, lambda stream: stream.write(b"new"))
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o660


def test_readers_never_see_partial_files(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomically(path, lambda stream: stream.write(bytes(50_000)))
    seen: list[bytes] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for value in range(1, 40):
            write_atomically(path, lambda stream, value=value: stream.write(bytes([value]) * 50_000))
    finally:
        stop.set()
        reader.join()
    assert len(seen) > 10
    assert all(len(content) == 50_000 and len(set(content)) == 1 for content in seen)


def test_old_temporary_files_are_removed(tmp_path: Path) -> None:
    old, young, other = tmp_path / ".a.part", tmp_path / ".b.part", tmp_path / "mine.part"
    for path in (old, young, other):
        path.write_bytes(b"x")
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    assert remove_leftovers(tmp_path) == 1
    assert names(tmp_path) == [".b.part", "mine.part"]
    assert remove_leftovers(tmp_path / "absent") == 0


@pytest.mark.parametrize("count", [1, 2])
def test_fsync_of_contents_before_renames_and_of_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Without the first fsync a power cut leaves an empty file, without the second the old file."""
    events: list[tuple[str, int]] = []
    records: list[int] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        info = os.fstat(descriptor)
        if stat.S_ISREG(info.st_mode):
            assert info.st_size >= len(b"content"), "all of the content was flushed before"
        events.append(("fsync", info.st_ino))
        fsync(descriptor)

    def recorded_replace(source: Path, target: Path) -> None:
        events.append(("rename", source.stat().st_ino))
        if target.suffix == ".commit":
            records.append(source.stat().st_ino)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    paths = [tmp_path / f"{number}.bin" for number in range(count)]
    write_together({path: lambda stream: stream.write(b"content") for path in paths})
    files, folder = [path.stat().st_ino for path in paths], ("fsync", tmp_path.stat().st_ino)
    commit = [event for record in records for event in (("fsync", record), ("rename", record), folder)]
    assert len(records) == (count > 1)
    assert events == [
        *(("fsync", number) for number in files),
        *commit,
        *(("rename", number) for number in files),
        folder,
    ]
