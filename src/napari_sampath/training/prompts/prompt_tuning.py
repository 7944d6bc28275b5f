"""SAM's training algorithm (Kirillov et al. 2023, section 3 and appendix A), for small models and few images.

Training starts with dense targets. Then each step samples windows and prompts for objects: first with a point or a
noisy box, then with correcting points from the error region, with the previous logits as an additional prompt. Two
changes make it feasible to train small models on two cores: windows may be smaller than the frame (a part of the token
grid with its own positions), and the single-mask token is trained at every iteration.
"""

from __future__ import annotations

import enum
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor, nn

from ...arrays import GRID
from ...config import resolve_precision
from ...encoders.base import Encoder, EncoderParts
from ...encoders.tiny.tiny_prompts import SpreadingMaskDecoder
from ...errors import ConfigError
from ...files import write_atomically
from ...files.tensor_file import dump_tensors
from ...geometry import INPUT_PX, whole
from ...jobs import Job, Progress
from ..data.instances import InstanceImage
from .config import PromptTuningConfig
from .dense_targets import DenseHead, dense_loss
from .interactive import Plan, train_window
from .spreading import SpreadReader, spread_window
from .windows import TOKEN_CELLS, TOKEN_PX, Pools, Window, compose, sample_part

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 30
"""Maximum number of windows sampled to find an object; sampling is cheaper than encoding an empty window."""
AUXILIARY = ("dense_head.", "spread_reader.")
"""Prefixes of the modules that are used only during training."""


class Stage(enum.Enum):
    """Stage of training."""

    DENSE = "training on dense targets"
    SPREAD = "training the convolutions that spread prompts"
    PROMPTS = "training on prompts"


def _stage(step: int, config: PromptTuningConfig) -> Stage:
    if step < config.warmup_steps:
        return Stage.DENSE
    return Stage.SPREAD if step < config.warmup_steps + config.spread_steps else Stage.PROMPTS


class TrainableModel(nn.Module):
    """The modules of a model under SAM's prefixes, and the auxiliary modules of the warm-up."""

    def __init__(self, parts: EncoderParts, kinds: int) -> None:
        super().__init__()
        self.image_encoder: Encoder = parts.encoder
        self.prompt_encoder = parts.prompt_encoder
        self.mask_decoder = parts.mask_decoder
        self.dense_head = DenseHead(kinds)
        self.spread_reader = SpreadReader()

    def decoder(self) -> tuple[PromptEncoder, MaskDecoder]:
        """Return the prompt encoder and the mask decoder, or raise a `ConfigError` if there are none."""
        if self.prompt_encoder is None or self.mask_decoder is None:
            raise ConfigError(
                f"{self.image_encoder.info.name} is not promptable; choose a promptable model, or the recipe dense."
            )
        return self.prompt_encoder, self.mask_decoder

    def weights(self) -> dict[str, Tensor]:
        """Return all weights except those of the auxiliary modules, keyed by their names in a weights file."""
        rename = self.image_encoder.name_in_file
        return {
            rename(key): value for key, value in self.state_dict().items() if not key.startswith(AUXILIARY)
        }

    def freeze_others(self, prefixes: str) -> None:
        """Freeze all weights and running statistics except those under the given prefixes.

        `prefixes` is comma-separated; "all" freezes nothing. Raises a `ConfigError` if a prefix matches no weight.
        """
        rename = self.image_encoder.name_in_file
        names = [rename(name) for name, _ in self.named_parameters() if not name.startswith(AUXILIARY)]
        chosen = ("",) if prefixes in ("", "all") else tuple(part.strip() for part in prefixes.split(","))
        unknown = [prefix for prefix in chosen if not any(name.startswith(prefix) for name in names)]
        if unknown:
            parts = sorted({name.split(".")[0] for name in names})
            raise ConfigError(
                f"train_only is '{unknown[0]}', but no weight has this prefix; choose all, {', '.join(parts)} or a "
                "longer prefix."
            )
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(rename(name).startswith(chosen) or name.startswith(AUXILIARY))
        for module in self.modules():
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.eval()


@dataclass(frozen=True, slots=True)
class TuningResult:
    """Result of a training run."""

    weights: dict[str, Tensor]
    """Averaged weights under SAM's prefixes."""
    losses: list[dict[str, float]]
    """Mean losses of the steps before each checkpoint, in order."""


def tune(
    parts: EncoderParts, images: list[InstanceImage], config: PromptTuningConfig, save: Path | None = None
) -> Job[TuningResult]:
    """Train the parts of a promptable model in place on images with objects.

    The averaged weights are written to the file `save`, if given, every `save_every` steps.

    Raises:
        ConfigError: If the configuration does not apply to the model.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    pools = Pools(images)
    separate = [kind.separate for kind in pools.kinds]
    if config.spread_steps and not isinstance(parts.mask_decoder, SpreadingMaskDecoder):
        raise ConfigError(
            f"spread_steps is {config.spread_steps}, but {parts.encoder.info.name} has no convolutions that spread a "
            "prompt; set it to 0 for every model except sampath-tiny."
        )
    model = TrainableModel(parts, len(pools.kinds)).to(config.device)
    if config.spread_steps + config.steps:
        model.decoder()
    model.freeze_others(config.train_only)
    optimizer = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.learning_rate)
    average = {key: value.detach().clone() for key, value in model.weights().items()}
    total = config.warmup_steps + config.spread_steps + config.steps
    sums: dict[str, float] = {}
    history: list[dict[str, float]] = []
    for step in range(total):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(step, total)
        stage = _stage(step, config)
        full = stage is not Stage.DENSE and rng.random() < config.full_frame_share
        side, count = (INPUT_PX, 1) if full else (config.side_px, config.windows)
        sample = compose if stage is Stage.DENSE else sample_window
        windows = [sample(pools, side, rng) for _ in range(count)]
        losses = _step(model, windows, separate, config, rng, stage, cut=not full)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _average(average, model.weights(), min(config.average, (1 + step) / (10 + step)))
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + value
            sums[f"n {key}"] = sums.get(f"n {key}", 0.0) + 1
        if (step + 1) % config.save_every == 0 or step + 1 == total:
            means = {key: value / sums[f"n {key}"] for key, value in sums.items() if not key.startswith("n ")}
            history.append({"step": float(step + 1), **means})
            sums = {}
            logger.info("step %d: %s", step + 1, ", ".join(f"{k} {v:.3f}" for k, v in means.items()))
            if save is not None:
                save_weights(save, average, dtype=parts.encoder.stored_as)
        yield Progress(step + 1, total, stage.value, "steps")
    return TuningResult(average, history)


def sample_window(pools: Pools, side: int, rng: np.random.Generator) -> Window:
    """Sample a window that contains an object to prompt for; after `MAX_ATTEMPTS` attempts it may contain none."""
    window = compose(pools, side, rng)
    for _ in range(MAX_ATTEMPTS):
        if window.prompted:
            break
        window = compose(pools, side, rng)
    return window


def _step(
    model: TrainableModel,
    windows: list[Window],
    separate: list[bool],
    config: PromptTuningConfig,
    rng: np.random.Generator,
    stage: Stage,
    cut: bool,
) -> dict[str, float]:
    """Run the forward and backward pass of one step, and return its losses."""
    encoder = model.image_encoder
    device = torch.device(config.device)
    reduced = resolve_precision(config.precision, device) != "float32"
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=reduced)
    side = windows[0].pixels.shape[0]
    frame = whole((side, side), input_px=side)
    pixels = torch.stack([encoder.preprocess(window.pixels, frame) for window in windows])
    with autocast:
        embedding = encoder(pixels)[encoder.spec.maps[0].name].float()
        # Dense targets cannot train a frozen encoder.
        uses_dense = embedding.requires_grad or stage is Stage.DENSE
        dense = dense_loss(model.dense_head(embedding), windows, separate) if uses_dense else None
    losses = {} if dense is None else {"dense": float(dense.detach())}
    if dense is not None and stage is Stage.DENSE:
        dense.backward()
        return losses
    # Interactive iterations accumulate gradients in a leaf tensor, so that the encoder needs only one backward pass.
    leaf = embedding.detach().requires_grad_(embedding.requires_grad)
    values: dict[str, list[float]] = {}
    parts = config.parts if cut and config.part_px else 0
    crops = [
        (number, *part)
        for number, window in enumerate(windows)
        for part in _parts(window, parts, config.part_px, rng)
    ]
    for number, window, (row, col), offset in crops:
        iterations = int(rng.integers(1, config.iterations + 1))
        side = window.instances.shape[0] // TOKEN_CELLS
        share = min(1.0, config.part_px / TOKEN_PX / side) if config.part_px else 1.0
        plan = Plan(config, math.ceil(config.prompts * share), iterations, 1.0 / len(crops))
        part = leaf[number : number + 1, :, row : row + side, col : col + side]
        decoder = model.decoder()
        with autocast:
            if stage is Stage.SPREAD:
                reader = model.spread_reader
                report = spread_window(*decoder, reader, part.detach(), window, offset, plan, rng)
            else:
                report = train_window(*decoder, part, window, offset, plan, rng)
        for key, value in report.items():
            values.setdefault(key, []).append(value)
    if dense is not None:
        gradient = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        torch.autograd.backward([embedding, config.dense_weight * dense], [gradient, torch.ones_like(dense)])
    return losses | {key: float(np.mean(value)) for key, value in values.items()}


def _parts(
    window: Window, parts: int, part_px: int, rng: np.random.Generator
) -> list[tuple[Window, tuple[int, int], tuple[int, int]]]:
    """Sample the parts of a window to decode, each with its position (row, col) in the window and in the frame.

    Positions are in tokens. The window is at a random position in the frame. If `parts` is 0, the only part is the
    whole window.
    """
    side = window.instances.shape[0] // TOKEN_CELLS
    row, col = (int(offset) for offset in rng.integers(0, GRID - side + 1, 2))
    if not parts or not window.prompted:
        return [(window, (0, 0), (row, col))]
    sampled = [sample_part(window, part_px // TOKEN_PX, rng) for _ in range(parts)]
    return [(part, (top, left), (row + top, col + left)) for part, (top, left) in sampled]


def schedule(step: int, total: int, warm: int = 250) -> float:
    """Return the learning rate of a step as a fraction of the peak.

    It rises linearly over `warm` steps (250 as in SAM, at most a tenth of `total`), then decays as a cosine to 0.01.
    """
    warm = min(warm, max(1, total // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Return the parameter groups, without weight decay for norms and biases."""
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
    record: dict[str, object] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write weights atomically as safetensors, with `record` as JSON in the metadata, converted to `dtype` if given."""
    content = dump_tensors(
        {
            key: (v.to(dtype) if dtype and v.is_floating_point() else v).cpu().contiguous()
            for key, v in weights.items()
        },
        {"sampath": json.dumps(record or {})},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(content))
