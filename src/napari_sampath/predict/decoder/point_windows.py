"""Decoding of points and boxes in windows of a tile, for small objects.

A small object does not depend on cells far away, so for `sampath-tiny`, which is trained on parts of tiles, the decoder
reads a window around each prompt. A window of 16 x 16 cells takes about a tenth of the time of the whole tile, one of
8 x 8 cells a thirtieth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from ...arrays import GRID
from ...encoders.tiny.tiny_prompts import MapPromptEncoder

if TYPE_CHECKING:
    from torch import Tensor

    from ...encoders.tiny.tiny_prompts import SpreadingMaskDecoder
    from .prompt_decoder import PromptDecoder

_CELLS_PER_BATCH = 4096


@dataclass(frozen=True, slots=True, eq=False)
class WindowCandidates:
    """The candidates of a batch of prompts."""

    logits: Tensor
    """(B, 3, 4 c, 4 c), for windows of c x c cells."""
    scores: Tensor
    """(B, 3) predicted IoU."""
    origins_rc: list[tuple[int, int]]
    """First row and column of each window in the tile's 256 x 256 logits."""


def supports_windows(decoder: PromptDecoder) -> bool:
    """Return whether a decoder can read windows of a tile."""
    return isinstance(decoder.prompt_encoder, MapPromptEncoder)


def points_per_batch(side: int) -> int:
    """Return how many points are decoded at once in windows of `side` cells."""
    return max(1, _CELLS_PER_BATCH // side**2)


@torch.inference_mode()
def decode_windows(
    decoder: PromptDecoder, embedding: Tensor, xy: Tensor, side: int, boxes: Tensor | None = None
) -> WindowCandidates:
    """Decode points or boxes, each in a window of the tile.

    Args:
        decoder: A prompt decoder for which `supports_windows` is true.
        embedding: (256, 64, 64) features of the tile.
        xy: (B, 2) float32 centres (x, y) of the windows in pixels of the square input, on the device of the decoder;
            without boxes, they are positive points.
        side: Side of the windows in cells, a multiple of 8, which the decoder's U-Net needs.
        boxes: (B, 4) float32 boxes (x0, y0, x1, y1) in the same pixels.
    """
    prompts = cast("MapPromptEncoder", decoder.prompt_encoder)
    masks = cast("SpreadingMaskDecoder", decoder.mask_decoder)
    # Cut a window out of the features and of their positions around each point.
    cell_px = decoder.input_px // GRID
    first = (xy / cell_px - side / 2).round().clamp(0, GRID - side).to(torch.int64)
    places = [(slice(row, row + side), slice(col, col + side)) for col, row in first.tolist()]
    cells = torch.stack([embedding[:, rows, cols] for rows, cols in places]).to(decoder.position)
    position = torch.stack([decoder.position[0][:, rows, cols] for rows, cols in places])
    # Embed the prompts: tokens by their place in the tile, maps by their place in the window.
    labels = torch.ones(len(xy), 1, dtype=torch.int64, device=xy.device)

    def embed(offset: Tensor, size: int) -> tuple[Tensor, Tensor]:
        part = slice(0, size), slice(0, size)
        if boxes is None:
            return prompts.embed(((xy - offset)[:, None], labels), None, None, part)
        return prompts.embed(None, (boxes.view(-1, 2, 2) - offset[:, None]).view(-1, 4), None, part)

    origin = cell_px * first
    tokens, _ = embed(torch.zeros_like(origin), 8)
    _, dense = embed(origin, side)
    dense = masks.spread_prompt(cells, dense)
    # Continue as in SAM's mask decoder.
    output = torch.cat([masks.iou_token.weight, masks.mask_tokens.weight]).expand(len(xy), -1, -1)
    attended, attended_cells = masks.transformer(cells + dense, position, torch.cat([output, tokens], dim=1))
    scores = masks.iou_prediction_head(attended[:, 0])[:, 1:]
    networks = masks.output_hypernetworks_mlps
    kernels = torch.stack([networks[n](attended[:, 1 + n]) for n in range(1, len(networks))], dim=1)
    upscaled = masks.output_upscaling(attended_cells.transpose(1, 2).reshape_as(cells))
    logits = torch.einsum("bmc,bchw->bmhw", kernels, upscaled)
    return WindowCandidates(logits, scores, [(4 * row, 4 * col) for col, row in first.tolist()])
