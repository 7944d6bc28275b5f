"""Frozen networks that turn a tile into features."""

from .base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, list_encoders, registry
from .pathology import pathology, timm_named  # noqa: F401  (register themselves)
from .sam import mobile_sam, sam, sam_variants  # noqa: F401
from .tiny import tiny  # noqa: F401
from .wrappers import aliased, double_norm, min_max, pair  # noqa: F401

__all__ = ["Encoder", "EncoderEntry", "EncoderInfo", "EncoderParts", "list_encoders", "registry"]
