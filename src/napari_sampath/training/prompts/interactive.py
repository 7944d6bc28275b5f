"""Interactive training of SAM: first prompts, then corrections, each with its own backward pass.

The objects of several windows of the same size are decoded together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from ...arrays import LOGITS_PX, FloatArray
from ...encoders.sam.prompt_parts import with_text
from ...encoders.tiny.tiny_prompts import MapPromptEncoder
from ..data.simulated_clicks import (
    correcting_points,
    generator_on,
    inner_points,
    noisy_boxes,
    random_points,
)
from .clip_prompts import ClipPrompts
from .config import PromptTuningConfig
from .windows import TOKEN_PX, Window

FOCAL_WEIGHT = 20.0
"""Weight of the focal loss relative to the Dice loss (Kirillov et al. 2023, section 'Losses')."""


def mask_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Return the loss (N, M) of each candidate: 20 * focal loss + Dice loss (Kirillov et al. 2023).

    Logits are (N, M, h, w); targets are (N, h, w), 0 or 1.
    """
    # Focal loss.
    truth = target[:, None].expand_as(logits)
    focal = sigmoid_focal_loss(logits, truth, alpha=0.25, gamma=2.0, reduction="none").mean(dim=(2, 3))
    # Dice loss.
    probabilities = torch.sigmoid(logits)
    overlap = (probabilities * truth).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (probabilities.sum(dim=(2, 3)) + truth.sum(dim=(2, 3)) + 1)
    total: Tensor = FOCAL_WEIGHT * focal + dice
    return total


def true_iou(logits: Tensor, target: Tensor) -> Tensor:
    """Return the IoU (N, M) of the thresholded candidates (N, M, h, w) with the targets (N, h, w)."""
    predicted, truth = logits > 0, target[:, None] > 0.5
    overlap = (predicted & truth).sum(dim=(2, 3)).float()
    return overlap / (predicted | truth).sum(dim=(2, 3)).clamp(min=1)


def prompt_loss(logits: Tensor, scores: Tensor, target: Tensor, ambiguous: bool) -> Tensor:
    """Return the loss (N,) of each object in one interactive iteration.

    Args:
        logits: (N, 4, h, w); token 0 is the single mask, tokens 1..3 are the candidates for an ambiguous prompt.
        scores: (N, 4) predicted IoU.
        target: (N, h, w).
        ambiguous: Whether each object has only one prompt, so that the best of the three candidates is also trained.
    """
    per_mask = mask_losses(logits, target)
    quality = functional.mse_loss(scores, true_iou(logits, target), reduction="none")
    loss = per_mask[:, 0] + quality[:, 0]
    if ambiguous:
        best = per_mask[:, 1:].argmin(dim=1, keepdim=True)
        loss = loss + per_mask[:, 1:].gather(1, best)[:, 0] + quality[:, 1:].mean(dim=1)
    return loss


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of the prompts for some windows."""

    config: PromptTuningConfig
    objects: int
    """Maximum number of objects per window."""
    iterations: int
    """Number of iterations, including the first prompt."""
    weight: float
    """Weight of the loss of each window."""
    clip: ClipPrompts | None = None
    """Makes the first prompts of crops of the objects; None if they are points or boxes."""


@dataclass(frozen=True, slots=True)
class FirstPrompts:
    """Sampled objects of some windows with their first prompts: all points, all boxes, or all embeddings of crops."""

    targets: Tensor
    """Masks (N, h, w) bool on the logit grid."""
    points: Tensor
    """Points (N, n, 2) as (x, y), in pixels of the frame; n is 0 if the first prompts are others."""
    labels: Tensor
    """Labels (N, n) of the points: 1 on the object, 0 outside."""
    boxes: Tensor | None
    """Boxes (N, 4) XYXY in pixels of the frame, or None."""
    counts: tuple[int, ...]
    """Number of objects of each window."""
    embeddings: FloatArray | None = None
    """Embeddings (N, D) of the crops of the objects, or None."""

    @classmethod
    def sample(
        cls,
        windows: Sequence[Window],
        offset_tokens: tuple[int, int],
        plan: Plan,
        boxed: bool,
        rng: np.random.Generator,
        device: torch.device,
    ) -> FirstPrompts:
        """Sample objects and their first prompts from windows of the same size with at least one object each."""
        masks, counts, objects = [], [], []
        for window in windows:
            count = min(plan.objects, len(window.prompted))
            chosen = torch.as_tensor(rng.choice(window.prompted, size=count, replace=False), device=device)
            masks.append(torch.as_tensor(window.instances, device=device) == chosen[:, None, None])
            counts.append(count)
            objects += [(window, number) for number in chosen.tolist()]
        targets = torch.cat(masks)
        if plan.clip is not None:
            embeddings = plan.clip.crops.embed([window.source(number) for window, number in objects])
            nothing = torch.zeros(len(targets), 0, device=device)
            return cls(targets, nothing[..., None].expand(-1, 0, 2), nothing, None, tuple(counts), embeddings)
        offset_xy, generator = offset_px(offset_tokens), generator_on(device, rng)
        if boxed:
            boxes = noisy_boxes(targets, offset_xy, generator, plan.config.box_noise)
            nothing = boxes.new_zeros(len(targets), 0)
            return cls(targets, boxes.new_zeros(len(targets), 0, 2), nothing, boxes, tuple(counts))
        draw = inner_points if plan.config.inner_points else random_points
        points = draw(targets, offset_xy, generator)[:, None]
        return cls(targets, points, torch.ones_like(points[..., 0]), None, tuple(counts))

    @property
    def kind(self) -> str:
        """Kind of the first prompts: "point", "box" or "clip"."""
        if self.embeddings is not None:
            return "clip"
        return "point" if self.boxes is None else "box"

    def weights(self, plan: Plan) -> Tensor:
        """Return the weight (N,) of the loss of each object; those of a window have the same sum for all windows."""
        weights = [plan.weight / count for count in self.counts for _ in range(count)]
        return torch.tensor(weights, device=self.targets.device)

    def windows(self) -> Tensor:
        """Return the index (N,) of the window of each object."""
        indices = [index for index, count in enumerate(self.counts) for _ in range(count)]
        return torch.tensor(indices, device=self.targets.device)


def offset_px(offset_tokens: tuple[int, int]) -> tuple[int, int]:
    """Return the position (x, y) in pixels of the frame of a position (row, col) in tokens."""
    return offset_tokens[1] * TOKEN_PX, offset_tokens[0] * TOKEN_PX


def train_objects(
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    embeddings: Tensor,
    first: FirstPrompts,
    offset_tokens: tuple[int, int],
    plan: Plan,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Train on first prompts and on simulated corrections, and accumulate gradients.

    Args:
        prompt_encoder: SAM's prompt encoder.
        mask_decoder: SAM's mask decoder.
        embeddings: (W, 256, g, g) of each window: a leaf, or slices of one, through which each iteration
            propagates gradients.
        first: The objects of the windows, and their first prompts.
        offset_tokens: Position (row, col) of all windows in the 64 x 64 token grid.
        plan: Settings.
        rng: Random number generator.

    Returns:
        Mean loss and IoU, scalars on the device.
    """
    iterations, device, offset_xy = plan.iterations, embeddings.device, offset_px(offset_tokens)
    generator, weights = generator_on(device, rng), first.weights(plan)
    truth, points, labels = first.targets.float(), first.points, first.labels
    decode = _decoder_on_windows(prompt_encoder, mask_decoder, embeddings, first.windows(), offset_tokens)
    # As in SAM, two iterations refine the mask without a new point: a random one and the last one.
    mask_only = {int(rng.integers(1, iterations - 1)), iterations - 1} if iterations >= 4 else set()
    previous: Tensor | None = None
    report = {"loss": weights.new_zeros(())}
    for iteration in range(iterations):
        prompts = (points, labels) if points.shape[1] else None
        text = None
        if plan.clip is not None and first.embeddings is not None:
            text = plan.clip.tokens(first.embeddings)
        logits, scores = decode(prompts, first.boxes, previous, text)
        per_object = prompt_loss(logits, scores, truth, ambiguous=iteration == 0)
        loss = (per_object * weights).sum() / iterations
        loss.backward()
        index = (
            1 + scores[:, 1:].argmax(dim=1)
            if iteration == 0 and first.boxes is None
            else torch.zeros_like(scores[:, 0]).long()
        )
        previous = logits.detach()[torch.arange(len(truth), device=device), index]
        report["loss"] = report["loss"] + loss.detach() / (plan.weight * len(first.counts))
        if iteration == 0:
            report[f"{first.kind} IoU"] = true_iou(previous[:, None], truth).mean()
        if iteration + 1 < iterations and iteration + 1 not in mask_only:
            point, label = correcting_points(previous > 0, first.targets, offset_xy, generator)
            points = torch.cat([points, point[:, None]], dim=1)
            labels = torch.cat([labels, label[:, None]], dim=1)
    return report


def _decoder_on_windows(
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    embeddings: Tensor,
    windows: Tensor,
    offset: tuple[int, int],
) -> Callable[
    [tuple[Tensor, Tensor] | None, Tensor | None, Tensor | None, Tensor | None], tuple[Tensor, Tensor]
]:
    """Return a decoder for a part of the token grid, with the positional encoding of that part.

    `embeddings` are (W, 256, g, g), and `windows` the index (N,) of each object's window.
    """
    side = embeddings.shape[-1]
    rows, cols = (slice(start, start + side) for start in offset)
    positions = prompt_encoder.get_dense_pe()[:, :, rows, cols]
    # SAM's decoder adds one embedding to the dense prompts of all objects; those of several images are added before.
    nothing = embeddings.new_zeros(1, *embeddings.shape[1:])

    def decode(
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        previous: Tensor | None,
        text: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        masks = None if previous is None else previous[:, None]
        sparse, dense = embed_on_window(prompt_encoder, points, boxes, masks, (rows, cols))
        sparse, dense = with_text(sparse, dense, text)
        logits, scores = mask_decoder.predict_masks(
            image_embeddings=nothing,
            image_pe=positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=embeddings.index_select(0, windows) + dense,
        )
        return logits.float(), scores.float()

    return decode


def embed_on_window(
    prompt_encoder: PromptEncoder,
    points: tuple[Tensor, Tensor] | None,
    boxes: Tensor | None,
    masks: Tensor | None,
    part: tuple[slice, slice],
) -> tuple[Tensor, Tensor]:
    """Embed prompts for a part of the token grid with h rows and w columns.

    Points and boxes are as in SAM, in pixels of the whole frame; masks are (N, 1, 4h, 4w) logits of the part. Returns
    sparse embeddings, and dense embeddings (N, 256, h, w).
    """
    if isinstance(prompt_encoder, MapPromptEncoder):
        return prompt_encoder.embed(points, boxes, masks, part)
    whole = None
    if masks is not None:
        whole = masks.new_zeros(len(masks), 1, LOGITS_PX, LOGITS_PX)
        whole[:, :, *(slice(4 * along.start, 4 * along.stop) for along in part)] = masks
    sparse, dense = prompt_encoder(points=points, boxes=boxes, masks=whole)
    return sparse, dense[:, :, *part]
