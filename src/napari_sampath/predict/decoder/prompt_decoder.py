"""SAM's prompt encoder and mask decoder for inference: features and prompts to low-resolution logits.

The weights are those of the `PromptEncoder` and `MaskDecoder` of `segment_anything` (or subclasses), and the results
equal theirs up to rounding. Everything that does not depend on the prompt is computed once per tile, and only selected
candidates are upscaled.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from ...encoders.sam.prompt_parts import SingleMaskDecoder, with_text
from ...encoders.tiny.tiny_prompts import SpreadingMaskDecoder
from ...errors import PromptError, WeightsError
from .cell_upscaling import Upscaling
from .two_way import Parts, SharedCells, TwoWay, in_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from segment_anything.modeling import MaskDecoder, PromptEncoder

    from ...arrays import Features, FloatArray, Prompts
    from ...geometry import Frame

_ACTIVE = 4
"""Number of tiles kept ready for further prompts; each takes 10 MB in addition to its embedding."""
_CPU_BATCH = 4
"""Prompts per batch on a CPU; larger batches are not faster, because they exceed its cache."""
_GPU_BATCH = 64

_Stamp: TypeAlias = tuple[tuple[int, int], ...]
"""Address and version of each weight, to detect changes."""


@dataclass(frozen=True, slots=True, eq=False)
class ActiveEmbedding:
    """The prepared embedding of one tile, used for all prompts on it."""

    cells: Tensor
    """(N, C) float32, the embedding by cell, on the device of the decoder."""
    shared: SharedCells
    """Projections of the first layer for prompts without a mask."""
    network: TwoWay
    upscaling: Upscaling


@dataclass(frozen=True, slots=True, eq=False)
class Attended:
    """A batch of B prompts after attention, with predicted IoU but without masks."""

    active: ActiveEmbedding
    tokens: Tensor
    """(B, T, C) tokens after attention: predicted IoU, the single mask, three candidates, prompts."""
    cells: Parts
    """Cells after attention."""
    scores: Tensor
    """(B, M) predicted IoU of the candidates, M = 3, 1 or 4."""


class PromptDecoder(nn.Module):
    """SAM's prompt encoder and mask decoder as one network, for inference.

    `forward` answers prompts in two steps: `attend` predicts the IoU, `logits` upscales selected candidates.

    Args:
        prompt_encoder: SAM's prompt encoder.
        mask_decoder: SAM's mask decoder.
    """

    position: Tensor

    def __init__(self, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        with torch.no_grad():
            position = prompt_encoder.get_dense_pe()
        self.register_buffer("position", position, persistent=False)
        self._original: tuple[PromptDecoder, ...] = ()
        """The decoder before `with_weights`, in a tuple, so that it is not a part of this module."""
        self._lock = threading.Lock()
        self._stamp: _Stamp = ()
        self._active: list[tuple[Tensor, ActiveEmbedding]] = []
        """Embeddings given to `activate` and their preparation, the most recently used last."""

    @property
    def input_px(self) -> int:
        """Side of the square input, in pixels."""
        return int(self.prompt_encoder.input_image_size[0])

    @property
    def logits_px(self) -> int:
        """Side of the low-resolution logits."""
        return 4 * int(self.prompt_encoder.image_embedding_size[0])

    @property
    def batch(self) -> int:
        """Prompts per batch; each takes about 15 MB."""
        return _CPU_BATCH if self.position.device.type == "cpu" else _GPU_BATCH

    def with_weights(self, weights: Mapping[str, Tensor] | None) -> PromptDecoder:
        """Return a decoder with other weights of the mask decoder, ready for the tiles in use.

        Args:
            weights: State of the mask decoder; None for the weights of the first decoder.

        Raises:
            WeightsError: If the weights are those of another decoder.
        """
        original = self.original
        if weights is None:
            return original
        mask_decoder = copy.deepcopy(original.mask_decoder)
        try:
            mask_decoder.load_state_dict(weights)
        except RuntimeError as error:
            raise WeightsError(
                "The adapted decoder does not fit the model; adapt the model again."
            ) from error
        decoder = PromptDecoder(self.prompt_encoder, mask_decoder).eval().requires_grad_(False)
        decoder.to(self.position.device)
        decoder._original = (original,)
        # Prepare the tiles in use, so that the next click is as quick as the last one.
        for embedding, _ in list(self._active):
            decoder.activate(embedding)
        return decoder

    @property
    def original(self) -> PromptDecoder:
        """The decoder before `with_weights`."""
        return self._original[0] if self._original else self

    def activate(self, embedding: Tensor) -> ActiveEmbedding:
        """Prepare a tile's embedding (256, 64, 64), of any float type and device, for prompts.

        The last few embeddings are cached by the identity of the tensor, which must not be modified.
        """
        stamp = tuple((weight.data_ptr(), weight._version) for weight in self.parameters())
        with self._lock:
            if stamp != self._stamp:
                self._active, self._stamp = [], stamp
            for index, (cached, active) in enumerate(self._active):
                if cached is embedding:
                    self._active.append(self._active.pop(index))
                    return active
            active = self._prepare(embedding)
            self._active = [*self._active, (embedding, active)][-_ACTIVE:]
            return active

    @torch.inference_mode()
    def _prepare(self, embedding: Tensor) -> ActiveEmbedding:
        if self._active:
            network, upscaling = self._active[-1][1].network, self._active[-1][1].upscaling
        else:
            network = TwoWay(self.mask_decoder.transformer, _by_cell(self.position[0]))
            upscaling = Upscaling(self.mask_decoder, self.prompt_encoder.image_embedding_size)
        cells = _by_cell(embedding.to(device=self.position.device, dtype=self.position.dtype))
        shared = network.share(cells + self.prompt_encoder.no_mask_embed.weight)
        return ActiveEmbedding(cells, shared, network, upscaling)

    @torch.inference_mode()
    def attend(
        self,
        active: ActiveEmbedding,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool | None = True,
        text: Tensor | None = None,
    ) -> Attended:
        """Run a batch of B prompts up to the predicted IoU, without upscaling; arguments as in `forward`."""
        sparse, dense = self.prompt_encoder(points=points, boxes=boxes, masks=masks)
        sparse, dense = with_text(sparse, dense, text)
        parts = self.mask_decoder
        output_tokens = torch.cat([parts.iou_token.weight, parts.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(len(sparse), -1, -1), sparse], dim=1)
        tile: SharedCells | Parts = active.shared
        if isinstance(parts, SpreadingMaskDecoder):
            side = self.prompt_encoder.image_embedding_size
            dense = parts.spread_prompt(active.cells.T.unflatten(1, side)[None], dense)
        if not self._is_without_mask(dense):
            tile = in_parts((active.cells + dense.flatten(2).transpose(1, 2)).contiguous())
        tokens, cells = active.network.attend(tokens, tile)
        scores = parts.iou_prediction_head(tokens[:, 0])
        if isinstance(parts, SingleMaskDecoder) or multimask is False:
            scores = scores[:, :1]
        elif multimask:
            scores = scores[:, 1:]
        return Attended(active, tokens, cells, scores)

    @torch.inference_mode()
    def logits(self, attended: Attended, chosen: Tensor | None = None) -> Tensor:
        """Upscale candidates.

        Args:
            attended: From `attend`.
            chosen: (B, M) bool, the candidates to upscale; all if left out.

        Returns:
            (K, 4h, 4w) float32 logits of the chosen candidates, ordered by prompt.
        """
        count = attended.scores.shape[1]
        if chosen is None:
            chosen = torch.ones_like(attended.scores, dtype=torch.bool)
        # SAM's first mask token is that of the single mask, the others are those of the three candidates.
        first = 1 if count == self.mask_decoder.num_mask_tokens - 1 else 0
        numbers = range(first, first + count)
        networks = self.mask_decoder.output_hypernetworks_mlps
        kernels = torch.stack([networks[index](attended.tokens[:, 1 + index]) for index in numbers], 1)
        side = self.logits_px
        result = kernels.new_empty(int(chosen.sum()), side, side)
        start = 0
        by_prompt = zip(*attended.cells, strict=True)
        for cells, weights, selected in zip(by_prompt, kernels, chosen.cpu(), strict=True):
            stop = start + int(selected.sum())
            if stop > start:
                attended.active.upscaling.logits(
                    list(cells), weights[selected.to(weights.device)], result[start:stop]
                )
            start = stop
        return result

    def forward(
        self,
        active: ActiveEmbedding,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool | None = True,
        text: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Answer a batch of B prompts on one tile.

        Args:
            active: The tile.
            points: (B, N, 2) float32 points (x, y) in pixels of the square input, and (B, N) labels:
                1 positive, 0 negative, -1 padding.
            boxes: (B, 4) float32 boxes (x0, y0, x1, y1) in pixels of the square input.
            masks: (B, 1, 256, 256) float32 logits, painted or of a previous prediction.
            multimask: True for three candidates per prompt, False for a single mask, None for all four, the single
                mask first.
            text: (B, 1, 256) float32 tokens of texts.

        Returns:
            (B, M, 256, 256) logits and (B, M) predicted IoU, M = 3, 1 or 4.
        """
        attended = self.attend(active, points, boxes, masks, multimask, text)
        return self.logits(attended).unflatten(0, attended.scores.shape), attended.scores

    @torch.inference_mode()
    def decode(
        self, features: Features, prompts: Prompts, multimask: bool | None = True
    ) -> tuple[FloatArray, FloatArray]:
        """Answer one prompt on a tile; see `Model.decode`.

        Raises:
            PromptError: If a prompt lies outside the tile.
        """
        points, boxes, masks, text = None, None, None, None
        if len(prompts.points_xy):
            xy = self.to_input(prompts.points_xy, features.frame)
            points = xy[None], torch.as_tensor(prompts.labels, dtype=torch.int64).to(xy.device)[None]
        if prompts.box_xyxy is not None:
            boxes = self.to_input(prompts.box_xyxy.reshape(2, 2), features.frame).reshape(1, 4)
        if prompts.mask_logits is not None:
            painted = torch.as_tensor(prompts.mask_logits, dtype=torch.float32)
            masks = painted.to(self.position.device)[None, None]
        if prompts.text is not None:
            text = torch.as_tensor(prompts.text, dtype=torch.float32).to(self.position.device)[None, None]
        active = self.activate(features.maps["embedding"])
        logits, scores = self(active, points, boxes, masks, multimask, text)
        return logits[0].cpu().numpy(), scores[0].cpu().numpy()

    def to_input(self, points_xy: FloatArray, frame: Frame) -> Tensor:
        """Check that points (N, 2) lie in the tile and map them to the square input, float32."""
        for x, y in points_xy:
            if not frame.contains((x, y)):
                raise PromptError(
                    f"The prompt at x={x:g}, y={y:g} lies outside the {frame.width} x {frame.height} px "
                    f"that the model sees (x {frame.left} to {frame.left + frame.width}, "
                    f"y {frame.top} to {frame.top + frame.height}); place it inside."
                )
        return torch.as_tensor(frame.to_input(points_xy), dtype=torch.float32).to(self.position.device)

    def _is_without_mask(self, dense: Tensor) -> bool:
        """Return True if a dense embedding (B, C, h, w) is that of prompts without a mask."""
        expanded = dense.stride(-1) == dense.stride(-2) == 0
        return expanded and bool((dense[..., 0, 0] == self.prompt_encoder.no_mask_embed.weight).all())


def _by_cell(values: Tensor) -> Tensor:
    """Reshape (C, h, w) to (N, C)."""
    return values.flatten(1).T.contiguous()
