"""Warms up the convolutions that spread a drawn prompt: a mask is read straight off them, without SAM's transformer.

A third of the cost of a whole answer, and a gradient that reaches them undiluted; the reader is thrown away.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ...encoders.tiny.tiny_prompts import MapPromptEncoder, SpreadingMaskDecoder
from .augment import Window
from .interactive import FirstPrompts, Plan, mask_losses, true_iou


class SpreadReader(nn.Module):
    """Spread features (B, C, h, w) -> mask logits (B, 1, 4h, 4w)."""

    def __init__(self, channels: int = SpreadingMaskDecoder.widths[0]) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, 16, kernel_size=1)
        self.shuffle = nn.PixelShuffle(4)

    def forward(self, spread: Tensor) -> Tensor:
        """Read a mask."""
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
    """Prompt some objects of a window once; gradients are accumulated in place.

    Args:
        prompt_encoder: The one that draws.
        mask_decoder: The one that spreads.
        reader: Reads the mask off.
        embedding: (1, 256, g, g).
        window: The window the embedding belongs to.
        offset_tokens: Place (row, col) of the window in the 64 x 64 token grid.
        plan: What is asked; one iteration.
        rng: Source of randomness.

    Returns:
        Mean loss and IoU; empty if the window has no object.
    """
    if not window.prompted:
        return {}
    device = embedding.device
    first = FirstPrompts.draw(window, offset_tokens, plan, rng)
    points = None
    if first.boxes is None:
        xy = torch.as_tensor(np.array(first.points), dtype=torch.float32, device=device)
        points = xy, torch.as_tensor(first.labels, device=device)
    rows, cols = (slice(start, start + embedding.shape[-1]) for start in offset_tokens)
    _, dense = prompt_encoder.embed(points, first.box(device), None, (rows, cols))
    goal = first.goal(device)
    logits = reader(mask_decoder.spread(embedding + dense)).float()
    loss = mask_losses(logits, goal).mean()
    (loss * plan.weight).backward()
    kind = "box" if points is None else "point"
    iou = float(true_iou(logits.detach(), goal).mean())
    return {"spread loss": float(loss.detach()), f"spread {kind} IoU": iou}
