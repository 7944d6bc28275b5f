"""SAM's image encoder (Kirillov et al. 2023, after ViTDet, Li et al. 2022), without large intermediate tensors.

Weights and outputs match those of `segment_anything.modeling.ImageEncoderViT`. It saves memory in two places: global
attention runs in chunks through a fused kernel instead of storing matrices of (heads, 4096, 4096), and windows that
extend beyond the image are padded after the projection to queries, keys and values, where a padded patch is its bias.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from segment_anything.modeling.common import LayerNorm2d, MLPBlock
from torch import Tensor, nn
from torch.nn import functional

from ...config import cpu_has_bfloat16
from .sam_format import Architecture

_BIAS_BYTES = 8 * 2**20
"""Maximum bytes of relative-position bias per chunk and CPU thread; fits in the last-level cache."""
_BIAS_BYTES_ELSEWHERE = 2**29
"""Maximum bytes per chunk on other devices, where fewer and larger calls are faster."""


class ImageEncoder(nn.Module):
    """SAM's ViT; returns the tokens of the patches and the embedding computed from them.

    Args:
        architecture: Sizes of the network.
        channels: Channels of the embedding.
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
        # Embed patches and add positions
        hidden = self.patch_embed(pixels).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            hidden = block(hidden)
        # Reduce the tokens to the embedding
        tokens = hidden.permute(0, 3, 1, 2)
        return self.neck(tokens), tokens


class Block(nn.Module):
    """One block of the transformer, (B, H, W, D) -> (B, H, W, D).

    Args:
        architecture: Sizes of the encoder.
        window: Side of the attention windows in patches; None for attention over the whole image.
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
        window: Side of the windows in patches; None for the whole image.
    """

    def __init__(self, width: int, heads: int, grid: int, window: int | None) -> None:
        super().__init__()
        self.differences: Tensor
        self.places: Tensor
        self.outside: Tensor
        self.back: Tensor
        side = window or grid
        self.heads, self.window, self.side = heads, window, side
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.register_buffer("differences", differences(side), persistent=False)
        for name, table in zip(("places", "outside", "back"), window_places(grid, side), strict=True):
            self.register_buffer(name, table if window else None, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, H, W, D) to (B, H, W, D)."""
        batch, channels = hidden.shape[0], hidden.shape[-1]
        # Project to queries, keys and values
        qkv = self.qkv(hidden).flatten(1, 2)
        if self.window:
            # Gather patches into windows; SAM pads with zeros before the projection, which turns them into its bias
            padding = self.qkv.bias.to(qkv.dtype).expand(batch, len(self.outside), -1)
            qkv = qkv.index_select(1, self.places).index_copy(1, self.outside, padding)
        # Split into heads: (B * windows, patches, 3, heads, C) -> three times (B * windows, heads, patches, C)
        split = qkv.reshape(-1, self.side**2, 3, self.heads, channels // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        # Attend with relative positions, and merge the heads
        mixed = attend(query, key, value, *self._relative_positions(query))
        mixed = mixed.transpose(1, 2).reshape(batch, -1, channels)
        # Reorder the patches from windows to image, without the padding
        if self.window:
            mixed = mixed.index_select(1, self.back)
        projected: Tensor = self.proj(mixed)
        return projected.view(hidden.shape)

    def _relative_positions(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Compute for each query the bias of each key row and each key column, both (B, heads, N, side)."""
        square = query.unflatten(2, (self.side, self.side))
        row_bias = torch.einsum("bnhwc,hkc->bnhwk", square, self.rel_pos_h[self.differences])
        col_bias = torch.einsum("bnhwc,wkc->bnhwk", square, self.rel_pos_w[self.differences])
        return row_bias.flatten(2, 3), col_bias.flatten(2, 3)


def attend(query: Tensor, key: Tensor, value: Tensor, row_bias: Tensor, col_bias: Tensor) -> Tensor:
    """Compute attention with the bias `row_bias[..., i, None] + col_bias[..., None, j]` for the key in row i, column j.

    The bias is computed in chunks of at most `_BIAS_BYTES`.

    Args:
        query: (B, heads, N, C).
        key: (B, heads, N, C).
        value: (B, heads, N, C).
        row_bias: (B, heads, N, H).
        col_bias: (B, heads, N, W), H * W = N.

    Returns:
        (B, heads, N, C).
    """
    if query.device.type == "cpu" and not cpu_has_bfloat16():
        # Without bfloat16 instructions, the fused kernel takes 100 times as long in reduced precision.
        query, key, value = query.float(), key.float(), value.float()
    mixed = torch.empty_like(value.transpose(1, 2)).transpose(1, 2)
    for items, heads, queries in _chunks(query, key.shape[2]):
        part = items, heads, queries
        bias = (row_bias[part].unsqueeze(-1) + col_bias[part].unsqueeze(-2)).flatten(-2)
        with torch.autocast(query.device.type, enabled=False):
            mixed[part] = functional.scaled_dot_product_attention(
                query[part], key[items, heads], value[items, heads], attn_mask=bias.to(query.dtype)
            )
    return mixed


def _chunks(query: Tensor, keys: int) -> Iterator[tuple[slice, slice, slice]]:
    """Split (B, heads, N) so that the bias of a chunk for `keys` keys stays within the allowed bytes."""
    on_cpu = query.device.type == "cpu"
    allowed = _BIAS_BYTES * torch.get_num_threads() if on_cpu else _BIAS_BYTES_ELSEWHERE
    remaining = max(1, allowed // (keys * query.element_size()))
    cuts = []
    for length in (query.shape[2], query.shape[1], query.shape[0]):
        step = min(length, remaining)
        remaining //= step
        cuts.append([slice(start, start + step) for start in range(0, length, step)])
    queries, heads, items = cuts
    return product(items, heads, queries)


def differences(side: int) -> Tensor:
    """Return (side, side) indices into the table of relative positions: `i - j + side - 1` for query i and key j."""
    places = np.arange(side)
    return torch.from_numpy(places[:, None] - places[None, :] + side - 1)


def window_places(grid: int, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Map patches to windows, which may extend beyond the image at the right and the bottom.

    Args:
        grid: Side of the image in patches.
        window: Side of a window in patches.

    Returns:
        The patch (row * grid + column) at each place in the windows, 0 for places outside the image; the places
        outside the image; and the place of each patch.
    """
    # Use numpy, since networks are built on the meta device, where tensors have no values.
    patches = np.pad(np.arange(grid * grid).reshape(grid, grid), (0, -grid % window), constant_values=-1)
    count = len(patches) // window
    tiled = patches.reshape(count, window, count, window).swapaxes(1, 2).ravel()
    places, outside, back = np.maximum(tiled, 0), np.flatnonzero(tiled < 0), np.argsort(tiled, kind="stable")
    return torch.from_numpy(places), torch.from_numpy(outside), torch.from_numpy(back[len(outside) :].copy())
