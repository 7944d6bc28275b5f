"""Interactive training of SAM on one window: first prompts, then corrections, each with its own backward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from ...arrays import GRID, LOGITS_PX, BoolArray, FloatArray
from ...encoders.tiny.tiny_prompts import MapPromptEncoder
from ...geometry import INPUT_PX
from ..data.simulated_clicks import correcting_point, inner_point, noisy_box, random_point, to_tensors
from .config import PromptTuningConfig
from .windows import Window

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
    """Return the loss of one interactive iteration, a scalar mean over the objects.

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
    return loss.mean()


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of the prompts for a window."""

    config: PromptTuningConfig
    objects: int
    """Maximum number of objects."""
    iterations: int
    """Number of iterations, including the first prompt."""
    weight: float
    """Weight of the loss."""


@dataclass(frozen=True, slots=True)
class FirstPrompts:
    """Sampled objects of a window with their first prompts: either all points or all noisy boxes."""

    targets: BoolArray
    """Masks (N, h, w) bool on the logit grid."""
    offset_xy: tuple[int, int]
    """Position of the window in the frame, in pixels."""
    points: list[list[FloatArray]]
    """Points (x, y) of each object, in pixels of the frame; corrections are appended."""
    labels: list[list[int]]
    """Labels of the points: 1 on the object, 0 outside."""
    boxes: FloatArray | None
    """Boxes (N, 4) XYXY in pixels of the frame; None if the first prompts are points."""

    @classmethod
    def sample(
        cls, window: Window, offset_tokens: tuple[int, int], plan: Plan, rng: np.random.Generator
    ) -> FirstPrompts:
        """Sample objects and their first prompts from a window with at least one object."""
        chosen = rng.choice(window.prompted, size=min(plan.objects, len(window.prompted)), replace=False)
        targets = np.stack([window.instances == i for i in chosen])
        token_px = INPUT_PX // GRID
        offset_xy = (offset_tokens[1] * token_px, offset_tokens[0] * token_px)
        boxed = rng.random() >= plan.config.point_share
        first_point = inner_point if plan.config.inner_points else random_point
        points = [[] if boxed else [first_point(t, offset_xy, rng)] for t in targets]
        labels = [[] if boxed else [1] for _ in targets]
        boxes = (
            np.stack([noisy_box(t, offset_xy, rng, plan.config.box_noise) for t in targets])
            if boxed
            else None
        )
        return cls(targets, offset_xy, points, labels, boxes)

    def target_tensor(self, device: torch.device) -> Tensor:
        """Return the targets as (N, h, w) float32, 0 or 1."""
        return torch.as_tensor(self.targets, dtype=torch.float32, device=device)

    def box_tensor(self, device: torch.device) -> Tensor | None:
        """Return the boxes as (N, 4) float32."""
        return None if self.boxes is None else torch.as_tensor(self.boxes, dtype=torch.float32, device=device)


def train_window(
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    embedding: Tensor,
    window: Window,
    offset_tokens: tuple[int, int],
    plan: Plan,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Train on prompts and corrections for sampled objects of a window, and accumulate gradients.

    `embedding` is a leaf (1, 256, g, g) with `requires_grad`; `offset_tokens` is the position (row, col) of the window
    in the 64 x 64 token grid. Returns the mean loss and IoU; empty if the window has no object.
    """
    if not window.prompted:
        return {}
    first = FirstPrompts.sample(window, offset_tokens, plan, rng)
    return train_objects(prompt_encoder, mask_decoder, embedding, first, offset_tokens, plan, rng)


def train_objects(
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    embedding: Tensor,
    first: FirstPrompts,
    offset_tokens: tuple[int, int],
    plan: Plan,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Train on given first prompts and on simulated corrections, and accumulate gradients; see `train_window`."""
    iterations, weight, device = plan.iterations, plan.weight, embedding.device
    targets, points, labels = first.targets, first.points, first.labels
    truth, box = first.target_tensor(device), first.box_tensor(device)
    decode = _decoder_on_window(prompt_encoder, mask_decoder, embedding, offset_tokens)
    # As in SAM, two iterations refine the mask without a new point: a random one and the last one.
    mask_only = {int(rng.integers(1, iterations - 1)), iterations - 1} if iterations >= 4 else set()
    previous: Tensor | None = None
    report = {"loss": 0.0}
    for iteration in range(iterations):
        logits, scores = decode(to_tensors(points, labels, device), box, previous)
        loss = prompt_loss(logits, scores, truth, ambiguous=iteration == 0) * (weight / iterations)
        loss.backward()
        index = (
            1 + scores[:, 1:].argmax(dim=1)
            if iteration == 0 and box is None
            else torch.zeros_like(scores[:, 0]).long()
        )
        previous = logits.detach()[torch.arange(len(truth)), index]
        ious = true_iou(previous[:, None], truth)[:, 0]
        report["loss"] += float(loss.detach()) / weight
        if iteration == 0:
            report["point IoU" if box is None else "box IoU"] = float(ious.mean())
        if iteration + 1 < iterations and iteration + 1 not in mask_only:
            masks: BoolArray = (previous > 0).cpu().numpy()
            for k, (mask, target) in enumerate(zip(masks, targets, strict=True)):
                point, label = correcting_point(mask, target, first.offset_xy, rng)
                points[k].append(point)
                labels[k].append(label)
    return report


def _decoder_on_window(
    prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder, embedding: Tensor, offset: tuple[int, int]
) -> Callable[[tuple[Tensor, Tensor] | None, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]:
    """Return a decoder for a part of the token grid, with the positional encoding of that part."""
    side = embedding.shape[-1]
    rows, cols = (slice(start, start + side) for start in offset)
    positions = prompt_encoder.get_dense_pe()[:, :, rows, cols]

    def decode(
        points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, previous: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        masks = None if previous is None else previous[:, None]
        sparse, dense = embed_on_window(prompt_encoder, points, boxes, masks, (rows, cols))
        logits, scores = mask_decoder.predict_masks(
            image_embeddings=embedding,
            image_pe=positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
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
