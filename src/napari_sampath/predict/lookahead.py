"""Iteration in which threads compute the next items while the caller works on the current one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def map_ahead(
    function: Callable[[S], T], items: Iterable[S], threads: int, ahead: int, name: str
) -> Generator[T]:
    """Yield function(item) for each item, in order, computed in threads ahead of the caller.

    Args:
        function: Called in the threads.
        items: Read in the thread of the caller, at most `ahead` items before they are needed.
        threads: Number of threads.
        ahead: Largest number of results that are computed or waiting.
        name: Prefix of the names of the threads.
    """
    pool = ThreadPoolExecutor(threads, name)
    results: deque[Future[T]] = deque()
    try:
        for item in items:
            results.append(pool.submit(function, item))
            if len(results) >= ahead:
                yield results.popleft().result()
        while results:
            yield results.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def iterate_ahead(items: Iterator[T], ahead: int, name: str) -> Generator[T]:
    """Yield the items of an iterator, which runs in one thread up to `ahead` items before the caller."""
    pool = ThreadPoolExecutor(1, name)
    end = object()
    results = deque(pool.submit(next, items, end) for _ in range(ahead))
    try:
        while (item := results.popleft().result()) is not end:
            results.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
