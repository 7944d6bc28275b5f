"""SAM's image encoder (Kirillov et al. 2023, after ViTDet, Li et al. 2022), computed without large intermediates.

The same function of the same named weights as `segment_anything.modeling.ImageEncoderViT`. What is left out is
waste: attention over the whole image keeps no (heads, 4096, 4096) matrices but goes through a fused kernel in
pieces; windows that stick out of the image are filled after the projection to queries, keys and values, which
there are the bias, not before it.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import torch
from segment_anything.modeling.common import LayerNorm2d, MLPBlock
from torch import Tensor, nn
from torch.nn import functional

from ..config import cpu_has_bfloat16

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .sam_format import Architecture

_BIAS_BYTES = 8 * 2**20
"""Bytes of relative-position bias at once, for each CPU thread: small enough for the last level of cache."""
_BIAS_BYTES_ELSEWHERE = 2**29
"""The same on other devices, where fewer and larger calls are better."""


class ImageEncoder(nn.Module):
    """Image (B, 3, S, S) -> tokens of its patches and, from them, the embedding.

    Args:
        architecture: Its sizes.
        channels: Of the embedding.
    """

    def __init__(self, architecture: Architecture, channels: int) -> None:
        super().__init__()
        width, grid = architecture.embed_dim, architecture.grid
        patches = nn.Conv2d(3, width, architecture.patch_px, stride=architecture.patch_px)
        self.patch_embed = nn.Sequential(OrderedDict(proj=patches))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, width))
        self.blocks = nn.ModuleList(
            Block(architecture, None if index in architecture.global_blocks else architecture.window)
            for index in range(architecture.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, channels, kernel_size=1, bias=False),
            LayerNorm2d(channels),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(channels),
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 3, S, S) to the embedding (B, channels, S / 16, S / 16) and tokens (B, D, S / 16, S / 16)."""
        hidden = self.patch_embed(pixels).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            hidden = block(hidden)
        tokens = hidden.permute(0, 3, 1, 2)
        return self.neck(tokens), tokens


class Block(nn.Module):
    """One block of the transformer, (B, H, W, D) -> (B, H, W, D).

    Args:
        architecture: Sizes of the encoder.
        window: Side of the windows within which it attends, in patches; None for the whole image.
    """

    def __init__(self, architecture: Architecture, window: int | None) -> None:
        super().__init__()
        width = architecture.embed_dim
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, architecture.heads, architecture.grid, window)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLPBlock(width, architecture.mlp_dim or 4 * width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, H, W, D) to (B, H, W, D)."""
        hidden = hidden + self.attn(self.norm1(hidden))
        mixed: Tensor = hidden + self.mlp(self.norm2(hidden))
        return mixed


class Attention(nn.Module):
    """Multi-head attention with SAM's decomposed relative positions, in windows or over the whole image.

    Args:
        width: Channels D.
        heads: Number of heads.
        grid: Side of the image in patches.
        window: Side of the windows in patches, None for one window that is the image.
    """

    def __init__(self, width: int, heads: int, grid: int, window: int | None) -> None:
        super().__init__()
        side = window or grid
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, H, W, D) to (B, H, W, D)."""
        batch, height, width, channels = hidden.shape
        qkv = self.qkv(hidden).flatten(0, 2)
        hw = (self.window, self.window) if self.window else (height, width)
        if self.window:
            places, outside, back = window_places(batch, height, width, self.window, hidden.device)
            # SAM fills up with zeros before this layer; what it makes of zeros is its bias.
            filling = self.qkv.bias.to(qkv.dtype).expand(len(outside), -1)
            qkv = qkv.index_select(0, places).index_copy(0, outside, filling)
        query, key, value = qkv.view(-1, hw[0] * hw[1], 3, self.heads, channels // self.heads).permute(
            2, 0, 3, 1, 4
        )
        mixed = attend(query, key, value, *self._relative_positions(query, hw))
        mixed = mixed.transpose(1, 2).reshape(-1, channels)
        if self.window:
            mixed = mixed.index_select(0, back)
        projected: Tensor = self.proj(mixed)
        return projected.view(hidden.shape)

    def _relative_positions(self, query: Tensor, hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Weigh the rows and the columns of keys for each query: (B, heads, N, H) and (B, heads, N, W)."""
        height, width = hw
        rows = self.rel_pos_h[differences(height, query.device)]
        cols = self.rel_pos_w[differences(width, query.device)]
        square = query.unflatten(2, hw)
        of_rows = torch.einsum("bnhwc,hkc->bnhwk", square, rows)
        of_cols = torch.einsum("bnhwc,wkc->bnhwk", square, cols)
        return of_rows.flatten(2, 3), of_cols.flatten(2, 3)


def attend(query: Tensor, key: Tensor, value: Tensor, of_rows: Tensor, of_cols: Tensor) -> Tensor:
    """Attend with the bias `of_rows[..., i, None] + of_cols[..., None, j]` for the key in row i, column j.

    The bias is made for as many queries at a time as `_BIAS_BYTES` hold, and never whole.

    Args:
        query: (B, heads, N, C).
        key: (B, heads, N, C).
        value: (B, heads, N, C).
        of_rows: (B, heads, N, H).
        of_cols: (B, heads, N, W), H * W = N.

    Returns:
        (B, heads, N, C).
    """
    if query.device.type == "cpu" and not cpu_has_bfloat16():
        # Without the instructions, the fused kernel takes 100 times as long in reduced precision.
        query, key, value = query.float(), key.float(), value.float()
    mixed = torch.empty_like(value.transpose(1, 2)).transpose(1, 2)
    for items, heads, queries in _pieces(query, key.shape[2]):
        part = items, heads, queries
        bias = (of_rows[part].unsqueeze(-1) + of_cols[part].unsqueeze(-2)).flatten(-2)
        with torch.autocast(query.device.type, enabled=False):
            mixed[part] = functional.scaled_dot_product_attention(
                query[part], key[items, heads], value[items, heads], attn_mask=bias.to(query.dtype)
            )
    return mixed


def _pieces(query: Tensor, keys: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cut (B, heads, N) so that a bias for `keys` keys takes no more than the bytes allowed."""
    on_cpu = query.device.type == "cpu"
    allowed = _BIAS_BYTES * torch.get_num_threads() if on_cpu else _BIAS_BYTES_ELSEWHERE
    room = max(1, allowed // (keys * query.element_size()))
    cuts = []
    for length in (query.shape[2], query.shape[1], query.shape[0]):
        step = min(length, room)
        room //= step
        cuts.append([slice(start, start + step) for start in range(0, length, step)])
    queries, heads, items = cuts
    return product(items, heads, queries)


@lru_cache(maxsize=16)
def differences(side: int, device: torch.device) -> Tensor:
    """Return (side, side) rows of a table of relative positions: that for query i and key j is `i - j + side - 1`."""
    with torch.inference_mode(False):
        places = torch.arange(side, device=device)
        return places[:, None] - places[None, :] + side - 1


@lru_cache(maxsize=16)
def window_places(
    batch: int, height: int, width: int, window: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Say which patch lies where when images are cut into windows that may stick out at the right and the bottom.

    Args:
        batch: Number of images.
        height: Of an image in patches.
        width: Of an image in patches.
        window: Side of a window in patches.
        device: Where the answer is needed.

    Returns:
        Patch (b * height + row) * width + column of each place in the windows, 0 outside the image; the places
        outside the image; and the place of each patch.
    """
    with torch.inference_mode(False):
        patches = torch.arange(batch * height * width, device=device).view(batch, height, width)
        filled = functional.pad(patches, (0, -width % window, 0, -height % window), value=-1)
        tiled = filled.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3).flatten()
        outside = (tiled < 0).nonzero().flatten()
        inside = (tiled >= 0).nonzero().flatten()
        back = torch.empty_like(inside).index_copy_(0, tiled[inside], inside)
        return tiled.clamp(min=0), outside, back
