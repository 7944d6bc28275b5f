"""Decode many points of one tile, each in a window that suits the expected size of the objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...arrays import GRID
from ..decoder.point_windows import decode_windows, points_per_batch, supports_windows
from .settings import CANDIDATE_SIZE_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from ...arrays import FloatArray
    from ..decoder.prompt_decoder import PromptDecoder

_SIDES = (8, 16, 24, 32, 48)
"""Possible sides of a window in cells; multiples of 8, which the decoder's U-Net needs."""
_CELLS_PER_DIAMETER = 2.5
"""Side of a window divided by the diameter of the object."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowLogits:
    """The best candidate of one point."""

    logits: FloatArray
    """(4 c, 4 c) float32, for a window of c x c cells."""
    predicted_iou: float
    origin_rc: tuple[int, int]
    """First row and column of the logits in the tile's 256 x 256 logits."""


def window_side(decoder: PromptDecoder, diameter_px: float) -> int:
    """Return the side of the windows, in cells, for objects of a diameter in pixels of the 1,024 px input."""
    needed = _CELLS_PER_DIAMETER * diameter_px * GRID / decoder.input_px
    fits = supports_windows(decoder)
    return next((side for side in _SIDES if fits and side >= needed), GRID)


def decode_points(
    decoder: PromptDecoder, embedding: Tensor, points_xy: FloatArray, side: int, area: float
) -> Iterator[list[WindowLogits]]:
    """Decode points in batches.

    Args:
        decoder: The prompt decoder.
        embedding: (256, 64, 64) features of the tile.
        points_xy: (N, 2) positive points (x, y) in pixels of the 1,024 px input.
        side: Side of the windows in cells, from `window_side`.
        area: Expected area of an object, in pixels of the logits.

    Yields:
        The best candidates of the points of each batch, in order.
    """
    xy = torch.as_tensor(points_xy, dtype=torch.float32).to(decoder.position.device)
    decode = _whole_tile if side == GRID else _windows
    size = decoder.batch if side == GRID else points_per_batch(side)
    for batch in xy.split(size):
        yield decode(decoder, embedding, batch, side, area)


def _whole_tile(
    decoder: PromptDecoder, embedding: Tensor, xy: Tensor, _: int, area: float
) -> list[WindowLogits]:
    labels = torch.ones(len(xy), 1, dtype=torch.int64, device=xy.device)
    logits, scores = decoder(decoder.activate(embedding), (xy[:, None], labels))
    return _best(logits, scores, [(0, 0)] * len(xy), area)


def _best(logits: Tensor, scores: Tensor, origins: list[tuple[int, int]], area: float) -> list[WindowLogits]:
    """Choose among the candidates (B, M, h, w) of each point by predicted IoU (B, M) and expected area."""
    areas = (logits > 0).sum(dim=(2, 3)).clamp(min=1)
    chosen = (scores - CANDIDATE_SIZE_WEIGHT * (areas / area).log().abs()).argmax(dim=1)
    rows = torch.arange(len(chosen), device=chosen.device)
    values = logits[rows, chosen].cpu().numpy().astype(np.float32)
    return list(map(WindowLogits, values, scores[rows, chosen].tolist(), origins))


def _windows(
    decoder: PromptDecoder, embedding: Tensor, xy: Tensor, side: int, area: float
) -> list[WindowLogits]:
    batch = decode_windows(decoder, embedding, xy, side)
    return _best(batch.logits, batch.scores, batch.origins_rc, area)
