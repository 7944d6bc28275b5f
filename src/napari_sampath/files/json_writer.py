"""Encoding of JSON in a worker without blocking the window."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..jobs import releasing_gil


def to_json(value: Any, levels: int = 2, ascii_only: bool = False) -> str:
    """Encode a value as compact JSON; NaN and infinity are refused.

    The encoder of Python holds the GIL until it has finished, about 0.1 s for 5,000 objects. Here, the outer containers
    are encoded member by member, and other threads can run in between.

    Args:
        value: The value; keys of mappings are text.
        levels: Number of outer levels that are encoded member by member.
        ascii_only: Whether other characters are escaped.

    Raises:
        ValueError: If a number is not finite.
    """
    if levels and isinstance(value, Mapping):
        members = (
            f"{to_json(key, 0, ascii_only)}:{to_json(member, levels - 1, ascii_only)}"
            for key, member in releasing_gil(value.items())
        )
        return f"{{{','.join(members)}}}"
    if levels and isinstance(value, list | tuple):
        return f"[{','.join(to_json(member, levels - 1, ascii_only) for member in releasing_gil(value))}]"
    return json.dumps(value, ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":"))
