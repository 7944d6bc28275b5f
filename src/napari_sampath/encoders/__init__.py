"""Frozen networks that turn a tile into features."""

from . import (  # noqa: F401  (register themselves)
    aliased,
    double_norm,
    min_max,
    mobile_sam,
    pair,
    pathology,
    sam,
    sam_variants,
    timm_named,
    tiny,
)
from .base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, list_encoders, registry

__all__ = ["Encoder", "EncoderEntry", "EncoderInfo", "EncoderParts", "list_encoders", "registry"]
