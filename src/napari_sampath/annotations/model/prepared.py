"""Perform operations on a fork of a document in another thread, so that adding thousands of objects does not block the
window.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...jobs import releasing_gil
from .document import Document
from .operations import Operation, label, operation_to_json, signature
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


def prepare(fork: Document, follows: int, operation: Operation) -> Prepared:
    """Perform an operation on a fork; `follows` is `Edits.number` at the time of the fork.

    Raises:
        SampathError: As `perform`; do not use the fork afterwards.
    """
    recorder = Recorder(fork, by_tiles=True)
    recorder.do(operation)
    record = _to_text({**operation_to_json(operation), **signature(fork)})
    return Prepared(fork, recorder.patch(), record, label(operation), follows)


def _to_text(fields: Mapping[str, Any]) -> str:
    """Encode an operation as JSON, object by object; encoding 5,000 at once would hold the GIL for 50 ms."""
    members = []
    for key, value in fields.items():
        if isinstance(value, list):
            encode = _to_text if key == "steps" else _encode
            value_text = f"[{','.join(map(encode, releasing_gil(value)))}]"
        else:
            value_text = _encode(value)
        members.append(f"{_encode(key)}:{value_text}")
    return f"{{{','.join(members)}}}"


def _encode(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
