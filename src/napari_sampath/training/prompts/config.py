"""Configuration of the training of a promptable model, and recipes by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import ConfigError
from ...geometry import INPUT_PX
from ...registry import lookup
from ...settings import check_settings, setting


@dataclass(frozen=True, slots=True)
class PromptTuningConfig:
    """Configuration of one training run; the defaults adapt the mask decoder of a trained model to new tissue."""

    warmup_steps: int = setting(0, min=0)
    """Number of steps on dense targets only, before the steps with prompts."""
    steps: int = setting(400, min=0)
    """Number of steps with prompts."""
    max_minutes: float = setting(0.0, min=0)
    """Time limit of the training in minutes, without reading the images; 0 is no limit. If the steps take longer, the
    schedule advances in proportion to the elapsed time, so that all stages and the decay of the learning rate are
    completed."""
    spread_steps: int = setting(0, min=0)
    """Number of steps between these stages that train only the convolutions that spread prompts, for `sampath-tiny`."""
    windows: int = setting(1, min=1)
    """Number of windows per step; halved until they fit in the memory of the device."""
    side_px: int = 512
    """Side of a window in pixels of the 1,024 px frame, a multiple of 32; ignored if the encoder needs whole frames."""
    full_frame_share: float = setting(0.25, min=0, max=1)
    """Fraction of the steps with prompts that use whole frames, so that the decoder learns all 4,096 positions: one, or
    as many as have the pixels of `windows`."""
    part_px: int = 0
    """Side of the parts of a window that are decoded, in pixels, a multiple of 32; 0 decodes the whole window. Parts
    are enlarged to contain larger objects. The encoder always processes the whole window, and the whole frames of
    `full_frame_share` are always decoded completely."""
    parts: int = setting(4, min=1)
    """Number of parts per window, if `part_px` is not 0."""
    prompts: int = setting(4, min=1)
    """Number of prompted objects per window or part; divided by n for a part or frame that is n times as wide as
    `part_px`."""
    point_share: float = setting(0.5, min=0, max=1)
    """Fraction of the windows or parts whose first prompts are points; the others start with noisy boxes."""
    prompt: str = setting("clicks", choices=("clicks", "clip"))
    """First prompts of objects: "clicks" for points and boxes, or "clip" to train with embeddings of crops as well, so
    that texts can prompt the model."""
    clip_share: float = setting(0.5, above=0, max=1)
    """Fraction of the windows or parts whose first prompts are embeddings of crops, if `prompt` is "clip"."""
    text_model: str = ""
    """Text model that embeds the crops, if `prompt` is "clip": quiltnet, plip, biomedclip, hf-hub:OWNER/NAME, a folder
    with a model that open_clip has saved, or an architecture of open_clip."""
    text_weights: str = ""
    """File with your own weights of the text model; empty for the published ones."""
    box_noise: float = setting(0.1, min=0, max=1)
    """Standard deviation of the noise on each side of a box, as a fraction of the object's side; 0.1 as in SAM, or less
    for tight boxes."""
    inner_points: bool = False
    """Whether first points are near the middle of an object, where people click, not anywhere in it as in SAM."""
    iterations: int = setting(11, min=1)
    """Maximum number of interactive iterations per object, 11 as in SAM; the number is sampled in each step."""
    learning_rate: float = 1e-4
    """Peak learning rate of the schedule: linear warm-up, then cosine decay to 1 %."""
    weight_decay: float = 0.05
    """Weight decay; not applied to norms and biases."""
    gradient_clip: float = 1.0
    """Maximum norm of the gradient."""
    average: float = 0.99
    """Decay rate of the moving average of the weights, which is what is saved; 0 saves the current weights."""
    dense_weight: float = 1.0
    """Weight of the loss on dense targets in the steps with prompts."""
    train_only: str = "mask_decoder"
    """Comma-separated prefixes of the weights to train, such as "mask_decoder.iou_prediction_head" to calibrate
    only the predicted IoU; "all" also trains the encoder."""
    precision: str = setting("auto", choices=("auto", "float32", "bfloat16"))
    """Precision: "float32", "bfloat16" (autocast), or "auto" for bfloat16 if the device supports it."""
    device: str = "cpu"
    """Name of the torch device."""
    seed: int = 0
    """Random seed."""
    save_every: int = setting(100, min=1)
    """Number of steps between two checkpoints."""

    @property
    def total_steps(self) -> int:
        """Number of steps of all stages."""
        return self.warmup_steps + self.spread_steps + self.steps

    def __post_init__(self) -> None:
        check_settings(self)
        if self.side_px % 32 or not 64 <= self.side_px <= INPUT_PX:
            raise ConfigError(f"side_px is {self.side_px}; give a multiple of 32 from 64 to {INPUT_PX}.")
        if self.prompt == "clip" and not (self.text_model and self.steps):
            raise ConfigError(
                "prompt is 'clip', which needs a text model and steps with prompts; set text_model, for example to "
                "quiltnet, and steps to at least 1."
            )
        if self.prompt != "clip" and (self.text_model or self.text_weights):
            raise ConfigError(
                f"prompt is '{self.prompt}', which uses no text model; set it to clip, or leave out text_model and "
                "text_weights."
            )
        if self.part_px % 32 or not 0 <= self.part_px <= self.side_px:
            raise ConfigError(
                f"part_px is {self.part_px}; give a multiple of 32 up to side_px, {self.side_px}, or 0 to decode whole "
                "windows."
            )


RECIPES: dict[str, tuple[str, PromptTuningConfig]] = {
    "finetune": ("adapts the mask decoder of a trained model to new objects", PromptTuningConfig()),
    "pretrain": (
        "trains sampath-tiny from random weights on two cores: dense targets first, then prompts",
        replace(
            PromptTuningConfig(),
            warmup_steps=1800,
            steps=2200,
            windows=2,
            prompts=8,
            iterations=3,
            learning_rate=1e-3,
            average=0.998,
            train_only="all",
            save_every=250,
        ),
    ),
    "dense": (
        "trains sampath-tiny-path, which is not promptable, from random weights on dense targets",
        replace(
            PromptTuningConfig(),
            warmup_steps=1500,
            steps=0,
            windows=2,
            learning_rate=1e-3,
            average=0.998,
            train_only="all",
        ),
    ),
}
"""Description and configuration of each recipe, by name."""


def recipe(name: str) -> PromptTuningConfig:
    """Return a recipe by name; an unknown name raises an `UnknownNameError`."""
    return lookup("recipe", RECIPES, name)[1]
