"""One window of SAM's interactive training: first prompt, then corrections, each with its own backward pass."""

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
from .augment import Window
from .config import PromptTuningConfig

FOCAL_WEIGHT = 20.0
"""Focal : dice is 20 : 1 (Kirillov et al. 2023, 'Losses')."""


def mask_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Focal and dice loss of each candidate.

    Args:
        logits: (N, M, h, w).
        target: (N, h, w) 0 or 1.

    Returns:
        (N, M) 20 * focal + dice.
    """
    goal = target[:, None].expand_as(logits)
    focal = sigmoid_focal_loss(logits, goal, alpha=0.25, gamma=2.0, reduction="none").mean(dim=(2, 3))
    share = torch.sigmoid(logits)
    overlap = (share * goal).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (share.sum(dim=(2, 3)) + goal.sum(dim=(2, 3)) + 1)
    total: Tensor = FOCAL_WEIGHT * focal + dice
    return total


def true_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of each thresholded candidate (N, M, h, w) with its target (N, h, w); (N, M)."""
    predicted, goal = logits > 0, target[:, None] > 0.5
    overlap = (predicted & goal).sum(dim=(2, 3)).float()
    return overlap / (predicted | goal).sum(dim=(2, 3)).clamp(min=1)


def prompt_loss(logits: Tensor, scores: Tensor, target: Tensor, ambiguous: bool) -> Tensor:
    """Loss of one interactive iteration.

    Args:
        logits: (N, 4, h, w), token 0 is the single mask, 1..3 the candidates of an ambiguous prompt.
        scores: (N, 4) predicted IoU.
        target: (N, h, w).
        ambiguous: Whether one prompt was given: the best of the three candidates is trained too.

    Returns:
        Scalar mean over the objects.
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
    """How the objects of one window are prompted."""

    objects: int
    """Largest number of objects."""
    iterations: int
    """First prompt included."""
    point_share: float
    """Probability that the first prompt is a point and not a box."""
    weight: float
    """Factor of the loss."""
    box_noise: float
    """See `PromptTuningConfig`."""
    inner_points: bool
    """See `PromptTuningConfig`."""

    @classmethod
    def of(cls, config: PromptTuningConfig, objects: int, iterations: int, weight: float) -> Plan:
        """Return what a recipe asks of one window."""
        return cls(objects, iterations, config.point_share, weight, config.box_noise, config.inner_points)


@dataclass(frozen=True, slots=True)
class FirstPrompts:
    """Some objects of a window, each with a point or each with a noisy box."""

    targets: BoolArray
    """(N, h, w) bool on the grid of the logits."""
    offset_xy: tuple[int, int]
    """Place of the window in the frame, in pixels."""
    points: list[list[FloatArray]]
    """For each object its points (x, y) in pixels of the frame; corrections are added."""
    labels: list[list[int]]
    boxes: FloatArray | None
    """(N, 4) XYXY in pixels of the frame, if boxes were drawn."""

    @classmethod
    def draw(
        cls, window: Window, offset_tokens: tuple[int, int], plan: Plan, rng: np.random.Generator
    ) -> FirstPrompts:
        """Choose objects of a window that has some, at random."""
        chosen = rng.choice(window.prompted, size=min(plan.objects, len(window.prompted)), replace=False)
        targets = np.stack([window.instances == i for i in chosen])
        token_px = INPUT_PX // GRID
        offset_xy = (offset_tokens[1] * token_px, offset_tokens[0] * token_px)
        boxed = rng.random() >= plan.point_share
        first_point = inner_point if plan.inner_points else random_point
        points = [[] if boxed else [first_point(t, offset_xy, rng)] for t in targets]
        labels = [[] if boxed else [1] for _ in targets]
        boxes = np.stack([noisy_box(t, offset_xy, rng, plan.box_noise) for t in targets]) if boxed else None
        return cls(targets, offset_xy, points, labels, boxes)

    def goal(self, device: torch.device) -> Tensor:
        """Return the targets as (N, h, w) float32, 0 or 1."""
        return torch.as_tensor(self.targets, dtype=torch.float32, device=device)

    def box(self, device: torch.device) -> Tensor | None:
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
    """Prompt some objects of a window and correct the answers; gradients are accumulated in place.

    Args:
        prompt_encoder: SAM's, or one with its signature.
        mask_decoder: SAM's.
        embedding: (1, 256, g, g) leaf with `requires_grad`.
        window: The window the embedding belongs to.
        offset_tokens: Place (row, col) of the window in the 64 x 64 token grid.
        plan: What is asked.
        rng: Source of randomness.

    Returns:
        Mean loss and IoU; empty if the window has no object.
    """
    iterations, weight = plan.iterations, plan.weight
    if not window.prompted:
        return {}
    device = embedding.device
    first = FirstPrompts.draw(window, offset_tokens, plan, rng)
    targets, points, labels = first.targets, first.points, first.labels
    goal, box = first.goal(device), first.box(device)
    decode = _decoder_on_window(prompt_encoder, mask_decoder, embedding, offset_tokens)
    # SAM's two iterations without a new point: one at random among the corrections, one at the end.
    mask_only = {int(rng.integers(1, iterations - 1)), iterations - 1} if iterations >= 4 else set()
    previous: Tensor | None = None
    report = {"loss": 0.0}
    for iteration in range(iterations):
        logits, scores = decode(to_tensors(points, labels, device), box, previous)
        loss = prompt_loss(logits, scores, goal, ambiguous=iteration == 0) * (weight / iterations)
        loss.backward()
        index = (
            1 + scores[:, 1:].argmax(dim=1)
            if iteration == 0 and box is None
            else torch.zeros_like(scores[:, 0]).long()
        )
        previous = logits.detach()[torch.arange(len(goal)), index]
        ious = true_iou(previous[:, None], goal)[:, 0]
        report["loss"] += float(loss.detach()) / weight
        if iteration == 0:
            report["point IoU" if box is None else "box IoU"] = float(ious.mean())
        if iteration + 1 < iterations and iteration + 1 not in mask_only:
            answers: BoolArray = (previous > 0).cpu().numpy()
            for k, (answer, target) in enumerate(zip(answers, targets, strict=True)):
                point, mark = correcting_point(answer, target, first.offset_xy, rng)
                points[k].append(point)
                labels[k].append(mark)
    return report


def _decoder_on_window(
    prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder, embedding: Tensor, offset: tuple[int, int]
) -> Callable[[tuple[Tensor, Tensor] | None, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]:
    """Bind the decoder to a part of the token grid that keeps its own positions."""
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
    """Embed prompts for a part of the token grid.

    Args:
        prompt_encoder: SAM's, or one with its signature.
        points: As for SAM, in pixels of the whole frame.
        boxes: As for SAM.
        masks: (N, 1, 4h, 4w) logits on the part.
        part: The h rows and w columns of tokens.

    Returns:
        Sparse embeddings, and dense ones (N, 256, h, w).
    """
    if isinstance(prompt_encoder, MapPromptEncoder):
        return prompt_encoder.embed(points, boxes, masks, part)
    whole = None
    if masks is not None:
        whole = masks.new_zeros(len(masks), 1, LOGITS_PX, LOGITS_PX)
        whole[:, :, *(slice(4 * along.start, 4 * along.stop) for along in part)] = masks
    sparse, dense = prompt_encoder(points=points, boxes=boxes, masks=whole)
    return sparse, dense[:, :, *part]
