"""SAM's two-way transformer between tokens and cells, with the sums taken in a cheaper order.

The tokens of a prompt are few (7 for a point) and the cells of a tile are many (4,096), yet the package
projects every cell for every prompt. A projection is linear, so it can be applied to the tokens instead:
with cells K, positions P and one head's weights W, `q . W (K + P) = (W' q) . (K + P)`. In the first layer
the cells are the same for all prompts without a mask, so there the whole projection is made once for a tile.
That is 0.9 GFLOP a point instead of 2.8. Same numbers up to rounding (about 1e-5 on logits; tests compare).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from segment_anything.modeling import TwoWayTransformer
    from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock


_CELLS = 512
"""Cells that each thread works on at a time: half a megabyte, which stays in its core's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class SharedCells:
    """The image side of the first layer, the same for all prompts on a tile."""

    cells: Tensor
    """(1, N, C) cells of the tile."""
    read_keys: Tensor
    """(heads, D, N) keys that tokens attend to."""
    read_values: Tensor
    """(heads, N, D) values that tokens get."""
    ask_queries: Tensor
    """(heads, D, N) queries by which cells attend to tokens."""


class _Attention:
    """One of SAM's attentions between tokens and cells, its weights split into heads.

    Args:
        attention: The package's module.
        position: (N, C) positional encoding of the cells.
        cells_ask: True if cells are queries and tokens keys; False the other way round.
    """

    def __init__(self, attention: Attention, position: Tensor, cells_ask: bool) -> None:
        self.heads: int = attention.num_heads
        self.attention = attention
        self.position = position
        self.scale = float((attention.internal_dim // attention.num_heads) ** -0.5)
        self.cell_side = attention.q_proj if cells_ask else attention.k_proj
        self.token_side = attention.k_proj if cells_ask else attention.q_proj
        self.cell_weight = self._split(self.cell_side.weight)
        self.cell_bias = self.cell_side.bias.view(self.heads, -1, 1)
        self.value_weight = self._split(attention.v_proj.weight)
        self.out_weight = self._split(attention.out_proj.weight.T)
        # A cell's weights over the tokens sum to 1 in each head: a share of the bias can ride along.
        self.out_bias: Tensor = attention.out_proj.bias / self.heads

    def _split(self, weight: Tensor) -> Tensor:
        """(heads * D, C) -> (heads, D, C)."""
        return weight.reshape(self.heads, -1, weight.shape[1]).contiguous()

    def project(self, cells: Tensor) -> Tensor:
        """Project shared cells (N, C) with their positions to keys or queries: (heads, D, N)."""
        side = self.cell_side
        projected: Tensor = torch.addmm(side.bias[:, None], side.weight, (cells + self.position).T)
        return projected.view(self.heads, -1, len(cells))

    def values(self, cells: Tensor) -> Tensor:
        """Project shared cells (N, C) to values: (heads, N, D)."""
        values: Tensor = self.attention.v_proj(cells).view(len(cells), self.heads, -1)
        return values.transpose(0, 1).contiguous()

    def _sides(self, tokens: Tensor) -> Tensor:
        """Project tokens (B, T, C) to what cells are compared with: (B, heads, T, D)."""
        batch, count, _ = tokens.shape
        sides: Tensor = self.token_side(tokens).view(batch, count, self.heads, -1).transpose(1, 2)
        return sides * self.scale

    def _compare(self, moved: Tensor, cells: Tensor, part: slice) -> Tensor:
        """Compare (B, heads * T, C) with a part of the cells (B, N, C): (B, heads * T, part)."""
        return torch.bmm(moved, (cells[:, part] + self.position[part]).transpose(1, 2))

    def read(self, tokens: Tensor, tile: SharedCells | Tensor) -> Tensor:
        """Let tokens (B, T, C) attend to shared cells, or to cells (B, N, C) of each prompt: (B, T, C)."""
        sides = self._sides(tokens)
        if isinstance(tile, SharedCells):
            return self._out(_times(_times(sides, tile.read_keys).softmax(-1), tile.read_values))
        # The bias of the keys adds the same to all cells, which the softmax does not see.
        moved = torch.matmul(sides, self.cell_weight).flatten(1, 2)
        scores = torch.cat([self._compare(moved, tile, part) for part in _parts(tile)], dim=2)
        seen = torch.bmm(scores.softmax(-1), tile).view(*sides.shape[:3], -1)
        return self._out(torch.matmul(seen, self.value_weight.transpose(1, 2)), self.attention.v_proj.bias)

    def ask(self, tokens: Tensor, values: Tensor, tile: SharedCells | Tensor, norm: nn.LayerNorm) -> Tensor:
        """Let cells attend to tokens (B, T, C) with values (B, T, C), add what they get and normalize: (B, N, C)."""
        sides, given = self._sides(tokens), self._given(values)
        cells = tile.cells.expand(len(tokens), -1, -1) if isinstance(tile, SharedCells) else tile
        moved = torch.matmul(sides, self.cell_weight).flatten(1, 2)
        bias = torch.matmul(sides, self.cell_bias)
        asked = cells.new_empty(cells.shape)
        for part in _parts(cells):
            if isinstance(tile, SharedCells):
                scores = _times(sides, tile.ask_queries[:, :, part])
            else:
                scores = self._compare(moved, cells, part).view(*sides.shape[:3], -1).add_(bias)
            asked[:, part] = norm(_give(scores, given, cells[:, part]))
        return asked

    def _given(self, values: Tensor) -> Tensor:
        """Project tokens (B, T, C) to what a cell that attends to one of them gets: (B, heads * T, C)."""
        batch, count, _ = values.shape
        given: Tensor = self.attention.v_proj(values).view(batch, count, self.heads, -1).transpose(1, 2)
        return (torch.matmul(given, self.out_weight) + self.out_bias).flatten(1, 2)

    def _out(self, by_head: Tensor, bias: Tensor | None = None) -> Tensor:
        """Join what heads (B, heads, T, D) have read, with the values' bias if it is still missing: (B, T, C)."""
        joined = by_head.transpose(1, 2).flatten(2)
        projected: Tensor = self.attention.out_proj(joined if bias is None else joined + bias)
        return projected


def _parts(cells: Tensor) -> list[slice]:
    """Divide cells (B, N, C) into what is worked on at a time."""
    count = cells.shape[1]
    step = _CELLS * torch.get_num_threads() if cells.device.type == "cpu" else count
    return [slice(start, start + step) for start in range(0, count, step)]


def _times(sides: Tensor, shared: Tensor) -> Tensor:
    """Multiply (B, heads, T, D) by a matrix (heads, D, N) that all prompts share, without copying it."""
    batch, heads, count, width = sides.shape
    product = torch.bmm(sides.transpose(0, 1).reshape(heads, batch * count, width), shared)
    return product.view(heads, batch, count, -1).transpose(0, 1)


def _give(scores: Tensor, given: Tensor, cells: Tensor) -> Tensor:
    """Add to cells (B, n, C) what their scores (B, heads, T, n) let them get of (B, heads * T, C)."""
    return torch.baddbmm(cells, scores.softmax(2).flatten(1, 2).transpose(1, 2), given)


class TwoWay:
    """SAM's transformer of the mask decoder on tiles whose cells lie at given positions.

    Args:
        transformer: The package's; its weights are read now and must not change afterwards.
        position: (N, C) positional encoding of the cells.
    """

    def __init__(self, transformer: TwoWayTransformer, position: Tensor) -> None:
        self._layers: list[tuple[TwoWayAttentionBlock, _Attention, _Attention]] = [
            (
                layer,
                _Attention(layer.cross_attn_token_to_image, position, cells_ask=False),
                _Attention(layer.cross_attn_image_to_token, position, cells_ask=True),
            )
            for layer in transformer.layers
        ]
        self._last = _Attention(transformer.final_attn_token_to_image, position, cells_ask=False)
        self._last_norm = transformer.norm_final_attn

    def share(self, cells: Tensor) -> SharedCells:
        """Do the first layer's work on the cells (N, C) of a tile, for all prompts that leave them as they are."""
        _, read, ask = self._layers[0]
        return SharedCells(cells[None], read.project(cells), read.values(cells), ask.project(cells))

    def attend(self, tokens: Tensor, tile: SharedCells | Tensor) -> tuple[Tensor, Tensor]:
        """Run B prompts.

        Args:
            tokens: (B, T, C) output tokens and prompts.
            tile: What the prompts share, or cells (B, N, C) of each.

        Returns:
            Tokens (B, T, C) and cells (B, N, C) after all layers.
        """
        (first, read, ask), *others = self._layers
        queries = first.norm1(first.self_attn(q=tokens, k=tokens, v=tokens))
        queries, cells = self._cross(first, read, ask, queries, tokens, tile)
        for layer, read, ask in others:
            asking = queries + tokens
            queries = layer.norm1(queries + layer.self_attn(q=asking, k=asking, v=queries))
            queries, cells = self._cross(layer, read, ask, queries, tokens, cells)
        queries = queries + self._last.read(queries + tokens, cells)
        return self._last_norm(queries), cells

    def _cross(
        self,
        layer: TwoWayAttentionBlock,
        read: _Attention,
        ask: _Attention,
        queries: Tensor,
        tokens: Tensor,
        tile: SharedCells | Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run a layer after its self-attention."""
        queries = layer.norm2(queries + read.read(queries + tokens, tile))
        queries = layer.norm3(queries + layer.mlp(queries))
        return queries, ask.ask(queries + tokens, queries, tile, layer.norm4)
