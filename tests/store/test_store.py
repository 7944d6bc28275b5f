from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_sampath.config import load_config
from napari_sampath.errors import StorageError
from napari_sampath.geometry import Frame
from napari_sampath.store import DiskTier, FeatureKey, MemoryTier, Store, StoreTier
from support.small_disk import mounted
from support.store_contract import TierContract, assert_same, make_key, make_maps

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def test_features_are_the_same_before_and_after_reopening(disk: DiskTier) -> None:
    store, maps = Store(MemoryTier(10**6), disk), {"embedding": torch.full((4, 2, 2), 1 / 3)}
    given = store.put(make_key(1), maps)
    assert given["embedding"].dtype == torch.float32
    torch.testing.assert_close(given["embedding"], maps["embedding"], rtol=5e-4, atol=0)
    for later in (store, Store(MemoryTier(10**6), disk)):
        assert_same(later.get(make_key(1), "cpu"), given)


def test_tile_takes_two_megabytes_in_memory_and_on_disk(disk: DiskTier) -> None:
    fresh, later = Store(MemoryTier(10**8), disk), Store(MemoryTier(10**8), disk)
    fresh.put(make_key(1), {"embedding": torch.randn(256, 64, 64)})
    later.get(make_key(1), "cpu")
    assert fresh.info().memory.size_bytes == later.info().memory.size_bytes == 2 * 256 * 64 * 64


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


def test_clear_empties_both_tiers(disk: DiskTier) -> None:
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


def test_full_disk_is_one_warning_and_memory_is_used(
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


def test_folder_that_cannot_be_created_is_one_warning(
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


def test_cached_features_are_read_quickly(disk: DiskTier) -> None:
    """Key, read, verify and convert a full-size tile: the budget is 5 ms; ten times as much fails."""
    pixels = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    maps = {"embedding": torch.randn(256, 64, 64)}

    def key() -> FeatureKey:
        return FeatureKey.of(pixels, Frame(0, 0, 1024, 1024), "vit_b", "0123", "float32", 1)

    disk.put(key(), maps)
    seconds = []
    while len(seconds) < 50 and (not seconds or min(seconds) >= 0.05):
        store = Store(MemoryTier(10**8), disk)
        start = time.process_time()
        assert store.get(key(), "cpu") is not None
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05, f"{1e3 * min(seconds):.1f} ms"


def test_store_is_thread_safe(disk: DiskTier) -> None:
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
