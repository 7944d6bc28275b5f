"""Operations worked out beside the document, in a thread: thousands of objects come in without holding up a window."""

from __future__ import annotations

import json
from dataclasses import dataclass

from .document import Document
from .operations import Operation, label, operation_to_json
from .patch import Patch
from .recorder import Recorder


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An operation that has been done to a fork of a document; see `Edits.take`."""

    after: Document
    """The fork, as the operation left it."""
    patch: Patch
    """What changed."""
    record: str
    """The operation for the journal, as JSON."""
    label: str
    """What undo calls it."""
    follows: int
    """Number of the step that the document was forked after."""


def prepare(fork: Document, follows: int, operation: Operation) -> Prepared:
    """Do an operation to a fork.

    Raises:
        SampathError: As `Document.perform`; the fork is of no use any more.
    """
    recorder = Recorder(fork, by_tiles=True)
    recorder.do(operation)
    record = json.dumps(operation_to_json(operation), allow_nan=False, separators=(",", ":"))
    return Prepared(fork, recorder.patch(), record, label(operation), follows)
