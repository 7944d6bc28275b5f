from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sampath import jobs
from napari_sampath.config import load_config
from napari_sampath.errors import StorageError
from napari_sampath.geometry import Frame
from napari_sampath.store import DiskTier, FeatureKey, MemoryTier, Store, StoreTier, Verification
from small_disk import mounted
from store_contract import TierContract, assert_same, make_key, make_maps

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = Path(__file__).with_name("store_processes.py")


class TestMemoryTier(TierContract):
    def make(self, tmp_path: Path, limit_bytes: int) -> StoreTier:
        return MemoryTier(limit_bytes)

    def entry_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in make_maps(0).values())

    def test_the_tensors_themselves_come_back(self) -> None:
        tier, maps = MemoryTier(10**6), make_maps(1)
        tier.put(make_key(1), maps)
        found = tier.get(make_key(1))
        assert found is not None
        assert found["embedding"] is not None
        assert found["embedding"].data_ptr() == maps["embedding"].data_ptr()
        assert found["embedding"].dtype == torch.float32

    def test_a_map_of_a_batch_does_not_keep_the_batch_alive(self) -> None:
        tier, batch = MemoryTier(10**6), torch.zeros(16, 4, 8, 8)
        tier.put(make_key(1), {"embedding": batch[3]})
        found = tier.get(make_key(1))
        assert found is not None
        assert found["embedding"].untyped_storage().nbytes() == batch[3].nbytes == tier.info().size_bytes


class TestDiskTier(TierContract):
    def make(self, tmp_path: Path, limit_bytes: int) -> StoreTier:
        return DiskTier(tmp_path / "features", limit_bytes)

    def entry_bytes(self) -> int:
        return sum(tensor.nbytes // 2 for tensor in make_maps(0).values()) + 800


@pytest.fixture
def disk(tmp_path: Path) -> DiskTier:
    return DiskTier(tmp_path / "features", 10**8)


# The key


PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
KEY = FeatureKey.of(PIXELS, Frame(0, 0, 40, 60), "vit_b", "0123", "float32", 1)


def test_key_is_the_same_in_every_process() -> None:
    program = (
        "import numpy as np; from napari_sampath.geometry import Frame;"
        "from napari_sampath.store import FeatureKey;"
        "pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8);"
        "print(FeatureKey.of(pixels, Frame(0, 0, 40, 60), 'vit_b', '0123', 'float32', 1).digest)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == KEY.digest
    assert len(KEY.digest) == 64


def test_key_ignores_where_the_window_lies_and_how_it_lies_in_memory() -> None:
    large = np.zeros((100, 100, 3), dtype=np.uint8)
    large[7:47, 11:71] = PIXELS
    frame = Frame(7, 11, 40, 60)
    assert FeatureKey.of(large[frame.slices], frame, "vit_b", "0123", "float32", 1) == KEY
    assert FeatureKey.of(np.asfortranarray(PIXELS), Frame(0, 0, 40, 60), "vit_b", "0123", "float32", 1) == KEY


@given(row=st.integers(0, 39), col=st.integers(0, 59), channel=st.integers(0, 2), change=st.integers(1, 255))
def test_key_sees_one_changed_pixel(row: int, col: int, channel: int, change: int) -> None:
    pixels = PIXELS.copy()
    pixels[row, col, channel] ^= np.uint8(change)
    assert FeatureKey.of(pixels, Frame(0, 0, 40, 60), "vit_b", "0123", "float32", 1).digest != KEY.digest


def test_key_sees_shape_and_everything_else() -> None:
    turned = PIXELS.reshape(60, 40, 3)
    others = [
        FeatureKey.of(turned, Frame(0, 0, 60, 40), "vit_b", "0123", "float32", 1),
        FeatureKey.of(PIXELS, Frame(0, 0, 40, 60, 896), "vit_b", "0123", "float32", 1),
        FeatureKey.of(PIXELS.view(np.int8), Frame(0, 0, 40, 60), "vit_b", "0123", "float32", 1),  # type: ignore[arg-type]
        replace(KEY, encoder="vit_l"),
        replace(KEY, weights="0124"),
        replace(KEY, precision="bfloat16"),
        replace(KEY, preprocessing=2),
        replace(KEY, encoder="vit_b0", weights="123"),
    ]
    assert len({KEY.digest, *(key.digest for key in others)}) == 9


def test_key_refuses_the_whole_image_with_the_frame_of_a_window() -> None:
    with pytest.raises(ValueError, match="pass the window's pixels"):
        FeatureKey.of(PIXELS, Frame(0, 0, 20, 20), "vit_b", "0123", "float32", 1)


# Damage


def written(disk: DiskTier) -> tuple[Path, bytes]:
    key = make_key(1)
    disk.put(key, make_maps(1))
    path = disk.path(key)
    return path, path.read_bytes()


def test_no_flipped_byte_gives_wrong_features(tmp_path_factory: pytest.TempPathFactory) -> None:
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


def test_no_truncated_entry_is_read(disk: DiskTier) -> None:
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


def test_an_entry_under_another_name_is_not_served(disk: DiskTier) -> None:
    path, content = written(disk)
    other = disk.path(make_key(2))
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(content)
    assert disk.get(make_key(2)) is None
    assert path.exists()


def test_verify_finds_all_damage(disk: DiskTier) -> None:
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


# What is on disk


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
def test_what_float16_cannot_hold_stays_in_memory(disk: DiskTier, value: float) -> None:
    maps = {"embedding": torch.full((1, 2, 2), value)}
    store = Store(MemoryTier(10**6), disk)
    store.put(make_key(1), maps)
    assert disk.get(make_key(1)) is None
    found = store.get(make_key(1), "cpu")
    assert found is not None
    assert torch.equal(found["embedding"].nan_to_num(), maps["embedding"].nan_to_num())


def test_old_leftovers_go_and_foreign_files_stay(disk: DiskTier) -> None:
    path, _ = written(disk)
    old, young, foreign = path.parent / ".old.part", path.parent / ".young.part", disk.folder / "notes.txt"
    for file in (old, young, foreign):
        file.write_bytes(b"x")
    os.utime(old, (1, 1))
    DiskTier(disk.folder, disk.limit_bytes).put(make_key(2), make_maps(2))
    assert (old.exists(), young.exists(), foreign.exists()) == (False, True, True)
    assert disk.clear() == 2
    assert (young.exists(), foreign.exists()) == (True, True)


def test_two_processes_do_not_pass_the_limit_together(tmp_path: Path) -> None:
    first, second = (DiskTier(tmp_path, 20_000) for _ in range(2))
    for number in range(0, 200, 2):
        first.put(make_key(number), make_maps(number))
        second.put(make_key(number + 1), make_maps(number + 1))
        assert first.info().size_bytes <= 20_000 + 2 * 1_600


# Processes


def run_processes(*arguments: object, count: int = 1) -> list[dict[str, int]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(PROCESSES), *map(str, arguments)]
    running = [
        subprocess.Popen(
            [*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        for seed in range(count)
    ]
    results = []
    for process in running:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert "damaged" not in err
        results.append(json.loads(out))
    return results


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.slow
def test_a_process_killed_200_times_never_leaves_a_wrong_entry(tmp_path: Path) -> None:
    (result,) = run_processes("kill", tmp_path, 200)
    assert result["kills"] == 200
    assert result["read"] > 1000
    assert result["parts"] >= 20, "too few kills hit a write"


@pytest.mark.slow
def test_processes_fill_one_folder(tmp_path: Path) -> None:
    results = run_processes("fill", tmp_path, 10**9, count=3)
    assert all(result["hits"] >= 30 for result in results)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.stem for path in files) == sorted(make_key(number).digest for number in range(30))


@pytest.mark.slow
def test_processes_share_a_folder_that_is_too_small(tmp_path: Path) -> None:
    limit = 1_500_000
    run_processes("fill", tmp_path, limit, count=3)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors"}
    assert 2 <= len(files) < 15
    assert sum(path.stat().st_size for path in files) <= limit + 3 * 200_000


# The store


def test_store_prefers_memory_and_fills_it_from_disk(disk: DiskTier) -> None:
    maps = {"embedding": torch.full((4, 2, 2), 1 / 3)}
    Store(MemoryTier(10**6), disk).put(make_key(1), maps)
    later = Store(MemoryTier(10**6), disk)
    first = later.get(make_key(1), "cpu")
    assert first is not None
    assert first["embedding"].dtype == torch.float32
    torch.testing.assert_close(first["embedding"], maps["embedding"], rtol=5e-4, atol=0)
    disk.clear()
    second = later.get(make_key(1), "cpu")
    assert second is not None
    assert torch.equal(first["embedding"], second["embedding"])
    assert later.info().memory.entries == 1
    assert later.get(make_key(2), "cpu") is None


def test_store_returns_from_memory_exactly_what_was_put(disk: DiskTier) -> None:
    store, maps = Store(MemoryTier(10**6), disk), {"embedding": torch.full((4, 2, 2), 1 / 3)}
    store.put(make_key(1), maps)
    found = store.get(make_key(1), "cpu")
    assert found is not None
    assert torch.equal(found["embedding"], maps["embedding"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_store_keeps_features_on_the_gpu(disk: DiskTier) -> None:
    store = Store(MemoryTier(10**6), disk)
    store.put(make_key(1), {name: tensor.cuda() for name, tensor in make_maps(1).items()})
    kept = store.memory.get(make_key(1))
    assert kept is not None
    assert kept["embedding"].is_cuda
    later = Store(MemoryTier(10**6), disk)
    found = later.get(make_key(1), "cuda")
    assert found is not None
    assert found["embedding"].is_cuda
    again = later.memory.get(make_key(1))
    assert again is not None
    assert again["embedding"].is_cuda
    assert_same({name: tensor.cpu() for name, tensor in found.items()}, make_maps(1))


def test_store_from_config(tmp_path: Path) -> None:
    store = Store.from_config(load_config(cache_dir=tmp_path, cache_limit_bytes=12345), memory_bytes=678)
    info = store.info()
    assert (info.memory.limit_bytes, info.memory.place) == (678, "memory")
    assert info.disk is not None
    assert (info.disk.limit_bytes, info.disk.place) == (12345, str(tmp_path / "features"))
    assert not (tmp_path / "features").exists()
    assert Store.from_config(load_config(cache_dir=tmp_path, cache_limit_bytes=0)).info().disk is None


def test_clear_forgets_both_tiers(disk: DiskTier) -> None:
    store = Store(MemoryTier(10**6), disk)
    for number in range(3):
        store.put(make_key(number), make_maps(number))
    assert store.clear() == 3
    assert store.get(make_key(1), "cpu") is None
    info = store.info()
    assert info.disk is not None
    assert (info.memory.entries, info.disk.entries) == (0, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path)


def test_full_disk_is_one_warning_and_memory_goes_on(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(MemoryTier(10**8), DiskTier(small_disk / "features", 10**9))
    with caplog.at_level(logging.WARNING):
        for number in range(12):
            store.put(make_key(number), make_maps(number, side=64))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "in memory only" in caplog.text
    assert "No space left" in caplog.text
    for number in range(12):
        assert_same(store.get(make_key(number), "cpu"), make_maps(number, side=64))
    later = Store(MemoryTier(10**8), DiskTier(small_disk / "features", 10**9))
    there = [number for number in range(12) if later.get(make_key(number), "cpu") is not None]
    assert there == list(range(len(there)))
    assert len(there) >= 2
    store.clear()
    store.put(make_key(1), make_maps(1))
    assert_same(DiskTier(small_disk / "features", 10**9).get(make_key(1)), make_maps(1))


def test_a_folder_that_cannot_be_made_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = Store(MemoryTier(10**6), DiskTier(tmp_path / "file" / "features", 10**9))
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            assert store.get(make_key(number), "cpu") is None
            store.put(make_key(number), make_maps(number))
    assert caplog.text.count("in memory only") == 1
    assert_same(store.get(make_key(2), "cpu"), make_maps(2))
    with pytest.raises(StorageError, match="untouched"):
        store.disk.put(make_key(1), make_maps(1))  # type: ignore[union-attr]


def test_second_opening_is_quick(disk: DiskTier) -> None:
    """Key, read, check and convert a tile of full size: the budget is 5 ms a tile; ten times that fails."""
    pixels = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    maps = {"embedding": torch.randn(256, 64, 64)}

    def key() -> FeatureKey:
        return FeatureKey.of(pixels, Frame(0, 0, 1024, 1024), "vit_b", "0123", "float32", 1)

    disk.put(key(), maps)
    seconds = []
    for _ in range(7):
        store = Store(MemoryTier(10**8), disk)
        start = time.perf_counter()
        assert store.get(key(), "cpu") is not None
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05, f"{1e3 * min(seconds):.1f} ms"


def test_one_store_many_threads(disk: DiskTier) -> None:
    store = Store(MemoryTier(20_000), disk)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(0, 20, 80).tolist():
            found = store.get(make_key(number), "cpu")
            if found is None:
                store.put(make_key(number), make_maps(number))
            elif not torch.equal(found["embedding"], make_maps(number)["embedding"]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert disk.info().entries == 20
