"""Connections to a dask scheduler, and checks of its workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, SampathError
from . import worker

if TYPE_CHECKING:
    from .spec import ModelSpec

CONNECT_S = 10
"""How long to wait for the scheduler and for its first worker, in seconds."""
SILENT_S = 60.0
"""How long a worker may be silent while it is checked, in seconds; the check itself, such as loading a model or waiting
for the end of a block, may take longer."""


class _WithoutAllExit(logging.Filter):
    """Drops what asyncio logs if a wait for a result is given up and its worker is lost later: it is no error."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for these records."""
        return not record.exc_info or getattr(record.exc_info[0], "__name__", "") != "AllExit"


_WITHOUT_ALL_EXIT = _WithoutAllExit()


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
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
    logging.getLogger("asyncio").addFilter(_WITHOUT_ALL_EXIT)
    with client, client.as_current():
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError as error:
            raise ConfigError(
                f"The scheduler at '{address}' has no workers; start at least one with 'dask worker {address} "
                "--nthreads 1'."
            ) from error
        yield client


def check_workers(client: Any, address: str, action: Callable[[], object]) -> list[str]:
    """Return the addresses of all workers, or raise an error unless they have this version and can take part."""
    from .. import __version__

    answers: Mapping[str, tuple[str, str]] = ask(client, address, worker.check, action)
    for place, (version, message) in answers.items():
        if version != __version__:
            raise ConfigError(
                f"The worker {place} has version {version} of napari-sampath and this machine {__version__}; install "
                "the same version on all machines."
            )
        if message:
            raise SampathError(f"The worker {place} cannot take part: {message}")
    return sorted(answers)


def ask(client: Any, address: str, function: Callable[..., Any], *args: Any) -> Mapping[str, Any]:
    """Call a function on all workers and return worker -> value, or raise an error if one has another version."""
    from .. import __version__

    try:
        answers: Mapping[str, Any] = client.sync(_answers, client, function, *args)
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"A worker of '{address}' has no napari-sampath {__version__} ({error}); install this version on all "
            "machines."
        ) from error
    except OSError as error:
        raise SampathError(
            f"A worker of '{address}' was lost while it was checked ({error}); run the same command again."
        ) from error
    return answers


async def _answers(client: Any, function: Callable[..., Any], *args: Any) -> Mapping[str, Any]:
    """Call a function on all workers, and ask them now and then whether they are alive."""
    call = asyncio.ensure_future(client.run(worker.in_thread, function, *args))
    try:
        while not (await asyncio.wait([call], timeout=SILENT_S / 4))[0]:
            answered = await asyncio.gather(*(_answers_ping(client, at) for at in await client.nthreads()))
            if silent := sorted(at for at, is_alive in answered if not is_alive):
                raise SampathError(
                    f"The worker {silent[0]} has not answered for {SILENT_S:.0f} s; end it or start it again, and run "
                    "the same command again."
                )
        answers: Mapping[str, Any] = call.result()
        return answers
    finally:
        call.cancel()


async def _answers_ping(client: Any, place: str) -> tuple[str, bool]:
    """Return the address of a worker, and whether it answers; one that is lost ends the call on all of them."""
    with contextlib.suppress(OSError, AttributeError):
        pinged = asyncio.ensure_future(client.run(worker.ping, workers=[place]))
        done, _ = await asyncio.wait([pinged], timeout=SILENT_S)
        if not done:
            pinged.cancel()
            return place, False
        pinged.result()
    return place, True


def common_precision(address: str, spec: ModelSpec) -> str:
    """Return the precision in which all workers run an encoder.

    Raises:
        ConfigError: If they differ, or there is no scheduler or worker at the address.
    """
    with connected(address) as client:
        answers: Mapping[str, str] = ask(client, address, worker.precision_of, spec)
    if len(set(answers.values())) > 1:
        each = ", ".join(f"{place}: {precision}" for place, precision in sorted(answers.items()))
        raise ConfigError(
            f"The workers would compute in different precisions ({each}); give one with --precision, such as float32."
        )
    return next(iter(answers.values()))
