"""Program of the process that `process.adapt_in_process_job` starts."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from typing import BinaryIO

from .process import Round


def main() -> None:
    """Read a `Round` from the standard input, carry it out, and write progress and result to the standard output."""
    # Other modules that print must not disturb the messages. The parent may have ended before.
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb") as messages:
        os.dup2(2, 1)
        _work(sys.stdin.buffer, messages)


def _work(source: BinaryIO, messages: BinaryIO) -> None:
    import torch

    from ....errors import SampathError
    from .adapt import adapt_job

    def send(message: object) -> None:
        pickle.dump(message, messages, protocol=5)
        messages.flush()

    task: Round = pickle.load(source)
    torch.set_num_threads(task.threads)
    job = adapt_job(task.prompt_encoder, task.mask_decoder, task.start, task.tiles, task.old, task.config)
    try:
        while True:
            try:
                send(next(job))
            except StopIteration as stop:
                send(stop.value)
                return
    except SampathError as error:
        send(error)
