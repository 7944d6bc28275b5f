"""Tests that every tier of the store must pass; the test class of a tier inherits `TierContract`."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_sampath.geometry import Frame
from napari_sampath.store import FeatureKey, StoreTier

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def make_key(number: int) -> FeatureKey:
    pixels = np.full((20, 30, 3), number % 256, dtype=np.uint8)
    return FeatureKey.of(pixels, Frame(0, 0, 20, 30), f"encoder-{number}", "ab12", "float32", 1)


def make_maps(number: int, side: int = 8) -> dict[str, Tensor]:
    """Return two maps that depend on the number only, with values that float16 represents exactly."""
    grid = torch.arange(4 * side * side, dtype=torch.float32).reshape(4, side, side) % 64
    return {"embedding": grid + number, "tokens": -grid[:2] / 8}


def assert_same(maps: dict[str, Tensor] | None, expected: dict[str, Tensor]) -> None:
    assert maps is not None
    assert set(maps) == set(expected)
    for name, tensor in expected.items():
        assert maps[name].shape == tensor.shape
        assert torch.equal(maps[name].float(), tensor.float())


class TierContract(ABC):
    @abstractmethod
    def make(self, tmp_path: Path, limit_bytes: int) -> StoreTier:
        """Create an empty tier."""

    @abstractmethod
    def entry_bytes(self) -> int:
        """Upper bound of the size of the result of `make_maps` in bytes."""

    @pytest.fixture
    def tier(self, tmp_path: Path) -> StoreTier:
        return self.make(tmp_path, 1_000_000)

    def test_empty(self, tier: StoreTier) -> None:
        assert tier.get(make_key(1)) is None
        assert (tier.info().entries, tier.info().size_bytes) == (0, 0)
        tier.discard(make_key(1))
        assert tier.clear() == 0

    def test_what_was_put_is_found_under_its_key_only(self, tier: StoreTier) -> None:
        tier.put(make_key(1), make_maps(1))
        tier.put(make_key(2), make_maps(2))
        assert_same(tier.get(make_key(1)), make_maps(1))
        assert_same(tier.get(make_key(2)), make_maps(2))
        assert tier.get(make_key(3)) is None
        assert tier.info().entries == 2

    def test_putting_twice_keeps_one(self, tier: StoreTier) -> None:
        tier.put(make_key(1), make_maps(1))
        size = tier.info().size_bytes
        tier.put(make_key(1), make_maps(1))
        assert (tier.info().entries, tier.info().size_bytes) == (1, size)
        assert_same(tier.get(make_key(1)), make_maps(1))

    def test_the_caller_may_change_the_dictionary(self, tier: StoreTier) -> None:
        maps = make_maps(1)
        tier.put(make_key(1), maps)
        maps.clear()
        maps = tier.get(make_key(1))
        assert maps is not None
        maps.clear()
        assert_same(tier.get(make_key(1)), make_maps(1))

    def test_discard_and_clear(self, tier: StoreTier) -> None:
        for number in range(3):
            tier.put(make_key(number), make_maps(number))
        tier.discard(make_key(1))
        assert tier.get(make_key(1)) is None
        assert_same(tier.get(make_key(2)), make_maps(2))
        assert tier.clear() == 2
        assert tier.get(make_key(2)) is None
        assert (tier.info().entries, tier.info().size_bytes) == (0, 0)
        tier.put(make_key(2), make_maps(2))
        assert_same(tier.get(make_key(2)), make_maps(2))

    def test_the_limit_holds_and_the_newest_stay(self, tmp_path: Path) -> None:
        limit = 5 * self.entry_bytes()
        tier = self.make(tmp_path, limit)
        for number in range(40):
            tier.put(make_key(number), make_maps(number))
            assert tier.info().size_bytes <= limit
            assert_same(tier.get(make_key(number)), make_maps(number))
        kept = [number for number in range(40) if tier.get(make_key(number)) is not None]
        assert 3 <= len(kept) <= 12
        assert kept == list(range(40 - len(kept), 40))

    def test_a_use_protects_from_eviction(self, tmp_path: Path) -> None:
        tier = self.make(tmp_path, 5 * self.entry_bytes())
        for number in range(40):
            tier.put(make_key(number), make_maps(number))
            assert tier.get(make_key(0)) is not None

    def test_more_than_the_whole_tier_is_not_kept(self, tmp_path: Path) -> None:
        tier = self.make(tmp_path, self.entry_bytes())
        tier.put(make_key(1), make_maps(1))
        tier.put(make_key(2), make_maps(2, side=64))
        assert tier.get(make_key(2)) is None
        assert_same(tier.get(make_key(1)), make_maps(1))

    def test_gradients_are_not_kept(self, tier: StoreTier) -> None:
        tensor = torch.ones(4, 2, 2, requires_grad=True)
        tier.put(make_key(1), {"embedding": tensor * 2})
        maps = tier.get(make_key(1))
        assert maps is not None
        assert not maps["embedding"].requires_grad

    def test_a_map_of_a_batch(self, tier: StoreTier) -> None:
        batch = torch.arange(3 * 4 * 2 * 2, dtype=torch.float32).reshape(3, 4, 2, 2)
        tier.put(make_key(1), {"embedding": batch[1]})
        assert_same(tier.get(make_key(1)), {"embedding": batch[1]})

    def test_many_threads(self, tmp_path: Path) -> None:
        tier = self.make(tmp_path, 8 * self.entry_bytes())
        errors: list[Exception] = []

        def work(seed: int) -> None:
            order = np.random.default_rng(seed).integers(0, 16, 60)
            try:
                for number in order.tolist():
                    tier.put(make_key(number), make_maps(number))
                    maps = tier.get(make_key(number))
                    if maps is not None:
                        assert_same(maps, make_maps(number))
            except (AssertionError, OSError, RuntimeError, KeyError) as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert 1 <= tier.info().entries <= 16
        tier.clear()
        assert tier.info().size_bytes == 0
