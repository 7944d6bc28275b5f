"""Arrays for display: they answer at once, and are exact as soon as the chunks have been read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from napari_sampath.arrays import UInt8Array
from napari_sampath.errors import ImageError
from napari_sampath.images.slides import ArraySlide
from napari_sampath.images.slides.slide import Box
from napari_sampath.images.slides.view_cache import CHUNK_PX, ViewCache

PIXELS = np.random.default_rng(0).integers(0, 256, (5000, 6100, 3), np.uint8)


class SlowSlide(ArraySlide):
    """A slide whose reads wait until the test lets them go on."""

    def __init__(self) -> None:
        super().__init__([PIXELS])
        self.may_read = threading.Event()
        self.may_read.set()
        self.begun: list[Box] = []
        self.boxes: list[Box] = []

    def read(self, box: Box, step: int = 1) -> UInt8Array:
        self.begun.append(box)
        self.may_read.wait()
        self.boxes.append(box)
        return super().read(box, step)


@pytest.fixture
def slide() -> SlowSlide:
    return SlowSlide()


@pytest.fixture
def cache(slide: SlowSlide) -> Iterator[ViewCache]:
    cache = ViewCache(slide)
    wait_until_read(cache)  # the coarsest level
    yield cache
    slide.may_read.set()
    cache.close()


def wait_until_read(cache: ViewCache) -> None:
    wait_until(lambda: not cache.waiting)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_levels_halve_until_the_coarsest_fits_in_memory(cache: ViewCache) -> None:
    assert [level.shape for level in cache.levels] == [(5000, 6100, 3), (2500, 3050, 3), (1250, 1525, 3)]


def test_a_window_is_exact_after_its_chunks_have_been_read(cache: ViewCache, slide: SlowSlide) -> None:
    window = np.s_[700:1700, 30:600]
    cache.levels[0][window]
    wait_until_read(cache)
    np.testing.assert_array_equal(cache.levels[0][window], PIXELS[window])
    assert cache.waiting == 0
    cache.levels[1][100:200, 2000:3050]
    wait_until_read(cache)
    # The average is rounded along rows and columns, so chunks differ by 1 at most.
    expected = slide.read((200, 4000, 400, 6100), 2).astype(int)
    assert np.abs(cache.levels[1][100:200, 2000:3050] - expected).max() <= 1
    assert np.abs(cache.levels[2][:] - slide.read((0, 0, 5000, 6100), 4).astype(int)).max() <= 1


def test_nothing_is_read_by_the_thread_that_shows(slide: SlowSlide) -> None:
    slide.may_read.clear()  # a network drive that does not answer
    cache = ViewCache(slide)
    coarsest = cache.levels[2][:]
    assert (coarsest == 255).all()
    assert (cache.levels[0][:600, :600] == 255).all()
    slide.may_read.set()
    wait_until_read(cache)
    # napari keeps the array of the thumbnail, so the pixels appear in it.
    assert np.abs(coarsest - slide.read((0, 0, 5000, 6100), 4).astype(int)).max() <= 1
    cache.close()


def test_what_cannot_be_read_is_said_once(slide: SlowSlide, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> UInt8Array:
        raise ImageError("'biopsy' cannot be read any more; connect the drive again.")

    monkeypatch.setattr(slide, "read", gone)
    sentences: list[str] = []
    cache = ViewCache(slide, on_failure=sentences.append)
    wait_until_read(cache)
    cache.levels[0][:600, :600]
    wait_until_read(cache)
    cache.close()
    assert sentences == [
        "'biopsy' cannot be read any more; connect the drive again. What was read already stays on screen."
    ]


def test_a_window_answers_at_once_with_the_coarser_level(cache: ViewCache, slide: SlowSlide) -> None:
    coarse = cache.levels[2][:]
    slide.may_read.clear()  # the disk hangs from here on
    window = cache.levels[0][1000:2000, 3000:4500]
    rows, cols = np.arange(1000, 2000) // 4, np.arange(3000, 4500) // 4
    np.testing.assert_array_equal(window, coarse[rows[:, None], cols])
    assert cache.waiting > 0


def test_the_finest_coarser_chunk_is_enlarged(cache: ViewCache, slide: SlowSlide) -> None:
    cache.levels[1][:CHUNK_PX, :CHUNK_PX]
    wait_until_read(cache)
    middle = cache.levels[1][:CHUNK_PX, :CHUNK_PX]
    slide.may_read.clear()
    window = cache.levels[0][100:400, 200:300]
    np.testing.assert_array_equal(window, middle[np.arange(100, 400)[:, None] // 2, np.arange(200, 300) // 2])


def test_the_newest_request_is_read_first(cache: ViewCache, slide: SlowSlide) -> None:
    slide.may_read.clear()
    begun = len(slide.begun)
    cache.levels[0][:, :CHUNK_PX]  # ten chunks; four threads hold one each
    wait_until(lambda: len(slide.begun) == begun + 4)
    cache.levels[0][4000:4100, 5200:5300]
    before = len(slide.boxes)
    slide.may_read.set()
    wait_until_read(cache)
    order = slide.boxes[before:]
    newest = (3584, 5120, 4096, 5632)
    assert order.index(newest) <= 5 < len(order)


def test_arrivals_are_announced_and_memory_is_limited(slide: SlowSlide) -> None:
    arrived: list[tuple[int, int, int]] = []
    limit = 3 * CHUNK_PX * CHUNK_PX * 3
    cache = ViewCache(slide, arrived.append, limit_bytes=limit)
    cache.levels[0][:1500, :2000]
    wait_until_read(cache)
    coarsest = {(2, row, col) for row in range(3) for col in range(3)}
    expected = coarsest | {(0, row, col) for row in range(3) for col in range(4)}
    wait_until(lambda: len(arrived) >= len(expected))
    assert set(arrived) == expected
    assert len(arrived) == len(expected)
    assert sum(chunk.nbytes for chunk in cache._chunks.values()) <= limit
    cache.close()
    assert not any(thread.is_alive() for thread in cache._threads)


@pytest.mark.parametrize(
    "key", [np.s_[5], np.s_[5, 7], np.s_[..., 1], np.s_[10:2:-2, 3:3], np.s_[-5:, ::7], np.s_[:3]]
)
def test_slicing_equals_numpy(cache: ViewCache, key: object) -> None:
    level = cache.levels[2]
    np.testing.assert_array_equal(level[key], np.asarray(level)[key])
