"""Configurations of published methods; where the paper and the released code differ, they follow the code.

These methods augment pixels, so the encoder runs at every step.
`dataclasses.replace(preset(name), augmentation="dihedral")` trains on cached features instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...registry import lookup
from .config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Preset:
    """Configuration of a published method."""

    source: str
    """Paper and main settings, in one line."""
    head: str
    """Kind of head."""
    model: str
    """Encoder of the paper, as a value of `--model`; other encoders can be used as well."""
    config: TrainingConfig
    """Loss, optimiser, schedule, augmentation, and the arguments of the head."""


_SAMPATH = TrainingConfig(
    patience=0,
    keep="last",
    loss="focal_dice",
    learning_rate=1e-4,
    weight_decay=1e-2,
    gradient_clip=0,
    schedule="steps",
    augmentation="pixels",
    crop_share=0.08,
    stain_jitter=0.3,
    balanced=False,
    window_cells=64,
)
_PROMPT_GENERATOR = TrainingConfig(
    epochs=200,
    patience=0,
    keep="last",
    batch_size=3,
    accumulate=4,
    loss="bce_dice",
    optimiser="adam",
    learning_rate=3e-4,
    weight_decay=1e-5,
    gradient_clip=0,
    schedule="constant",
    warmup_epochs=0,
    augmentation="pixels",
    crop_share=0.56,
    stain_jitter=0.6,
    balanced=False,
    window_cells=64,
)


def _hardnet(image_px: int) -> dict[str, int | str]:
    """Return the arguments of the paper's prompt generator for an input of `image_px` x `image_px`."""
    return {"backbone": "hardnet85", "image_px": image_px}


PRESETS: dict[str, Preset] = {
    "bcss": Preset(
        "SAM-Path (Zhang et al. 2023), configuration BCSS: loss 0.25 focal + 0.75 Dice + 0.0625 IoU, 24 tiles per "
        "step, 32 epochs with 1 of warm-up, learning rate divided by 10 after epochs 25 and 29",
        "sampath",
        "vit_b+hipt-s16",
        replace(
            _SAMPATH,
            epochs=32,
            batch_size=12,
            accumulate=2,
            drops=(25.0, 29.0),
            loss_arguments={"focal_weight": 0.25, "dice_weight": 0.75, "iou_weight": 0.0625},
        ),
    ),
    "crag": Preset(
        "SAM-Path (Zhang et al. 2023), configuration CRAG: loss 0.125 focal + 0.875 Dice, 6 tiles per step, 60 epochs "
        "with 2 of warm-up, learning rate divided by 10 after epochs 50 and 55",
        "sampath",
        "vit_b+hipt-s16",
        replace(
            _SAMPATH,
            epochs=60,
            batch_size=6,
            warmup_epochs=2.0,
            drops=(50.0, 55.0),
            loss_arguments={"focal_weight": 0.125, "dice_weight": 0.875, "iou_weight": 0.0},
        ),
    ),
    "acdc": Preset(
        "AutoSAM (Hu et al. 2023): cross-entropy + Dice, Adam 5e-4, 4 slices per step, 120 epochs, "
        "learning rate divided by 10 on a plateau",
        "autosam",
        "minmax01:vit_b",
        TrainingConfig(
            epochs=120,
            patience=0,
            keep="last",
            batch_size=4,
            optimiser="adam",
            learning_rate=5e-4,
            weight_decay=0,
            gradient_clip=0,
            schedule="plateau",
            warmup_epochs=0,
            augmentation="pixels",
            crop_share=0.28,
            rotation_degrees=5.7,
            stain_jitter=0,
            balanced=False,
            window_cells=64,
        ),
    ),
    "glas": Preset(
        "AutoSAM (Shaharabany et al. 2023), GlaS: BCE + Dice, Adam 3e-4, 12 images per step, rotations up to 5 degrees",
        "prompt_generator",
        "vit_h",
        replace(_PROMPT_GENERATOR, rotation_degrees=5.0, head_arguments=_hardnet(256)),
    ),
    "monuseg": Preset(
        "AutoSAM (Shaharabany et al. 2023), MoNuSeg: like glas, but with rotations up to 22 degrees",
        "prompt_generator",
        "vit_h",
        replace(_PROMPT_GENERATOR, rotation_degrees=22.0, stain_jitter=1.0, head_arguments=_hardnet(512)),
    ),
    "polyp": Preset(
        "AutoSAM (Shaharabany et al. 2023), polyps: like glas, but with rotations up to 90 degrees",
        "prompt_generator",
        "vit_b",
        replace(_PROMPT_GENERATOR, rotation_degrees=90.0, head_arguments=_hardnet(352)),
    ),
}
"""Presets by name."""


def preset(name: str) -> TrainingConfig:
    """Return the configuration of a preset by name; an unknown name raises an `UnknownNameError`."""
    return find_preset(name).config


def find_preset(name: str) -> Preset:
    """Return a preset by name; an unknown name raises an `UnknownNameError`."""
    return lookup("recipe", PRESETS, name)
