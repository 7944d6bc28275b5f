"""How a promptable model is trained: the fields of a recipe, and the recipes by name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import ConfigError
from ...geometry import INPUT_PX
from ...registry import lookup
from ...settings import check_settings, setting


@dataclass(frozen=True, slots=True)
class PromptTuningConfig:
    """How a promptable model is trained. The defaults teach the mask decoder of a finished one new tissue."""

    warmup_steps: int = setting(0, min=0)
    """Steps on dense targets alone, before prompts."""
    steps: int = setting(400, min=0)
    """Steps with prompts."""
    spread_steps: int = setting(0, min=0)
    """Steps between the two, in which only the convolutions that spread a drawn prompt learn (`sampath-tiny` only)."""
    windows: int = setting(1, min=1)
    """Windows a step."""
    side_px: int = 512
    """Side of a window in pixels of the 1,024 px frame; a multiple of 32. Encoders that take whole frames only get
    whole frames."""
    full_frame_share: float = setting(0.25, min=0, max=1)
    """Share of the prompted steps on one whole frame instead, so that the decoder meets all 4,096 tokens."""
    part_px: int = 0
    """Side of the parts of a window on which prompts are answered, in pixels, a multiple of 32; 0 answers on the whole
    window. The encoder sees all of it in either case; an object that does not fit takes a larger part. Whole frames of
    `full_frame_share` are not cut."""
    parts: int = setting(4, min=1)
    """Parts a window, where there are any."""
    prompts: int = setting(4, min=1)
    """Objects prompted a window or part; on a part or frame n times as wide as `part_px`, one nth of them."""
    point_share: float = setting(0.5, min=0, max=1)
    """Share of the windows whose objects are first prompted by a point; the others by a noisy box."""
    box_noise: float = setting(0.1, min=0, max=1)
    """Standard deviation of the noise on each side of a box, as a share of the object's side: 0.1 as for SAM; less
    where people box tightly."""
    inner_points: bool = False
    """First points lie where people click, towards an object's middle, and not anywhere in it as for SAM."""
    iterations: int = setting(11, min=1)
    """Largest number of interactive iterations an object, 11 as for SAM. Drawn anew each step."""
    learning_rate: float = 1e-4
    """Peak of the schedule: linear warm-up, then cosine to 1 %."""
    weight_decay: float = 0.05
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    average: float = 0.99
    """Decay of the running average of the weights that is saved; 0 saves the weights themselves."""
    dense_weight: float = 1.0
    """Weight of the dense targets beside the prompts."""
    train_only: str = "mask_decoder"
    """Train only the weights whose name begins so, such as "mask_decoder.iou_prediction_head" to calibrate the
    predicted IoU of finished masks; several beginnings with commas between; "all" trains the encoder, too."""
    precision: str = setting("auto", choices=("auto", "float32", "bfloat16"))
    """"float32", "bfloat16" (autocast), or "auto": bfloat16 where the device computes in it."""
    device: str = "cpu"
    seed: int = 0
    save_every: int = setting(100, min=1)
    """Steps between saves."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.side_px % 32 or not 64 <= self.side_px <= INPUT_PX:
            raise ConfigError(f"side_px is {self.side_px}; give a multiple of 32 from 64 to {INPUT_PX}.")
        if self.part_px % 32 or not 0 <= self.part_px <= self.side_px:
            raise ConfigError(
                f"part_px is {self.part_px}; give a multiple of 32 up to side_px, {self.side_px}, or 0 for no parts."
            )


RECIPES: dict[str, tuple[str, PromptTuningConfig]] = {
    "finetune": ("the mask decoder of a finished model learns what objects are here", PromptTuningConfig()),
    "pretrain": (
        "sampath-tiny from random weights, on two cores: dense targets first, then prompts",
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
        "sampath-tiny-path from random weights: dense targets alone, for an encoder that answers no prompts",
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
"""Name -> what it does, recipe."""


def recipe(name: str) -> PromptTuningConfig:
    """Return a recipe by name.

    Raises:
        UnknownNameError: If there is none.
    """
    return lookup("recipe", RECIPES, name)[1]
