"""Frozen networks that turn a tile into features."""

from . import mobile_sam, pathology, sam, sam_variants, timm_named, tiny  # noqa: F401  (register themselves)
from .base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, list_encoders, registry

__all__ = ["Encoder", "EncoderEntry", "EncoderInfo", "EncoderParts", "list_encoders", "registry"]
