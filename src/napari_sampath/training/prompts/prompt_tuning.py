"""SAM's training algorithm (Kirillov et al. 2023, section 3 and appendix A), for small models and few images.

Training starts with dense targets. Then each step samples windows and prompts for objects: first with a point or a
noisy box, then with correcting points from the error region, with the previous logits as an additional prompt. Two
changes make it feasible to train small models on two cores: windows may be smaller than the frame (a part of the token
grid with its own positions), and the single-mask token is trained at every iteration.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ...arrays import GRID
from ...config import resolve_precision
from ...encoders.base import Encoder, EncoderParts
from ...encoders.text.projection_file import text_record
from ...encoders.tiny.tiny import TinyEncoder
from ...encoders.tiny.tiny_prompts import SpreadingMaskDecoder
from ...errors import ConfigError
from ...files import write_atomically
from ...files.tensor_file import dump_tensors
from ...geometry import INPUT_PX, whole
from ...jobs import Job, Progress
from ...predict.memory import is_out_of_memory
from ..data.instances import InstanceImage
from .clip_prompts import ClipPrompts
from .config import PromptTuningConfig
from .dense_targets import DenseHead, dense_loss
from .grouping import group_parts, sample_parts
from .interactive import FirstPrompts, Plan, train_objects
from .schedule import Schedule, Stage, learning_rate, stage_at
from .spreading import SpreadReader, spread_objects
from .windows import TOKEN_PX, Pools, Window, compose

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 30
"""Maximum number of windows sampled to find an object; sampling is cheaper than encoding an empty window."""
AUXILIARY = ("dense_head.", "spread_reader.")
"""Prefixes of the modules that are used only during training."""


class TrainableModel(nn.Module):
    """The modules of a model under SAM's prefixes, and the auxiliary modules of the warm-up."""

    def __init__(self, parts: EncoderParts, kinds: int, clip: ClipPrompts | None = None) -> None:
        super().__init__()
        self.image_encoder: Encoder = parts.encoder
        self.prompt_encoder = parts.prompt_encoder
        self.mask_decoder = parts.mask_decoder
        self.text_projection = parts.text_projection
        self.clip = clip
        self.dense_head = DenseHead(kinds)
        self.spread_reader = SpreadReader()

    def decoder(self) -> tuple[PromptEncoder, MaskDecoder]:
        """Return the prompt encoder and the mask decoder, or raise a `ConfigError` if there are none."""
        if self.prompt_encoder is None or self.mask_decoder is None:
            raise ConfigError(
                f"{self.image_encoder.info.name} is not promptable; choose a promptable model, or the recipe dense."
            )
        return self.prompt_encoder, self.mask_decoder

    def weights(self, frozen: bool = True) -> dict[str, Tensor]:
        """Return all weights except those of the auxiliary modules, keyed by their names in a weights file.

        If `frozen` is False, weights that are not trained are left out.
        """
        rename = self.image_encoder.name_in_file
        left_out = set() if frozen else {name for name, p in self.named_parameters() if not p.requires_grad}
        return {
            rename(key): value
            for key, value in self.state_dict().items()
            if key not in left_out and not key.startswith(AUXILIARY)
        }

    def freeze_others(self, prefixes: str) -> None:
        """Freeze all weights and running statistics except those under the given prefixes.

        `prefixes` is comma-separated; "all" freezes nothing. The layer for text prompts is trained if there are prompts
        of crops. Raises a `ConfigError` if a prefix matches no weight.
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
        always = AUXILIARY if self.clip is None else (*AUXILIARY, "text_projection.")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(rename(name).startswith(chosen) or name.startswith(always))
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
    steps: int
    """Number of steps that were run."""
    windows: int
    """Number of windows per step that fit in the memory of the device."""


def tune(
    parts: EncoderParts,
    images: list[InstanceImage],
    config: PromptTuningConfig,
    save: Path | None = None,
    clip: ClipPrompts | None = None,
) -> Job[TuningResult]:
    """Train the parts of a promptable model in place on images with objects, and on prompts of crops with `clip`.

    The averaged weights are written to the file `save`, if given, every `save_every` steps. If the windows of a step do
    not fit in the memory of the device, this step and the following ones have half as many windows.

    Raises:
        ConfigError: If the configuration does not apply to the model, or the device has too little memory.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    pools = Pools(images, config.device)
    separate = [kind.separate for kind in pools.kinds]
    if config.spread_steps and not isinstance(parts.mask_decoder, SpreadingMaskDecoder):
        raise ConfigError(
            f"spread_steps is {config.spread_steps}, but {parts.encoder.info.name} has no convolutions that spread a "
            "prompt; set it to 0 for every model except sampath-tiny."
        )
    model = TrainableModel(parts, len(pools.kinds), clip).to(config.device)
    if config.spread_steps + config.steps:
        model.decoder()
    model.freeze_others(config.train_only)
    optimizer = torch.optim.AdamW(_groups(model, config.weight_decay), lr=config.learning_rate)
    average = {key: value.detach().clone() for key, value in model.weights().items()}
    schedule = Schedule(config)
    sums: dict[str, Tensor] = {}
    history: list[dict[str, float]] = []
    step, finished = 0, schedule.finished(0)
    while not finished:
        position = schedule.position(step)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate(position, schedule.total)
        stage = stage_at(position, config)
        full = stage is not Stage.DENSE and rng.random() < config.full_frame_share
        losses, config = _step_that_fits(model, pools, separate, config, rng, stage, full)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        # The mean of equal weights may differ in the sign of zero, which would change the digest of a frozen encoder.
        _average(average, model.weights(frozen=False), min(config.average, (1 + step) / (10 + step)))
        step += 1
        finished = schedule.finished(step)
        for key, value in losses.items():
            for name, term in ((key, value), (f"n {key}", torch.ones_like(value))):
                sums[name] = sums[name] + term if name in sums else term
        if step % config.save_every == 0 or finished:
            means = {k: float(v / sums[f"n {k}"]) for k, v in sums.items() if not k.startswith("n ")}
            history.append({"step": float(step), **means})
            sums = {}
            logger.info("step %d: %s", step, ", ".join(f"{k} {v:.3f}" for k, v in means.items()))
            if save is not None:
                save_weights(save, average, text_record(parts), parts.encoder.stored_as)
        yield Progress(round(schedule.position(step)), schedule.total, stage.value, "steps")
    return TuningResult(average, history, step, config.windows)


def sample_window(pools: Pools, side: int, rng: np.random.Generator) -> Window:
    """Sample a window that contains an object to prompt for; after `MAX_ATTEMPTS` attempts it may contain none."""
    return compose(pools, side, rng, MAX_ATTEMPTS)


def _step_that_fits(
    model: TrainableModel,
    pools: Pools,
    separate: list[bool],
    config: PromptTuningConfig,
    rng: np.random.Generator,
    stage: Stage,
    full: bool,
) -> tuple[dict[str, Tensor], PromptTuningConfig]:
    """Run one step, with fewer windows if memory runs out; return its losses and the configuration that fits."""
    sample = compose if stage is Stage.DENSE else sample_window
    side, count = config.side_px, config.windows
    if full:  # as many pixels as the windows of other steps
        side, count = INPUT_PX, max(1, config.windows * config.side_px**2 // INPUT_PX**2)
    windows = [sample(pools, side, rng) for _ in range(count)]
    try:
        return _step(model, windows, separate, config, rng, stage, cut=not full), config
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if config.windows == 1:
            raise ConfigError(
                f"The device '{config.device}' has too little free memory for one window; close other programs that "
                "use it, or set prompts or side_px to less."
            ) from error
    # Retry outside of the except block, where the error no longer holds references to tensors.
    model.zero_grad(set_to_none=True)
    del windows
    if torch.device(config.device).type == "cuda":
        torch.cuda.empty_cache()
    fewer = replace(config, windows=config.windows // 2)
    logger.info("%d windows do not fit in the memory of '%s'; half as many are used.", count, config.device)
    return _step_that_fits(model, pools, separate, fewer, rng, stage, full)


def _step(
    model: TrainableModel,
    windows: list[Window],
    separate: list[bool],
    config: PromptTuningConfig,
    rng: np.random.Generator,
    stage: Stage,
    cut: bool,
) -> dict[str, Tensor]:
    """Run the forward and backward pass of one step, and return its losses, scalars on the device."""
    encoder = model.image_encoder
    device = torch.device(config.device)
    reduced = resolve_precision(config.precision, device) != "float32"
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=reduced)
    pixels = _inputs(encoder, windows)
    with autocast:
        embedding = encoder(pixels)[encoder.spec.maps[0].name].float()
        # Dense targets cannot train a frozen encoder.
        uses_dense = embedding.requires_grad or stage is Stage.DENSE
        dense = dense_loss(model.dense_head(embedding), windows, separate) if uses_dense else None
    losses = {} if dense is None else {"dense": dense.detach()}
    if dense is not None and stage is Stage.DENSE:
        dense.backward()
        return losses
    # Interactive iterations accumulate gradients in a leaf tensor, so that the encoder needs only one backward pass.
    leaf = embedding.detach().requires_grad_(embedding.requires_grad)
    values: dict[str, list[Tensor]] = {}
    crops = [
        (number, *part)
        for number, window in enumerate(windows)
        for part in sample_parts(window, config.parts if cut and config.part_px else 0, config.part_px, rng)
    ]
    clip = model.clip if stage is Stage.PROMPTS else None
    for (side, kind), group in group_parts(crops, config, clip is not None, rng).items():
        # All parts of a group are at the same random position of the frame.
        top, left = (int(start) for start in rng.integers(0, GRID - side + 1, 2))
        share = min(1.0, config.part_px / TOKEN_PX / side) if config.part_px else 1.0
        iterations = int(rng.integers(1, config.iterations + 1))
        count, used = math.ceil(config.prompts * share), clip if kind == "clip" else None
        plan = Plan(config, count, iterations, 1.0 / len(crops), used)
        sampled = [part for _, part, _ in group]
        first = FirstPrompts.sample(sampled, (top, left), plan, kind == "box", rng, device)
        embeddings = torch.stack(
            [leaf[number, :, row : row + side, col : col + side] for number, _, (row, col) in group]
        )
        with autocast:
            if stage is Stage.SPREAD:
                reader = model.spread_reader
                report = spread_objects(
                    *model.decoder(), reader, embeddings.detach(), first, (top, left), plan
                )
            else:
                report = train_objects(*model.decoder(), embeddings, first, (top, left), plan, rng)
        for key, value in report.items():
            values.setdefault(key, []).append(value)
    if dense is not None:
        gradient = leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
        torch.autograd.backward([embedding, config.dense_weight * dense], [gradient, torch.ones_like(dense)])
    return losses | {key: torch.stack(value).mean() for key, value in values.items()}


def _inputs(encoder: Encoder, windows: list[Window]) -> Tensor:
    """Return the input (B, 3, S, S) of the encoder, on its device."""
    pixels = torch.stack([window.pixels for window in windows])
    if isinstance(encoder, TinyEncoder):
        return (pixels.permute(0, 3, 1, 2).contiguous().float() - encoder.pixel_mean) / encoder.pixel_std
    side = pixels.shape[1]
    return torch.stack(
        [encoder.preprocess(image.cpu().numpy(), whole((side, side), input_px=side)) for image in pixels]
    )


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Return the parameter groups, without weight decay for norms and biases."""
    decayed = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


@torch.no_grad()
def _average(average: dict[str, Tensor], current: dict[str, Tensor], decay: float) -> None:
    floating = [key for key, value in current.items() if value.is_floating_point()]
    update = get_ema_multi_avg_fn(decay)
    update([average[key] for key in floating], [current[key] for key in floating], None)
    for key in current.keys() - floating:
        average[key].copy_(current[key])


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
