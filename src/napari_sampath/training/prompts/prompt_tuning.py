"""SAM's own training algorithm (Kirillov et al. 2023, section 3 and appendix A), for small models and few images.

A step draws windows of tissue, warms the encoder up on dense targets, and then prompts objects: a point or
a noisy box first, corrected by points from the error region with the previous logits fed back. Two
departures, both so that a small model learns on two cores: windows may be smaller than the frame (a part
of the token grid with its own positions), and the single-mask token is trained at every iteration.
"""

from __future__ import annotations

import enum
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor, nn

from ...arrays import GRID
from ...config import resolve_precision
from ...encoders.base import Encoder, EncoderParts
from ...encoders.tiny.tiny_prompts import SpreadingMaskDecoder
from ...errors import ConfigError
from ...files import write_atomically
from ...geometry import INPUT_PX, whole
from ...jobs import Job, Progress
from ..data.instances import InstanceImage
from .augment import TOKEN_CELLS, TOKEN_PX, Pools, Window, compose, draw_part
from .config import PromptTuningConfig
from .dense_targets import DenseHead, dense_loss
from .interactive import Plan, train_window
from .spreading import SpreadReader, spread_window

logger = logging.getLogger(__name__)

REDRAWN = 30
"""So many windows are drawn to find an object: where little is annotated most are empty, and the encoder costs more."""
HELPERS = ("dense_head.", "spread_reader.")
"""Parts of the trainee that teach the others and are thrown away."""


class Stage(enum.Enum):
    """What a step teaches."""

    DENSE = "learning tissue"
    SPREAD = "learning how far an object reaches"
    PROMPTS = "learning to answer prompts"


def _stage(step: int, config: PromptTuningConfig) -> Stage:
    if step < config.warmup_steps:
        return Stage.DENSE
    return Stage.SPREAD if step < config.warmup_steps + config.spread_steps else Stage.PROMPTS


class Trainee(nn.Module):
    """The parts in training, as one module with SAM's prefixes, and the helpers of the warm-up that are thrown away."""

    def __init__(self, parts: EncoderParts, kinds: int) -> None:
        super().__init__()
        self.image_encoder: Encoder = parts.encoder
        self.prompt_encoder = parts.prompt_encoder
        self.mask_decoder = parts.mask_decoder
        self.dense_head = DenseHead(kinds)
        self.spread_reader = SpreadReader()

    def answering(self) -> tuple[PromptEncoder, MaskDecoder]:
        """Return the parts that answer prompts.

        Raises:
            ConfigError: If the model has none.
        """
        if self.prompt_encoder is None or self.mask_decoder is None:
            raise ConfigError(
                f"{self.image_encoder.info.name} answers no prompts; choose a promptable model, or the recipe dense."
            )
        return self.prompt_encoder, self.mask_decoder

    def weights(self) -> dict[str, Tensor]:
        """Return what is kept: all weights but those of the helpers of the warm-up, by their names in a file."""
        rename = self.image_encoder.name_in_file
        return {rename(key): value for key, value in self.state_dict().items() if not key.startswith(HELPERS)}

    def choose(self, beginnings: str) -> None:
        """Train what `PromptTuningConfig.train_only` names and keep the rest as it is, its running statistics, too.

        Raises:
            ConfigError: If no weight of the model begins so.
        """
        rename = self.image_encoder.name_in_file
        names = [rename(name) for name, _ in self.named_parameters() if not name.startswith(HELPERS)]
        chosen = ("",) if beginnings in ("", "all") else tuple(one.strip() for one in beginnings.split(","))
        idle = [one for one in chosen if not any(name.startswith(one) for name in names)]
        if idle:
            parts = sorted({name.split(".")[0] for name in names})
            raise ConfigError(
                f"train_only names '{idle[0]}', with which no weight begins; choose all, {', '.join(parts)} or a "
                "longer beginning."
            )
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(rename(name).startswith(chosen) or name.startswith(HELPERS))
        for module in self.modules():
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What a run leaves."""

    weights: dict[str, Tensor]
    """Averaged weights under SAM's prefixes."""
    losses: list[dict[str, float]]
    """Mean losses between saves, in order."""


def tune(
    parts: EncoderParts,
    images: list[InstanceImage],
    config: PromptTuningConfig,
    save: Path | None = None,
) -> Job[TuningResult]:
    """Train a promptable model on images with objects.

    Args:
        parts: Encoder, prompt encoder and mask decoder, trained in place.
        images: Training images.
        config: The recipe.
        save: File that receives the averaged weights every `save_every` steps; None keeps nothing.

    Returns:
        The averaged weights and the course of the losses.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    pools = Pools(images)
    separate = [kind.separate for kind in pools.kinds]
    if config.spread_steps and not isinstance(parts.mask_decoder, SpreadingMaskDecoder):
        raise ConfigError(
            f"spread_steps is {config.spread_steps}, and {parts.encoder.info.name} has no convolutions that spread a "
            "prompt; only sampath-tiny has: leave it out."
        )
    trainee = Trainee(parts, len(pools.kinds)).to(config.device)
    if config.spread_steps + config.steps:
        trainee.answering()
    trainee.choose(config.train_only)
    optimizer = torch.optim.AdamW(_groups(trainee, config.weight_decay), lr=config.learning_rate)
    average = {key: value.detach().clone() for key, value in trainee.weights().items()}
    total = config.warmup_steps + config.spread_steps + config.steps
    sums: dict[str, float] = {}
    course: list[dict[str, float]] = []
    for step in range(total):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step, total)
        stage = _stage(step, config)
        full = stage is not Stage.DENSE and rng.random() < config.full_frame_share
        side, count = (INPUT_PX, 1) if full else (config.side_px, config.windows)
        draw = compose if stage is Stage.DENSE else draw_window
        windows = [draw(pools, side, rng) for _ in range(count)]
        losses = _step(trainee, windows, separate, config, rng, stage, cut=not full)
        torch.nn.utils.clip_grad_norm_(trainee.parameters(), config.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _average(average, trainee.weights(), min(config.average, (1 + step) / (10 + step)))
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + value
            sums[f"n {key}"] = sums.get(f"n {key}", 0.0) + 1
        if (step + 1) % config.save_every == 0 or step + 1 == total:
            means = {key: value / sums[f"n {key}"] for key, value in sums.items() if not key.startswith("n ")}
            course.append({"step": float(step + 1), **means})
            sums = {}
            logger.info("step %d: %s", step + 1, ", ".join(f"{k} {v:.3f}" for k, v in means.items()))
            if save is not None:
                save_weights(save, average, dtype=parts.encoder.stored_as)
        yield Progress(step + 1, total, stage.value, "steps")
    return TuningResult(average, course)


def draw_window(pools: Pools, side: int, rng: np.random.Generator) -> Window:
    """Draw a window with an object to prompt for, if one is found soon."""
    window = compose(pools, side, rng)
    for _ in range(REDRAWN):
        if window.prompted:
            break
        window = compose(pools, side, rng)
    return window


def _step(
    trainee: Trainee,
    windows: list[Window],
    separate: list[bool],
    config: PromptTuningConfig,
    rng: np.random.Generator,
    stage: Stage,
    cut: bool,
) -> dict[str, float]:
    """Run one step forward and back; returns its losses."""
    encoder = trainee.image_encoder
    device = torch.device(config.device)
    reduced = resolve_precision(config.precision, device) != "float32"
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=reduced)
    side = windows[0].pixels.shape[0]
    frame = whole((side, side), input_px=side)
    pixels = torch.stack([encoder.preprocess(window.pixels, frame) for window in windows])
    with autocast:
        embedding = encoder(pixels)[encoder.spec.maps[0].name].float()
        taught = (
            embedding.requires_grad or stage is Stage.DENSE
        )  # a frozen encoder learns nothing from dense targets
        dense = dense_loss(trainee.dense_head(embedding), windows, separate) if taught else None
    losses = {} if dense is None else {"dense": float(dense.detach())}
    if dense is not None and stage is Stage.DENSE:
        dense.backward()
        return losses
    # The encoder's graph is kept once: interactive iterations add their gradients to a leaf.
    leaf = embedding.detach().requires_grad_(embedding.requires_grad)
    values: dict[str, list[float]] = {}
    parts = config.parts if cut and config.part_px else 0
    asked = [(i, *view) for i, one in enumerate(windows) for view in _views(one, parts, config.part_px, rng)]
    for number, window, (row, col), place in asked:
        iterations = int(rng.integers(1, config.iterations + 1))
        side = window.instances.shape[0] // TOKEN_CELLS
        share = min(1.0, config.part_px / TOKEN_PX / side) if config.part_px else 1.0
        plan = Plan.of(config, math.ceil(config.prompts * share), iterations, 1.0 / len(asked))
        seen = leaf[number : number + 1, :, row : row + side, col : col + side]
        answering = trainee.answering()
        with autocast:
            if stage is Stage.SPREAD:
                report = spread_window(
                    *answering, trainee.spread_reader, seen.detach(), window, place, plan, rng
                )
            else:
                report = train_window(*answering, seen, window, place, plan, rng)
        for key, value in report.items():
            values.setdefault(key, []).append(value)
    if dense is not None:
        gradient = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        torch.autograd.backward([embedding, config.dense_weight * dense], [gradient, torch.ones_like(dense)])
    return losses | {key: float(np.mean(value)) for key, value in values.items()}


def _views(
    window: Window, parts: int, part_px: int, rng: np.random.Generator
) -> list[tuple[Window, tuple[int, int], tuple[int, int]]]:
    """Choose what the decoder sees of a window: its content, its first token (row, col) in the window and in the frame.

    It sees the whole window where no parts are asked for. A window smaller than the frame may lie anywhere in it.
    """
    side = window.instances.shape[0] // TOKEN_CELLS
    row, col = (int(offset) for offset in rng.integers(0, GRID - side + 1, 2))
    if not parts or not window.prompted:
        return [(window, (0, 0), (row, col))]
    drawn = [draw_part(window, part_px // TOKEN_PX, rng) for _ in range(parts)]
    return [(part, (top, left), (row + top, col + left)) for part, (top, left) in drawn]


def schedule(step: int, total: int, warm: int = 250) -> float:
    """Learning-rate factor: linear over SAM's 250 warm-up iterations (or a tenth), then cosine to 0.01."""
    warm = min(warm, max(1, total // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Keep norms, biases and embeddings out of weight decay."""
    decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


@torch.no_grad()
def _average(average: dict[str, Tensor], current: dict[str, Tensor], decay: float) -> None:
    for key, value in current.items():
        if value.is_floating_point():
            average[key].lerp_(value.detach(), 1 - decay)
        else:
            average[key].copy_(value)


def save_weights(
    path: Path,
    weights: dict[str, Tensor],
    facts: dict[str, object] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write weights as safetensors, with facts as JSON in its metadata; the file before stays whole until then.

    Args:
        path: The file.
        weights: Tensors by name.
        facts: What is known of them.
        dtype: Of the numbers in the file; None leaves each tensor as it is.
    """
    content = safetensors.torch.save(
        {
            key: (v.to(dtype) if dtype and v.is_floating_point() else v).cpu().contiguous()
            for key, v in weights.items()
        },
        {"sampath": json.dumps(facts or {})},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(content))
