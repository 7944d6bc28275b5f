"""How a head is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...arrays import GRID
from ...config import ConfigError
from ...heads.base import Argument

CHOICES = {
    "augmentation": ("none", "dihedral", "pixels"),
    "optimiser": ("adamw", "adam"),
    "schedule": ("cosine", "steps", "plateau", "constant"),
    "keep": ("best", "last"),
    "head_precision": ("float32", "bfloat16"),
}
"""Field -> what it may be."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The recipe of one training run; the defaults suit a few hundred images on two cores."""

    epochs: int = 20
    """Largest number of passes over the training tiles."""
    patience: int = 6
    """Epochs without a better validation Dice after which training stops; 0 never stops early."""
    keep: str = "best"
    """"best", the epoch with the highest validation Dice, or "last", as the references do."""
    batch_size: int = 8
    """Tiles a step, over all devices together."""
    accumulate: int = 1
    """Batches whose gradients are averaged before each step of the optimiser."""
    loss: str = "ce_dice"
    """One of `losses.registry`."""
    optimiser: str = "adamw"
    """"adamw" (Loshchilov and Hutter 2019) or "adam"."""
    learning_rate: float = 2e-3
    """Peak of the schedule."""
    weight_decay: float = 1e-3
    """Of the optimiser."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; 0 for any."""
    schedule: str = "cosine"
    """"cosine" to 1 %, "steps" (a tenth at each of `drops`), "plateau" (a tenth after ten epochs in which the last
    batch's loss has not fallen) or "constant"."""
    warmup_epochs: float = 1.0
    """Epochs over which the learning rate rises from nothing."""
    drops: tuple[float, ...] = ()
    """Epochs after which the schedule "steps" divides the learning rate by ten."""
    augmentation: str = "none"
    """"none"; "dihedral": the eight views (turned and mirrored) of a tile, each encoded once, which takes
    eight times as long before training starts; or "pixels": a new crop, turn and stain at every step, for which the
    encoder runs at every step."""
    crop_share: float = 0.5
    """Augmentation "pixels": least share of a tile's area that a crop keeps."""
    smallest_scale: float = 1.0
    """Augmentation "pixels": smallest scale at which a tile is seen, so that a head finds small objects, too; what is
    then missing around it is its mirror image."""
    rotation_degrees: float = 0.0
    """Augmentation "pixels": largest turn beside quarter turns."""
    stain_jitter: float = 0.5
    """Augmentation "pixels": how much stain and brightness vary, 0 to 1."""
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
    devices: int = 1
    """GPUs, or processes on the CPU, to train on; torchrun decides it itself."""
    head_precision: str = "float32"
    """"float32" or "bfloat16": arithmetic of the head while it trains."""
    save_every_s: float = 30.0
    """Seconds between two saves from which a killed run goes on; 0 saves at every step."""
    half: bool = True
    """Store the weights as float16: half the file, a rounding far below what matters."""
    seed: int = 0
    """Of everything random; the same seed on the same machine gives the same head."""
    head_arguments: Mapping[str, Argument] = field(default_factory=dict)
    """Arguments of the head, such as depth and top_channel of "cnn"."""
    loss_arguments: Mapping[str, float | bool] = field(default_factory=dict)
    """Arguments of the loss, such as dice_weight of "ce_dice"."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "devices"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        self._check("learning_rate", self.learning_rate > 0, "above 0")
        for name in (
            *("weight_decay", "max_images", "max_validation_images", "seed", "patience", "gradient_clip"),
            *("warmup_epochs", "save_every_s", "rotation_degrees"),
        ):
            self._check(name, getattr(self, name) >= 0, "0 or more")
        for name, allowed in CHOICES.items():
            self._check(name, getattr(self, name) in allowed, " or ".join(allowed))
        self._check("window_cells", 4 <= self.window_cells <= GRID, f"4 to {GRID}")
        self._check("held_out_share", 0 <= self.held_out_share <= 0.5, "0 to 0.5")
        self._check("stain_jitter", 0 <= self.stain_jitter <= 1, "0 to 1")
        self._check("crop_share", 0 < self.crop_share <= 1, "above 0 and at most 1")
        self._check("smallest_scale", 0.1 <= self.smallest_scale <= 1, "0.1 to 1")
        self._check("drops", list(self.drops) == sorted(self.drops), "ascending epochs")
        if self.batch_size % self.devices:
            raise ConfigError(
                f"batch_size is {self.batch_size} for {self.devices} devices; give a multiple of {self.devices}."
            )

    def _check(self, name: str, fits: bool, allowed: str) -> None:
        if not fits:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; allowed: {allowed}.")
