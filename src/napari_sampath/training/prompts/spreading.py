"""Warm-up of the convolutions that spread prompts: they predict a mask directly, without SAM's transformer.

This takes a third of the time of a full prediction, and the gradients are stronger. `SpreadReader` is discarded after
training.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...encoders.tiny.tiny_prompts import MapPromptEncoder, SpreadingMaskDecoder
from .interactive import FirstPrompts, Plan, mask_losses, true_iou


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


def spread_objects(
    prompt_encoder: MapPromptEncoder,
    mask_decoder: SpreadingMaskDecoder,
    reader: SpreadReader,
    embeddings: Tensor,
    first: FirstPrompts,
    offset_tokens: tuple[int, int],
    plan: Plan,
) -> dict[str, Tensor]:
    """Train on one prompt for each object, and accumulate gradients.

    `embeddings` are (W, 256, g, g) of each window; `offset_tokens` is the position (row, col) of all windows in the
    64 x 64 token grid. Returns the mean loss and IoU, scalars on the device.
    """
    points = None if first.boxes is not None else (first.points, first.labels)
    rows, cols = (slice(start, start + embeddings.shape[-1]) for start in offset_tokens)
    _, dense = prompt_encoder.embed(points, first.boxes, None, (rows, cols))
    truth = first.targets.float()
    logits = reader(mask_decoder.spread(embeddings.index_select(0, first.windows()) + dense)).float()
    loss = (mask_losses(logits, truth).mean(dim=1) * first.weights(plan)).sum()
    loss.backward()
    kind = "box" if points is None else "point"
    return {
        "spread loss": loss.detach() / (plan.weight * len(first.counts)),
        f"spread {kind} IoU": true_iou(logits.detach(), truth).mean(),
    }
