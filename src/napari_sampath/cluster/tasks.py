"""Tasks of a job on the workers of a dask scheduler: they are submitted, waited for, and tried again elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ..errors import SampathError
from ..jobs import Job, Progress
from . import worker

_POLL_S = 0.5
"""Interval of progress reports in seconds."""
_RESULT_S = 10.0
"""Longest wait in seconds for the results of tasks that have finished, which can be lost with their worker."""
_LATE_S = 0.05
"""The same for one result, when others have been waited for so long."""
_LOST = (
    "was given up, because its workers were lost several times; look into their logs (often the memory is too small), "
    "and run the same command again."
)


def mapped(
    client: Any,
    workers: Sequence[str],
    function: Callable[..., Any],
    work: Mapping[str, int],
    label: str,
    unit: str,
    name_of: Callable[[str], str],
    on_result: Callable[[Any], object] = lambda _: None,
    with_next: bool = False,
) -> Job[dict[str, str]]:
    """Run a function on the workers for each name, and wait.

    Each worker gets consecutive names, so that neighbouring blocks share tiles; a worker that has finished its names
    takes over those of others. A call that fails on one worker is tried once more on another one, because a machine may
    have lost a folder or its GPU.

    Args:
        client: The connection.
        workers: Addresses of the workers that have been checked.
        function: Called with each name.
        work: Name -> its amount of work, for the progress.
        label: Description for the progress.
        unit: Unit of the progress.
        name_of: Describes a name in messages.
        on_result: Called with each return value.
        with_next: Call `function` also with the name that the worker gets next, or None.

    Returns:
        Name -> message of each call that failed.

    Raises:
        SampathError: If the connection to the scheduler is lost.
    """
    total, done, failed = sum(work.values()), 0, {}
    yield Progress(0, total, label, unit)
    tasks = _Tasks(client, workers, function, label)
    tasks.submit_all(work, with_next)
    try:
        while tasks.pending:
            for name, outcome in tasks.outcomes():
                if isinstance(outcome, worker.Failure):
                    failed[name] = f"{name_of(name)} {outcome.message}"
                else:
                    on_result(outcome)
                done += work[name]
            yield Progress(done, total, label, unit)
    finally:
        with contextlib.suppress(Exception):  # The connection may be lost.
            client.cancel(list(tasks.pending), force=True)
    return failed


class _Tasks:
    """The tasks of a job that have not finished.

    Args:
        client: The connection.
        workers: Addresses of the workers that have been checked; others may join later.
        function: Called with a name.
        label: Description of the job.

    Attributes:
        pending: Future -> (name, addresses of the workers where it should run; empty for any).
    """

    def __init__(self, client: Any, workers: Sequence[str], function: Callable[..., Any], label: str) -> None:
        from .. import __version__

        self.pending: dict[Any, tuple[str, Collection[str]]] = {}
        self._client = client
        self._workers = tuple(workers)
        self._function = partial(worker.attempt, __version__, function)
        self._label = label
        self._again: set[tuple[str, bool]] = set()
        """(name, whether its worker was lost) of the tasks that were submitted a second time."""

    def submit_all(self, work: Mapping[str, int], with_next: bool) -> None:
        """Give all tasks to the scheduler."""
        for number, (share, name, following) in enumerate(_shared(work, len(self._workers))):
            place = {
                "workers": [self._workers[share]],
                "allow_other_workers": True,
                "priority": -number,
            }
            names = (name, following) if with_next else (name,)
            future = self._client.submit(self._function, *names, pure=False, **place)
            self.pending[future] = name, self._workers

    def outcomes(self) -> Iterator[tuple[str, Any]]:
        """Wait for a while; yield the name and the return value, or a `worker.Failure`, of the tasks that have ended.

        Raises:
            SampathError: If the connection to the scheduler is lost.
        """
        present = self._present()
        self._release(present)
        end = time.monotonic() + _RESULT_S
        for future in self._finished():
            try:
                left = max(end - time.monotonic(), _LATE_S)
                error = future.exception(left)
                outcome = self._failure(error) if error is not None else future.result(left)
            except TimeoutError:  # The result is lost or late, so it is waited for again.
                continue
            name, _ = self.pending.pop(future)
            if not (isinstance(outcome, worker.Failure) and self._is_tried_again(name, outcome, present)):
                yield name, outcome

    def _present(self) -> set[str]:
        """Return the addresses of the workers that are there now."""
        with contextlib.suppress(Exception):  # If the connection is lost, `_finished` says so.
            return set(self._client.nthreads())
        return set()

    def _release(self, present: set[str]) -> None:
        """Submit tasks for any worker if all workers where they should run are gone.

        Tasks with a preferred worker, even if others are allowed, wait for ever if there was no worker at all for a
        moment, as when a single worker is lost and started again (distributed 2026.8, state "no-worker").
        """
        stuck = [
            future for future, (_, places) in self.pending.items() if places and present.isdisjoint(places)
        ]
        if not present or not stuck:
            return
        self._client.cancel(stuck, force=True)
        for future in stuck:
            self._submit(self.pending.pop(future)[0])

    def _submit(self, name: str, places: Collection[str] = ()) -> None:
        place = {"workers": list(places)} if places else {}
        self.pending[self._client.submit(self._function, name, pure=False, **place)] = name, places

    def _finished(self) -> list[Any]:
        """Wait until a task is finished, at most the interval of progress reports; returns those that are.

        Raises:
            SampathError: If the connection to the scheduler is lost.
        """
        from distributed import CancelledError, wait

        try:
            finished, _ = wait(list(self.pending), timeout=_POLL_S, return_when="FIRST_COMPLETED")
        except TimeoutError:
            return []
        except CancelledError as lost:
            raise SampathError(
                f"{self._label} ended early, because the connection to the scheduler was lost; start it and its "
                "workers again, and run the same command again to continue."
            ) from lost
        # Those that were lost with their worker count as finished, too, although they are computed again.
        return [future for future in finished if future.status != "lost"]

    @staticmethod
    def _failure(error: BaseException) -> worker.Failure:
        """Return the failure of a task that could not be called, or whose workers were lost."""
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return worker.Failure(None, _LOST)
        return worker.Failure("", f"failed: {worker.reason(error)}")

    def _is_tried_again(self, name: str, failure: worker.Failure, present: set[str]) -> bool:
        """Submit a task that failed once more, if there is another worker for it."""
        is_lost = failure.place is None
        places = () if is_lost else [at for at in self._workers if at in present and at != failure.place]
        if (name, is_lost) in self._again or not (is_lost or places):
            return False
        # All tasks that a lost worker had got are blamed; one by one, only the one that ends it is.
        self._again.add((name, is_lost))
        self._submit(name, places)
        return True


def _shared(work: Mapping[str, int], count: int) -> list[tuple[int, str, str | None]]:
    """Divide work into consecutive shares; returns the share of each name, the name, and the next one of its share."""
    from ..predict.whole_slide.slide_plan import shares

    names, parts = list(work), shares(list(work.values()), count)
    ahead = zip(names[1:], parts[1:], parts, strict=False)
    following = [name if part == previous else None for name, part, previous in ahead]
    return list(zip(parts, names, [*following, None], strict=False))
