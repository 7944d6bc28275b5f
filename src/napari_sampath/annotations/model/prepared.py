"""Perform operations on a fork of a document in another thread, so that adding thousands of objects does not block the
window.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...files.json_writer import to_json
from .document import Document
from .operations import Operation, label, object_files, operation_to_json, signature
from .patch import Patch
from .recorder import Recorder


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An operation that was performed on a fork of a document; `Edits.take` applies it to the document."""

    after: Document
    """The fork after the operation."""
    patch: Patch
    record: str
    """The operation as JSON, for the journal."""
    label: str
    """Noun phrase for messages, see `operations.label`."""
    follows: int
    """`Edits.number` at the time of the fork."""
    files: tuple[Path, ...] = ()
    """The files beside the journal that hold the objects of the operation."""


def prepare(fork: Document, follows: int, operation: Operation) -> Prepared:
    """Perform an operation on a fork; `follows` is `Edits.number` at the time of the fork.

    Raises:
        SampathError: As `perform`; do not use the fork afterwards.
    """
    recorder = Recorder(fork, by_tiles=True)
    recorder.do(operation)
    fields = {**operation_to_json(operation), **signature(fork)}
    # The operations of a batch have their own lists of objects.
    record = to_json(fields, levels=4 if "steps" in fields else 2, ascii_only=True)
    journal = fork.journal
    files = () if journal is None else tuple(journal.with_name(file.file) for file in object_files(operation))
    return Prepared(fork, recorder.patch(), record, label(operation), follows, files)
