"""The layer for text prompts in weights files made by `sampath tune --prompt clip`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors

from ...errors import WeightsError
from ...files import from_json, parse_json
from ..base import EncoderParts
from ..text_projection import TextModelId, TextProjection

_RECORD = "text_prompts"
"""Key of the text model in the training record of a weights file."""


def add_projection(parts: EncoderParts, path: Path | None) -> EncoderParts:
    """Add the layer for text prompts to parts that were built from a weights file, if the file contains one.

    Args:
        parts: The other parts.
        path: The weights file, or None for shipped weights, which have no such layer.

    Raises:
        WeightsError: If the layer cannot be read.
    """
    projection = None if path is None or not path.is_file() else _read(path)
    return parts if projection is None else replace(parts, text_projection=projection)


def text_record(parts: EncoderParts) -> dict[str, object]:
    """Return the entry on text prompts in the training record of a weights file; empty without text prompts."""
    projection = parts.text_projection
    return {} if projection is None else {_RECORD: asdict(projection.text_model)}


def _read(path: Path) -> TextProjection | None:
    try:
        file: Any = safetensors.safe_open(path, framework="pt")
    except (safetensors.SafetensorError, OSError):  # a file of PyTorch
        return None
    with file:
        record = _parse((file.metadata() or {}).get("sampath"))
        if _RECORD not in record:
            return None
        try:
            projection = TextProjection(from_json(TextModelId, record[_RECORD]))
            state = {name: file.get_tensor(f"text_projection.{name}").float() for name in ("weight", "bias")}
            projection.load_state_dict(state)
        except (safetensors.SafetensorError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise WeightsError(
                f"The layer for text prompts in '{path}' cannot be read ({reason}); copy the file again, or train it "
                "again."
            ) from error
    return projection


def _parse(text: str | None) -> dict[str, object]:
    try:
        record = parse_json(text or "{}")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
