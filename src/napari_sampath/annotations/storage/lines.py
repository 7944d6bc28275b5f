"""Lines of a journal: JSON objects with a number and a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...files import parse_json

_SUM_CHARS = 32
_SUM_START = b',"sum":"'
_BOM = b"\xef\xbb\xbf"


def seal(record: Mapping[str, Any], more: Mapping[str, Any] | str = "{}") -> bytes:
    """Encode a record, extended by `more` members (a mapping or JSON text), as one line with a checksum."""
    if not isinstance(more, str):
        record, more = {**record, **more}, "{}"
    text = json.dumps(record, allow_nan=False, separators=(",", ":"))
    body = (text[:-1] + ("," + more[1:-1] if len(more) > len("{}") else "")).encode()
    return body + _SUM_START + _sum(body) + b'"}\n'


def unseal(line: bytes) -> dict[str, Any]:
    """Decode a line written by `seal`, without its end.

    Raises:
        ValueError: If the checksum is wrong or the line is not a numbered record.
    """
    body, mark, rest = line.rpartition(_SUM_START)
    if not mark or rest != _sum(body) + b'"}':
        raise ValueError("the checksum is wrong")
    record = parse_json(body + b"}", len(line))
    number = record.get("seq") if isinstance(record, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError("the line is not a numbered record")
    return dict(record)


def split(content: bytes) -> Iterator[tuple[bytes, int, bool]]:
    """Split the content of a journal, also if a text tool changed its line ends or added a byte order mark.

    Yields:
        Each line without its end, the position after it, and whether it has an end; a last line without text is left
        out.
    """
    position = 0
    for line in content.splitlines(keepends=True):
        position += len(line)
        text = line.removeprefix(_BOM) if position == len(line) else line
        yield text.strip(), position, line[-1:] in b"\r\n"


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_SUM_CHARS].encode()
