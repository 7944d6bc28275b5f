"""Trained networks that map features to class logits."""

from . import autosam, cnn, forest, instance, linear, prompt_generator, sampath, surrogate, unet  # noqa: F401  (importing them registers their heads)
from .base import DirectHead, Head, create, list_heads, registry, stack_maps
from .bundle import EncoderRef, LoadedHead, Metadata, list_bundles, load_head, locate_bundle, save_bundle

__all__ = [
    "DirectHead",
    "EncoderRef",
    "Head",
    "LoadedHead",
    "Metadata",
    "create",
    "list_bundles",
    "list_heads",
    "load_head",
    "locate_bundle",
    "registry",
    "save_bundle",
    "stack_maps",
]
