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
    """Steps on dense targets alone, before prompts."""
    steps: int = setting(400, min=0)
    """Steps with prompts."""
    spread_steps: int = setting(0, min=0)
    """Steps in between that train only the convolutions that spread a drawn prompt (`sampath-tiny` only)."""
    windows: int = setting(1, min=1)
    """Windows per step."""
    side_px: int = 512
    """Side of a window in pixels of the 1,024 px frame; a multiple of 32. Encoders that need whole frames ignore it."""
    full_frame_share: float = setting(0.25, min=0, max=1)
    """Share of the prompted steps that use one whole frame, so that the decoder is trained on all 4,096 tokens."""
    part_px: int = 0
    """Side of the parts of a window that the decoder predicts, in pixels, a multiple of 32; 0 predicts the whole
    window. The encoder always processes the whole window. A larger object gets a larger part. Whole frames of
    `full_frame_share` are not cut."""
    parts: int = setting(4, min=1)
    """Parts per window, if `part_px` is not 0."""
    prompts: int = setting(4, min=1)
    """Prompted objects per window or part; a part or frame n times as wide as `part_px` gets one nth."""
    point_share: float = setting(0.5, min=0, max=1)
    """Share of the windows whose first prompts are points; those of the others are noisy boxes."""
    box_noise: float = setting(0.1, min=0, max=1)
    """Standard deviation of the noise on each side of a box, as a share of the object's side; 0.1 as for SAM, less for
    tight boxes."""
    inner_points: bool = False
    """Draw first points near the middle of an object, where people click, instead of anywhere in it as for SAM."""
    iterations: int = setting(11, min=1)
    """Largest number of interactive iterations per object, drawn at each step; 11 as for SAM."""
    learning_rate: float = 1e-4
    """Peak of the schedule: linear warm-up, then cosine to 1 %."""
    weight_decay: float = 0.05
    """Weight decay of matrices and convolutions."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    average: float = 0.99
    """Decay of the running average of the weights, which is saved; 0 saves the weights themselves."""
    dense_weight: float = 1.0
    """Weight of the dense targets in the prompted steps."""
    train_only: str = "mask_decoder"
    """Prefixes of the weights to train, separated by commas, such as "mask_decoder.iou_prediction_head" to calibrate
    only the predicted IoU; "all" also trains the encoder."""
    precision: str = setting("auto", choices=("auto", "float32", "bfloat16"))
    """"float32", "bfloat16" (autocast), or "auto" for bfloat16 if the device supports it."""
    device: str = "cpu"
    """Device name of torch."""
    seed: int = 0
    """Seed of all random numbers."""
    save_every: int = setting(100, min=1)
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.side_px % 32 or not 64 <= self.side_px <= INPUT_PX:
            raise ConfigError(f"side_px is {self.side_px}; give a multiple of 32 from 64 to {INPUT_PX}.")
        if self.part_px % 32 or not 0 <= self.part_px <= self.side_px:
            raise ConfigError(
                f"part_px is {self.part_px}; give a multiple of 32 up to side_px, {self.side_px}, or 0 for no parts."
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
"""Name -> description, configuration."""


def recipe(name: str) -> PromptTuningConfig:
    """Return a recipe by name; an unknown name raises an `UnknownNameError`."""
    return lookup("recipe", RECIPES, name)[1]
