"""Prompt encoder and mask decoder of `sampath-tiny`, which extend SAM's with prompt maps.

A small network trained on few images learns the meaning of clicks and boxes much faster from maps than from tokens.
The prompt encoder therefore also renders the prompts as maps, and the mask decoder applies a small U-Net to image
features and maps before SAM's transformer. The last layer of each addition is initialised to zero, so that weights
trained without the additions give the same output.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from ...arrays import GRID, LOGITS_PX
from ...geometry import INPUT_PX

CHANNELS = 256
DISC_PX = (8.0, 32.0)
"""Standard deviations of the two sharp discs around a click, in pixels of the 1,024 px input."""
REACH_PX = 128.0
"""Standard deviation of the wide disc around a click; at this distance, the scaled vector to a click has length 0.5."""


class MapPromptEncoder(PromptEncoder):
    """SAM's prompt encoder with additional maps of points and box.

    There are six sharp maps on the grid of the logits (coverage by the box, a Gaussian as large as the box, small and
    large discs around positive and around negative points) and six smooth maps on the grid of the embedding (wide
    discs around positive and around negative points, vector to the nearest positive point, position in the box).
    Small convolutions embed them, and the result is added to SAM's dense embedding.
    """

    def __init__(self) -> None:
        super().__init__(
            embed_dim=CHANNELS,
            image_embedding_size=(GRID, GRID),
            input_image_size=(INPUT_PX, INPUT_PX),
            mask_in_chans=16,
        )
        self.map_downscaling = nn.Sequential(
            nn.Conv2d(6, 32, kernel_size=2, stride=2),
            _ChannelNorm(32),
            nn.GELU(),
            nn.Conv2d(32, 64, kernel_size=2, stride=2),
            _ChannelNorm(64),
            nn.GELU(),
            nn.Conv2d(64, CHANNELS, kernel_size=1),
        )
        self.place_embedding = _starting_at_zero(nn.Conv2d(6, CHANNELS, kernel_size=1))

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts as SAM does (same arguments, same shapes) and add their maps to the dense embedding."""
        return self.embed(points, boxes, masks, (slice(0, GRID), slice(0, GRID)))

    def embed(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        part: tuple[slice, slice],
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts for a part of the frame, as `forward` does for the whole frame.

        Args:
            points: (B, N, 2) as (x, y) in pixels of the whole frame, and (B, N) labels.
            boxes: (B, 4) XYXY.
            masks: (B, 1, 4h, 4w) logits of the part.
            part: h rows and w columns of the 64 x 64 tokens.

        Returns:
            Sparse embeddings (B, n, 256) and dense ones (B, 256, h, w).
        """
        sparse, dense = super().forward(points, boxes, masks)
        if masks is None:
            dense = dense[:, :, *part]
        if points is None and boxes is None:
            return sparse, dense
        sharp = self.map_downscaling(_channels_last(self.draw(points, boxes, part)))
        smooth = self.place_embedding(_channels_last(self.place(points, boxes, part)))
        return sparse, dense + sharp + smooth

    def draw(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        part: tuple[slice, slice] = (slice(0, GRID), slice(0, GRID)),
    ) -> Tensor:
        """Render prompts as sharp maps of a part of the frame.

        Args:
            points: (B, N, 2) as (x, y) in pixels of the 1,024 px input, and (B, N) labels.
            boxes: (B, 4) XYXY, in the same pixels.
            part: h rows and w columns of the 64 x 64 tokens.

        Returns:
            Maps (B, 6, 4h, 4w).
        """
        cell_px = INPUT_PX / LOGITS_PX
        count = self._get_batch_size(points, boxes, None)
        edges = tuple(self._edges(along, LOGITS_PX // GRID) for along in part)
        maps = torch.zeros(count, 6, *(len(along) for along in edges), device=self._get_device())
        if boxes is not None:
            maps[:, :2] = _draw_boxes(boxes.reshape(-1, 4), edges, cell_px)
        if points is not None:
            xy, labels = points
            for index, (label, sigma) in enumerate((label, s) for label in (1, 0) for s in DISC_PX):
                maps[:, 2 + index] = _discs(xy, labels == label, _shifted(edges, cell_px / 2), sigma)
        return maps

    def place(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        part: tuple[slice, slice] = (slice(0, GRID), slice(0, GRID)),
    ) -> Tensor:
        """Compute the position of each token relative to the prompts, as smooth maps of a part of the frame.

        Arguments as in `draw`.

        Returns:
            Maps (B, 6, h, w).
        """
        count = self._get_batch_size(points, boxes, None)
        centres = _shifted(tuple(self._edges(along, 1) for along in part), INPUT_PX / GRID / 2)
        maps = torch.zeros(count, 6, *(len(along) for along in centres), device=self._get_device())
        if points is not None:
            xy, labels = points
            for index, label in enumerate((1, 0)):
                maps[:, index] = _discs(xy, labels == label, centres, REACH_PX)
            maps[:, 2:4] = _vector_to_nearest(xy, labels == 1, centres)
        if boxes is not None:
            corners = boxes.reshape(-1, 2, 2)
            centre, half = corners.mean(dim=1), ((corners[:, 1] - corners[:, 0]) / 2).clamp(min=1.0)
            rows, cols = (
                ((along - centre[:, axis, None]) / half[:, axis, None]).clamp(-2, 2)
                for axis, along in ((1, centres[0]), (0, centres[1]))
            )
            maps[:, 4] = cols[:, None, :]
            maps[:, 5] = rows[:, :, None]
        return maps

    def _edges(self, along: slice, cells: int) -> Tensor:
        """Return the first pixel of each cell in a range of tokens, with `cells` cells per token."""
        indices = torch.arange(
            along.start * cells, along.stop * cells, device=self._get_device(), dtype=torch.float32
        )
        return indices * (INPUT_PX / GRID / cells)


Axes = tuple[Tensor, ...]
"""Positions of the rows (h,) and of the columns (w,) of a grid, in pixels of the frame."""


def _shifted(axes: Axes, by_px: float) -> Axes:
    return tuple(along + by_px for along in axes)


def _discs(xy: Tensor, shown: Tensor, centres: Axes, sigma_px: float) -> Tensor:
    """Render the points (B, N, 2) selected by `shown` (B, N) as Gaussians on a grid: (B, h, w), 0..1."""
    rows, cols = (
        torch.exp(-((along - xy[..., axis, None] - 0.5) ** 2) / (2 * sigma_px**2))
        for axis, along in ((1, centres[0]), (0, centres[1]))
    )
    discs = rows[..., :, None] * cols[..., None, :]
    return (discs * shown[..., None, None]).amax(dim=1)


def _vector_to_nearest(xy: Tensor, shown: Tensor, centres: Axes) -> Tensor:
    """Compute the vector (x, y) from each cell to the nearest shown point, scaled to a length below 1: (B, 2, h, w)."""
    # Find the nearest point of each cell
    x = (xy[..., 0, None] + 0.5 - centres[1])[:, :, None, :]
    y = (xy[..., 1, None] + 0.5 - centres[0])[:, :, :, None]
    distance = (x**2 + y**2).sqrt()  # (B, N, g, g)
    nearest = distance.masked_fill(~shown[..., None, None], torch.inf).argmin(dim=1, keepdim=True)
    # Scale the vectors to all points and select the one to the nearest
    vector = torch.stack([torch.broadcast_to(part, distance.shape) for part in (x, y)], dim=2)
    scaled = vector / (REACH_PX + distance)[:, :, None]
    selected = scaled.gather(1, nearest[:, :, None].expand(-1, -1, 2, -1, -1))[:, 0]
    return selected * shown.any(dim=1)[:, None, None, None]


def _draw_boxes(boxes: Tensor, edges: Axes, cell_px: float) -> Tensor:
    """Render boxes (B, 4) XYXY as (B, 2, h, w): the covered fraction of each cell, and a Gaussian around the centre."""
    profiles = []
    for axis, along in ((1, edges[0]), (0, edges[1])):
        low, high = boxes[:, axis, None], boxes[:, axis + 2, None]
        covered = (torch.minimum(high, along + cell_px) - torch.maximum(low, along)).clamp(min=0) / cell_px
        half = ((high - low) / 2).clamp(min=1.0)
        bump = torch.exp(-(((along + cell_px / 2 - (low + high) / 2) / half) ** 2))
        profiles.append((covered, bump))
    (rows, row_bump), (cols, col_bump) = profiles
    coverage = rows[:, :, None] * cols[:, None, :]
    return torch.stack([coverage, row_bump[:, :, None] * col_bump[:, None, :]], dim=1)


class SpreadingMaskDecoder(MaskDecoder):
    """SAM's mask decoder preceded by a U-Net that spreads the maps of the prompt over the image features.

    SAM's transformer has no layer that mixes neighbouring tokens, since SAM's large encoder already separates objects.
    Here, a small U-Net (Ronneberger et al. 2015) over embedding and prompt maps carries the information of a click to
    the edges of a large object.
    """

    widths = (96, 128, 160, 192)
    """Channels at 64, 32, 16 and 8 tokens per side."""

    def __init__(self) -> None:
        super().__init__(
            transformer_dim=CHANNELS,
            transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, mlp_dim=2048, num_heads=8),
            num_multimask_outputs=3,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        )
        self.spread = nn.Sequential(nn.Conv2d(CHANNELS, self.widths[0], kernel_size=1), _Level(self.widths))
        self.join = _starting_at_zero(nn.Conv2d(self.widths[0], CHANNELS, kernel_size=1))

    def spread_prompt(self, image_embeddings: Tensor, dense_prompt_embeddings: Tensor) -> Tensor:
        """Return dense prompt embeddings (B, 256, h, w) combined with the image (1 or B, 256, h, w)."""
        spread: Tensor = self.join(self.spread(image_embeddings + dense_prompt_embeddings))
        return dense_prompt_embeddings + spread

    def predict_masks(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predict as SAM does (same arguments, same shapes), after `spread_prompt`."""
        dense = self.spread_prompt(image_embeddings, dense_prompt_embeddings)
        logits, scores = super().predict_masks(image_embeddings, image_pe, sparse_prompt_embeddings, dense)
        return logits, scores


class _Level(nn.Module):
    """One level of the U-Net with all coarser levels; input and output are (B, widths[0], h, w)."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        width, *lower = widths
        self.below = (
            nn.Sequential(
                nn.Conv2d(width, lower[0], kernel_size=3, stride=2, padding=1),
                _Level(tuple(lower)),
                nn.Conv2d(lower[0], width, kernel_size=1),
            )
            if lower
            else None
        )
        self.here = nn.Sequential(
            _ChannelNorm(width), nn.GELU(), nn.Conv2d(width, width, kernel_size=3, padding=1), nn.GELU()
        )

    def forward(self, features: Tensor) -> Tensor:
        """Add the upscaled output of the coarser level, then convolve."""
        mixed = features
        if self.below is not None:
            mixed = features + functional.interpolate(
                self.below(features), features.shape[-2:], mode="bilinear", align_corners=False
            )
        output: Tensor = features + self.here(mixed)
        return output


def _channels_last(maps: Tensor) -> Tensor:
    """Convert (B, C, h, w) to the channels-last format, which all layers preserve and which is fastest on a CPU."""
    return maps.contiguous(memory_format=torch.channels_last)


class _ChannelNorm(LayerNorm2d):
    """SAM's LayerNorm2d in one operation instead of nine, on channels-last maps."""

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise (B, C, h, w) over the channels."""
        cells = maps.permute(0, 2, 3, 1)
        normed = functional.layer_norm(cells, cells.shape[-1:], self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


def _starting_at_zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
