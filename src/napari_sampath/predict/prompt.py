"""The prompt decoder: features + prompts -> low-resolution logits, in torch, for batches of prompts.

The mathematics is `segment_anything`'s own `PromptEncoder` and `MaskDecoder` (or subclasses with the same
interface); here is what does not depend on the prompt, kept from one prompt to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder, PromptEncoder


@dataclass(frozen=True, slots=True, eq=False)
class ActiveEmbedding:
    """What the decoder needs of one tile, made once and used for every prompt on it."""

    image: Tensor
    """(1, 256, 64, 64) float32, the encoder's embedding on the decoder's device."""
    position: Tensor
    """(1, 256, 64, 64) float32, the positional encoding of the grid."""


class PromptDecoder(nn.Module):
    """SAM's prompt encoder and mask decoder as one network.

    Args:
        prompt_encoder: Called as `(points, boxes, masks) -> (sparse, dense)`, all prompts together.
        mask_decoder: SAM's mask decoder.
    """

    position: Tensor

    def __init__(self, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        with torch.no_grad():
            position = prompt_encoder.get_dense_pe()
        self.register_buffer("position", position, persistent=False)

    @property
    def input_px(self) -> int:
        """Side of the square in which prompts are given, in pixels."""
        return int(self.prompt_encoder.input_image_size[0])

    def activate(self, embedding: Tensor) -> ActiveEmbedding:
        """Prepare a tile's embedding (256, 64, 64), of any float type and device, for prompts."""
        image = embedding.to(device=self.position.device, dtype=self.position.dtype)
        return ActiveEmbedding(image.unsqueeze(0), self.position)

    def forward(
        self,
        active: ActiveEmbedding,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Answer a batch of B prompts on one tile.

        Args:
            active: The tile.
            points: (B, N, 2) float32 points (x, y) in pixels of the square input, and (B, N) labels:
                1 positive, 0 negative, -1 none (to fill up a batch).
            boxes: (B, 4) float32 boxes (x0, y0, x1, y1) in pixels of the square input.
            masks: (B, 1, 256, 256) float32 logits, painted or of the previous answer.
            multimask: Three candidates a prompt, for what is ambiguous; otherwise one.

        Returns:
            (B, M, 256, 256) logits and (B, M) predicted IoU, M = 3 or 1.
        """
        sparse, dense = self.prompt_encoder(points=points, boxes=boxes, masks=masks)
        logits, scores = self.mask_decoder(
            image_embeddings=active.image,
            image_pe=active.position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        return logits, scores
