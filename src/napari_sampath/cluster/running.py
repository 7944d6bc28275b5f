"""Jobs that hand blocks of a slide, or images, to the workers of a dask scheduler and wait for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, SampathError
from ..jobs import Job, Progress
from . import worker

if TYPE_CHECKING:
    from ..predict.instances.settings import InstanceSettings
    from ..predict.whole_slide import SlidePlan, SlideRun
    from .spec import EncodeSpec, ModelSpec, SlideSpec

CONNECT_S = 10
"""How long to wait for the scheduler and for its first worker, in seconds."""
_POLL_S = 0.5
_RESULT_S = 10.0
"""Longest wait for a result, which can be lost with its worker after its task has finished."""
"""Interval of progress reports in seconds."""


def cluster_slide_job(
    plan: SlidePlan, spec: SlideSpec, address: str, objects: InstanceSettings | None = None
) -> Job[tuple[SlideRun, tuple[str, ...]]]:
    """Make a job that computes the blocks of a slide on the workers of a scheduler.

    Args:
        plan: The run; its result exists.
        spec: The same run for the workers.
        address: Address of the scheduler, such as "tcp://host:8786".
        objects: How objects are separated, if they are.

    Returns:
        The result, and a sentence for each block that failed; the others are complete.

    Raises:
        ConfigError: If dask.distributed is not installed, or there is no scheduler or worker at the address.
        SampathError: If a worker cannot take part.
    """
    from ..formats.maps.slide_objects import BlockObjectStore
    from ..predict.whole_slide import SlideRun, slide_objects_job
    from ..predict.whole_slide.objects_job import is_ready, settings_name

    plan.mark_blank()
    result = plan.result
    missing = {block.name: block for block in plan.wanted if not result.is_done(block)}
    with _connected(address) as client:
        workers = _check_workers(client, address, partial(worker.plan_of, spec))
        tiles = {name: plan.tiles(block) for name, block in missing.items()}
        compute = partial(worker.compute_block, spec)
        failed = yield from _mapped(
            client, workers, compute, tiles, plan.label, "tiles", _block_name, with_next=True
        )
        found = None
        if objects is not None and not failed:
            store = BlockObjectStore(result.path, settings_name(objects))
            ready = [
                block for block in result.blocks if not store.has(block.name) and is_ready(result, block)
            ]
            names = {block.name: 1 for block in ready}
            separate = partial(worker.separate_objects, spec, settings=objects)
            label = "Separating objects"
            failed = yield from _mapped(client, workers, separate, names, label, "blocks", _block_name)
    if objects is not None and not failed:
        found = yield from slide_objects_job(result, objects)
    computed = sum(result.is_done(block) for block in missing.values())
    skipped = len(plan.wanted) - len(missing)
    return SlideRun(result.path, len(result.blocks), computed, skipped, plan.notes, found), tuple(
        failed.values()
    )


def cluster_encode_job(
    spec: EncodeSpec, paths: Sequence[str], address: str
) -> Job[tuple[int, dict[str, str]]]:
    """Make a job that encodes images on the workers of a scheduler.

    Args:
        spec: How they are encoded.
        paths: The images; all workers see them and share the folder of the feature store.
        address: Address of the scheduler.

    Returns:
        The number of tiles, and path -> message of each image that failed.

    Raises:
        ConfigError: If dask.distributed is not installed, or there is no scheduler or worker at the address.
        SampathError: If a worker cannot take part.
    """
    with _connected(address) as client:
        workers = _check_workers(client, address, partial(worker.model_of, spec.model))
        tiles: list[int] = []
        work = dict.fromkeys(paths, 1)
        encode = partial(worker.encode_image, spec)
        label = "Encoding images"
        failed = yield from _mapped(client, workers, encode, work, label, "images", str, tiles.append)
    return sum(tiles), failed


def common_precision(address: str, spec: ModelSpec) -> str:
    """Return the precision in which all workers run an encoder.

    Raises:
        ConfigError: If they differ, or there is no scheduler or worker at the address.
    """
    with _connected(address) as client:
        answers: Mapping[str, str] = _ask(client, address, worker.precision_of, spec)
    if len(set(answers.values())) > 1:
        each = ", ".join(f"{place}: {precision}" for place, precision in sorted(answers.items()))
        raise ConfigError(
            f"The workers would compute in different precisions ({each}); give one with --precision, such as float32."
        )
    return next(iter(answers.values()))


def _block_name(name: str) -> str:
    row, col = name.split("_")
    return f"The block in row {row}, column {col}"


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect to a scheduler that has workers."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            "--scheduler needs dask.distributed, which is not installed; run 'pip install napari-sampath[cluster]'."
        ) from error
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"No dask scheduler answers at '{address}'; start one with 'dask scheduler' and give the address that it "
            "prints, such as tcp://host:8786."
        ) from error
    except (TypeError, RuntimeError) as error:
        raise ConfigError(
            f"The settings of dask do not fit '{address}' ({error}); check those for TLS, or give a tcp:// address."
        ) from error
    with client, client.as_current():
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError as error:
            raise ConfigError(
                f"The scheduler at '{address}' has no workers; start at least one with 'dask worker {address} "
                "--nthreads 1'."
            ) from error
        yield client


def _check_workers(client: Any, address: str, action: Callable[[], object]) -> list[str]:
    """Return the addresses of all workers, or raise an error unless they have this version and can take part."""
    from .. import __version__

    answers: Mapping[str, tuple[str, str]] = _ask(client, address, worker.check, action)
    for place, (version, message) in answers.items():
        if version != __version__:
            raise ConfigError(
                f"The worker {place} has version {version} of napari-sampath and this machine {__version__}; install "
                "the same version on all machines."
            )
        if message:
            raise SampathError(f"The worker {place} cannot take part: {message}")
    return sorted(answers)


def _ask(client: Any, address: str, function: Callable[..., Any], *args: Any) -> Mapping[str, Any]:
    """Call a function on all workers and return worker -> value, or raise an error if one has another version."""
    from .. import __version__

    try:
        answers: Mapping[str, Any] = client.run(worker.in_thread, function, *args)
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"A worker of '{address}' has no napari-sampath {__version__} ({error}); install this version on all "
            "machines."
        ) from error
    return answers


def _mapped(
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
    takes over those of others.

    Args:
        client: The connection.
        workers: Addresses of the workers.
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
    futures = _submitted(client, workers, function, work, with_next)
    pending, again = set(futures), set[str]()
    try:
        while pending:
            workers, moved = _moved(client, workers, pending, futures, function)
            finished, pending = _waited(moved, label)
            for future in finished:
                name = futures[future]
                error, result, waits = _outcome(client, future, function, name, again)
                if waits is not None:
                    futures[waits] = name
                    pending = {*pending, waits}
                    continue
                if error is None:
                    on_result(result)
                else:
                    failed[name] = _message(name_of(name), error)
                done += work[name]
            yield Progress(done, total, label, unit)
    finally:
        with contextlib.suppress(Exception):  # The connection may be lost.
            client.cancel(list(pending), force=True)
    return failed


def _submitted(
    client: Any,
    workers: Sequence[str],
    function: Callable[..., Any],
    work: Mapping[str, int],
    with_next: bool,
) -> dict[Any, str]:
    """Give all tasks to the scheduler; returns future -> name."""
    futures = {}
    for number, (share, name, following) in enumerate(_shared(work, len(workers))):
        place = {"workers": [workers[share]], "allow_other_workers": True, "priority": -number}
        names = (name, following) if with_next else (name,)
        futures[client.submit(function, *names, pure=False, **place)] = name
    return futures


def _outcome(
    client: Any, future: Any, function: Callable[..., Any], name: str, again: set[str]
) -> tuple[BaseException | None, Any, Any]:
    """Return the error and the result of a finished task, and the future to wait for if it has to be waited for again.

    `again` has the names that were submitted a second time.
    """
    try:
        error = future.exception(_RESULT_S)
        result = future.result(_RESULT_S) if error is None else None
    except TimeoutError:  # The result is lost or late.
        return None, None, future
    if not _is_lost(error) or name in again:
        return error, result, None
    # All tasks that a lost worker had got are blamed; one by one, only the one that ends it is.
    again.add(name)
    return None, None, client.submit(function, name, pure=False)


def _moved(
    client: Any,
    workers: Sequence[str],
    pending: set[Any],
    futures: dict[Any, str],
    function: Callable[..., Any],
) -> tuple[Sequence[str], set[Any]]:
    """Submit the pending tasks again if all workers have been replaced; returns the workers and the pending tasks.

    Tasks with a preferred worker, even if others are allowed, wait for ever if there was no worker at all for a moment,
    as when a single worker is lost and started again (distributed 2026.8, state "no-worker").
    """
    present: list[str] = []
    with contextlib.suppress(Exception):  # If the connection is lost, `_waited` says so.
        present = sorted(client.nthreads())
    if not present or set(present) & set(workers):
        return workers, pending
    client.cancel(list(pending), force=True)
    moved = {client.submit(function, futures[future], pure=False): futures[future] for future in pending}
    futures |= moved
    return present, set(moved)


def _waited(pending: set[Any], label: str) -> tuple[set[Any], set[Any]]:
    """Wait until a task is finished, at most the interval of progress reports; returns the finished and the others.

    Raises:
        SampathError: If the connection to the scheduler is lost.
    """
    from distributed import CancelledError, wait

    try:
        finished, others = wait(pending, timeout=_POLL_S, return_when="FIRST_COMPLETED")
    except TimeoutError:
        return set(), pending
    except CancelledError as lost:
        raise SampathError(
            f"{label} ended early, because the connection to the scheduler was lost; start it and its workers "
            "again, and run the same command again to continue."
        ) from lost
    return finished, others


def _shared(work: Mapping[str, int], count: int) -> list[tuple[int, str, str | None]]:
    """Divide work into consecutive shares; returns the share of each name, the name, and the next one of its share."""
    from ..predict.whole_slide.slide_plan import shares

    names, parts = list(work), shares(list(work.values()), count)
    ahead = zip(names[1:], parts[1:], parts, strict=False)
    following = [name if part == previous else None for name, part, previous in ahead]
    return list(zip(parts, names, [*following, None], strict=False))


def _is_lost(error: BaseException | None) -> bool:
    """Return True if a task failed because its workers were lost several times."""
    from distributed.scheduler import KilledWorker

    return isinstance(error, KilledWorker)


def _message(what: str, error: BaseException) -> str:
    if _is_lost(error):
        return (
            f"{what} was given up, because its workers were lost several times; look into their logs (often the memory "
            "is too small), and run the same command again."
        )
    if isinstance(error, SampathError):
        return f"{what} failed: {error}"
    return f"{what} failed ({type(error).__name__}: {error}); run the same command again."
