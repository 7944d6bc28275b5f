"""A round of adaptation in a process of low priority, so that clicks are answered as quickly as without it.

A thread would compete with the answers to clicks for processor cores and for the GIL. The process gets the modules and
the examples through a pipe from its parent, and sends its progress and its result back.
"""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from segment_anything.modeling import MaskDecoder, PromptEncoder

from ....errors import ConfigError
from ....jobs import Job, Progress
from ....predict.decoder.prompt_decoder import PromptDecoder
from ....predict.threads import giving_way
from .adapt import AdaptationConfig, AdaptationResult, Weights
from .examples import ExampleTile

_PROGRAM = """
import os
if hasattr(os, "nice"):
    os.nice({nice})
from {package}.worker import main
main()
"""
"""Program that lowers its priority before the slow imports."""


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """Arguments of `adapt_job`."""

    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder
    start: Weights | None
    tiles: Sequence[ExampleTile]
    old: Sequence[ExampleTile]
    config: AdaptationConfig
    threads: int = 1
    """Number of threads."""
    nice: int = 19
    """Priority of the process, from 19, the lowest, to 0, that of other programs; not on Windows."""

    @classmethod
    def of(
        cls,
        decoder: PromptDecoder,
        tiles: Sequence[ExampleTile],
        old: Sequence[ExampleTile],
        config: AdaptationConfig | None = None,
    ) -> Round:
        """Return a round that begins with a decoder in use."""
        original = decoder.original
        start = None
        if decoder is not decoder.original:
            start = {key: value.cpu() for key, value in decoder.mask_decoder.state_dict().items()}
        threads = max(1, (os.cpu_count() or 1) // 2)
        prompt_encoder, mask_decoder = (
            copy.deepcopy(part).cpu() for part in (original.prompt_encoder, original.mask_decoder)
        )
        return cls(prompt_encoder, mask_decoder, start, tiles, old, config or AdaptationConfig(), threads)


def adapt_in_process_job(task: Round) -> Job[AdaptationResult]:
    """Make a job that carries out a round in a process of low priority; cancelling it ends the process.

    Raises:
        SampathError: As `adapt_job`.
        ConfigError: If the process cannot be started, or ends without a result.
    """
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.IDLE_PRIORITY_CLASS
    command = [sys.executable, "-c", _PROGRAM.format(nice=task.nice, package=__package__)]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, creationflags=flags
        )
    except OSError as error:
        raise _failure(str(error)) from error
    try:
        with giving_way(task.threads):
            return (yield from _follow(process, task))
    finally:
        process.kill()
        process.communicate()


def _follow(process: subprocess.Popen[bytes], task: Round) -> Job[AdaptationResult]:
    """Send the task, and report the progress of the process until its result arrives."""
    if process.stdin is None or process.stdout is None:
        raise _failure("it has no pipes")
    try:
        pickle.dump(task, process.stdin, protocol=5)
        process.stdin.flush()
        while True:
            message = pickle.load(process.stdout)
            if isinstance(message, Exception):
                raise message
            if isinstance(message, AdaptationResult):
                return message
            if isinstance(message, Progress):
                yield message
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        raise _failure(str(error) or "it ended early") from error


def _failure(reason: str) -> ConfigError:
    return ConfigError(
        f"The process that adapts the model to your objects failed ({reason}); switch the adaptation off, or use "
        "'sampath tune --from-dataset'."
    )
