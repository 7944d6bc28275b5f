"""Names of the settings of objects, by which results of different settings are told apart."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..instances.settings import InstanceSettings


def settings_name(settings: InstanceSettings) -> str:
    """Return a name for the settings that the objects of the head depend on: 16 hex digits."""
    values = asdict(settings)
    # These concern the outlines of the prompt decoder, or the depth, which slides do not use.
    for name in ("agreement", "outlines", "min_score"):
        del values[name]
    return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]


def objects_name(settings: InstanceSettings, outlines: str | None) -> str:
    """Return a name for everything that the final objects depend on.

    Args:
        settings: How objects are separated.
        outlines: Name of the outlines of the prompt decoder; None if the outlines are those of the head.
    """
    return settings_name(settings) if outlines is None else f"{outlines}-{settings.agreement!r}"
