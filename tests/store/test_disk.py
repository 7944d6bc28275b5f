from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sampath import jobs
from napari_sampath.store import DiskTier, MemoryTier, Store, Verification
from support.store_contract import assert_same, make_key, make_maps

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def disk(tmp_path: Path) -> DiskTier:
    return DiskTier(tmp_path / "features", 10**8)


# Damage


def written(disk: DiskTier) -> tuple[Path, bytes]:
    key = make_key(1)
    disk.put(key, make_maps(1))
    path = disk.path(key)
    return path, path.read_bytes()


def test_flipped_bytes_never_give_wrong_features(tmp_path_factory: pytest.TempPathFactory) -> None:
    disk = DiskTier(tmp_path_factory.mktemp("flip"), 10**8)
    path, content = written(disk)
    header_bytes = 8 + int.from_bytes(content[:8], "little")
    served = 0

    def check(position: int, change: int) -> None:
        nonlocal served
        damaged = bytearray(content)
        damaged[position] ^= change
        path.write_bytes(damaged)
        found = disk.get(make_key(1))
        if found is None:
            assert not path.exists()
        else:
            assert_same(found, make_maps(1))
            served += 1

    for position in range(header_bytes):
        check(position, 1)
        check(position, 0x20)
    assert served <= 60  # Padding, or a space outside of the values.

    @settings(max_examples=100, deadline=None)
    @given(position=st.integers(header_bytes, len(content) - 1), change=st.integers(1, 255))
    def flip_values(position: int, change: int) -> None:
        check(position, change)
        assert not path.exists()

    flip_values()


def test_truncated_entries_are_not_read(disk: DiskTier) -> None:
    path, content = written(disk)
    for size in [*range(0, 64), *range(64, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:size])
        assert disk.get(make_key(1)) is None
        assert not path.exists()


def test_damage_is_logged_and_the_entry_can_be_written_again(
    disk: DiskTier, caplog: pytest.LogCaptureFixture
) -> None:
    path, content = written(disk)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        assert disk.get(make_key(1)) is None
    assert len(caplog.records) == 1
    assert "checksum is wrong" in caplog.text
    assert path.name in caplog.text
    disk.put(make_key(1), make_maps(1))
    assert_same(disk.get(make_key(1)), make_maps(1))


def test_entry_under_another_name_is_not_returned(disk: DiskTier) -> None:
    path, content = written(disk)
    other = disk.path(make_key(2))
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(content)
    assert disk.get(make_key(2)) is None
    assert path.exists()


def test_verify_deletes_all_damaged_entries(disk: DiskTier) -> None:
    for number in range(6):
        disk.put(make_key(number), make_maps(number))
    for number in (1, 4):
        path = disk.path(make_key(number))
        path.write_bytes(path.read_bytes()[:-5])
    reports: list[jobs.Progress] = []
    assert jobs.run(disk.verify_job(), reports.append) == Verification(checked=6, dropped=2)
    assert [report.done for report in reports] == [0, 1, 2, 3, 4, 5]
    assert {report.total for report in reports} == {6}
    assert Store(MemoryTier(0), disk).verify() == Verification(checked=4, dropped=0)
    assert Store(MemoryTier(0)).verify() == Verification(0, 0)
    assert disk.get(make_key(1)) is None
    assert_same(disk.get(make_key(2)), make_maps(2))


# Files on disk


def test_files_are_float16_named_by_digest_and_sharded(disk: DiskTier) -> None:
    key = make_key(1)
    disk.put(key, make_maps(1, side=64))
    digest = key.digest
    path = disk.folder / digest[:2] / f"{digest}.safetensors"
    assert [file for file in disk.folder.rglob("*") if file.is_file()] == [path]
    assert path.stat().st_size < 6 * 64 * 64 * 2 + 800
    found = disk.get(key)
    assert found is not None
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}


@pytest.mark.parametrize("value", [1e6, float("inf"), float("nan")])
def test_values_outside_float16_stay_in_memory(disk: DiskTier, value: float) -> None:
    maps = {"embedding": torch.full((1, 2, 2), value)}
    store = Store(MemoryTier(10**6), disk)
    store.put(make_key(1), maps)
    assert disk.get(make_key(1)) is None
    found = store.get(make_key(1), "cpu")
    assert found is not None
    assert torch.equal(found["embedding"].nan_to_num(), maps["embedding"].nan_to_num())


def test_old_temporary_files_are_deleted_and_other_files_kept(disk: DiskTier) -> None:
    path, _ = written(disk)
    old, young, foreign = path.parent / ".old.part", path.parent / ".young.part", disk.folder / "notes.txt"
    for file in (old, young, foreign):
        file.write_bytes(b"x")
    os.utime(old, (1, 1))
    DiskTier(disk.folder, disk.limit_bytes).put(make_key(2), make_maps(2))
    assert (old.exists(), young.exists(), foreign.exists()) == (False, True, True)
    assert disk.clear() == 2
    assert (young.exists(), foreign.exists()) == (True, True)


def test_two_processes_respect_the_limit(tmp_path: Path) -> None:
    first, second = (DiskTier(tmp_path, 20_000) for _ in range(2))
    for number in range(0, 200, 2):
        first.put(make_key(number), make_maps(number))
        second.put(make_key(number + 1), make_maps(number + 1))
        assert first.info().size_bytes <= 20_000 + 2 * 1_600


# Processes


def run_processes(*arguments: object, count: int = 1) -> list[dict[str, int]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "support.programs.store_processes", *map(str, arguments)]
    running = [
        subprocess.Popen(
            [*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        for seed in range(count)
    ]
    results = []
    try:
        for process in running:
            out, err = process.communicate(timeout=240)
            assert process.returncode == 0, err
            assert "damaged" not in err
            results.append(json.loads(out))
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return results


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory if possible, since a busy disk would make the test take minutes."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.slow
def test_process_killed_200_times_never_leaves_a_wrong_entry(quick_folder: Path) -> None:
    (result,) = run_processes("kill", quick_folder, 200)
    assert result["kills"] == 200
    assert result["read"] > 500
    assert result["parts"] >= 3, "too few kills hit a write"


@pytest.mark.slow
def test_processes_fill_one_folder(quick_folder: Path) -> None:
    results = run_processes("fill", quick_folder, 10**9, count=3)
    assert all(result["hits"] >= 30 for result in results)
    files = [path for path in quick_folder.rglob("*") if path.is_file()]
    assert sorted(path.stem for path in files) == sorted(make_key(number).digest for number in range(30))


@pytest.mark.slow
def test_processes_share_a_folder_that_is_too_small(quick_folder: Path) -> None:
    limit = 1_500_000
    run_processes("fill", quick_folder, limit, count=3)
    files = [path for path in quick_folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors"}
    assert 2 <= len(files) < 15
    assert sum(path.stat().st_size for path in files) <= limit + 3 * 200_000
