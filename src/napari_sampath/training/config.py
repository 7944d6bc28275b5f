"""How a head is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..arrays import GRID
from ..config import ConfigError
from ..heads.base import Argument

AUGMENTATIONS = ("none", "dihedral")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The recipe of one training run; the defaults suit a few hundred images on two cores."""

    epochs: int = 20
    """Largest number of passes over the training tiles."""
    patience: int = 6
    """Epochs without a better validation Dice after which training stops."""
    batch_size: int = 8
    """Tiles a step."""
    learning_rate: float = 2e-3
    """Peak of the schedule: linear warm-up over the first 5 %, then cosine to 1 %."""
    weight_decay: float = 1e-3
    """Of AdamW (Loshchilov and Hutter 2019)."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    dice_weight: float = 1.0
    """Weight of soft Dice beside cross-entropy; 1 is AutoSAM's recipe."""
    augmentation: str = "none"
    """"none", or "dihedral": the eight views (turned and mirrored) of a tile, each encoded once, which takes
    eight times as long before training starts."""
    balanced: bool = True
    """Draw tiles so that rare classes and kinds of tissue come as often as common ones."""
    window_cells: int = 32
    """Side of the random window of the 64 x 64 feature grid that a step sees of a tile; 64 is all of it. 32
    costs a quarter and varies what a batch holds."""
    max_images: int = 0
    """Largest number of training images, drawn evenly over kinds of tissue and cases; 0 for all."""
    max_validation_images: int = 0
    """Largest number of validation images while training, drawn alike; 0 for all."""
    held_out_share: float = 0.0
    """Share of the training split, whole cases, set aside to choose the best epoch, so that the validation
    split stays unseen; 0 chooses on the validation split."""
    half: bool = True
    """Store the weights as float16: half the file, a rounding far below what matters."""
    seed: int = 0
    """Of everything random; the same seed on the same machine gives the same head."""
    head_arguments: Mapping[str, Argument] = field(default_factory=dict)
    """Arguments of the head, such as depth and top_channel of "cnn"."""

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("learning_rate", "gradient_clip"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0.")
        for name in ("weight_decay", "dice_weight", "max_images", "max_validation_images", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative.")
        if self.augmentation not in AUGMENTATIONS:
            raise ConfigError(f"augmentation is '{self.augmentation}'; choose {' or '.join(AUGMENTATIONS)}.")
        if not 4 <= self.window_cells <= GRID:
            raise ConfigError(f"window_cells is {self.window_cells}; allowed are 4 to {GRID}.")
        if not 0 <= self.held_out_share <= 0.5:
            raise ConfigError(f"held_out_share is {self.held_out_share}; allowed are 0 to 0.5.")
