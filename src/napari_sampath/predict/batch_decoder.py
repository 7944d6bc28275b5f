"""SAM's mask decoder for many prompts on one tile, with the sums taken in a cheaper order.

The decoder's tokens are few (7 for a point) and the tile's cells are many (4,096), yet the package projects
every cell for every prompt. A projection is linear, so it can be applied to the tokens instead: with keys
K, positions P and a head's weights W, `q . (K + P) W' = (q W) . K + q . (P W')`, where `P W'` is the same for
all prompts. In the first layer K is, too, so there the whole projection is made once per tile. Upscaling
runs last, cell by cell in the processor's cache, for chosen candidates only. Together this is 0.8 to
1.6 GFLOP a point instead of 3.6. Same numbers up to rounding (about 1e-5 on logits; tests compare).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock

    from .prompt import PromptDecoder

_CELLS = 1024
"""Cells upscaled at a time on a CPU: about 4 MB in flight."""


@dataclass(slots=True, eq=False)
class OpenTile:
    """What all prompts on a tile share; made by `BatchDecoder.open`."""

    embedding: Tensor
    """(1, C, h, w) float32, the encoder's."""
    first: _SharedKeys | None = None
    """The first layer's image side, once a prompt has told the dense embedding that they share."""


@dataclass(frozen=True, slots=True, eq=False)
class _SharedKeys:
    keys: Tensor
    """(1, N, C) image cells with the dense embedding added; N = h * w."""
    read_keys: Tensor
    """(heads, D, N) keys that tokens attend to."""
    read_values: Tensor
    """(heads, N, D) values that tokens get."""
    ask_queries: Tensor
    """(heads, D, N) queries by which cells attend to tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Attended:
    """A batch of B prompts after attention, before upscaling."""

    queries: Tensor
    """(B, tokens, C) output tokens."""
    keys: Tensor
    """(B, N, C) image cells."""
    scores: Tensor
    """(B, 3) predicted IoU of the three candidates."""


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
        self.scale = float((attention.internal_dim // attention.num_heads) ** -0.5)
        self.cell_side = attention.q_proj if cells_ask else attention.k_proj
        self.token_side = attention.k_proj if cells_ask else attention.q_proj
        self.cell_weight = self._split(self.cell_side.weight)
        self.positions = self._by_head(self.cell_side(position))
        self.value_weight = self._split(attention.v_proj.weight)
        self.out_weight = self._split(attention.out_proj.weight.T)
        # A cell's weights over the tokens sum to 1 in each head: a share of the bias can ride along.
        self.out_bias = attention.out_proj.bias / self.heads

    def _split(self, weight: Tensor) -> Tensor:
        """(heads * D, C) -> (heads, D, C)."""
        return weight.reshape(self.heads, -1, weight.shape[1]).contiguous()

    def _by_head(self, projected: Tensor) -> Tensor:
        """(N, heads * D) -> (heads, D, N)."""
        return projected.T.reshape(self.heads, -1, len(projected)).contiguous()

    def project(self, keys: Tensor) -> Tensor:
        """Project shared cells (N, C) with their positions: (heads, D, N)."""
        return self.positions + self._by_head(functional.linear(keys, self.cell_side.weight))

    def values(self, keys: Tensor) -> Tensor:
        """Project shared cells (N, C) to values: (heads, N, D)."""
        return self._by_head(self.attention.v_proj(keys)).transpose(1, 2).contiguous()

    def _scores(self, tokens: Tensor, keys: Tensor | None, fixed: Tensor) -> Tensor:
        """Compare tokens (B, T, C) with cells: (B, heads, T, N)."""
        batch, count, _ = tokens.shape
        sides = self.token_side(tokens).reshape(batch, count, self.heads, -1).transpose(1, 2) * self.scale
        scores = torch.matmul(sides, fixed)
        if keys is None:
            return scores
        moved = torch.matmul(sides, self.cell_weight).flatten(1, 2)
        return torch.baddbmm(scores.flatten(1, 2), moved, keys.transpose(1, 2)).view_as(scores)

    def read(self, tokens: Tensor, keys: Tensor) -> Tensor:
        """Let tokens (B, T, C) attend to cells (B, N, C): (B, T, C)."""
        weights = self._scores(tokens, keys, self.positions).softmax(-1)
        seen = torch.bmm(weights.flatten(1, 2), keys).view(*weights.shape[:3], -1)
        values = torch.matmul(seen, self.value_weight.transpose(1, 2))
        joined: Tensor = self.attention.out_proj(self._join(values) + self.attention.v_proj.bias)
        return joined

    def read_shared(self, tokens: Tensor, projected: Tensor, values: Tensor) -> Tensor:
        """Let tokens (B, T, C) attend to cells that all prompts share: (B, T, C)."""
        weights = self._scores(tokens, None, projected).softmax(-1)
        joined: Tensor = self.attention.out_proj(self._join(torch.matmul(weights, values)))
        return joined

    def ask(self, keys: Tensor, tokens: Tensor, values: Tensor, shared: Tensor | None = None) -> Tensor:
        """Let cells (B, N, C) attend to tokens (B, T, C) with values (B, T, C), and add what they get to them.

        `shared` is given where all prompts have the same cells (1, N, C): their projection.
        """
        batch, count, _ = tokens.shape
        fixed, own = (self.positions, keys) if shared is None else (shared, None)
        weights = self._scores(tokens, own, fixed).softmax(2).flatten(1, 2)
        given = self.attention.v_proj(values).reshape(batch, count, self.heads, -1).transpose(1, 2)
        given = (torch.matmul(given, self.out_weight) + self.out_bias).flatten(1, 2)
        return torch.baddbmm(keys.expand(batch, -1, -1), weights.transpose(1, 2), given)

    def _join(self, by_head: Tensor) -> Tensor:
        """(B, heads, T, D) -> (B, T, heads * D)."""
        return by_head.transpose(1, 2).flatten(2)


class BatchDecoder:
    """Answers many prompts on one tile; the same answers as `PromptDecoder`, in two steps.

    `attend` yields predicted IoU, `logits` upscales the candidates that are worth it.

    Args:
        decoder: The parts, frozen; read once, so weights must not change afterwards.
    """

    def __init__(self, decoder: PromptDecoder) -> None:
        self._prompt_encoder = decoder.prompt_encoder
        self._mask_decoder = decoder.mask_decoder
        self.device = decoder.position.device
        transformer = decoder.mask_decoder.transformer
        with torch.inference_mode():
            position = decoder.position[0].flatten(1).T.contiguous()
            self._layers: list[tuple[TwoWayAttentionBlock, _Attention, _Attention]] = [
                (
                    layer,
                    _Attention(layer.cross_attn_token_to_image, position, cells_ask=False),
                    _Attention(layer.cross_attn_image_to_token, position, cells_ask=True),
                )
                for layer in transformer.layers
            ]
            self._last = _Attention(transformer.final_attn_token_to_image, position, cells_ask=False)
            first, self._norm, self._act, second, _ = decoder.mask_decoder.output_upscaling
            self._upscale = _as_linear(first.weight, first.bias), _as_linear(second.weight, second.bias)

    @property
    def logits_px(self) -> int:
        """Side of the low-resolution logits."""
        return 4 * int(self._prompt_encoder.image_embedding_size[0])

    def open(self, embedding: Tensor) -> OpenTile:
        """Prepare a tile's embedding (C, h, w) for prompts."""
        return OpenTile(embedding.to(self.device, torch.float32).unsqueeze(0))

    @torch.inference_mode()
    def attend(self, tile: OpenTile, points: tuple[Tensor, Tensor]) -> Attended:
        """Run a batch of point prompts up to their predicted IoU.

        Args:
            tile: From `open`.
            points: (B, N, 2) float32 points (x, y) in pixels of the square input, and (B, N) labels.
        """
        sparse, dense = self._prompt_encoder(points=points, boxes=None, masks=None)
        parts = self._mask_decoder
        own = torch.cat([parts.iou_token.weight, parts.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        queries, keys = self._first_layer(tile, tokens, dense)
        for layer, read, ask in self._layers[1:]:
            asking = queries + tokens
            queries = layer.norm1(queries + layer.self_attn(q=asking, k=asking, v=queries))
            queries = layer.norm2(queries + read.read(queries + tokens, keys))
            queries = layer.norm3(queries + layer.mlp(queries))
            keys = layer.norm4(ask.ask(keys, queries + tokens, queries))
        queries = queries + self._last.read(queries + tokens, keys)
        queries = parts.transformer.norm_final_attn(queries)
        return Attended(queries, keys, parts.iou_prediction_head(queries[:, 0])[:, 1:])

    def _first_layer(self, tile: OpenTile, tokens: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries (B, T, C) and keys (B, N, C) after the first layer."""
        layer, read, ask = self._layers[0]
        queries = layer.norm1(layer.self_attn(q=tokens, k=tokens, v=tokens))
        shared = tile.first
        # SAM expands one dense embedding over the batch; other prompt encoders make one for each prompt.
        if dense.stride(0) == 0 or (len(dense) == 1 and shared is not None):
            if shared is None:
                cells = (tile.embedding + dense[:1]).flatten(2).transpose(1, 2).contiguous()
                shared = _SharedKeys(
                    cells, read.project(cells[0]), read.values(cells[0]), ask.project(cells[0])
                )
                tile.first = shared
            keys, projected = shared.keys, shared.ask_queries
            seen = read.read_shared(queries + tokens, shared.read_keys, shared.read_values)
        else:
            keys, projected = (tile.embedding + dense).flatten(2).transpose(1, 2).contiguous(), None
            seen = read.read(queries + tokens, keys)
        queries = layer.norm2(queries + seen)
        queries = layer.norm3(queries + layer.mlp(queries))
        return queries, layer.norm4(ask.ask(keys, queries + tokens, queries, projected))

    @torch.inference_mode()
    def logits(self, attended: Attended, chosen: Tensor) -> Tensor:
        """Upscale candidates.

        Args:
            attended: From `attend`.
            chosen: (B, 3) bool, which candidates.

        Returns:
            (K, 4h, 4w) float32 logits of the chosen ones, prompt by prompt.
        """
        grid_h, grid_w = self._prompt_encoder.image_embedding_size
        networks = self._mask_decoder.output_hypernetworks_mlps
        # Tokens are: IoU, the single mask of unambiguous prompts, the three candidates, prompts.
        kernels = torch.stack([networks[index](attended.queries[:, 1 + index]) for index in (1, 2, 3)], 1)
        results = []
        for number in torch.nonzero(chosen.any(dim=1)).flatten().tolist():
            planes = self._masks(attended.keys[number], kernels[number, chosen[number]])
            # (h, w, row, col, row, col, M): halves of a cell, then halves of these.
            planes = planes.view(grid_h, grid_w, 2, 2, 2, 2, -1).permute(6, 0, 2, 4, 1, 3, 5)
            results.append(planes.reshape(-1, 4 * grid_h, 4 * grid_w))
        if not results:
            return attended.keys.new_zeros(0, 4 * grid_h, 4 * grid_w)
        return torch.cat(results)

    def _masks(self, cells: Tensor, kernels: Tensor) -> Tensor:
        """Upscale cells (N, C) sixteenfold and weigh them by kernels (M, C / 8): (N, 4, 4, M)."""
        (first, first_bias), (second, second_bias) = self._upscale
        norm, parts = self._norm, []
        step = _CELLS if cells.device.type == "cpu" else len(cells)
        for piece in cells.split(step):
            halves = functional.linear(piece, first, first_bias).view(len(piece), 4, -1)
            halves = functional.layer_norm(halves, halves.shape[-1:], norm.weight, norm.bias, norm.eps)
            quarters = functional.linear(self._act(halves), second, second_bias)
            quarters = self._act(quarters.view(len(piece), 4, 4, -1))
            parts.append(torch.matmul(quarters, kernels.T))
        return torch.cat(parts)


def _as_linear(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a 2 x 2 transposed convolution (C, D, 2, 2) of stride 2 into a linear layer (4 D, C) on cells."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous(), bias.repeat(4)
