"""SAM's prompt encoder and mask decoder with SAM's layer sizes, for encoders with SAM's neck."""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor

from ...arrays import GRID
from ...geometry import INPUT_PX

CHANNELS = 256
"""Channels of the embedding, and width of prompt encoder and mask decoder."""


class SingleMaskDecoder(MaskDecoder):
    """SAM's mask decoder for weights trained to predict one mask; returns one even if three are requested."""

    def forward(self, *args: Any, multimask_output: bool, **kwargs: Any) -> Any:
        """Return logits (B, 1, 256, 256) and predicted IoU (B, 1), ignoring `multimask_output`."""
        return super().forward(*args, multimask_output=False, **kwargs)


def build_prompt_encoder(grid: int = GRID, input_px: int = INPUT_PX) -> PromptEncoder:
    """Build a prompt encoder with random weights, for embeddings of `grid` cells and inputs of `input_px` per side."""
    return PromptEncoder(
        embed_dim=CHANNELS,
        image_embedding_size=(grid, grid),
        input_image_size=(input_px, input_px),
        mask_in_chans=16,
    )


def build_mask_decoder(kind: type[MaskDecoder] = MaskDecoder) -> MaskDecoder:
    """Build a mask decoder with random weights."""
    return kind(
        transformer_dim=CHANNELS,
        transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, mlp_dim=2048, num_heads=8),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )


def with_text(sparse: Tensor, dense: Tensor, text: Tensor | None) -> tuple[Tensor, Tensor]:
    """Add tokens of texts to embedded prompts.

    Args:
        sparse: (B, N, 256), or (1, 0, 256) if there are no other prompts.
        dense: (B, 256, h, w), or (1, 256, h, w) if there are no other prompts.
        text: (B, 1, 256); None changes nothing.

    Returns:
        Sparse embeddings (B, N + 1, 256) and dense ones (B, 256, h, w).
    """
    if text is None:
        return sparse, dense
    count = len(text)
    return torch.cat([sparse.expand(count, -1, -1), text], dim=1), dense.expand(count, -1, -1, -1)
