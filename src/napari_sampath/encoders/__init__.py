"""Frozen networks that turn a tile into features."""

from . import sam, tiny  # noqa: F401  (register themselves)
from .base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, list_encoders, registry

__all__ = ["Encoder", "EncoderEntry", "EncoderInfo", "EncoderParts", "list_encoders", "registry"]
