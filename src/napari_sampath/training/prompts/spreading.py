"""Warm-up of the convolutions that spread prompts: they predict a mask directly, without SAM's transformer.

This takes a third of the time of a full prediction, and the gradients are stronger. `SpreadReader` is discarded after
training.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ...encoders.tiny.tiny_prompts import MapPromptEncoder, SpreadingMaskDecoder
from .interactive import FirstPrompts, Plan, mask_losses, true_iou
from .windows import Window


class SpreadReader(nn.Module):
    """Layer that maps spread prompt features (B, C, h, w) to mask logits (B, 1, 4h, 4w)."""

    def __init__(self, channels: int = SpreadingMaskDecoder.widths[0]) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 16, kernel_size=1)
        self.shuffle = nn.PixelShuffle(4)

    def forward(self, spread: Tensor) -> Tensor:
        """Predict mask logits."""
        logits: Tensor = self.shuffle(self.expand(spread))
        return logits


def spread_window(
    prompt_encoder: MapPromptEncoder,
    mask_decoder: SpreadingMaskDecoder,
    reader: SpreadReader,
    embedding: Tensor,
    window: Window,
    offset_tokens: tuple[int, int],
    plan: Plan,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Train on one prompt for each sampled object of a window, and accumulate gradients.

    `embedding` is (1, 256, g, g); `offset_tokens` is the position (row, col) of the window in the 64 x 64 token grid.
    Returns the mean loss and IoU; empty if the window has no object.
    """
    if not window.prompted:
        return {}
    device = embedding.device
    first = FirstPrompts.sample(window, offset_tokens, plan, rng)
    points = None
    if first.boxes is None:
        xy = torch.as_tensor(np.array(first.points), dtype=torch.float32, device=device)
        points = xy, torch.as_tensor(first.labels, device=device)
    rows, cols = (slice(start, start + embedding.shape[-1]) for start in offset_tokens)
    _, dense = prompt_encoder.embed(points, first.box_tensor(device), None, (rows, cols))
    truth = first.target_tensor(device)
    logits = reader(mask_decoder.spread(embedding + dense)).float()
    loss = mask_losses(logits, truth).mean()
    (loss * plan.weight).backward()
    kind = "box" if points is None else "point"
    iou = float(true_iou(logits.detach(), truth).mean())
    return {"spread loss": float(loss.detach()), f"spread {kind} IoU": iou}
