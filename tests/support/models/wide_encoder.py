"""Fast encoder with as many channels as SAM's embedding, and a promptable model that uses it."""

from __future__ import annotations

import dataclasses

import torch

from napari_sampath.arrays import FeatureMap, FeatureSpec
from napari_sampath.encoders import EncoderParts
from napari_sampath.encoders.sam.prompt_parts import build_mask_decoder, build_prompt_encoder
from napari_sampath.predict import Model
from napari_sampath.store import MemoryTier, Store
from support.models.patches import INFO, PatchEncoder


class WideEncoder(PatchEncoder):
    """`PatchEncoder` with as many channels as SAM's embedding, and with tokens."""

    def __init__(self, name: str = INFO.name) -> None:
        super().__init__()
        self.info = dataclasses.replace(INFO, name=name)
        self.spec = FeatureSpec((FeatureMap("embedding", 256, name), FeatureMap("tokens", 8, name)))
        generator = torch.Generator().manual_seed(1)
        self.widening = torch.nn.Parameter(torch.randn(256, 8, generator=generator) / 8)

    def forward(self, pixels):
        tokens = super().forward(pixels)["embedding"]
        return {"embedding": torch.einsum("ck,bkhw->bchw", self.widening, tokens), "tokens": tokens}


def promptable(encoder=None) -> Model:
    torch.manual_seed(0)
    parts = EncoderParts(encoder or WideEncoder(), build_prompt_encoder(), build_mask_decoder())
    return Model(parts, torch.device("cpu"), Store(MemoryTier(2**28)))
