"""Frozen networks that turn a tile into features."""

from . import tiny  # noqa: F401  (registers itself)
from .base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, list_encoders, registry

__all__ = ["Encoder", "EncoderEntry", "EncoderInfo", "EncoderParts", "list_encoders", "registry"]
