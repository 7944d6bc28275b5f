"""Frozen networks that map a tile to features."""

from .base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, list_encoders, registry
from .pathology import pathology, timm_named  # noqa: F401  (importing them registers their encoders)
from .sam import mobile_sam, sam_variants  # noqa: F401
from .tiny import tiny  # noqa: F401
from .wrappers import aliased, double_norm, min_max, pair  # noqa: F401

__all__ = ["Encoder", "EncoderEntry", "EncoderInfo", "EncoderParts", "list_encoders", "registry"]
