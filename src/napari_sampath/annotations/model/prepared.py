"""Operations done to a fork of a document in another thread, so that thousands of objects do not block a window."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .document import Document
from .operations import Operation, label, operation_to_json
from .patch import Patch
from .recorder import Recorder


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An operation that was done to a fork of a document; see `Edits.take`."""

    after: Document
    """The fork after the operation."""
    patch: Patch
    record: str
    """The operation for the journal, as JSON."""
    label: str
    """Name of the step for undo."""
    follows: int
    """Number of the step after which the document was forked."""


def prepare(fork: Document, follows: int, operation: Operation) -> Prepared:
    """Do an operation to a fork.

    Raises:
        SampathError: As `perform`; the fork must not be used any more.
    """
    recorder = Recorder(fork, by_tiles=True)
    recorder.do(operation)
    record = json.dumps(operation_to_json(operation), allow_nan=False, separators=(",", ":"))
    return Prepared(fork, recorder.patch(), record, label(operation), follows)
